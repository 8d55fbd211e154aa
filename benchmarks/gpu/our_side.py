"""This project's pre-training on a device, in each precision: whole epochs of pretrain/epoch.py, with their data."""

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


class How(NamedTuple):
    """A row's name; precision, TF32 in float32's convolutions, and whether the network is compiled."""

    name: str
    precision: str
    tf32: bool = False
    compiled: bool = False


HOWS = (How("fp32", "fp32"), How("tf32", "fp32", tf32=True), How("bf16", "bf16"),
        How("bf16 + compile", "bf16", compiled=True))  # fmt: skip


def started(method: Method, size: Size) -> Method:
    """The method in an epoch in which all of it works: BCL's scores are those of uniform losses."""
    if isinstance(method, BCL):
        losses = torch.rand(size.images, generator=torch.Generator().manual_seed(0))
        method.momentum_loss.copy_(losses), method.epochs.fill_(1)
    method.start_epoch(2)
    return method


class Ours:
    """A turn is an epoch, with its data."""

    def __init__(self, method: str, size: Size, device: torch.device, how: How, backend: str) -> None:
        self.size, self.device, self.how = size, device, how
        compute = Compute(Precision(how.precision, "channels_last", how.tf32, deterministic=False), device)
        learner = compute.on_device(started(method_on(method, size, device), size))
        self.loader = loader_of(learner, size, device)
        if how.compiled:
            learner.encoder.compile(backend=backend)
        optimizer = build_optimizer("sgd", learner.parameters(), LR)
        schedule, world = Schedule(10**6, LR, "constant"), World(0, 1, device)
        self.training = Training(learner, self.loader, optimizer, schedule, compute, world)
        self.epochs, self.reporter = itertools.count(2), quiet_reporter(50)

    def turn(self) -> None:
        """A turn."""
        use(self.how.tf32, search=True)
        epoch = next(self.epochs)
        self.loader.sampler.set_epoch(epoch)
        one_epoch(self.training, epoch, Meters(len(self.loader)), self.reporter)

    def close(self) -> None:
        """Nothing has to be ended."""


def loader_of(learner: Method, size: Size, device: torch.device) -> BatchedLoader:
    """Pairs of views as the method wants them, of images that lie on the device."""
    views = PretrainViews(size.side, True, boost=learner.boost and Boost(*learner.boost))
    data = AugmentedImages(images_of(size), np.zeros(size.images, np.int64), views, 0, 2)
    if (scores := learner.scores()) is not None:
        data.set_scores(scores)
    return BatchedLoader(data, EpochSampler(data, 1, 0, shuffle=True, seed=0), size.pairs, device)
