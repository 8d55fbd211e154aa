"""What the training asks of a method, and of a wrapper around one."""

import argparse
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import nn

from models.mask import Masks
from utils.cli import Parser

Closure = Callable[[], torch.Tensor]  # losses [N] of the step's images; leaves the gradient of their mean in .grad
Features = Callable[[], torch.Tensor]  # [images, C] before the head, of all training images; NaN for bad ones


class BoostSettings(NamedTuple):
    """RandAugment by the images' scores (data/views/boost.py): operations of a view, largest and smallest strength."""

    k: int = 1
    strength: float = 30.0
    floor: float | None = None


class News(NamedTuple):
    """Lines for the log, and numbers that metrics.jsonl keeps in a line of their own."""

    lines: list[str]
    numbers: dict[str, float | str]


class Method(nn.Module):
    """A loss of two views of each image, and what belongs to it. All but `forward` has a default.

    `encoder`: backbone and projection head, which a checkpoint has as its network. `projections` [2, N, D]: of the last
    batch's views 1 and 2, as the head leaves them, with their graph: a wrapper may have a loss of its own of them.
    smallest_batch: images that a step needs. same_weights: whether each step of a phase gives a gradient to all that
    has requires_grad. boost: of the views, None for none.

    What else must survive an interruption is in buffers: a persistent one is kept from epoch to epoch, the memory of a
    method; one that is not, which start_epoch makes, within an epoch; one whose name begins with _ is not kept.
    """

    encoder: nn.Module
    encoder_prefix = "encoder."  # of its names in the method's state_dict
    projections: torch.Tensor
    smallest_batch: int = 1
    same_weights: bool = True
    boost: BoostSettings | None = None

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        """The command-line options that are its own."""

    @classmethod
    def encoder_options(cls, options: argparse.Namespace) -> dict[str, bool | int]:
        """Keywords of models.build_encoder, head_layers unless the command line has another number."""
        return {"head_layers": 2}

    @classmethod
    def build(cls, encoder: nn.Module, options: argparse.Namespace, images: int) -> "Method":
        """The method with the options of a command line, for a training list of so many images."""
        return cls(encoder, options.temperature)

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1], index [N] sample ids -> the loss of each image [N], in nats.

        A step may evaluate it twice: what moves once a step belongs to `remember`.
        """
        raise NotImplementedError

    def phases(self, epochs: int) -> list[int]:
        """Epochs of each part of a training of so many, which has a schedule, an optimizer and images of its own."""
        return [epochs]

    def start_phase(self, number: int) -> None:
        """Called before the first epoch of phase 0, 1, ..., and again where it is resumed, before its state is loaded.

        What is trained in it has requires_grad; networks that are new are made here.
        """

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        """Called before epoch 1, 2, ...; `features()` are those of the network as it is, where a training calls it."""

    def subset(self) -> torch.Tensor | list[torch.Tensor] | None:
        """Sample ids that the running epoch trains on, a share of all in any order; None for all.

        Of a list of them, each batch is of one: those of the first come first, its last batch perhaps short.
        """
        return None

    def start_step(self, done: float) -> None:
        """Called before each step: for settings that change with it. done: epochs so far, 0.5 in the first's middle."""

    def weights(self, index: torch.Tensor) -> torch.Tensor | None:
        """Weights [N] of the images `index` [N] in the mean of the losses; None for a plain mean."""
        return None

    def step(self, closure: Closure) -> None:
        """Leave in .grad the gradient that the optimizer goes down: that of `closure()`, which may be called again.

        Batch statistics, memory and the losses that are told are those of its first call.
        """
        closure()

    def remember(self, index: torch.Tensor, losses: torch.Tensor) -> None:
        """Called once after each step, with the losses [N] of the images `index` [N], without a graph."""

    def scores(self) -> torch.Tensor | None:
        """Scores [images] in [0, 1] by which the views of the running epoch are boosted; None for plain views."""
        return None

    def measures(self) -> dict[str, float | str]:
        """What metrics.jsonl keeps of the running epoch besides losses; names that end in _s are of seconds, which a
        run that is resumed takes others of."""
        return {}

    def news(self) -> News | None:
        """What start_epoch has made of the running epoch and is worth telling; None for nothing."""
        return None

    def masks(self) -> Masks:
        """The masks of the running epoch, which mask_<epoch>.pt keeps; {} for none."""
        return {}

    def check_memory(self) -> None:
        """Called when the persistent buffers of a checkpoint were taken up; ValueError if they are of no use."""


def _of_the_wrapped(name: str) -> property:
    """What the wrapped method has under this name: an attribute, or a hook to be called."""
    return property(attrgetter(f"method.{name}"))


class Delegate(Method):
    """A method that has another one do what it does not change: `method`, which may be another from a phase on."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    @property
    def encoder_prefix(self) -> str:
        return f"method.{self.method.encoder_prefix}"

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The wrapped method's losses [N]."""
        return self.method(views, index)

    encoder = _of_the_wrapped("encoder")
    projections = _of_the_wrapped("projections")
    smallest_batch = _of_the_wrapped("smallest_batch")
    same_weights = _of_the_wrapped("same_weights")
    boost = _of_the_wrapped("boost")
    phases = _of_the_wrapped("phases")
    start_phase = _of_the_wrapped("start_phase")
    start_epoch = _of_the_wrapped("start_epoch")
    subset = _of_the_wrapped("subset")
    start_step = _of_the_wrapped("start_step")
    weights = _of_the_wrapped("weights")
    step = _of_the_wrapped("step")
    remember = _of_the_wrapped("remember")
    scores = _of_the_wrapped("scores")
    measures = _of_the_wrapped("measures")
    news = _of_the_wrapped("news")
    masks = _of_the_wrapped("masks")
    check_memory = _of_the_wrapped("check_memory")


class Wrapper(Delegate):
    """A method around another one, any, `method`; it hands on what it does not change."""

    @classmethod
    def build(cls, method: Method, options: argparse.Namespace, images: int) -> "Wrapper":
        """The wrapper with the options of a command line, around a method."""
        return cls(method)
