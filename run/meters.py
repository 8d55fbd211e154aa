"""What an epoch measures of itself: losses, gradient norms, how the features lie."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from utils.distributed import World, mean_over_processes, union_over_processes
from utils.errors import InputError

NAMED = 10  # sample ids in a message


class Meters:
    """The losses of an epoch of so many steps, and what is measured now and then: kept on the device, and read, which
    waits for it, once in a while.

    `done` counts the steps, those before an interruption included.

    Args:
        part_of: the part, a whole number from 0 on, that each sample id is of, [N] int64 on the device; then the mean
            loss of each part is kept, too. Nothing but these means depends on it.
        more: names of other values of each image whose means of the parts are kept.
    """

    def __init__(self, steps: int, part_of: torch.Tensor | None = None, more: Sequence[str] = ()) -> None:
        self.steps, self.done, self.images, self.total, self.last = steps, 0, 0, 0.0, 0.0
        self.part_of, self.more, parts = part_of, tuple(more), 0 if part_of is None else int(part_of.max()) + 1
        # Of each value, for each part: sum, images.
        self._of_parts = {name: [[0.0, 0] for _ in range(parts)] for name in ("loss", *more) if parts}
        self._unread: list[tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]] = []
        self._measured: list[tuple[str, torch.Tensor]] = []
        self._sums: dict[str, list[float]] = {}

    def add(self, losses: torch.Tensor, index: torch.Tensor, more: Mapping[str, torch.Tensor] | None = None) -> None:
        """Note the losses [n] of the next step's images, their sample ids [n], and other values [n] by name."""
        values = {"loss": losses.detach(), **(more or {})}
        self._unread.append((values["loss"], index, {name: values[name] for name in self._of_parts}))
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
        means = [losses.mean() for losses, _, _ in self._unread]
        noted = torch.stack([*means, *(value for _, value in self._measured)])
        told = len(noted)
        sums = [self._sums_of_parts(each, index) for _, index, values in self._unread for each in values.values()]
        noted = mean_over_processes(torch.cat([noted, *sums])).tolist()
        for i, (losses, index, _) in enumerate(self._unread):
            self.last, self.total = noted[i], self.total + noted[i] * len(losses)
            self.images += len(losses)
            if not math.isfinite(self.last):
                where_it_is = f"{where(self.done - steps + i)}, {_named(losses, index)}"
                message = f"the loss is {self.last} in {where_it_is}: lower the learning rate"
                raise InputError(message) if world.main else SystemExit(2)
        self._unread.clear()
        # Step by step, so that the sums are the same to the bit however often they are read.
        sums = iter(noted[told:])
        for _ in range(steps):
            for of_part in chain.from_iterable(self._of_parts.values()):
                of_part[0] += next(sums) * world.size
                of_part[1] += round(next(sums) * world.size)
        for (name, _), value in zip(self._measured, noted[steps:told], strict=True):
            if not math.isfinite(value):
                continue  # the gradient's norm, while a GradScaler looks for its scale
            total, n = self._sums.get(name, (0.0, 0))
            self._sums[name] = [total + value, n + 1]
        self._measured.clear()

    def _sums_of_parts(self, values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """[2 x parts] sum of the values [n] of each part in a step of this process, and its images."""
        is_of = self.part_of[index] == torch.arange(len(self._of_parts["loss"]), device=index.device)[:, None]
        return torch.stack([(values.double() * is_of).sum(1), is_of.sum(1).double()], 1).flatten()

    @property
    def loss(self) -> float:
        """Mean over the images of the steps that were read; 0 before."""
        return self.total / max(self.images, 1)

    def mean(self, name: str) -> float | None:
        """Mean of what was measured under this name and read; None before."""
        total, n = self._sums.get(name, (0.0, 0))
        return total / n if n else None

    def means_of_parts(self) -> dict[str, list[float | None]]:
        """Of each value the mean of each part's images, of all processes, in the steps that were read; None of none."""
        return {
            name: [total / images if images else None for total, images in of_parts]
            for name, of_parts in self._of_parts.items()
        }

    def parts_of(self, values: torch.Tensor) -> list[float | None]:
        """The mean of each part of values [N] by sample id; None of a part without images."""
        parts = len(self._of_parts.get("loss", ()))
        chosen = [values[self.part_of == part] for part in range(parts)]
        return [each.double().mean().item() if len(each) else None for each in chosen]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint within the epoch keeps, once everything was read."""
        kept = {name: getattr(self, name) for name in ("done", "images", "total", "last")}
        return {**kept, "measured": self._sums, **({"parts": self._of_parts} if self._of_parts else {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; its numbers must be those of an epoch of as many steps, else ValueError."""
        if not 0 < state["done"] <= self.steps:
            raise ValueError(f"step {state['done']} of {self.steps}")
        self.done, self.images = int(state["done"]), int(state["images"])
        self.total, self.last = float(state["total"]), float(state["last"])
        self._sums = {str(name): [float(total), int(n)] for name, (total, n) in state["measured"].items()}
        kept = state.get("parts", {})
        kept = kept if isinstance(kept, dict) else {"loss": kept}  # of versions that had the losses alone
        kept = {name: [[float(total), int(images)] for total, images in found] for name, found in kept.items()}
        # What the part before the interruption did not note is not known of the whole.
        self._of_parts = {
            name: kept[name] for name, own in self._of_parts.items() if len(kept.get(name, ())) == len(own)
        }


def _named(losses: torch.Tensor, index: torch.Tensor) -> str:
    """The sample ids of the losses that are not finite, of all processes; of all, where only their sum is not."""
    bad = {str(i) for i, loss in zip(index.tolist(), losses.tolist(), strict=True) if not math.isfinite(loss)}
    ids = union_over_processes(bad) or union_over_processes({str(i) for i in index.tolist()})
    some = ", ".join(sorted(ids, key=int)[:NAMED])
    return f"sample ids {some}" + f" and {len(ids) - NAMED} more" * (len(ids) > NAMED)
