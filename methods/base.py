"""What the training asks of a method, and of a wrapper around one."""

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
    """RandAugment by the images' scores (data/views/boost.py): operations of a view, largest and smallest strength."""

    k: int = 1
    strength: float = 30.0
    floor: float | None = None


class News(NamedTuple):
    """Lines for the log, and numbers that metrics.jsonl keeps in a line of their own."""

    lines: list[str]
    numbers: dict[str, float | str]


class Method(nn.Module):
    """A method of pre-training: the loss of two views of each image. Only `forward` must be written.

    State that a resumed run needs is in buffers, of three kinds:

    - a persistent buffer is in every checkpoint, such as BCL's momentum losses;
    - one that is not persistent is filled by `start_epoch` and is in checkpoints that are written within an epoch, such
      as BCL's scores;
    - one whose name begins with _ is working memory and is in none.

    Attributes:
        encoder: backbone and projection head; a checkpoint has its weights as those of the network.
        projections: [2, N, D], output of the head for views 1 and 2 of the last batch. They keep their autograd graph,
            so that a wrapper can add a loss of them.
        smallest_batch: the fewest images that a step can use.
        static_graph: whether every step of a phase gives a gradient to the same parameters, all that have
            requires_grad.
        boost: settings of RandAugment by score, None for plain views.
    """

    encoder: nn.Module
    encoder_prefix = "encoder."  # of its names in the method's state_dict
    projections: torch.Tensor
    smallest_batch: int = 1
    static_graph: bool = True
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

        A step may call it twice, so what changes once a step belongs into `remember`.
        """
        raise NotImplementedError

    def phases(self, epochs: int) -> list[int]:
        """Epochs of each phase of a training of `epochs`, one after the other; they add up to `epochs`.

        Each phase has an optimizer and a learning rate schedule of its own.
        """
        return [epochs]

    def start_phase(self, number: int) -> None:
        """Called before the first epoch of phase `number`, from 0 on: makes the networks of the phase, and sets
        requires_grad of what it trains.

        A run that is resumed calls it for every phase up to its own; the checkpoint is loaded afterwards.
        """

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        """Called before each epoch, from 1 on, and once more for an epoch that is resumed.

        Args:
            features: computes the features of all training images by the network as it is now; None outside a training.
        """

    def subset(self) -> torch.Tensor | list[torch.Tensor] | None:
        """Sample ids that the running epoch trains on, in any order; None for all images.

        A list of such tensors divides the epoch into parts: the batches of the first part come first, then those of the
        second, and so on. No batch has images of two parts; the last batch of a part may be smaller.
        """
        return None

    def start_step(self, done: float) -> None:
        """Called before each step: for settings that change with it. done: epochs so far, 0.5 in the first's middle."""

    def loss_weights(self, index: torch.Tensor) -> torch.Tensor | None:
        """Weights [N] of the images `index` [N] in the mean of the losses; None for a plain mean."""
        return None

    def step(self, closure: Closure) -> None:
        """Leave in .grad the gradient that the optimizer uses, here that of one call of `closure`.

        It may be called again, as sharpness-aware updates do: its first call alone moves running batch statistics, and
        has the losses that are logged and passed to `remember`.
        """
        closure()

    def remember(self, index: torch.Tensor, losses: torch.Tensor) -> None:
        """Called once after each step, with the losses [N] of the images `index` [N], without a graph."""

    def scores(self) -> torch.Tensor | None:
        """Scores [images] in [0, 1] by which the views of the running epoch are boosted; None for plain views."""
        return None

    def measures(self) -> dict[str, float | str]:
        """More numbers for the running epoch's line of metrics.jsonl.

        Names of seconds end in _s: a run that is resumed or repeated has others there.
        """
        return {}

    def news(self) -> News | None:
        """What start_epoch has done that the log and metrics.jsonl are to tell; None for nothing."""
        return None

    def masks(self) -> Masks:
        """The pruning masks of the running epoch, for mask_<epoch>.pt; {} for none."""
        return {}

    def check_memory(self) -> None:
        """Called when the persistent buffers of a checkpoint have been loaded.

        Raises:
            ValueError: they hold values that no training leaves.
        """


class OfTheInner:
    """An attribute or hook of a Delegate that is the inner method's, unless the delegate sets or defines it itself."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, delegate: "Delegate | None", owner: type) -> Any:
        return self if delegate is None else getattr(delegate.method, self.name)


class Delegate(Method):
    """A method that leaves to an inner one, `method`, all that it does not define; a phase may exchange it."""

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
    """A method around any other one, `method`, some of whose hooks it changes."""

    @classmethod
    def build(cls, method: Method, options: argparse.Namespace, images: int) -> "Wrapper":
        """The wrapper with the options of a command line, around a method."""
        return cls(method)
