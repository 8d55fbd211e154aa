"""What both sides of a comparison on a GPU have in common: sizes, images, networks, switches."""

from typing import NamedTuple

import numpy as np
import torch

from benchmarks.contenders import patches
from benchmarks.methods import built
from methods.base import Method
from methods.bcl import memorisation_score

LR, TEMPERATURE = 0.01, 0.2


class Size(NamedTuple):
    """model: its network. side: pixels of a view. pairs: of a step. steps: of a turn, which is an epoch here."""

    model: str
    side: int
    pairs: int
    steps: int

    @property
    def images(self) -> int:
        """Of the list."""
        return self.pairs * self.steps

    @property
    def stem(self) -> str:
        """Of the network."""
        return "imagenet" if self.side > 64 else "cifar"

    def __str__(self) -> str:
        return f"{self.model}, {self.side} px, {self.pairs} pairs"


class Plan(NamedTuple):
    """What is measured: sizes of networks; pairs of NT-Xent; rows of the best product; rounds that count; the backend
    that compiles networks; processes that make the published procedure's views, at most one per core."""

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
    """[N, S, S, 3] uint8, pieces of photographs."""
    return patches(size.images, size.side)


def scores_of(images: int) -> torch.Tensor:
    """BCL's scores [N] of images whose losses are uniform."""
    return memorisation_score(torch.rand(images, generator=torch.Generator().manual_seed(0)))


def method_on(method: str, size: Size, device: torch.device) -> Method:
    """A method on a device, with its published settings, ready to train."""
    return built(method, size.images, size.model, size.stem).to(device).train()


def use(tf32: bool, search: bool) -> None:
    """Whether CUDA's convolutions take TF32, and whether cuDNN looks for its fastest algorithm. Products never do."""
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = tf32, search
