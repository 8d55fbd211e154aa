"""--check of a pre-training: times real steps of it and estimates the whole run."""

import argparse
from collections.abc import Callable
from itertools import count

import torch

from data.loader import whole_batches
from pretrain.epoch import step
from pretrain.setup import Pretraining, set_up
from run.bad_images import BadImages
from run.check import check_folder, checkpoint_bytes, measure_step, memory_used
from run.log import Log
from run.optim import set_rate
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
    """A function that does the next step of the coming epoch, again and again, and returns the number of its images."""
    epoch = pretraining.start + 1
    pretraining.begin_epoch(epoch, bad)
    pretraining.loader.sampler.set_epoch(epoch)  # from its beginning, even if it was interrupted
    training, steps, numbers = pretraining.training, len(pretraining.loader), count()
    training.model.train()
    batches = whole_batches(pretraining.loader, training.world.device, training.compute.stream)

    def next_step() -> int:
        batch, i = next(batches), next(numbers) % steps
        bad.take(batch, training=True)
        set_rate(training.optimizer, training.schedule.rate(epoch, i, steps))
        training.method.start_step(epoch - 1 + i / steps)
        losses = step(training, batch).losses
        if not torch.isfinite(losses).all():
            raise InputError(f"the loss of a step is {losses.mean().item()}: lower the learning rate")
        return len(batch.index)

    return next_step


def _disk_bytes(pretraining: Pretraining) -> int:
    """Bytes of all files that the run keeps: model.pt, the one before it, model_<epoch>.pt, and mask_<epoch>.pt.

    It leaves the method in its last phase, as each phase may have other networks.
    """
    settings, last = pretraining.settings, pretraining.settings.epochs
    sizes, total = [_checkpoint_bytes(pretraining)], 0  # of a checkpoint in each phase
    for epoch in range(pretraining.start + 1, last + 1):
        before = pretraining.phase
        pretraining.enter_phase(epoch)
        if pretraining.phase != before:
            sizes.append(_checkpoint_bytes(pretraining))
        if epoch % pretraining.run.saving.numbered == 0 or epoch == last:
            total += sizes[-1]
        if epoch % settings.mask_save_freq == 0 or epoch == last:
            total += sum(mask.nbytes for mask in pretraining.method.masks().values())
    return total + 2 * max(sizes)


def _checkpoint_bytes(pretraining: Pretraining) -> int:
    """Bytes of a checkpoint in the running phase, with the state that its optimizer has after steps of all weights."""
    optimizer = pretraining.optimizer.optimizer
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    optimizer.step()
    return checkpoint_bytes(pretraining.run.content(pretraining.start))
