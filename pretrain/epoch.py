"""One epoch of pre-training."""

import argparse
import time
from collections.abc import Iterable

import torch
from torch import nn
from tqdm import tqdm

from data.loader import Batch, on_device
from methods.measures import COLLAPSED, MEASURES
from run.bad_images import BadImages
from run.compute import Compute
from run.folder import RunFiles
from run.log import Average, Log, had_before
from run.meters import Meters
from run.optim import set_rate
from run.schedule import pretrain_lr
from utils.distributed import World

WARMUP_EPOCHS = 10


def step(
    model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer, compute: Compute, measure: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One update of the weights; returns the losses [n] of the images, and the gradient's norm where it is measured."""
    with compute.autocast():
        losses = model(batch.views, batch.index)
    return losses, compute.step(losses.mean(), optimizer, measure)


def one_epoch(
    model: nn.Module,
    loader: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    epoch: int,
    args: argparse.Namespace,
    compute: Compute,
    world: World,
    log: Log,
    bar: tqdm,
    bad: BadImages,
    meters: Meters | None = None,
    files: RunFiles | None = None,
) -> None:
    """Train for one epoch (1-based); reads the losses and prints the published line every --print_freq steps.

    Args:
        meters: with the part of the epoch that was done before an interruption. files: save after steps.

    Raises:
        InputError: the loss is not finite, or an image is bad and --on_bad_image is error.
        Interrupted: a signal has come.
    """
    model.train()
    steps, method = len(loader), getattr(model, "module", model)  # as it is under DistributedDataParallel
    meters = meters or Meters(steps, world.device)
    before, first, data_time, train_time = meters.images, meters.done, Average(), Average()

    def read() -> None:
        meters.read(world, lambda s: f"epoch {epoch}, step {s}, lr {_rate(args, epoch, s, steps):g}")

    had_before(bar, before * world.size)
    lr = _rate(args, epoch, steps - 1, steps)
    start = time.perf_counter()
    for i, batch in enumerate(on_device(loader, world.device, compute.stream), first):
        bad.take(batch, training=True)
        if epoch == 1 and i == first:
            log.board.views(batch.views, epoch)
        data_time.add(time.perf_counter() - start)
        lr, told = set_rate(optimizer, _rate(args, epoch, i, steps)), i % args.print_freq == 0
        losses, norm = step(model, batch, optimizer, compute, measure=told)
        meters.add(losses, batch.index)
        if told:
            meters.measure("grad_norm", norm)
            for name, measure in MEASURES.items():
                meters.measure(name, measure(method.projections))
        if told or i == steps - 1:
            read()
        train_time.add(time.perf_counter() - start)
        if told:
            log.detail(
                f"Epoch: [{epoch}][{i}/{steps}]\tLoss {meters.last:.3f} ({meters.loss:.3f})\t"
                f"data_time: {data_time.mean:.3f}\ttrain_time: {train_time.mean:.3f}"
            )
            bar.set_postfix(epoch=epoch, loss=f"{meters.loss:.3f}", lr=f"{lr:.4f}", refresh=False)
        bar.update(len(batch.index) * world.size)
        if files:
            files.stepped(epoch, meters, read)
        start = time.perf_counter()
    bad.report()
    log.detail(f"current lr is {lr:.6g}")
    if (scores := method.scores()) is not None:
        log.board.histogram("score", scores, epoch)
    rate = round((meters.images - before) * world.size / train_time.total, 1) if train_time.total else None
    _record(log, epoch, lr, meters, images_per_s=rate, **method.measures())


def _rate(args: argparse.Namespace, epoch: int, step: int, steps: int) -> float:
    return pretrain_lr((epoch - 1) * steps + step, args.epochs * steps, WARMUP_EPOCHS * steps, args.lr, args.scheduler)


def _record(log: Log, epoch: int, lr: float, meters: Meters, **more: float | None) -> None:
    """The epoch's line of metrics.jsonl, and a warning where the features have become all alike."""
    measured = {name: meters.mean(name) for name in ("grad_norm", *MEASURES)}
    log.metrics(epoch=epoch, loss=meters.loss, lr=lr, **more, **measured)
    if measured["spread"] is not None and measured["spread"] < COLLAPSED:
        log.warn(
            f"warning: the features have collapsed in epoch {epoch}: their standard deviation is "
            f"{measured['spread']:.3f} of uniform ones' "
            "(lower the learning rate, or see whether the views differ too much)"
        )
