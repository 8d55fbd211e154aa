"""torchrun for the recipes: the same launcher, but a script's exit code stays the script's, and a signal the script's.

    python -m recipes.launch --nproc_per_node=2 --master_port=4833 train_simCLR.py ...

torchrun answers every failure with a report of its own and exit code 1, which would bury the one line and the exit
code 2 of a bad command line. It answers SIGTERM and SIGINT by ending the processes within 30 seconds, and dies of
SIGUSR1; here each process gets the signal, and minutes to save and to end.
"""

import argparse
import logging
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Never

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})  # until they can be handed on

from torch.distributed.elastic import multiprocessing as elastic
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser
from torch.distributed.run import run as torchrun

from recipes.running import shell_code
from utils.distributed import cores
from utils.errors import CODES, InputError

PATIENCE = 600  # seconds, from a signal to the end of the processes


class Workers(elastic.SubprocessContext):
    """torchrun's processes; signals go on to them, and those that save are not ended for those that have ended."""

    deadline: float | None = None
    early: int | None = None  # a signal that came while the processes were being started

    def _start(self) -> None:
        for number in CODES:  # in place of torchrun's, which would leave behind what has been started
            signal.signal(number, self._forward)
        super()._start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)  # the processes have begun with them held, and release them
        if self.early is not None:
            self._forward(self.early, None)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if not self.subprocess_handlers:
            self.early = number
            return
        self.deadline = self.deadline or time.monotonic() + PATIENCE
        for handler in self.subprocess_handlers.values():
            handler.proc.send_signal(number)  # not to its group, where the loader's workers are

    def _poll(self) -> elastic.RunProcsResult | None:
        # Waits here: while torchrun's own loop runs, the end of another machine is an error.
        while True:
            codes = {handler.proc.poll() for handler in self.subprocess_handlers.values()}
            saved = codes & set(CODES.values())
            if saved:  # perhaps without a signal here: another machine had it
                self.deadline = self.deadline or time.monotonic() + PATIENCE
            if self.deadline and time.monotonic() > self.deadline:
                self.close(signal.SIGKILL)
            elif saved and None in codes and codes <= {None, 0, *saved}:
                time.sleep(0.1)
                continue
            return super()._poll()


def main() -> int:
    """Run torchrun with this command line; returns the exit code of the first process that failed, as a shell's."""
    processes = re.search(r"--nproc[-_]per[-_]node[= ](\d+)", " ".join(sys.argv[1:]))
    if processes:
        # Left alone, torchrun gives each process one thread, and warns that it did.
        threads = max(cores() // max(int(processes.group(1)), 1), 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    elastic.SubprocessContext = Workers  # what torchrun starts
    try:
        torchrun(_parse())
    except ChildFailedError as error:
        return shell_code(error.get_first_failure()[1].exitcode)
    except elastic.SignalException as error:
        return shell_code(-error.sigval)
    except KeyboardInterrupt:
        return shell_code(-signal.SIGINT)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"error: cannot start the processes, choose another port perhaps: {reason}", file=sys.stderr)
        return 2
    return 0


def _refuse(message: str) -> Never:
    raise InputError(message)


def _parse() -> argparse.Namespace:
    """torchrun's own flags; its usage, which precedes what is wrong, is left out."""
    parser = get_args_parser()
    parser.error = _refuse
    # Up to Python 3.11 a script's flag that begins like two of torchrun's, as --monitor does, is else an error.
    parser.allow_abbrev = False
    args = parser.parse_args(sys.argv[1:])
    if not args.module and not args.no_python and not Path(args.training_script).is_file():
        raise InputError(f"script {args.training_script} does not exist")
    return args


if __name__ == "__main__":
    sys.exit(main())
