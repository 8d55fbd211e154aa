"""Which training images look like the tail to a checkpoint: three rankings without labels, and how right they are.

    python -m tail --checkpoint checkpoints/NAME/model.pt --out tail
    python -m tail --checkpoint model_2000.pt --dataset cifar10 --data DIR --model res18 \\
        --trainSplit cifar10_imbSub_with_subsets/split1_D_i.npy --out tail --scores disagreement loss

The scores (tail/scores.py): disagreement of the dense and the pruned network; memorisation, of BCL's
checkpoints; loss over augmented views. What no option says is as in the pre-training, by the checkpoint; the authors'
checkpoints have no settings: give data set, list and model. Of each score, --out gets NAME.csv, all images from rank 1,
the most tail-like, with their number in the training list, path (of images in memory the number in the data set), class
and group, which no score knows; and NAME_sheet.png, the first and last 24. tail.txt, tail.json, tail.png and tail.pdf
say how well the scores find the classes of Few: ROC AUC and precision against Many, and who is at the top. Use a new
--out for each checkpoint: files of scores that are not selected are not removed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from data.flags import Views, views_of
from data.groups import GROUPS
from data.loader import AugmentedImages, fingerprint, view_loader
from data.opened import TrainingImages
from data.sets.registry import pretraining_set
from features.extract import images_of
from models.mask import compute_masks
from models.published import from_published
from pretrain.flags import training_list
from run.bad_images import BadImages
from run.checkpoint import read_masks
from run.compute import Compute
from run.flags import precision_of
from run.log import Log
from split.open import Lists
from tail import scores
from tail.figures import plot_sheet, plot_tail
from tail.flags import LARGER_BATCHES, NO_MEMORY, OTHER_SCORES, parse
from tail.ranks import evaluate, few_table, group_names, table, to_csv
from utils.distributed import World, world_from_environment
from utils.errors import InputError, run
from utils.files import replace_file
from utils.plotting import FORMATS, write_figure


class Rankings(NamedTuple):
    """data: the training images. groups: [N] group of each, or None. scores: name -> [N] float64. told: lines."""

    data: AugmentedImages
    groups: np.ndarray | None
    scores: dict[str, np.ndarray]
    told: list[str]


def rank(args: argparse.Namespace, content: dict[str, Any]) -> Rankings:
    """The scores that are asked for, of every image of the training list.

    Raises:
        InputError: checkpoint, mask, data or list is bad, or they do not go together.
    """
    source, told = str(args.checkpoint), []
    remembers = scores.memory_of_losses(content.get("memory"))
    names = args.scores or [n for n in scores.SCORES if n != "memorisation" or remembers]
    if not args.scores and not remembers:
        told.append(f"memorisation is left out: {source} has no memory of losses, {NO_MEMORY}")
    compute = Compute(precision_of(args), world_from_environment(args.no_cuda).device)
    dataset, _ = pretraining_set(args.dataset)
    views = views_of(args, dataset)
    opened = dataset.open(args.data, args.download)
    training = opened.training(Lists().open_training(training_list(args), opened), views)
    data, counts = training.images, training.counts
    if "loss" in names and min(args.batch_size, len(data)) < 2:
        raise InputError(f"one image in a batch has no negatives, so no loss: {LARGER_BATCHES}")
    data.fill = False  # a bad image has no score; another one's is not its own
    found, count = {}, len(data)
    if "memorisation" in names:
        config = content.get("config")
        known = config.get("images") if isinstance(config, dict) else None
        if isinstance(known, str) and known != fingerprint(data):
            raise InputError(f"{source} remembers losses of other images than those of the list: {OTHER_SCORES}")
        found["memorisation"] = scores.memorisation(content.get("memory"), count, source)
    found |= _of_network(args, from_published(content["state_dict"]), training, views, names, compute)
    ranked = {name: found[name].numpy() for name in dict.fromkeys(names)}
    for name, values in ranked.items():
        values[np.isinf(values)] = np.nan  # as little a score
        missing = int(np.isnan(values).sum())
        if missing == count:
            raise InputError(f"{source} gives no image a {name} score that is a number: it is damaged")
        if missing:
            told.append(f"{missing} of {count} images have no {name} score, and the last ranks")
    groups = None
    if min(counts) < max(counts):
        groups = group_names(data.labels, dataset.groups(counts))
    else:
        told.append("all classes of the list have as many images: there is no tail to evaluate by")
    return Rankings(data, groups, ranked, told)


def _of_network(
    args: argparse.Namespace,
    state: dict[str, torch.Tensor],
    training: TrainingImages,
    views: Views,
    names: list[str],
    compute: Compute,
) -> dict[str, torch.Tensor]:
    """Disagreement and loss, if asked for."""
    data, stem = training.images, training.data.dataset.stem
    encoder = scores.build_encoder_of(state, args.model, stem, str(args.checkpoint))
    # The weights as they are, before another memory format turns them round, decide what is pruned.
    masks = from_published(read_masks(args.mask)) if args.mask else compute_masks(encoder, args.prune_percent)
    encoder, found = compute.on_device(encoder), {}
    sampler = scores.FullBatches(len(data), args.batch_size, args.seed)
    loader = view_loader(data, sampler, args.batch_size, args.num_workers, compute.device)
    bad = BadImages(args.on_bad_image, Log(None, True))
    if "disagreement" in names:
        competitor = scores.self_competitor(encoder, masks, loader, compute)
        # As the probes evaluate them: un-augmented, centre crops of files.
        plain = training.data.plain(training.chosen, views, args.batch_size, World(0, 1, compute.device))
        images = images_of(plain, bad)
        found["disagreement"] = scores.disagreement(encoder, competitor, images, len(data), compute)
    if "loss" in names:
        found["loss"] = scores.augmented_loss(encoder, loader, args.draws, args.temperature, compute, bad)
    bad.report()
    return found


def main() -> None:
    args, content = parse(__doc__)
    data, groups, ranked, told = rank(args, content)
    words = [f"{c}" if groups is None else f"{groups[i]} {c}" for i, c in enumerate(data.labels.tolist())]
    for name, values in ranked.items():
        replace_file(args.out / f"{name}.csv", to_csv(values, data.images.names, data.labels, groups))
        write_figure(plot_sheet(data.images, values, words, name), args.out / f"{name}_sheet.png")
    if groups is not None:
        found = {name: evaluate(values, groups) for name, values in ranked.items()}
        text = f"{_title(args, content, groups)}\n\n{table(found)}"
        replace_file(args.out / "tail.txt", text.encode())
        replace_file(args.out / "tail.json", json.dumps(found, indent=1).encode())
        figure = plot_tail(found, ranked, groups)
        for suffix in FORMATS:
            write_figure(figure, args.out / f"tail{suffix}")
        print(f"{few_table(found)}\n" if args.quiet else text)
    print(*told, f"{', '.join(ranked)}: {len(data):,} images in {args.out}", sep="\n")


def _title(args: argparse.Namespace, content: dict[str, Any], groups: np.ndarray) -> str:
    """What the table is of."""
    images = " + ".join(f"{(groups == name).sum():,} {name}" for name in GROUPS)
    listed = Path(training_list(args)).stem
    pruned = f"mask {args.mask.name}" if args.mask else f"{100 * args.prune_percent:g}% pruned"
    epoch = content.get("epoch")
    epoch = epoch if isinstance(epoch, int) else "unknown"
    how = f"{pruned}; {args.draws} draws, batches of {args.batch_size}, temperature {args.temperature:g}"
    return (
        f"{args.dataset}, {listed}: {len(groups):,} images, {images}\n"
        f"{args.model}, {args.checkpoint.name}, epoch {epoch}; {how}, seed {args.seed}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
