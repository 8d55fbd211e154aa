"""The interface between training and a method, and that of a wrapper around a method."""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from models.mask import Masks
from utils.cli import Parser

Closure = Callable[[], torch.Tensor]  # losses [N] of the step's images; leaves the gradient of their mean in .grad
Features = Callable[[], torch.Tensor]  # [images, C] before the head, of all training images; NaN for bad ones


class BoostSettings(NamedTuple):
    """RandAugment by memorisation scores (data/views/boost.py): operations per view, largest and smallest strength."""

    k: int = 1
    strength: float = 30.0
    floor: float | None = None


class News(NamedTuple):
    """Lines for the log, and numbers for a separate line of metrics.jsonl."""

    lines: list[str]
    numbers: dict[str, float | str]


class Method(nn.Module):
    """A method of pre-training: the loss of two views of each image. Only `forward` must be written.

    State that a resumed run needs is in buffers, of three kinds:

    - a persistent buffer is in every checkpoint, such as BCL's momentum losses;
    - a non-persistent one is filled by `start_epoch`, and is in checkpoints that are written within an epoch, such as
      BCL's scores;
    - one whose name begins with _ is working memory and is in none.

    Attributes:
        encoder: backbone and projection head; a checkpoint has its weights as those of the network.
        projections: [2, N, D], output of the head for views 1 and 2 of the last batch. They keep their autograd graph,
            so that a wrapper can add a loss of them.
        smallest_batch: the smallest number of images for a step.
        static_graph: whether every step of a phase gives a gradient to the same parameters, all that have
            requires_grad.
        boost: settings of RandAugment by memorisation score, None for plain views.
    """

    encoder: nn.Module
    encoder_prefix = "encoder."  # of the encoder's names in the method's state_dict
    projections: torch.Tensor
    smallest_batch: int = 1
    static_graph: bool = True
    boost: BoostSettings | None = None

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        """Add the method's own command-line options."""

    @classmethod
    def encoder_options(cls, options: argparse.Namespace) -> dict[str, bool | int]:
        """Keyword arguments of models.build_encoder; the command line may change head_layers."""
        return {"head_layers": 2}

    @classmethod
    def build(cls, encoder: nn.Module, options: argparse.Namespace, images: int) -> "Method":
        """The method with the options of a command line, for a training list of `images` images."""
        return cls(encoder, options.temperature)

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1], index [N] sample ids -> the loss of each image [N], in nats.

        A step may call it twice, so state that changes once per step belongs in `remember`.
        """
        raise NotImplementedError

    def phases(self, epochs: int) -> list[int]:
        """Number of epochs of each phase in order; they add up to `epochs`.

        Each phase has its own optimizer and learning rate schedule.
        """
        return [epochs]

    def start_phase(self, number: int) -> None:
        """Called before the first epoch of phase `number`, from 0 on: makes the phase's networks, and sets
        requires_grad for the parameters that it trains.

        A run that is resumed calls it for every phase up to its own; the checkpoint is loaded afterwards.
        """

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        """Called before each epoch, from 1 on, and again for an epoch that is resumed.

        Args:
            features: computes the features of all training images by the present network; None outside training.
        """

    def subset(self) -> torch.Tensor | list[torch.Tensor] | None:
        """Sample ids that the running epoch trains on, in any order; None for all images.

        A list of such tensors divides the epoch into parts: the batches of the first part come first, then those of the
        second, and so on. No batch has images of two parts; the last batch of a part may be smaller.
        """
        return None

    def start_step(self, done: float) -> None:
        """Called before each step, for settings that change with it. done: epochs so far, 0.5 halfway in the first."""

    def loss_weights(self, index: torch.Tensor) -> torch.Tensor | None:
        """Weights [N] of the images `index` [N] in the mean of the losses; None for the unweighted mean."""
        return None

    def step(self, closure: Closure) -> None:
        """Leave in .grad the gradient that the optimizer uses, here that of one call of `closure`.

        Sharpness-aware updates call it more than once. Only the first call updates running batch statistics, and only
        its losses are logged and passed to `remember`.
        """
        closure()

    def remember(self, index: torch.Tensor, losses: torch.Tensor) -> None:
        """Called once after each step, with the losses [N] of the images `index` [N], without a graph."""

    def scores(self) -> torch.Tensor | None:
        """Memorisation scores [images] in [0, 1] that boost the running epoch's views; None for plain views."""
        return None

    def measures(self) -> dict[str, float | str]:
        """Further numbers for the running epoch's line of metrics.jsonl.

        Names of times in seconds end in _s: these alone differ in a run that is resumed or repeated.
        """
        return {}

    def news(self) -> News | None:
        """What start_epoch has done, for the log and metrics.jsonl; None for nothing."""
        return None

    def masks(self) -> Masks:
        """The pruning masks of the running epoch, for mask_<epoch>.pt; {} for none."""
        return {}

    def check_memory(self) -> None:
        """Called after the persistent buffers of a checkpoint have been loaded.

        Raises:
            ValueError: they hold values that training cannot have left.
        """


class OfTheInner:
    """An attribute or hook of a Delegate that is taken from the inner method, unless the delegate defines its own."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, delegate: "Delegate | None", owner: type) -> Any:
        return self if delegate is None else getattr(delegate.method, self.name)


class Delegate(Method):
    """A method that takes all it does not define from an inner one, `method`, which may change with the phase."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    @property
    def encoder_prefix(self) -> str:
        return f"method.{self.method.encoder_prefix}"

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The inner method's losses [N]."""
        return self.method(views, index)

    encoder = OfTheInner()
    projections = OfTheInner()
    smallest_batch = OfTheInner()
    static_graph = OfTheInner()
    boost = OfTheInner()
    phases = OfTheInner()
    start_phase = OfTheInner()
    start_epoch = OfTheInner()
    subset = OfTheInner()
    start_step = OfTheInner()
    loss_weights = OfTheInner()
    step = OfTheInner()
    remember = OfTheInner()
    scores = OfTheInner()
    measures = OfTheInner()
    news = OfTheInner()
    masks = OfTheInner()
    check_memory = OfTheInner()


class Wrapper(Delegate):
    """A method around any other one, `method`, that overrides some of its hooks."""

    @classmethod
    def build(cls, method: Method, options: argparse.Namespace, images: int) -> "Wrapper":
        """The wrapper with the options of a command line, around a method."""
        return cls(method)
