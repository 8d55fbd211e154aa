"""Notices losses that are not finite a few steps later, so that nothing waits for the step that is being computed."""

from collections import deque

import torch

from utils.distributed import World, in_all_processes

LAG = 4  # steps that the host may be ahead of a GPU


class Watch:
    """Watches whether the losses of an epoch's steps are finite, by flags that the GPU copies back asynchronously.

    A run whose loss is not finite then ends within LAG + 1 steps, and not only when losses are next printed. A CPU
    computes each step before the next one begins, so printing is enough: there it does nothing, unless `always`.
    """

    def __init__(self, world: World, always: bool = False) -> None:
        self.on_cuda = world.device.type == "cuda"
        self.active = always or self.on_cuda
        self._flags: deque[tuple[torch.Tensor, torch.cuda.Event | None]] = deque()

    def not_finite(self, losses: torch.Tensor) -> bool:
        """Keep a flag for the losses [n] of the step that was just launched; all processes call this after it.

        Returns:
            Whether the losses of LAG calls ago were not finite in some process. It waits for that step, so the host is
            never more than LAG steps ahead of the GPU.
        """
        if not self.active:
            return False
        self._flags.append(self._to_host(in_all_processes(losses.detach().isfinite().all())))
        if len(self._flags) <= LAG:
            return False
        finite, copied = self._flags.popleft()
        if copied is not None:
            copied.synchronize()
        return not bool(finite)

    def _to_host(self, flag: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        """The flag in the host's memory, and the event after which its copy is complete, None if there is no copy."""
        if not self.on_cuda:
            return flag, None
        on_host, copied = torch.empty(flag.shape, dtype=flag.dtype, pin_memory=True), torch.cuda.Event()
        on_host.copy_(flag, non_blocking=True)
        copied.record()
        return on_host, copied
