"""Settings of both sides of a comparison on a GPU: sizes, images, networks, backend switches."""

from typing import NamedTuple

import numpy as np
import torch

from benchmarks.contenders import patches
from benchmarks.methods import built
from methods.base import Method
from methods.bcl import memorisation_score

LR, TEMPERATURE = 0.01, 0.2


class Size(NamedTuple):
    """model: the network. side: pixels of a view. pairs: of views in a step. steps: of a turn, which is one epoch."""

    model: str
    side: int
    pairs: int
    steps: int

    @property
    def images(self) -> int:
        """The number of images in an epoch."""
        return self.pairs * self.steps

    @property
    def stem(self) -> str:
        """The stem of the network."""
        return "imagenet" if self.side > 64 else "cifar"

    def __str__(self) -> str:
        return f"{self.model}, {self.side} px, {self.pairs} pairs"


class Plan(NamedTuple):
    """What is measured.

    sizes: of the pre-trainings. losses: pairs of views in NT-Xent. products: rows of the matrices of which the fastest
    product is searched. rounds: that are evaluated. backend: of torch.compile. workers: processes that make the
    published procedure's views, at most one per core.
    """

    sizes: tuple[Size, ...]
    losses: tuple[int, ...]
    products: tuple[int, ...]
    rounds: int
    backend: str
    workers: int


WHOLE = Plan(
    (Size("res18", 32, 512, 16), Size("res50", 224, 256, 8)), (4_096, 32_768), (4096, 8192, 16384), 3, "inductor", 10
)
TINY = Plan((Size("res20_s", 16, 8, 2),), (8, 16), (64,), 1, "eager", 0)
METHODS = ("simclr", "sdclr", "bcl-d")


def images_of(size: Size) -> np.ndarray:
    """Crops of photographs, [N, S, S, 3] uint8."""
    return patches(size.images, size.side)


def scores_of(images: int) -> torch.Tensor:
    """BCL's memorisation scores [N] of images with random losses in [0, 1]."""
    return memorisation_score(torch.rand(images, generator=torch.Generator().manual_seed(0)))


def method_on(method: str, size: Size, device: torch.device) -> Method:
    """A method with its published settings, on a device and in training mode."""
    return built(method, size.images, size.model, size.stem).to(device).train()


def use(tf32: bool, search: bool) -> None:
    """Set whether convolutions may use TF32 (matrix products never do) and cuDNN searches for its fastest algorithm."""
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = tf32, search
