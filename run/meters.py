"""What is measured during an epoch: losses, gradient norms, statistics of the projections."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from utils.distributed import World, mean_over_processes, union_over_processes
from utils.errors import InputError

NAMED = 10  # sample ids in a message


class Meters:
    """The losses of an epoch, and what only some steps measure.

    All is kept on the device, and read every so many steps, as reading waits for the device. `done` counts the steps,
    those before an interruption included.

    Args:
        steps: of the epoch. part_of: the part of the training list, 0, 1, ..., that each sample id is in, [N] int64 on
            the device; then the mean loss of each part is kept, too. Nothing but these means depends on it.
        more: names of other values of each image whose means over the parts are kept.
    """

    def __init__(self, steps: int, part_of: torch.Tensor | None = None, more: Sequence[str] = ()) -> None:
        self.steps, self.done, self.images, self.total, self.last = steps, 0, 0, 0.0, 0.0
        self.part_of, self.more, parts = part_of, tuple(more), 0 if part_of is None else int(part_of.max()) + 1
        # Name of a value -> for each part [sum of the value, number of images].
        self._of_parts = {name: [[0.0, 0] for _ in range(parts)] for name in ("loss", *more) if parts}
        self._unread: list[tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]] = []
        self._measured: list[tuple[str, torch.Tensor]] = []
        self._sums: dict[str, list[float]] = {}

    def add(self, losses: torch.Tensor, index: torch.Tensor, more: Mapping[str, torch.Tensor] | None = None) -> None:
        """Keep the losses [n] of the next step's images, their sample ids [n], and other values [n] by name."""
        values = {"loss": losses.detach(), **(more or {})}
        self._unread.append((values["loss"], index, {name: values[name] for name in self._of_parts}))
        self.done += 1

    def measure(self, name: str, value: torch.Tensor) -> None:
        """Keep a scalar of the step."""
        self._measured.append((name, value))

    def read(self, world: World, where: Callable[[int], str]) -> None:
        """Read what was kept since the last call, as means over all processes, which call it after the same step.

        Args:
            where: names a step (0-based) for the message.

        Raises:
            InputError: a loss is not finite; in all processes but the main one SystemExit, as all have the same mean.
        """
        steps = len(self._unread)
        if not steps:
            return
        means = [losses.mean() for losses, _, _ in self._unread]
        scalars = torch.stack([*means, *(value for _, value in self._measured)])
        sums = [self._sums_of_parts(each, index) for _, index, values in self._unread for each in values.values()]
        # As one tensor: a single exchange between the processes, a single wait for the device.
        numbers = mean_over_processes(torch.cat([scalars, *sums])).tolist()
        for i, (losses, index, _) in enumerate(self._unread):
            self.last, self.total = numbers[i], self.total + numbers[i] * len(losses)
            self.images += len(losses)
            if not math.isfinite(self.last):
                place = f"{where(self.done - steps + i)}, {_bad_ids(losses, index)}"
                message = f"the loss is {self.last} in {place}: lower the learning rate"
                raise InputError(message) if world.main else SystemExit(2)
        self._unread.clear()
        # Step by step, so that the sums are the same to the bit however often they are read.
        sums = iter(numbers[len(scalars) :])
        for _ in range(steps):
            for of_part in chain.from_iterable(self._of_parts.values()):
                of_part[0] += next(sums) * world.size
                of_part[1] += round(next(sums) * world.size)
        for (name, _), value in zip(self._measured, numbers[steps : len(scalars)], strict=True):
            if not math.isfinite(value):
                continue  # a gradient's norm while GradScaler still searches its scale
            total, n = self._sums.get(name, (0.0, 0))
            self._sums[name] = [total + value, n + 1]
        self._measured.clear()

    def _sums_of_parts(self, values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """[2 x parts] for each part the sum of the values [n] of a step in this process, and its number of images."""
        parts = torch.arange(len(self._of_parts["loss"]), device=index.device)
        is_in_part = self.part_of[index] == parts[:, None]  # [parts, n]
        return torch.stack([(values.double() * is_in_part).sum(1), is_in_part.sum(1).double()], 1).flatten()

    @property
    def loss(self) -> float:
        """Mean loss over the images of the steps that were read; 0 if there are none."""
        return self.total / max(self.images, 1)

    def mean(self, name: str) -> float | None:
        """Mean of what was measured under this name and read; None if there is nothing."""
        total, n = self._sums.get(name, (0.0, 0))
        return total / n if n else None

    def means_of_parts(self) -> dict[str, list[float | None]]:
        """Name of a value -> its mean over the images of each part, in all processes and the steps that were read.

        None for a part without images.
        """
        return {
            name: [total / images if images else None for total, images in of_parts]
            for name, of_parts in self._of_parts.items()
        }

    def parts_of(self, values: torch.Tensor) -> list[float | None]:
        """The mean over each part of values [N] by sample id; None for a part without images."""
        count = len(self._of_parts.get("loss", ()))
        parts = [values[self.part_of == part] for part in range(count)]
        return [part.double().mean().item() if len(part) else None for part in parts]

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint within the epoch; everything must have been read."""
        numbers = {name: getattr(self, name) for name in ("done", "images", "total", "last")}
        return {**numbers, "measured": self._sums, **({"parts": self._of_parts} if self._of_parts else {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict()`; ValueError if its number of steps does not fit this epoch."""
        if not 0 < state["done"] <= self.steps:
            raise ValueError(f"step {state['done']} of {self.steps}")
        self.done, self.images = int(state["done"]), int(state["images"])
        self.total, self.last = float(state["total"]), float(state["last"])
        self._sums = {str(name): [float(total), int(n)] for name, (total, n) in state["measured"].items()}
        saved = state.get("parts", {})
        saved = saved if isinstance(saved, dict) else {"loss": saved}  # older versions saved the losses alone
        saved = {name: [[float(total), int(images)] for total, images in sums] for name, sums in saved.items()}
        # A value that was not kept before the interruption has no mean over the whole epoch: it is dropped.
        self._of_parts = {
            name: saved[name] for name, sums in self._of_parts.items() if len(saved.get(name, ())) == len(sums)
        }


def _bad_ids(losses: torch.Tensor, index: torch.Tensor) -> str:
    """The sample ids, over all processes, whose losses are not finite; all ids where only the sum is not finite."""
    bad = {str(i) for i, loss in zip(index.tolist(), losses.tolist(), strict=True) if not math.isfinite(loss)}
    ids = union_over_processes(bad) or union_over_processes({str(i) for i in index.tolist()})
    some = ", ".join(sorted(ids, key=int)[:NAMED])
    return f"sample ids {some}" + f" and {len(ids) - NAMED} more" * (len(ids) > NAMED)
