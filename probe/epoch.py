"""One epoch of a probe."""

import argparse
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from tqdm import tqdm

from data.loader import Batch, on_device
from probe.network import Network
from run.bad_images import BadImages
from run.folder import RunFiles
from run.log import Log, had_before
from run.meters import Meters
from run.optim import set_rate
from run.schedule import pretrain_lr, probe_lr
from utils.distributed import World


def step(
    network: Network,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    measure: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One update of what is trained, on `Network.inputs` and labels [n].

    Returns:
        The losses [n], and the gradient's norm where it is measured.
    """
    losses = F.cross_entropy(network.logits(inputs), labels, reduction="none")
    return losses, network.compute.step(losses.mean(), optimizer, measure)


def train_epoch(
    network: Network,
    loader: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    epoch: int,
    args: argparse.Namespace,
    world: World,
    log: Log,
    bad: BadImages,
    files: RunFiles | None = None,
    bar: tqdm | None = None,
) -> None:
    """One epoch (1-based) of cross-entropy on augmented images; a Batch of the loader may hold several steps.

    Args:
        files: the run's, which know the part of the epoch that was done before an interruption, and save after steps.
        bar: counts images, of all processes.

    Raises:
        InputError: the loss is not finite, or an image is bad and --on_bad_image is error.
        Interrupted: a signal has come.
    """
    network.train()
    size = args.batch_size // world.size
    steps = math.ceil(len(loader.sampler) / size)
    meters = files.meters(steps) if files else Meters(steps, world.device)
    # A Batch that was begun is made whole again: features depend, in their last bits, on how many are made at once.
    i = meters.done - meters.done % max(1, loader.batch_size // size) if meters.done else 0
    loader.sampler.set_epoch(epoch, i * size)
    bar = bar or tqdm(disable=True)
    had_before(bar, meters.images * world.size)

    lr = _rate(args, epoch, steps - 1, steps)

    def read() -> None:
        meters.read(world, lambda s: f"the probe's epoch {epoch}, step {s}, lr {_rate(args, epoch, s, steps):g}")

    for batch in on_device(loader, world.device, network.compute.stream):
        bad.take(batch, training=True)
        inputs = network.inputs(batch.views[:, 0])
        for x, labels, index in zip(*(t.split(size) for t in (inputs, batch.labels, batch.index)), strict=True):
            i += 1
            if i <= meters.done:
                continue
            lr, told = set_rate(optimizer, _rate(args, epoch, i - 1, steps)), (i - 1) % args.log_interval == 0
            losses, norm = step(network, x, labels, optimizer, measure=told)
            meters.add(losses, index)
            if told:
                meters.measure("grad_norm", norm)
            if told or i == steps:
                read()
            if told:
                log.detail(f"Train Epoch: {epoch} [{i - 1}/{steps}]\tLoss: {meters.last:.6f}\tlr: {lr:g}")
                bar.set_postfix(epoch=epoch, loss=f"{meters.loss:.3f}", lr=f"{lr:g}", refresh=False)
            bar.update(len(index) * world.size)
            if files:
                files.stepped(epoch, meters, read)
    bad.report()
    log.metrics(epoch=epoch, loss=meters.loss, lr=lr, grad_norm=meters.mean("grad_norm"))


def _rate(args: argparse.Namespace, epoch: int, step: int, steps: int) -> float:
    if args.cosineLr:
        return pretrain_lr((epoch - 1) * steps + step, args.epochs * steps, 0, args.lr)
    return probe_lr(epoch - args.step_at_end, args.lr, args.decreasing_lr)
