"""The encoder of any checkpoint, without head and pruned branch, as a file for other programs, with a model card.

    python -m features.export --checkpoint checkpoints_cifar100/NAME/model.pt --out encoder.pt
    python -m features.export --checkpoint checkpoints_cifar100/NAME/model.pt --out encoder.onnx --to onnx

--to torchvision, the default, and timm write a dict for torch.load with the `state_dict` of their ResNets and what
tells of it; safetensors has torchvision's keys (of the small ResNets ours) and the rest in its metadata; onnx a graph
that normalises its input itself. The file is written only if the library that reads it gives our features of random
images. Of dual batch norm it has the dense branch's. The model card is beside it, with .md behind the file's name.
"""

import hashlib
import sys
from pathlib import Path

import torch

from features.card import STEMS, card, is_card
from features.encoder import Source, read_encoder
from features.extract import backbone_of
from features.flags import OTHER_NAME, OTHER_TARGETS, parse_export, reading_of
from features.targets import target, targets_of
from features.targets.base import Network, largest_difference
from models.resnet import IMAGENET_MEAN, IMAGENET_STD
from run.made import provenance
from utils.errors import InputError, run_main
from utils.files import replace_file


def network_of(source: Source, name: str | None, to: str) -> Network:
    """The encoder of a checkpoint, as it is exported.

    Args:
        source: the encoder that was read. name: one of MODELS; default the checkpoint's. to: one of
            features.targets.TARGETS.

    Raises:
        InputError: the checkpoint is bad or of another model, or the target has no such network.
    """
    checkpoint, (_, state, stem, _), content = source
    config = content["config"] if isinstance(content.get("config"), dict) else {}
    name = name or config.get("model") or source.model or ("res50" if stem == "imagenet" else "res18")
    model = backbone_of(state, name, stem, checkpoint).eval()
    if not target(to).has(name):
        label = f"{name}, a small ResNet" if name.endswith("_s") else name
        raise InputError(f"{to} has no {label}: {OTHER_TARGETS.format(' or '.join(targets_of(name)))}")
    # The checkpoint's, as its network was trained with these; ImageNet's are written without float32's rounding.
    mean, std = (
        list(usual) if torch.equal(values, torch.tensor(usual)) else values.tolist()
        for values, usual in ((model.normalize.mean, IMAGENET_MEAN), (model.normalize.std, IMAGENET_STD))
    )
    with Path(checkpoint).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Network(model, name, stem, mean, std, {"file": Path(checkpoint).name, "sha256": digest}, provenance())


def main() -> None:
    args = parse_export(__doc__)
    chosen = target(args.to)
    chosen.import_needs()
    source = read_encoder(args.checkpoint, reading_of(args))
    source.print_format(args.quiet)
    network = network_of(source, args.model, args.to)
    if args.card.exists() and not is_card(args.card.read_text("utf-8", "replace")):
        raise InputError(f"{args.card}, where the model card would be, is another file: {OTHER_NAME}")
    content = chosen.encode(network)
    difference = largest_difference(chosen, content, network)
    text = card(args.out.name, source, network, chosen, difference)
    replace_file(args.out, content)
    replace_file(args.card, text.encode("utf-8", "backslashreplace"))
    kind, stem = network.description["architecture"], STEMS[network.stem]
    print(f"{args.out}: {kind}, {stem}, {network.model.channels} features, by {args.checkpoint}")
    if args.quiet:
        return
    print(f"{args.card}: what the checkpoint tells of it, and how it is used")
    print(f"largest difference between its features and ours on random images: {difference:.2g}")
    how = "normalised inside" if chosen.inside or network.small else "then (x - mean) / std"
    print(f"input: RGB in [0, 1], {how}, mean {network.mean}, std {network.std}; to load it:")
    print(chosen.lines(str(args.out), network))


if __name__ == "__main__":
    sys.exit(run_main(main))
