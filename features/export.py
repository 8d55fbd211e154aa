"""The encoder of any checkpoint, without head and pruned branch, as a torchvision state dict.

    python -m features.export --checkpoint checkpoints_cifar100/NAME/model.pt --out encoder.pt

The file, for torch.load with weights_only=True, holds `state_dict` (the keys of torchvision's ResNets, which timm's
share, without `fc`), `architecture` and `stem`, `mean` and `std` (the input is RGB in [0, 1], then (x - mean) / std),
`features` (numbers per image), `source` (name and SHA-256 of the checkpoint) and `provenance`. It is written only if
torchvision's network gives the same features of random images. Of dual batch norm it has the dense branch's.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as TorchvisionResNet

from features.extract import backbone_of
from features.flags import parse_export
from models.published import State, from_published
from models.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet
from run.checkpoint import read_checkpoint, write_checkpoint
from run.log import provenance
from utils.errors import InputError, run

# What torchvision calls them; it has no name for resnet10.
NAMES = {name: name.replace("res", "resnet") for name in ("res10", "res18", "res34", "res50", "res101", "res152")}
NAMES["res50w2"] = "wide_resnet50_2"
SIZES = {"cifar": (32, 33, 64), "imagenet": (64, 97, 224)}  # pixels of the random images
CLOSE = 1e-5  # of the largest feature


def torchvision_model(name: str, stem: str) -> TorchvisionResNet:
    """torchvision's network of a name of NAMES, [N, 3, H, W] -> [N, features], as a reader of the file builds it."""
    if name == "res10":
        model = TorchvisionResNet(BasicBlock, [1, 1, 1, 1])
    else:
        model = torchvision.models.get_model(NAMES[name], weights=None)
    model.fc = nn.Identity()
    if stem == "cifar":
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


@torch.inference_mode()
def largest_difference(ours: ResNet, name: str, stem: str, state: State, mean: list[float], std: list[float]) -> float:
    """The largest difference between our features of random images and those of torchvision's network with `state`.

    Args:
        mean, std: what its input is normalised by.

    Raises:
        InputError: it is more than rounding, or a feature is not finite.
    """
    theirs = torchvision_model(name, stem)
    theirs.load_state_dict(state, strict=True)
    ours, theirs, worst = ours.eval(), theirs.eval(), 0.0
    mean, std = (torch.tensor(values)[:, None, None] for values in (mean, std))
    generator = torch.Generator().manual_seed(0)
    for size in SIZES[stem]:
        images = torch.rand(2, 3, size, size, generator=generator)
        expected = ours.features(images)
        difference = (theirs((images - mean) / std) - expected).abs().max().item()
        if not difference <= CLOSE * expected.abs().max().item():  # so that NaN is refused, too
            raise InputError(
                f"nothing was written: features of {size} px images differ by {difference:g} in torchvision's "
                f"{NAMES[name]}, of at most {expected.abs().max().item():g}: weights or batch statistics are damaged"
            )
        worst = max(worst, difference)
    return worst


def build(checkpoint: str, name: str | None) -> tuple[dict[str, Any], float]:
    """What the file holds, and the largest difference to our own features.

    Args:
        name: one of MODELS; default the one that the checkpoint says.

    Raises:
        InputError: the checkpoint is bad or of another model, torchvision has none like it, or its features differ.
    """
    content = read_checkpoint(checkpoint)
    state = from_published(content["state_dict"])
    kernel = state.get("conv1.weight", torch.empty(0))
    stem = "imagenet" if kernel.shape[-1:] == (7,) else "cifar"
    config = content["config"] if isinstance(content.get("config"), dict) else {}
    name = name or config.get("model") or ("res50" if stem == "imagenet" else "res18")
    model = backbone_of(state, name, stem, checkpoint)
    if not isinstance(model, ResNet):
        raise InputError(f"{name} is a small ResNet, which torchvision and timm do not have: only {', '.join(NAMES)}")
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(("fc.", "normalize."))}
    # A checkpoint may hold others than ours: its network was trained with those.
    mean, std = (
        list(usual) if torch.equal(own, torch.tensor(usual)) else own.tolist()
        for own, usual in ((model.normalize.mean, IMAGENET_MEAN), (model.normalize.std, IMAGENET_STD))
    )
    with Path(checkpoint).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    exported = {
        "state_dict": state,
        "architecture": NAMES[name],
        "stem": stem,
        "mean": mean,
        "std": std,
        "features": model.channels,
        "source": {"file": Path(checkpoint).name, "sha256": digest},
        "provenance": provenance(),
    }
    return exported, largest_difference(model, name, stem, state, mean, std)


def how_to_load(path: Path, architecture: str, stem: str) -> str:
    """The lines of Python that load the file."""
    kind, small = f"torchvision.models.{architecture}()", ""
    if architecture == "resnet10":
        kind = "torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])"
    if stem == "cifar":
        small = "model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)\nmodel.maxpool = torch.nn.Identity()\n"
    load = f"model.load_state_dict(torch.load({str(path)!r}, weights_only=True)['state_dict'], strict=True)"
    return f"import torch, torchvision\nmodel = {kind}\nmodel.fc = torch.nn.Identity()\n{small}{load}"


def main() -> None:
    args = parse_export(__doc__)
    content, difference = build(args.checkpoint, args.model)
    write_checkpoint(args.out, content)
    kind, stem = content["architecture"], content["stem"]
    which = {"cifar": "CIFAR's stem (3x3 convolution, no max-pool)", "imagenet": "ImageNet's stem"}[stem]
    print(f"{args.out}: {kind}, {which}, {content['features']} features, by {args.checkpoint}")
    if args.quiet:
        return
    print(f"largest difference between its features and ours on random images: {difference:.2g}")
    print(f"input: RGB in [0, 1], then (x - mean) / std, mean {content['mean']}, std {content['std']}; to load it:")
    print(how_to_load(args.out, kind, stem))


if __name__ == "__main__":
    sys.exit(run(main))
