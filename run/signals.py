"""SIGTERM, SIGINT and SIGUSR1 noted, and known to all processes after the same step, so that they save and end."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

import torch
import torch.distributed as dist

from utils.distributed import World
from utils.errors import CODES, InputError

PATIENCE = 900  # seconds, from a signal to the end of the step and its saving
HELD = {signal.SIGTERM, signal.SIGUSR1}  # not a person's SIGINT, who need not wait where there is nothing to save


def release_signals() -> None:
    """Let SIGTERM and SIGUSR1 end this process, which has no step to save: a training script holds them from its start
    until Signals notes them, since before its first step they would end it with nothing saved."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


class Signals:
    """SIGTERM, SIGINT and SIGUSR1 are noted inside `with Signals(world) as signals:`; a second SIGINT ends the process.

    All processes enter together, after they have joined.
    """

    def __init__(self, world: World) -> None:
        self.several = world.size > 1
        self.code, self.before = 0, {}
        self.pending: tuple[dist.Work, torch.Tensor] | None = None

    def __enter__(self) -> Self:
        if self.several:
            # A group of its own, on the CPU: this exchange must not wait for gradients or for a GPU.
            try:
                self.group = dist.new_group(backend="gloo")
            except (RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"gloo finds no network, set GLOO_SOCKET_IFNAME perhaps: {reason}") from error
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in CODES}
            release_signals()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.alarm(0)
        if kind is None:  # on an error of this process alone, the others may never have come to this call
            self.settle()

    def requested(self) -> int:
        """Exit code of the signal that any process has received, 0 for none; all processes call this after each step.

        With several processes it returns the answer to the previous call, so no step waits for the network.
        """
        if not self.several:
            return self.code
        answer = self.settle()
        code = torch.tensor(self.code, dtype=torch.int32)
        self.pending = dist.all_reduce(code, dist.ReduceOp.MAX, group=self.group, async_op=True), code
        return answer

    def settle(self) -> int:
        """Wait for what the last call asked for; 0 if there was none."""
        if self.pending is None:
            return 0
        (work, code), self.pending = self.pending, None
        work.wait()
        return int(code)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.code = self.code or CODES[number]
        if number == signal.SIGINT:
            # A person's second one ends the run at once, and does not wait for Python to come round. A second SIGTERM
            # is the first one again, by a launcher that hands on what the whole group has had.
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(PATIENCE)  # where another process has died, no step may ever end
