"""What an epoch measures of itself: losses, gradient norms, how the features lie."""

import math
from collections.abc import Callable
from typing import Any

import torch

from utils.distributed import World, mean_over_processes, union_over_processes
from utils.errors import InputError

NAMED = 10  # sample ids in a message


class Meters:
    """The losses of an epoch of so many steps, and what is measured now and then: kept on the device, and read, which
    waits for it, once in a while.

    `done` counts the steps, those before an interruption included.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self.images, self.total, self.last = steps, 0, 0, 0.0, 0.0
        self._unread: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._measured: list[tuple[str, torch.Tensor]] = []
        self._sums: dict[str, list[float]] = {}

    def add(self, losses: torch.Tensor, index: torch.Tensor) -> None:
        """Note the losses [n] of the next step's images and their sample ids [n]."""
        self._unread.append((losses.detach(), index))
        self.done += 1

    def measure(self, name: str, value: torch.Tensor) -> None:
        """Note a scalar of the step."""
        self._measured.append((name, value))

    def read(self, world: World, where: Callable[[int], str]) -> None:
        """Take in what was noted since the last time, means over all processes, which call it after the same step.

        Args:
            where: of a step's number (0-based), for the message.

        Raises:
            InputError: a loss is not finite; SystemExit in all processes but the main one, as all have the same mean.
        """
        steps = len(self._unread)
        if not steps:
            return
        noted = torch.stack([*(losses.mean() for losses, _ in self._unread), *(value for _, value in self._measured)])
        noted = mean_over_processes(noted).tolist()
        for i, (losses, index) in enumerate(self._unread):
            self.last, self.total = noted[i], self.total + noted[i] * len(losses)
            self.images += len(losses)
            if not math.isfinite(self.last):
                where_it_is = f"{where(self.done - steps + i)}, {_named(losses, index)}"
                message = f"the loss is {self.last} in {where_it_is}: lower the learning rate"
                raise InputError(message) if world.main else SystemExit(2)
        self._unread.clear()
        for (name, _), value in zip(self._measured, noted[steps:], strict=True):
            if not math.isfinite(value):
                continue  # the gradient's norm, while a GradScaler looks for its scale
            total, n = self._sums.get(name, (0.0, 0))
            self._sums[name] = [total + value, n + 1]
        self._measured.clear()

    @property
    def loss(self) -> float:
        """Mean over the images of the steps that were read; 0 before."""
        return self.total / max(self.images, 1)

    def mean(self, name: str) -> float | None:
        """Mean of what was measured under this name and read; None before."""
        total, n = self._sums.get(name, (0.0, 0))
        return total / n if n else None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint within the epoch keeps, once everything was read."""
        kept = {name: getattr(self, name) for name in ("done", "images", "total", "last")}
        return {**kept, "measured": self._sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; its numbers must be those of an epoch of as many steps, else ValueError."""
        if not 0 < state["done"] <= self.steps:
            raise ValueError(f"step {state['done']} of {self.steps}")
        self.done, self.images = int(state["done"]), int(state["images"])
        self.total, self.last = float(state["total"]), float(state["last"])
        self._sums = {str(name): [float(total), int(n)] for name, (total, n) in state["measured"].items()}


def _named(losses: torch.Tensor, index: torch.Tensor) -> str:
    """The sample ids of the losses that are not finite, of all processes; of all, where only their sum is not."""
    bad = {str(i) for i, loss in zip(index.tolist(), losses.tolist(), strict=True) if not math.isfinite(loss)}
    ids = union_over_processes(bad) or union_over_processes({str(i) for i in index.tolist()})
    some = ", ".join(sorted(ids, key=int)[:NAMED])
    return f"sample ids {some}" + f" and {len(ids) - NAMED} more" * (len(ids) > NAMED)
