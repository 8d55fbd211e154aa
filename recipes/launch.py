"""torchrun for the recipes: the same launcher, but its exit code is the script's, and signals go on to the script.

    python -m recipes.launch --nproc_per_node=2 --master_port=4833 train_simCLR.py ...

torchrun answers every failure with a report of its own and exit code 1, which would hide the one line and the exit
code 2 of a bad command line. On SIGTERM and SIGINT it ends the processes within 30 seconds, and SIGUSR1 ends torchrun
itself; here each process gets the signal, and has minutes to save its state and to end.
"""

import argparse
import logging
import os
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Never

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})  # until there are processes to get them
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # no warnings about machines whose address has no name

from torch.distributed.elastic import multiprocessing as elastic
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousError,
    RendezvousTimeoutError,
)
from torch.distributed.run import get_args_parser
from torch.distributed.run import run as torchrun

from recipes.machines import Heartbeats, Meeting, end_at_once, prepare
from recipes.running import shell_code
from utils.distributed import cores
from utils.errors import CODES, InputError

PATIENCE = 600  # seconds from a signal until the processes are killed
NOTICE_TIME = 30  # seconds in which a process notices that the others are gone, where their connections were closed


class Workers(elastic.SubprocessContext):
    """torchrun's processes. They get this process's signals; those that still save go on when others have ended.

    Args:
        meeting: that of the machines where there are several; it is over when the processes start.
    """

    deadline: float | None = None
    early: int | None = None  # a signal that came while the processes were being started
    meeting: Meeting | None = None
    heartbeats: Heartbeats | None = None

    def __init__(self, *args: Any, meeting: Meeting | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.meeting = meeting

    def _start(self) -> None:
        for number in CODES:  # torchrun's handlers would leave the processes running that have been started
            signal.signal(number, self._forward)
        super()._start()
        if self.meeting:
            self.meeting.end_wait()
            self.heartbeats = Heartbeats(self.meeting.place.local, self.envs[0], self._lost)
        # The processes began with these signals blocked, too, and unblock them themselves.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)
        if self.early is not None:
            self._forward(self.early, None)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if not self.subprocess_handlers:
            self.early = number
            return
        self.deadline = self.deadline or time.monotonic() + PATIENCE
        self._send(number)

    def _send(self, number: int) -> None:
        for handler in self.subprocess_handlers.values():
            handler.proc.send_signal(number)  # not to its process group, which has the data loader's workers

    def _lost(self, line: str) -> None:
        # Killed: torchrun would wait for an answer of the lost machine, and the processes for its tensors.
        self._send(signal.SIGKILL)
        end_at_once(f"error: {line}")

    def close(self, death_sig: signal.Signals | None = None, timeout: int = 30) -> None:
        """As torchrun's; before it, the other machines learn whether this one's processes have done their work."""
        if self.meeting and self.heartbeats:
            # Where torchrun has lost the machine of the meeting place, the processes soon lose it, too, and report why.
            deadline = time.monotonic() + NOTICE_TIME
            while self._codes() == {None} and death_sig != signal.SIGKILL and time.monotonic() < deadline:
                time.sleep(0.1)
            self.heartbeats.stop(done=self._codes() <= {0, *CODES.values()})
            self.meeting.reported = self.meeting.reported or 2 in self._codes()
        super().close(death_sig, timeout)

    def _codes(self) -> set[int | None]:
        """Exit codes of the processes; None for those that still run."""
        return {handler.proc.poll() for handler in self.subprocess_handlers.values()}

    def _poll(self) -> elastic.RunProcsResult | None:
        # It waits here, since torchrun takes the end of another machine for an error while its own loop runs.
        while True:
            codes = self._codes()
            saved = codes & set(CODES.values())
            if saved:  # perhaps without a signal to this process: another machine got it
                self.deadline = self.deadline or time.monotonic() + PATIENCE
            if self.deadline and time.monotonic() > self.deadline:
                self.close(signal.SIGKILL)
            elif saved and None in codes and codes <= {None, 0, *saved}:
                time.sleep(0.1)
                continue
            return super()._poll()


def main() -> int:
    """Run torchrun with this command line; returns the exit code of the first process that failed, as a shell would."""
    match = re.search(r"--nproc[-_]per[-_]node[= ](\d+)", " ".join(sys.argv[1:]))
    if match:
        # By default torchrun gives each process one thread, and warns about it.
        threads = max(cores() // max(int(match[1]), 1), 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    meeting = None
    try:
        args = _parse()
        meeting = prepare(args)
        elastic.SubprocessContext = partial(Workers, meeting=meeting)  # torchrun starts its processes with this class
        _run(args, meeting)
    except ChildFailedError as error:
        return shell_code(error.get_first_failure()[1].exitcode)
    except elastic.SignalException as error:
        return shell_code(-error.sigval)
    except KeyboardInterrupt:
        return shell_code(-signal.SIGINT)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RendezvousError as error:
        message = f"lost the machine where the others meet ({type(error).__name__})"
        if meeting and isinstance(error, RendezvousTimeoutError):
            message = meeting.timeout_message
        if not (meeting and meeting.reported):
            print(f"error: {message}", file=sys.stderr)
        return 2
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"error: cannot start the processes, choose another port perhaps: {reason}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace, meeting: Meeting | None) -> None:
    """Run torchrun; again where the machines tried to join the previous step's meeting, which was about to end."""
    while True:
        try:
            return torchrun(args)
        except (RendezvousClosedError, RendezvousConnectionError):
            if not meeting or not meeting.open:
                raise
            time.sleep(1)
            meeting.wait_for_place()


def _refuse(message: str) -> Never:
    raise InputError(message)


def _parse() -> argparse.Namespace:
    """torchrun's own flags; a mistake is an InputError, without torchrun's usage before it."""
    parser = get_args_parser()
    parser.error = _refuse
    # Up to Python 3.11, a script's flag that abbreviates two of torchrun's, as --monitor does, would be an error.
    parser.allow_abbrev = False
    args = parser.parse_args(sys.argv[1:])
    if not args.module and not args.no_python and not Path(args.training_script).is_file():
        raise InputError(f"script {args.training_script} does not exist")
    return args


if __name__ == "__main__":
    sys.exit(main())
