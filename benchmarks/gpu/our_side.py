"""This project's pre-training on a device, in each precision: whole epochs of pretrain/epoch.py including the data."""

import itertools
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.contenders import quiet_reporter
from benchmarks.gpu.settings import LR, Size, images_of, method_on, use
from data.loader import AugmentedImages, BatchedLoader
from data.samplers import EpochSampler
from data.views.batches import PretrainViews
from data.views.boost import Boost
from methods.base import Method
from methods.bcl import BCL
from pretrain.epoch import Schedule, Training, one_epoch
from run.compute import Compute
from run.flags import Precision
from run.meters import Meters
from run.optim import build_optimizer
from utils.distributed import World


class Variant(NamedTuple):
    """A row's name; precision; whether float32 convolutions may use TF32; whether the network is compiled."""

    name: str
    precision: str
    tf32: bool = False
    compiled: bool = False


VARIANTS = (Variant("fp32", "fp32"), Variant("tf32", "fp32", tf32=True), Variant("bf16", "bf16"),
            Variant("bf16 + compile", "bf16", compiled=True))  # fmt: skip


def started(method: Method, size: Size) -> Method:
    """The method in epoch 2, in which all its parts are in use; BCL's memory has random losses in [0, 1]."""
    if isinstance(method, BCL):
        losses = torch.rand(size.images, generator=torch.Generator().manual_seed(0))
        method.momentum_loss.copy_(losses), method.epochs.fill_(1)
    method.start_epoch(2)
    return method


class Ours:
    """This project's side: a turn is an epoch, including its data."""

    def __init__(self, method: str, size: Size, device: torch.device, variant: Variant, backend: str) -> None:
        self.size, self.device, self.variant = size, device, variant
        compute = Compute(Precision(variant.precision, "channels_last", variant.tf32, deterministic=False), device)
        learner = compute.on_device(started(method_on(method, size, device), size))
        self.loader = loader_of(learner, size, device)
        if variant.compiled:
            learner.encoder.compile(backend=backend)
        optimizer = build_optimizer("sgd", learner.parameters(), LR)
        schedule, world = Schedule(10**6, LR, "constant"), World(0, 1, device)
        self.training = Training(learner, self.loader, optimizer, schedule, compute, world)
        self.epochs, self.reporter = itertools.count(2), quiet_reporter(50)

    def turn(self) -> None:
        """Train one epoch."""
        use(self.variant.tf32, search=True)
        epoch = next(self.epochs)
        self.loader.sampler.set_epoch(epoch)
        one_epoch(self.training, epoch, Meters(len(self.loader)), self.reporter)

    def close(self) -> None:
        """Forget compiled graphs, which the next side would share and take for ones of dynamic shapes."""
        if self.variant.compiled:
            torch.compiler.reset()


def loader_of(learner: Method, size: Size, device: torch.device) -> BatchedLoader:
    """Batches of view pairs as the method needs them, made on the device from images that are already there."""
    views = PretrainViews(size.side, True, boost=learner.boost and Boost(*learner.boost))
    data = AugmentedImages(images_of(size), np.zeros(size.images, np.int64), views, 0, 2)
    if (scores := learner.scores()) is not None:
        data.set_scores(scores)
    return BatchedLoader(data, EpochSampler(data, 1, 0, shuffle=True, seed=0), size.pairs, device)
