"""--check of a pre-training: times real steps of it and estimates the whole run."""

import argparse
from collections.abc import Callable

import torch

from data.loader import whole_batches
from pretrain.epoch import step
from pretrain.setup import Pretraining, set_up
from run.bad_images import BadImages
from run.check import check_folder, checkpoint_bytes, measure_step, memory_used
from run.log import Log
from split.open import lists_on_trial
from utils.distributed import join
from utils.errors import InputError
from utils.text import duration, size


def check(args: argparse.Namespace) -> None:
    """Time real steps of the run, and log their time and memory and an estimate for the run. Nothing is written.

    Raises:
        InputError: as set_up; or the loss is not finite, or the disk is too full.
    """
    args.download = None if args.download else False  # a download would write files
    with lists_on_trial() as lists:
        pretraining = set_up(args, lists)
    join(pretraining.world)
    world, log, data = pretraining.world, Log(None, pretraining.world.main, quiet=args.quiet), pretraining.data
    log.info(f"{world.size} process(es) on {world.device.type}, {pretraining.compute}, {args.augment} views")
    log.info(f"{len(data.images):,} images of {args.dataset}, {min(data.counts)} to {max(data.counts)} a class")
    log.info(pretraining.run.message)
    timed = measure_step(_steps(pretraining, BadImages(args.on_bad_image, log)), world.device)
    log.info(
        f"a step of {timed.images * world.size} images took {timed.seconds:.3g} s, the first one {timed.first:.3g} s; "
        f"{memory_used(world.device)}"
    )
    epochs, steps, needed = args.epochs - pretraining.start, len(pretraining.loader), _disk_bytes(pretraining)
    time = duration(epochs * len(pretraining.loader.sampler) / timed.images * timed.seconds)
    not_timed = "kNN and saving" if pretraining.monitor else "saving"
    log.info(
        f"the run: {epochs} epochs of {steps} steps, about {time} without {not_timed}; "
        f"{size(needed)} of checkpoints in {pretraining.run.folder}, {check_folder(pretraining.run.folder, needed)}"
    )
    log.info("nothing was written")
    log.result(f"checked {args.experiment}: {epochs} epochs of pre-training, about {time}")


def _steps(pretraining: Pretraining, bad: BadImages) -> Callable[[], int]:
    """A function that does the next step of the coming epoch, and returns the number of its images."""
    pretraining.begin_epoch(pretraining.start + 1, bad)
    pretraining.loader.sampler.set_epoch(pretraining.start + 1)  # from its beginning, even if it was interrupted
    training = pretraining.training
    training.model.train()
    batches = whole_batches(pretraining.loader, training.world.device, training.compute.stream)

    def next_step() -> int:
        batch = next(batches)
        bad.take(batch, training=True)
        losses = step(training, batch).losses
        if not torch.isfinite(losses).all():
            raise InputError(f"the loss of the first step is {losses.mean().item()}: lower the learning rate")
        return len(batch.index)

    return next_step


def _disk_bytes(pretraining: Pretraining) -> int:
    """Bytes of all files that the run keeps: model.pt, the one before it, model_<epoch>.pt, and mask_<epoch>.pt."""
    run, last = pretraining.run, pretraining.settings.epochs
    epochs = range(pretraining.start + 1, last + 1)
    numbered = sum(epoch % run.saving.numbered == 0 or epoch == last for epoch in epochs)
    total = checkpoint_bytes(run.content(pretraining.start)) * (2 + numbered)
    mask_files = sum(epoch % pretraining.settings.mask_save_freq == 0 or epoch == last for epoch in epochs)
    return total + mask_files * sum(mask.nbytes for mask in pretraining.method.masks().values())
