"""Losses that are not finite, noticed a few steps later: nothing waits for the step that is being computed."""

from collections import deque

import torch

from utils.distributed import World, in_all_processes

LAG = 4  # steps: as far as the host may be ahead of a GPU


class Watch:
    """Whether the losses of an epoch's steps are finite, by flags that come back from the GPU on their own.

    A run that has gone wrong then ends within LAG + 1 steps, and not when losses are printed the next time. On a CPU
    there is nothing to be ahead of, and what is printed tells: `world` of a CPU notes nothing, unless `always`.
    """

    def __init__(self, world: World, always: bool = False) -> None:
        self.watches, self.on_cuda = always or world.device.type == "cuda", world.device.type == "cuda"
        self._flags: deque[tuple[torch.Tensor, torch.cuda.Event | None]] = deque()

    def found(self, losses: torch.Tensor) -> bool:
        """Note the losses [n] of the step that was just handed to the device; all processes call this after it.

        Returns:
            Whether those of LAG calls ago were not finite in some process. It waits until that step is done: steps are
            handed to a GPU ahead of time, but no further than that.
        """
        if not self.watches:
            return False
        self._flags.append(self._on_its_way(in_all_processes(losses.detach().isfinite().all())))
        if len(self._flags) <= LAG:
            return False
        finite, back = self._flags.popleft()
        if back is not None:
            back.synchronize()
        return not bool(finite)

    def _on_its_way(self, flag: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        """The flag, which is copied to the host's memory, and the event behind which it is there."""
        if not self.on_cuda:
            return flag, None
        there, back = torch.empty(flag.shape, dtype=flag.dtype, pin_memory=True), torch.cuda.Event()
        there.copy_(flag, non_blocking=True)
        back.record()
        return there, back
