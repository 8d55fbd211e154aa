"""What the training asks of a method, and of a wrapper around one."""

from typing import Any

import torch
from torch import nn

from models.mask import Masks


class Method(nn.Module):
    """A loss of two views of each image, and what belongs to it. All but `forward` has a default.

    `encoder`: backbone and projection head. `projections` [2, N, D]: of the last batch's views 1 and 2, to look at.
    """

    encoder: nn.Module
    projections: torch.Tensor

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1], index [N] sample ids -> the loss of each image [N], in nats."""
        raise NotImplementedError

    def start_epoch(self, epoch: int) -> None:
        """Called before epoch 1, 2, ..."""

    def scores(self) -> torch.Tensor | None:
        """Scores [images] in [0, 1] by which the views of the running epoch are boosted; None for plain views."""
        return None

    def measures(self) -> dict[str, float]:
        """What metrics.jsonl keeps of the running epoch besides losses."""
        return {}

    def masks(self) -> Masks:
        """The masks of the running epoch, which mask_<epoch>.pt keeps; {} for none."""
        return {}

    def epoch_state(self) -> dict[str, torch.Tensor]:
        """What start_epoch made, and weights that have moved since could not make again."""
        return {}

    def load_epoch_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take up the epoch_state of an interrupted epoch, after start_epoch."""

    def memory(self) -> dict[str, torch.Tensor] | None:
        """What a checkpoint keeps from epoch to epoch besides the encoder; None for nothing."""
        return None

    def load_memory(self, memory: Any, source: str) -> None:
        """Take up the memory of the checkpoint `source`; InputError if it is none of these images."""


class Wrapper(Method):
    """A method around another one, `method`; it hands on what it does not change."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    @property
    def encoder(self) -> nn.Module:
        """The wrapped method's."""
        return self.method.encoder

    @property
    def projections(self) -> torch.Tensor:
        """The wrapped method's."""
        return self.method.projections

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The wrapped method's losses [N]."""
        return self.method(views, index)

    def start_epoch(self, epoch: int) -> None:
        self.method.start_epoch(epoch)

    def scores(self) -> torch.Tensor | None:
        return self.method.scores()

    def measures(self) -> dict[str, float]:
        return self.method.measures()

    def masks(self) -> Masks:
        return self.method.masks()

    def epoch_state(self) -> dict[str, torch.Tensor]:
        return self.method.epoch_state()

    def load_epoch_state(self, state: dict[str, torch.Tensor]) -> None:
        self.method.load_epoch_state(state)

    def memory(self) -> dict[str, torch.Tensor] | None:
        return self.method.memory()

    def load_memory(self, memory: Any, source: str) -> None:
        self.method.load_memory(memory, source)
