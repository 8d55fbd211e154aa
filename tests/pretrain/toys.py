"""Methods that use every hook, for tests; registered by the fixture `toys` under `halves` and `+twice`."""

import argparse

import torch
from torch import nn

from methods.base import Features, Method, Wrapper
from methods.simclr import SimCLR
from models import build_encoder
from utils.cli import Parser


class Halves(SimCLR):
    """SimCLR of all images, then of those alone whose first feature is the larger half, by a network of its own.

    The second phase has half of the epochs, and begins with the weights that the first one left.
    """

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        parser.add_argument("--share", type=float, default=0.5, help="of the images in the second phase")

    @classmethod
    def build(cls, encoder: nn.Module, options: argparse.Namespace, images: int) -> "Halves":
        method = cls(encoder, options.temperature)
        method.share, method.first, method.phase = options.share, encoder, 0
        method.second = build_encoder("res20_s", 16, 2).requires_grad_(False)
        method.register_buffer("order", torch.zeros(images, dtype=torch.long))
        method.register_buffer("drawn", torch.zeros(1), persistent=False)
        method.register_buffer("far", torch.zeros(0), persistent=False)
        method.register_buffer("best", torch.tensor(torch.inf))
        return method

    encoder_prefix = "encoder."

    def phases(self, epochs: int) -> list[int]:
        return [epochs - epochs // 2, epochs // 2]

    def start_phase(self, number: int) -> None:
        self.phase = number
        if number == 1:
            self.second.load_state_dict(self.first.state_dict())
            self.first.requires_grad_(False), self.second.requires_grad_(True)
            self.encoder = self.second

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        if self.phase == 1 and not self.order.any():
            self.order.copy_(features()[:, 0].argsort(descending=True))
        self.drawn.copy_(torch.rand(1))
        norms = self.encoder.conv1.weight.detach().flatten(1).norm(dim=1)
        self.far = norms[norms > norms.mean()]  # how many these are moves with the weights

    def subset(self) -> torch.Tensor | None:
        return self.order[: round(self.share * len(self.order))] if self.phase == 1 else None

    def start_step(self, done: float) -> None:
        self.temperature = 0.2 + 0.1 * done

    def loss_weights(self, index: torch.Tensor) -> torch.Tensor:
        return 1 + (index % 2) * self.drawn.item()


class Twice(Wrapper):
    """The gradient at weights that are moved by `far` along the gradient, as in sharpness-aware minimisation (SAM)."""

    far = 0.05

    @torch.no_grad()
    def step(self, closure) -> None:
        trained = [p for p in self.encoder.parameters() if p.requires_grad]
        with torch.enable_grad():
            self.method.step(closure)
        moves = [self.far * p.grad / (torch.cat([q.grad.flatten() for q in trained]).norm() + 1e-12) for p in trained]
        for p, move in zip(trained, moves, strict=True):
            p += move
        with torch.enable_grad():
            self.method.step(closure)
        for p, move in zip(trained, moves, strict=True):
            p -= move


def bare(method: Method) -> Method:
    """The method within all wrappers."""
    return bare(method.method) if isinstance(method, Wrapper) else method
