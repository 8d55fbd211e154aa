"""One epoch of pre-training."""

import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.loader import Batch, on_device
from methods.base import Method
from methods.measures import COLLAPSED, MEASURES
from models.batch_norm import statistics_kept
from run.compute import Compute
from run.folder import Run
from run.log import Log, had_before
from run.meters import Meters
from run.optim import set_rate
from run.reporter import Reporter
from run.schedule import pretrain_lr
from utils.distributed import World

WARMUP_EPOCHS = 10


@dataclass(frozen=True)
class Schedule:
    """The learning rate of so many epochs that begin with the epoch `first`: scheduler 'cosine' or 'constant'."""

    epochs: int
    lr: float
    scheduler: str
    first: int = 1

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """Of step 0, 1, ... of an epoch of so many steps."""
        done, whole = (epoch - self.first) * steps + step, self.epochs * steps
        return pretrain_lr(done, whole, WARMUP_EPOCHS * steps, self.lr, self.scheduler)


class Training(NamedTuple):
    """What steps are made with; model: the method, perhaps under DistributedDataParallel."""

    model: nn.Module
    loader: Iterable[Batch]
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    compute: Compute
    world: World

    @property
    def method(self) -> Method:
        """The method itself."""
        return self.model.module if isinstance(self.model, DistributedDataParallel) else self.model


class Step(NamedTuple):
    """losses [n] of the images in nats; projections [2, n, D]; the gradient's norm where it was measured."""

    losses: torch.Tensor
    projections: torch.Tensor
    norm: torch.Tensor | None


def step(training: Training, batch: Batch, measure: bool = False) -> Step:
    """One update of the weights. The method may evaluate the batch again, as sharpness-aware updates do: then batch
    statistics stay, and the losses and projections are those of the first time."""
    model, method, optimizer, compute = training.model, training.method, training.optimizer, training.compute
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def closure() -> torch.Tensor:
        with compute.autocast(), statistics_kept(model) if found else nullcontext():
            losses = model(batch.views, batch.index)
        weights = method.weights(batch.index)
        compute.backward(losses.mean() if weights is None else (weights * losses).mean(), optimizer)
        found.append((losses.detach(), method.projections))
        return found[-1][0]

    method.step(closure)
    norm = compute.step(optimizer, measure)
    losses, projections = found[0]
    method.remember(batch.index, losses)
    return Step(losses, projections, norm)


def one_epoch(training: Training, epoch: int, meters: Meters, reporter: Reporter, run: Run | None = None) -> None:
    """Train for one epoch (1-based); reads the losses and prints the published line every so many steps.

    Args:
        meters: with the part of the epoch that was done before an interruption. run: saves after steps.

    Raises:
        InputError: the loss is not finite, or an image is bad and is not to be skipped.
        Interrupted: a signal has come.
    """
    (model, loader, optimizer, schedule, compute, world), (log, bar, bad, every) = training, reporter
    model.train()
    steps, method = len(loader), training.method
    before, first, data_time, train_time = meters.images, meters.done, 0.0, 0.0

    def read() -> None:
        meters.read(world, lambda s: f"epoch {epoch}, step {s}, lr {schedule.rate(epoch, s, steps):g}")

    had_before(bar, before * world.size)
    lr = schedule.rate(epoch, steps - 1, steps)
    start = time.perf_counter()
    for i, batch in enumerate(on_device(loader, world.device, compute.stream), first):
        bad.take(batch, training=True)
        if epoch == 1 and i == first:
            log.board.views(batch.views, epoch)
        data_time += time.perf_counter() - start
        lr, told = set_rate(optimizer, schedule.rate(epoch, i, steps)), i % every == 0
        method.start_step(epoch - 1 + i / steps)
        found = step(training, batch, measure=told)
        meters.add(found.losses, batch.index)
        if told:
            meters.measure("grad_norm", found.norm)
            for name, measure in MEASURES.items():
                meters.measure(name, measure(found.projections))
        if told or i == steps - 1:
            read()
        train_time += time.perf_counter() - start
        if told:
            n = i + 1 - first
            log.detail(
                f"Epoch: [{epoch}][{i}/{steps}]\tLoss {meters.last:.3f} ({meters.loss:.3f})\t"
                f"data_time: {data_time / n:.3f}\ttrain_time: {train_time / n:.3f}"
            )
            bar.set_postfix(epoch=epoch, loss=f"{meters.loss:.3f}", lr=f"{lr:.4f}", refresh=False)
        bar.update(len(batch.index) * world.size)
        if run:
            run.stepped(epoch, meters, read)
        start = time.perf_counter()
    bad.report()
    log.detail(f"current lr is {lr:.6g}")
    if (scores := method.scores()) is not None:
        log.board.histogram("score", scores, epoch)
    rate = round((meters.images - before) * world.size / train_time, 1) if train_time else None
    _record(log, epoch, lr, meters, images_per_s=rate, **method.measures())


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
