"""Set up `python -m tail`: images and network of the scores, from its command line and the checkpoint."""

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

    source: name of the checkpoint. names: of the scores. data: the training images. groups: [N] the group of each
    image, None where the list has no tail. known: scores that the checkpoint holds, name -> [N]; `network` computes the
    others. notes: lines for the user.
    """

    source: str
    names: list[str]
    data: AugmentedImages
    groups: np.ndarray | None
    known: dict[str, torch.Tensor]
    network: Network
    notes: list[str]


def set_up(args: argparse.Namespace, checkpoint: Source) -> Setup:
    """The training images and the checkpoint's network; nothing is computed yet.

    Raises:
        InputError: checkpoint, mask, data or list is bad, or they do not go together.
    """
    source, content, notes, known = checkpoint.path, checkpoint.content, [], {}
    if not checkpoint.encoder.ours:
        notes.append(f"{source}: {checkpoint.encoder}; without its head, scores are of the features before it")
    has_memory = memory_of_losses(content.get("memory")) is not None
    names = args.scores or [name for name in SCORES if name != "memorisation" or has_memory]
    if not args.scores and not has_memory:
        notes.append(f"memorisation is left out: {source} has no memory of losses, {NO_MEMORY}")
    compute = Compute(precision_of(args), world_from_environment(args.no_cuda).device)
    opened = pretraining_set(args.dataset)[0].open(args.data, args.download, opening_of(args))
    dataset = opened.dataset
    check_augment(args, dataset)
    views = views_of(args)
    training = opened.training(Lists().open_training(training_list(args), opened), views)
    data, counts = training.images, training.counts
    if "loss" in names and min(args.batch_size, len(data)) < 2:
        raise InputError(f"one image in a batch has no negatives, so no loss: {LARGER_BATCHES}")
    data.fill = False  # a bad image has no score: that of an image in its place would be wrong
    if "memorisation" in names:
        config = content.get("config")
        images = config.get("images") if isinstance(config, dict) else None
        if isinstance(images, str) and images != fingerprint(data):
            raise InputError(f"{source} remembers losses of other images than those of the list: {OTHER_SCORES}")
        known["memorisation"] = memorisation(content.get("memory"), len(data), source)
    encoder = build_encoder_of(checkpoint, args.model)
    # Of the weights as they were saved, so before on_device() changes their memory format.
    masks = from_published(read_masks(args.mask)) if args.mask else compute_masks(encoder, args.prune_percent)
    sampler = full_batches(len(data), args.batch_size, args.seed)
    loader = view_loader(data, sampler, args.batch_size, args.num_workers, compute.device)
    # As probes evaluate: without augmentation, image files as centre crops.
    plain = opened.plain(training.chosen, views, args.batch_size, World(0, 1, compute.device))
    bad = BadImages(args.on_bad_image, Log(None, True))
    network = Network(compute.on_device(encoder), masks, plain, loader, args.draws, args.temperature, compute, bad)
    groups = group_names(data.labels, dataset.groups(counts)) if min(counts) < max(counts) else None
    return Setup(source, names, data, groups, known, network, notes)


def title(args: argparse.Namespace, content: dict[str, Any], groups: np.ndarray) -> str:
    """Two lines above the table: its images, its checkpoint and the settings of the scores."""
    images = " + ".join(f"{(groups == name).sum():,} {name}" for name in GROUPS)
    list_name = Path(training_list(args)).stem
    pruned = f"mask {args.mask.name}" if args.mask else f"{100 * args.prune_percent:g}% pruned"
    epoch = content.get("epoch")
    epoch = epoch if isinstance(epoch, int) else "unknown"
    settings = f"{pruned}; {args.draws} draws, batches of {args.batch_size}, temperature {args.temperature:g}"
    return (
        f"{args.dataset}, {list_name}: {len(groups):,} images, {images}\n"
        f"{args.model}, {args.checkpoint.name}, epoch {epoch}; {settings}, seed {args.seed}"
    )
