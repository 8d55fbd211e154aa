"""--check of a pre-training: real steps of it, what they took, and what the whole run would take."""

import argparse
from collections.abc import Callable

import torch

from data.loader import whole_batches
from pretrain.epoch import step
from pretrain.setup import Pretraining, distribute, set_up
from run.bad_images import BadImages
from run.check import check_folder, checkpoint_bytes, duration, measure_step, memory_used
from run.log import Log
from split.open import lists_on_trial
from utils.distributed import join
from utils.errors import InputError
from utils.text import size


def check(args: argparse.Namespace) -> None:
    """Do real steps of the run, and tell what they took and what the run would take. Nothing is written.

    Raises:
        InputError: as set_up; or the loss is not finite, or the disk is too full.
    """
    args.download = None if args.download else False  # it would be written
    with lists_on_trial() as lists:
        run = set_up(args, lists)
    join(run.world)
    world, log = run.world, Log(None, run.world.main, quiet=args.quiet)
    log.info(f"{world.size} process(es) on {world.device.type}, {run.compute}, {args.augment} views")
    log.info(f"{len(run.images):,} images of {args.dataset}, {min(run.counts)} to {max(run.counts)} a class")
    log.info(run.files.message)
    taken = measure_step(_steps(args, run, log), world.device)
    log.info(
        f"a step of {taken.images * world.size} images took {taken.seconds:.3g} s, the first one {taken.first:.3g} s; "
        f"{memory_used(world.device)}"
    )
    epochs, steps, needed = args.epochs - run.start, len(run.loader), _disk(args, run)
    time = duration(epochs * len(run.loader.sampler) / taken.images * taken.seconds)
    log.info(
        f"the run: {epochs} epochs of {steps} steps, about {time} without {'kNN and ' * bool(run.monitor)}saving; "
        f"{size(needed)} of checkpoints in {run.files.folder}, {check_folder(run.files.folder, needed)}"
    )
    log.info("nothing was written")
    log.result(f"checked {args.experiment}: {epochs} epochs of pre-training, about {time}")


def _steps(args: argparse.Namespace, run: Pretraining, log: Log) -> Callable[[], int]:
    """A function that does the next step of the first epoch that is to come, and returns its number of images."""
    model, bad = distribute(run), BadImages(args.on_bad_image, log)
    if args.compile:
        run.method.encoder.compile()
    model.train()
    run.method.start_epoch(run.start + 1)
    run.loader.sampler.set_epoch(run.start + 1)
    if (scores := run.method.scores()) is not None:
        run.images.set_scores(scores)

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
    """Bytes of all checkpoints that the run keeps: model.pt, the one before it, the numbered ones, and the masks."""
    coming = range(run.start + 1, args.epochs + 1)
    numbered = sum(e % args.save_freq == 0 or e == args.epochs for e in coming)
    total = checkpoint_bytes(run.files.content(run.start)) * (2 + numbered)
    masks = sum(e % args.mask_save_freq == 0 or e == args.epochs for e in coming)
    return total + masks * sum(mask.nbytes for mask in run.method.masks().values())
