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
from tqdm import tqdm

from data.datasets import ImageSet
from data.views import Batch, on_device, to_batch
from models.frozen import FrozenBackbone, frozen_backbone
from utils.bad_images import BadImages
from utils.compute import Compute
from utils.distributed import World, sum_over_processes
from utils.log import Log, had_before
from utils.meters import Meters
from utils.metrics import accuracy, count_hits
from utils.optim import set_rate
from utils.run_files import RunFiles
from utils.schedule import pretrain_lr, probe_lr

STAGES = ("layer1", "layer2", "layer3", "layer4")
AT_ONCE = 1024  # images that go through a backbone that stands together, whatever the classifier's batch
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


class Network:
    """A model, and what of it the probe trains: all that is not frozen, or its classifier on features that stand.

    Args:
        model: after `freeze`. still: modules whose batch norms do not move (frozen_modules). fixbn: whether they are
            those of the frozen stages.
    """

    def __init__(
        self, model: nn.Module, still: dict[str, nn.Module], fixbn: bool, compute: Compute, world: World
    ) -> None:
        self.model, self.still, self.compute = model, still, compute
        trained = any(p.requires_grad for name, p in model.named_parameters() if not name.startswith("fc."))
        self.backbone = frozen_backbone(model, *compute.placement) if fixbn and not trained else None
        self.trained = compute.distributed(model if self.backbone is None else model.fc, world)
        self._validation: list | None = None

    def train(self) -> None:
        """Training mode, but for the batch norms that do not move: they are all that evaluation mode changes there."""
        self.model.train()
        for module in self.still.values():
            module.eval()

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """What `logits` reads, of images [n, 3, H, W] in [0, 1]: features [n, C] where the whole backbone stands."""
        return images if self.backbone is None else self.backbone.features(images)

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """[n, classes] float32, with a graph to what is trained."""
        if self.backbone is not None:
            return self.trained(inputs)
        with self.compute.autocast():
            return self.trained(inputs).float()

    def evaluate(self, images: Images, classes: int) -> dict[str, Any]:
        """Accuracy on the validation images, the same ones each time: features that stand are extracted once."""
        if self.backbone is None:
            return evaluate(self.model, images, classes, self.compute)
        if self._validation is None:
            self._validation = list(features_of(self.backbone, images, self.compute.device))
        return accuracy_on(self.model.fc, self._validation, classes, self.compute.device)


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
            losses = F.cross_entropy(network.logits(x), labels, reduction="none")
            norm = network.compute.update(losses.mean(), optimizer, measure=told)
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


def features_of(backbone: FrozenBackbone, images: Images, device: torch.device) -> Images:
    """Batches (features [n, C] float32 on `device`, labels [n], sample ids [n]) of batches of images."""
    for batch, labels, ids in images:
        yield backbone.features(batch.to(device, non_blocking=True)), labels, ids


def evaluate(model: nn.Module, images: Images, classes: int, compute: Compute) -> dict[str, Any]:
    """Top-1, top-5 and per-class accuracy over the images of all processes (see utils.metrics.accuracy)."""
    features = features_of(frozen_backbone(model, *compute.placement), images, compute.device)
    return accuracy_on(model.fc, features, classes, compute.device)


@torch.no_grad()
def accuracy_on(classifier: nn.Module, features: Images, classes: int, device: torch.device) -> dict[str, Any]:
    """The same, of a classifier [C] -> [classes] on batches (features, labels, sample ids)."""
    hits = np.zeros((3, classes), np.int64)
    for batch, labels, _ in features:
        hits += count_hits(classifier(batch).float().cpu().numpy(), labels.numpy(), classes)
    return accuracy(sum_over_processes(hits, device))
