"""The parts of the probes: freezing, one epoch of training, evaluation."""

import argparse
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from data.datasets import ImageSet
from data.views import to_batch
from utils.bad_images import BadImages
from utils.distributed import World, mean_over_processes, sum_over_processes
from utils.errors import InputError
from utils.log import Average, Log
from utils.metrics import accuracy, count_hits
from utils.schedule import pretrain_lr, probe_lr

STAGES = ("layer1", "layer2", "layer3", "layer4")
Images = Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


class Frozen:
    """What must not move: a copy of the frozen weights and buffers, taken before training."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.before = {k: v.detach().clone() for k, v in state.items()}

    def moved(self, model: nn.Module) -> list[str]:
        """Names of the frozen tensors that have another value now."""
        now = model.state_dict()
        return [k for k, v in self.before.items() if not torch.equal(v, now[k].to(v.device))]

    def check(self, model: nn.Module) -> None:
        """Raise RuntimeError if anything frozen has moved: the probe would not be linear."""
        if moved := self.moved(model):
            raise RuntimeError(f"{len(moved)} frozen tensors moved during the probe, {moved[0]} first")


def frozen_modules(model: nn.Module, fixto: str) -> dict[str, nn.Module]:
    """Stem and stages up to `fixto`, by name; none for 'nothing'. The last stage of the small ResNets is layer3."""
    names = ("conv1", "bn1", *STAGES[: STAGES.index(fixto) + 1]) if fixto in STAGES else ()
    return {name: module for name, module in model.named_children() if name in names}


def freeze(model: nn.Module, fixto: str, fixbn: bool) -> Frozen:
    """Stop gradients up to stage `fixto`; returns what to check.

    With `fixbn` the buffers of those stages' batch norms stay too, which `train_epoch` sees to.
    """
    fixed = {}
    for name, module in frozen_modules(model, fixto).items():
        module.requires_grad_(False)
        fixed.update(module.named_parameters(prefix=name))
        if fixbn:
            fixed.update(module.named_buffers(prefix=name))
    return Frozen(fixed)


def train_epoch(
    model: nn.Module,
    still: dict[str, nn.Module],
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    args: argparse.Namespace,
    world: World,
    log: Log,
    bad: BadImages,
) -> None:
    """One epoch (1-based) of cross-entropy on augmented images; the batch norms of `still` do not move.

    Raises:
        InputError: the loss is not finite, or an image is bad and --on_bad_image is error.
    """
    model.train()
    for module in still.values():
        # Batch norm is all that evaluation mode changes there.
        module.eval()
    steps = len(loader)
    loader.sampler.set_epoch(epoch)
    losses = Average()
    for i, batch in enumerate(loader):
        bad.take(batch, training=True)
        views, labels = batch.views, batch.labels
        lr = _rate(args, epoch, i, steps)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = F.cross_entropy(model(views[:, 0].to(world.device)), labels.to(world.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.add(mean_over_processes(loss.item(), world.device), len(labels))
        if not math.isfinite(losses.value):
            message = f"the probe's loss is {losses.value} in epoch {epoch}, step {i}, lr {lr:g}: lower --lr"
            raise InputError(message) if world.main else SystemExit(2)
        if i % args.log_interval == 0:
            log.detail(f"Train Epoch: {epoch} [{i}/{steps}]\tLoss: {losses.value:.6f}\tlr: {lr:g}")
    bad.report()
    log.metrics(epoch=epoch, loss=losses.mean, lr=lr)


def _rate(args: argparse.Namespace, epoch: int, step: int, steps: int) -> float:
    if args.cosineLr:
        return pretrain_lr((epoch - 1) * steps + step, args.epochs * steps, 0, args.lr)
    return probe_lr(epoch - args.step_at_end, args.lr, args.decreasing_lr)


def images_in_memory(data: ImageSet, batch: int) -> Images:
    """Batches (images [n, 3, H, W] in [0, 1], labels [n], sample ids [n]) of a data set, in order."""
    for i in range(0, len(data.images), batch):
        labels = torch.from_numpy(data.labels[i : i + batch])
        yield to_batch(data.images[i : i + batch]), labels, torch.arange(i, i + len(labels))


def images_of_files(loader: DataLoader, bad: BadImages) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches (images [n, 3, H, W] in [0, 1], labels [n], sample ids [n]) of a loader; bad images are left out.

    Raises:
        InputError: an image is bad and --on_bad_image is error.
    """
    for batch in loader:
        bad.take(batch, training=False)
        if len(batch.labels):
            yield batch.views[:, 0], batch.labels, batch.index


@torch.no_grad()
def evaluate(model: nn.Module, images: Images, classes: int, device: torch.device) -> dict[str, Any]:
    """Top-1, top-5 and per-class accuracy over the images of all processes (see utils.metrics.accuracy)."""
    model.eval()
    hits = np.zeros((3, classes), np.int64)
    for batch, labels, _ in images:
        hits += count_hits(model(batch.to(device)).float().cpu().numpy(), labels.numpy(), classes)
    return accuracy(sum_over_processes(hits, device))
