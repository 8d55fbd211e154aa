"""Set up a pre-training from its command line, for train_simCLR.py and for --check."""

import argparse
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn

from data.loader import AugmentedImages, Batch, fingerprint, whole_batches
from data.sets.files import PRETRAIN_LISTS
from methods import build_method
from models.mask import get_masks
from pretrain.epoch import step
from pretrain.files import Checkpoints
from pretrain.images import training_images, two_view_loader
from pretrain.monitor import Monitor
from run.bad_images import BadImages
from run.check import check_folder, checkpoint_bytes, duration, measure_step, memory_used
from run.compute import Compute
from run.log import Log
from run.optim import build_optimizer
from run.randomness import seed_generators
from split.open import Lists, lists_on_trial
from utils.distributed import World, join, world_from_environment
from utils.errors import InputError
from utils.text import size


class Pretraining(NamedTuple):
    """All that a pre-training needs, weights loaded; `counts` are images per class, `start` epochs that are done."""

    world: World
    compute: Compute
    images: AugmentedImages
    counts: list[int]
    loader: Iterable[Batch]
    monitor: Monitor | None
    method: nn.Module
    optimizer: torch.optim.Optimizer
    files: Checkpoints
    start: int


def set_up(args: argparse.Namespace, lists: Lists | None = None) -> Pretraining:
    """Find images and lists, build method and optimizer, load what --checkpoint and --resume ask for.

    The processes have not joined yet: each meets the same errors by itself.

    Args:
        args: of pretrain.flags.parse. lists: where they are looked for; default split/.

    Raises:
        InputError: data, a list, a checkpoint or the experiment's folder is bad, or settings do not go together.
    """
    world = world_from_environment()
    compute = Compute(args, world.device)
    images, counts = training_images(args, lists)
    loader = two_view_loader(images, args, world)
    monitor = Monitor(images, counts, args, compute, world, lists) if args.monitor == "knn" else None
    seed_generators(args.seed + world.rank)
    stem = "imagenet" if args.dataset in PRETRAIN_LISTS else "cifar"
    method = compute.on_device(build_method(args, stem, len(images)))
    optimizer = build_optimizer(args.optimizer, method.parameters(), args.lr, args.weight_decay)
    files = Checkpoints(args, method, optimizer, compute, world, fingerprint(images))
    start = files.load()
    return Pretraining(world, compute, images, counts, loader, monitor, method, optimizer, files, start)


def distribute(run: Pretraining) -> nn.Module:
    """The method as all processes train it together; on CUDA its batch statistics are of all of them."""
    method = run.method
    if run.world.size > 1 and run.world.device.type == "cuda":
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    return run.compute.distributed(method, run.world)


def check(args: argparse.Namespace) -> None:
    """--check: do one real step, and log its time and memory, and time and disk space of the whole run. Writes nothing.

    Raises:
        InputError: as set_up; or the loss is not finite, or the disk is too full.
    """
    args.download = False  # it would be written
    with lists_on_trial() as lists:
        run = set_up(args, lists)
    join(run.world)
    world, log = run.world, Log(None, run.world.main)
    log.info(f"{world.size} process(es) on {world.device.type}, {run.compute}, {args.augment} views")
    log.info(f"{len(run.images):,} images of {args.dataset}, {min(run.counts)} to {max(run.counts)} a class")
    log.info(run.files.message)
    taken = measure_step(_steps(args, run, log), world.device)
    log.info(
        f"a step of {taken.images * world.size} images took {taken.seconds:.3g} s, the first one {taken.first:.3g} s; "
        f"{memory_used(world.device)}"
    )
    epochs, steps = args.epochs - run.start, len(run.loader)
    needed = _disk(args, run)
    time = duration(epochs * steps * taken.seconds)
    log.info(
        f"the run: {epochs} epochs of {steps} steps, about {time} without validation; "
        f"{size(needed)} of checkpoints in {run.files.folder}, {check_folder(run.files.folder, needed)}"
    )
    log.info("nothing was written")


def _steps(args: argparse.Namespace, run: Pretraining, log: Log) -> Callable[[], int]:
    """A function that does the next step of the first epoch that is to come, and returns its number of images."""
    model, bad = distribute(run), BadImages(args.on_bad_image, log)
    if args.compile:
        run.method.encoder.compile()
    model.train()
    run.method.start_epoch(run.start + 1)
    run.loader.sampler.set_epoch(run.start + 1)
    if args.bcl:
        run.images.set_scores(run.method.score)

    following = whole_batches(run.loader, run.world.device, run.compute.stream)

    def next_step() -> int:
        batch = next(following)
        bad.take(batch, training=True)
        losses, _ = step(model, batch, run.optimizer, run.compute)
        if not torch.isfinite(losses).all():
            raise InputError(f"the loss of the first step is {losses.mean().item()}: lower the learning rate")
        return len(batch.index)

    return next_step


def _disk(args: argparse.Namespace, run: Pretraining) -> int:
    """Bytes of all checkpoints that the run keeps: model.pt, model.previous.pt, model_<epoch>.pt, and the masks."""
    coming = range(run.start + 1, args.epochs + 1)
    numbered = sum(e % args.save_freq == 0 or e == args.epochs for e in coming)
    total = checkpoint_bytes(run.files.content(run.start)) * (2 + numbered)
    if args.prune:
        masks = sum(e % args.mask_save_freq == 0 or e == args.epochs for e in coming)
        total += masks * sum(mask.nbytes for mask in get_masks(run.method.encoder).values())
    return total
