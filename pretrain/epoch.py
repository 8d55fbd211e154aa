"""One epoch of pre-training."""

import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.groups import GROUPS
from data.loader import Batch, on_device
from methods.base import Method
from methods.measures import COLLAPSED, MEASURES, OF_IMAGES
from models.batch_norm import statistics_kept
from run.compute import Compute
from run.folder import Run
from run.log import Log, had_before
from run.meters import Meters
from run.names import VIEWS
from run.optim import set_rate
from run.reporter import Reporter
from run.schedule import TWO_STAGE, Stage, pretrain_lr, two_stage_lr
from run.views import write_views
from run.watch import Watch
from utils.distributed import World

WARMUP_EPOCHS = 10


@dataclass(frozen=True)
class Schedule:
    """The learning rate of `epochs` epochs, the first of which is number `first` (1-based) of the run.

    lr: the highest rate. scheduler: 'cosine', 'constant' or 'two-stage'. stage: the first one of 'two-stage'.
    """

    epochs: int
    lr: float
    scheduler: str
    first: int = 1
    stage: Stage | None = None

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """The learning rate of step 0, 1, ..., steps - 1 of an epoch."""
        if self.scheduler == TWO_STAGE:
            return two_stage_lr(epoch - self.first + 1, self.epochs, WARMUP_EPOCHS, self.lr, self.stage)
        done, total = (epoch - self.first) * steps + step, self.epochs * steps
        return pretrain_lr(done, total, WARMUP_EPOCHS * steps, self.lr, self.scheduler)


class Training(NamedTuple):
    """What a step needs. model: the method, under DistributedDataParallel where there are several processes."""

    model: nn.Module
    loader: Iterable[Batch]
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    compute: Compute
    world: World

    @property
    def method(self) -> Method:
        """The method, without DistributedDataParallel."""
        return self.model.module if isinstance(self.model, DistributedDataParallel) else self.model


class Step(NamedTuple):
    """The result of a step.

    losses: [n] of the images, in nats. projections: [2, n, D]. norm: of the gradient, where it was measured.
    """

    losses: torch.Tensor
    projections: torch.Tensor
    norm: torch.Tensor | None


class StepClock:
    """Measures the seconds of an epoch's steps: `in_all`, and `waiting` for data; time between steps does not count.

    str() gives the means over the steps in the format of the published log.
    """

    def __init__(self) -> None:
        self.waiting, self.in_all, self.steps = 0.0, 0.0, 0
        self._start = time.perf_counter()

    def start(self) -> None:
        """Called when a step begins, before its batch is loaded."""
        self._start = time.perf_counter()

    def loaded(self) -> None:
        """Called when the batch is loaded."""
        self.waiting += time.perf_counter() - self._start

    def stepped(self) -> None:
        """Called when the step has ended."""
        self.in_all += time.perf_counter() - self._start
        self.steps += 1

    def __str__(self) -> str:
        return f"data_time: {self.waiting / self.steps:.3f}\ttrain_time: {self.in_all / self.steps:.3f}"


def step(training: Training, batch: Batch, measure: bool = False) -> Step:
    """One update of the weights.

    The method may evaluate the batch several times, as sharpness-aware updates do: the first evaluation alone changes
    the running batch statistics, and has the losses and projections of the result.

    Args:
        measure: the gradient's norm, too.
    """
    model, method, optimizer, compute = training.model, training.method, training.optimizer, training.compute
    evaluations: list[tuple[torch.Tensor, torch.Tensor]] = []  # losses and projections

    def closure() -> torch.Tensor:
        with compute.autocast(), statistics_kept(model) if evaluations else nullcontext():
            losses = model(batch.views, batch.index)
        weights = method.loss_weights(batch.index)
        compute.backward(losses.mean() if weights is None else (weights * losses).mean(), optimizer)
        evaluations.append((losses.detach(), method.projections.detach()))
        return evaluations[-1][0]

    method.step(closure)
    norm = compute.step(optimizer, measure)
    losses, projections = evaluations[0]
    method.remember(batch.index, losses)
    return Step(losses, projections, norm)


def one_epoch(training: Training, epoch: int, meters: Meters, reporter: Reporter, run: Run | None = None) -> None:
    """Train for one epoch (1-based); every `reporter.every` steps it reads the losses and logs the published line.

    Args:
        meters: of the epoch, with the steps before an interruption. run: saves within the epoch, if given.

    Raises:
        InputError: the loss is not finite, or an image is bad and is not to be skipped.
        Interrupted: a signal has come.
    """
    model, loader, optimizer, schedule, compute, world = training
    log, bar, bad, every = reporter
    model.train()
    steps, method = len(loader), training.method
    images_before, first = meters.images, meters.done
    watch, clock = Watch(world), StepClock()
    _log_news(log, method, epoch)

    def read() -> None:
        meters.read(world, lambda s: f"epoch {epoch}, step {s}, lr {schedule.rate(epoch, s, steps):g}")

    had_before(bar, images_before * world.size)
    lr = schedule.rate(epoch, steps - 1, steps)
    clock.start()
    for i, batch in enumerate(on_device(loader, world.device, compute.stream), first):
        bad.take(batch, training=True)
        if epoch == 1 and i == first:
            _write_first_views(log, batch.views, first)
        clock.loaded()
        lr = set_rate(optimizer, schedule.rate(epoch, i, steps))
        method.start_step(epoch - 1 + i / steps)
        logged = i % every == 0
        result = step(training, batch, measure=logged)
        _add(meters, result, batch.index, measure=logged)
        if logged or i == steps - 1 or watch.not_finite(result.losses):
            read()
        clock.stepped()
        if logged:
            log.detail(f"Epoch: [{epoch}][{i}/{steps}]\tLoss {meters.last:.3f} ({meters.loss:.3f})\t{clock}")
            bar.set_postfix(epoch=epoch, loss=f"{meters.loss:.3f}", lr=f"{lr:.4f}", refresh=False)
        bar.update(len(batch.index) * world.size)
        if run:
            run.stepped(epoch, meters, read)
        clock.start()
    bad.report()
    log.detail(f"current lr is {lr:.6g}")
    rate = round((meters.images - images_before) * world.size / clock.in_all, 1) if clock.in_all else None
    _log_metrics(log, epoch, lr, meters, method, images_per_s=rate, train_s=round(clock.in_all, 3))


def _write_first_views(log: Log, views: torch.Tensor, done: int) -> None:
    """Write the first batch of this process to the board and, unless the run has done steps, to views.png."""
    log.board.views(views, 1)
    if log.main and log.folder and not done:
        write_views(views, log.folder / VIEWS)


def _log_news(log: Log, method: Method, epoch: int) -> None:
    """Write what the method's start_epoch reports to the log, and as a line to metrics.jsonl."""
    if news := method.news():
        for line in news.lines:
            log.info(line)
        log.metrics(epoch=epoch, **news.numbers)


def _add(meters: Meters, result: Step, index: torch.Tensor, measure: bool) -> None:
    """Add a step of the images `index` to the meters; measure: with gradient norm and statistics of projections."""
    meters.add(result.losses, index, {name: OF_IMAGES[name](result.projections) for name in meters.more})
    if measure:
        meters.measure("grad_norm", result.norm)
        for name, statistic in MEASURES.items():
            meters.measure(name, statistic(result.projections))


def _log_metrics(log: Log, epoch: int, lr: float, meters: Meters, method: Method, **more: float | None) -> None:
    """Write the epoch's line of metrics.jsonl, and a warning if the features have collapsed.

    The values of Many, Medium and Few come from labels, and are for monitoring alone: training does not use them.
    """
    measured = {name: meters.mean(name) for name in ("grad_norm", *MEASURES)}
    means = meters.means_of_parts()  # the parts are the groups
    if (scores := method.scores()) is not None:
        log.board.histogram("score", scores, epoch)
        if meters.more:
            means["score"] = meters.parts_of(scores)
    of_groups = {
        f"{name}_{group.lower()}": value
        for name, values in means.items()
        for group, value in zip(GROUPS, values, strict=False)  # a list without groups has no parts
    }
    log.metrics(epoch=epoch, loss=meters.loss, **of_groups, lr=lr, **more, **method.measures(), **measured)
    if measured["spread"] is not None and measured["spread"] < COLLAPSED:
        log.warn(
            f"warning: the features have collapsed in epoch {epoch}: their standard deviation is "
            f"{measured['spread']:.3f} of uniform ones' "
            "(lower the learning rate, or see whether the views differ too much)"
        )
