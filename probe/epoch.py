"""One epoch of a probe."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader

from data.loader import BatchedLoader, on_device
from probe.network import Network
from probe.supervised.losses import cross_entropy
from probe.supervised.training import WarmUpCosine
from run.folder import Run
from run.log import had_before
from run.meters import Meters
from run.optim import set_rate
from run.reporter import Reporter
from run.schedule import pretrain_lr, probe_lr
from utils.distributed import World

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (logits [n, classes], labels [n]) -> [n], in nats


def step(
    network: Network,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    loss: Loss = cross_entropy,
    measure: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One update of the trained parameters.

    Args:
        inputs: of Network.inputs. labels: [n]. measure: the gradient's norm, too.

    Returns:
        The losses [n], and the gradient's norm or None.
    """
    losses, compute = loss(network.logits(inputs), labels), network.compute
    compute.backward(losses.mean(), optimizer)
    norm = compute.step(optimizer, measure)
    network.share_statistics()
    return losses, norm


@dataclass(frozen=True)
class Schedule:
    """The learning rate: with `cosine` a cosine over all epochs, else divided by ten at each of the epochs `falls`.

    step_at_end: it falls at the end of those epochs, not at their start.
    """

    epochs: int
    lr: float
    falls: list[int]
    cosine: bool = False
    step_at_end: bool = False

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """The learning rate of step 0, 1, ..., steps - 1 of an epoch (1-based)."""
        if self.cosine:
            return pretrain_lr((epoch - 1) * steps + step, self.epochs * steps, 0, self.lr)
        return probe_lr(epoch - self.step_at_end, self.lr, self.falls)


class Training(NamedTuple):
    """What a step needs.

    loader: each of its Batches may serve several steps. batch: images of a step in this process. loss: of each image.
    """

    network: Network
    loader: DataLoader | BatchedLoader
    optimizer: torch.optim.Optimizer
    schedule: Schedule | WarmUpCosine
    batch: int
    world: World
    loss: Loss = cross_entropy


def train_epoch(training: Training, epoch: int, reporter: Reporter, run: Run | None = None) -> None:
    """One epoch (1-based) on augmented images.

    Args:
        run: if given, continues the epoch after an interruption, and saves within it.

    Raises:
        InputError: the loss is not finite, or an image is bad and is not to be skipped.
        Interrupted: a signal has come.
    """
    (network, loader, optimizer, schedule, size, world, loss), (log, bar, bad, every) = training, reporter
    network.train()
    steps = math.ceil(len(loader.sampler) / size)
    meters = run.begin_epoch(lambda: steps) if run else Meters(steps)
    i = 0
    if meters.done:
        # A Batch that was interrupted is loaded again as a whole, and its steps that are done are skipped: the last
        # bits of the features depend on how many are computed at once.
        steps_per_batch = max(1, loader.batch_size // size)
        i = meters.done // steps_per_batch * steps_per_batch
    loader.sampler.set_epoch(epoch, i * size)
    had_before(bar, meters.images * world.size)
    lr = schedule.rate(epoch, steps - 1, steps)

    def read() -> None:
        meters.read(world, lambda s: f"the probe's epoch {epoch}, step {s}, lr {schedule.rate(epoch, s, steps):g}")

    for batch in on_device(loader, world.device, network.compute.stream):
        bad.take(batch, training=True)
        inputs = network.inputs(batch.views[:, 0])
        for x, labels, index in zip(*(t.split(size) for t in (inputs, batch.labels, batch.index)), strict=True):
            i += 1
            if i <= meters.done:
                continue
            lr, logged = set_rate(optimizer, schedule.rate(epoch, i - 1, steps)), (i - 1) % every == 0
            losses, norm = step(network, x, labels, optimizer, loss, measure=logged)
            meters.add(losses, index)
            if logged:
                meters.measure("grad_norm", norm)
            if logged or i == steps:
                read()
            if logged:
                log.detail(f"Train Epoch: {epoch} [{i - 1}/{steps}]\tLoss: {meters.last:.6f}\tlr: {lr:g}")
                bar.set_postfix(epoch=epoch, loss=f"{meters.loss:.3f}", lr=f"{lr:g}", refresh=False)
            bar.update(len(index) * world.size)
            if run:
                run.stepped(epoch, meters, read)
    bad.report()
    log.metrics(epoch=epoch, loss=meters.loss, lr=lr, grad_norm=meters.mean("grad_norm"))
