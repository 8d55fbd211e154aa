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
    """The learning rate of so many epochs that begin with the epoch `first`.

    scheduler: 'cosine', 'constant' or 'two-stage', the first of which is `stage`.
    """

    epochs: int
    lr: float
    scheduler: str
    first: int = 1
    stage: Stage | None = None

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """Of step 0, 1, ... of an epoch of so many steps."""
        if self.scheduler == TWO_STAGE:
            return two_stage_lr(epoch - self.first + 1, self.epochs, WARMUP_EPOCHS, self.lr, self.stage)
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


class StepClock:
    """Seconds of an epoch's steps, `in_all` and of these `waiting` for data; what is between two steps does not count.

    As text, the means of a step, as the published log has them.
    """

    def __init__(self) -> None:
        self.waiting, self.in_all, self.steps = 0.0, 0.0, 0
        self._start = time.perf_counter()

    def start(self) -> None:
        """A step begins; loading its batch is a part of it."""
        self._start = time.perf_counter()

    def loaded(self) -> None:
        """The batch is there."""
        self.waiting += time.perf_counter() - self._start

    def stepped(self) -> None:
        """The step has ended."""
        self.in_all += time.perf_counter() - self._start
        self.steps += 1

    def __str__(self) -> str:
        return f"data_time: {self.waiting / self.steps:.3f}\ttrain_time: {self.in_all / self.steps:.3f}"


def step(training: Training, batch: Batch, measure: bool = False) -> Step:
    """One update of the weights. The method may evaluate the batch again, as sharpness-aware updates do: then batch
    statistics stay, and the losses and projections are those of the first time."""
    model, method, optimizer, compute = training.model, training.method, training.optimizer, training.compute
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def closure() -> torch.Tensor:
        with compute.autocast(), statistics_kept(model) if found else nullcontext():
            losses = model(batch.views, batch.index)
        weights = method.loss_weights(batch.index)
        compute.backward(losses.mean() if weights is None else (weights * losses).mean(), optimizer)
        found.append((losses.detach(), method.projections.detach()))
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
    model, loader, optimizer, schedule, compute, world = training
    log, bar, bad, every = reporter
    model.train()
    steps, method = len(loader), training.method
    images_before, first = meters.images, meters.done
    watch, clock = Watch(world), StepClock()
    _tell_news(log, method, epoch)

    def read() -> None:
        meters.read(world, lambda s: f"epoch {epoch}, step {s}, lr {schedule.rate(epoch, s, steps):g}")

    had_before(bar, images_before * world.size)
    lr = schedule.rate(epoch, steps - 1, steps)
    clock.start()
    for i, batch in enumerate(on_device(loader, world.device, compute.stream), first):
        bad.take(batch, training=True)
        if epoch == 1 and i == first:
            _show(log, batch.views, first)
        clock.loaded()
        lr = set_rate(optimizer, schedule.rate(epoch, i, steps))
        method.start_step(epoch - 1 + i / steps)
        tell = i % every == 0
        result = step(training, batch, measure=tell)
        _note(meters, result, batch.index, measure=tell)
        if tell or i == steps - 1 or watch.found(result.losses):
            read()
        clock.stepped()
        if tell:
            log.detail(f"Epoch: [{epoch}][{i}/{steps}]\tLoss {meters.last:.3f} ({meters.loss:.3f})\t{clock}")
            bar.set_postfix(epoch=epoch, loss=f"{meters.loss:.3f}", lr=f"{lr:.4f}", refresh=False)
        bar.update(len(batch.index) * world.size)
        if run:
            run.stepped(epoch, meters, read)
        clock.start()
    bad.report()
    log.detail(f"current lr is {lr:.6g}")
    rate = round((meters.images - images_before) * world.size / clock.in_all, 1) if clock.in_all else None
    _record(log, epoch, lr, meters, method, images_per_s=rate, train_s=round(clock.in_all, 3))


def _show(log: Log, views: torch.Tensor, done: int) -> None:
    """Show the first batch of a process: on the board and, where no step of the run is done, in views.png."""
    log.board.views(views, 1)
    if log.main and log.folder and not done:
        write_views(views, log.folder / VIEWS)


def _tell_news(log: Log, method: Method, epoch: int) -> None:
    """What the method has made of the epoch, in the log and as a line of metrics.jsonl."""
    if news := method.news():
        for line in news.lines:
            log.info(line)
        log.metrics(epoch=epoch, **news.numbers)


def _note(meters: Meters, result: Step, index: torch.Tensor, measure: bool) -> None:
    """Add a step of the images `index` to the meters; measure: gradient norm and how the features lie, too."""
    meters.add(result.losses, index, {name: OF_IMAGES[name](result.projections) for name in meters.more})
    if measure:
        meters.measure("grad_norm", result.norm)
        for name, of in MEASURES.items():
            meters.measure(name, of(result.projections))


def _record(log: Log, epoch: int, lr: float, meters: Meters, method: Method, **more: float | None) -> None:
    """The epoch's line of metrics.jsonl, and a warning where the features have become all alike.

    What is told of Many, Medium and Few, by the classes' sizes in the training list, changes nothing.
    """
    measured = {name: meters.mean(name) for name in ("grad_norm", *MEASURES)}
    of_groups = meters.means_of_parts()
    if (scores := method.scores()) is not None:
        log.board.histogram("score", scores, epoch)
        if meters.more:
            of_groups["score"] = meters.parts_of(scores)
    told = {
        f"{name}_{group.lower()}": value
        for name, values in of_groups.items()
        for group, value in zip(GROUPS, values, strict=False)  # of a list without groups, no parts
    }
    log.metrics(epoch=epoch, loss=meters.loss, **told, lr=lr, **more, **method.measures(), **measured)
    if measured["spread"] is not None and measured["spread"] < COLLAPSED:
        log.warn(
            f"warning: the features have collapsed in epoch {epoch}: their standard deviation is "
            f"{measured['spread']:.3f} of uniform ones' "
            "(lower the learning rate, or see whether the views differ too much)"
        )
