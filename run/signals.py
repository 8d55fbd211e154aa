"""SIGTERM, SIGINT and SIGUSR1, made known to all processes after the same step, so that they save and end."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

import torch
import torch.distributed as dist

from utils.distributed import World
from utils.errors import CODES, InputError

PATIENCE = 900  # seconds from a signal to the end of the step and of its saving
# Blocked during set-up. SIGINT is not: it comes from a person, who should not wait while there is nothing to save.
HELD = {signal.SIGTERM, signal.SIGUSR1}


def release_signals() -> None:
    """Unblock SIGTERM and SIGUSR1, which a training script blocks at its start so that they do not end it before its
    first step with nothing saved. Signals does it when it can note them; a process without steps calls it at once."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


class Signals:
    """Notes SIGTERM, SIGINT and SIGUSR1 inside `with Signals(world) as signals:`; a second SIGINT ends the process.

    All processes enter together, after they have joined.
    """

    def __init__(self, world: World) -> None:
        self.several = world.size > 1
        self.code, self.handlers_before = 0, {}
        self.pending: tuple[dist.Work, torch.Tensor] | None = None

    def __enter__(self) -> Self:
        if self.several:
            # A separate process group on the CPU: this exchange must not wait for gradients or for a GPU.
            try:
                self.group = dist.new_group(backend="gloo")
            except (RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"gloo finds no network, set GLOO_SOCKET_IFNAME perhaps: {reason}") from error
        if threading.current_thread() is threading.main_thread():
            self.handlers_before = {number: signal.signal(number, self._note) for number in CODES}
            release_signals()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self.handlers_before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.alarm(0)
        if kind is None:  # after an error, the other processes may never make the call that settle() waits for
            self.settle()

    def requested(self) -> int:
        """Exit code of the signal that any process has received, 0 for none; all processes call this after each step.

        With several processes it returns the result of the call before, so that no step waits for the network.
        """
        if not self.several:
            return self.code
        answer = self.settle()
        code = torch.tensor(self.code, dtype=torch.int32)
        self.pending = dist.all_reduce(code, dist.ReduceOp.MAX, group=self.group, async_op=True), code
        return answer

    def settle(self) -> int:
        """Wait for the exchange that the last call of requested() began; returns its exit code, 0 if there was none."""
        if self.pending is None:
            return 0
        (work, code), self.pending = self.pending, None
        work.wait()
        return int(code)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.code = self.code or CODES[number]
        if number == signal.SIGINT:
            # A second SIGINT, from a person, must end the process even while no Python code runs. A second SIGTERM is
            # the first one again: a launcher forwards what the whole process group has received.
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(PATIENCE)  # where another process has died, the step may never end
