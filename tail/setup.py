"""Set up `python -m tail`: from its command line and the checkpoint's content to what the scores are computed of."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from data.flags import check_augment, opening_of, views_of
from data.groups import GROUPS
from data.loader import AugmentedImages, fingerprint, view_loader
from data.sets.registry import pretraining_set
from features.encoder import Source
from models.mask import compute_masks
from models.published import from_published
from pretrain.flags import training_list
from run.bad_images import BadImages
from run.checkpoint import read_masks
from run.compute import Compute
from run.flags import precision_of
from run.log import Log
from run.world import world_from_environment
from split.open import Lists
from tail.flags import LARGER_BATCHES, NO_MEMORY, OTHER_SCORES
from tail.ranks import group_names
from tail.scores import SCORES, Network, build_encoder_of, full_batches, memorisation, memory_of_losses
from utils.distributed import World
from utils.errors import InputError


class Setup(NamedTuple):
    """What is scored.

    source: the checkpoint. names: of the scores. data: the training images. groups: [N] group of each, None where the
    list has no tail. known: scores that the checkpoint holds, name -> [N]; `network` gives the others. told: lines.
    """

    source: str
    names: list[str]
    data: AugmentedImages
    groups: np.ndarray | None
    known: dict[str, torch.Tensor]
    network: Network
    told: list[str]


def set_up(args: argparse.Namespace, checkpoint: Source) -> Setup:
    """The training images and the checkpoint's network; nothing is computed yet.

    Raises:
        InputError: checkpoint, mask, data or list is bad, or they do not go together.
    """
    source, content, told, known = checkpoint.path, checkpoint.content, [], {}
    if not checkpoint.encoder.ours:
        told.append(f"{source}: {checkpoint.encoder}; without its head, scores are of the features before it")
    remembers = memory_of_losses(content.get("memory"))
    names = args.scores or [name for name in SCORES if name != "memorisation" or remembers]
    if not args.scores and not remembers:
        told.append(f"memorisation is left out: {source} has no memory of losses, {NO_MEMORY}")
    compute = Compute(precision_of(args), world_from_environment(args.no_cuda).device)
    opened = pretraining_set(args.dataset)[0].open(args.data, args.download, opening_of(args))
    dataset = opened.dataset
    check_augment(args, dataset)
    views = views_of(args)
    training = opened.training(Lists().open_training(training_list(args), opened), views)
    data, counts = training.images, training.counts
    if "loss" in names and min(args.batch_size, len(data)) < 2:
        raise InputError(f"one image in a batch has no negatives, so no loss: {LARGER_BATCHES}")
    data.fill = False  # a bad image has no score; another one's is not its own
    if "memorisation" in names:
        config = content.get("config")
        images = config.get("images") if isinstance(config, dict) else None
        if isinstance(images, str) and images != fingerprint(data):
            raise InputError(f"{source} remembers losses of other images than those of the list: {OTHER_SCORES}")
        known["memorisation"] = memorisation(content.get("memory"), len(data), source)
    encoder = build_encoder_of(checkpoint, args.model)
    # The weights as they are, before another memory format turns them round, decide what is pruned.
    masks = from_published(read_masks(args.mask)) if args.mask else compute_masks(encoder, args.prune_percent)
    sampler = full_batches(len(data), args.batch_size, args.seed)
    loader = view_loader(data, sampler, args.batch_size, args.num_workers, compute.device)
    # As the probes evaluate them: un-augmented, centre crops of files.
    plain = opened.plain(training.chosen, views, args.batch_size, World(0, 1, compute.device))
    bad = BadImages(args.on_bad_image, Log(None, True))
    network = Network(compute.on_device(encoder), masks, plain, loader, args.draws, args.temperature, compute, bad)
    groups = group_names(data.labels, dataset.groups(counts)) if min(counts) < max(counts) else None
    return Setup(source, names, data, groups, known, network, told)


def title(args: argparse.Namespace, content: dict[str, Any], groups: np.ndarray) -> str:
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
