"""Programs run one after the other; a signal to this process goes on to the one that runs, and ends what comes after.

SIGTERM and SIGUSR1 are handed on, and the program saves and ends. A terminal's Ctrl-C reaches both at once.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Never, Self

from utils.errors import CODES, UNSAVED


def program() -> str:
    """The Python that runs the steps: PYTHON of the environment, else this one."""
    return os.environ.get("PYTHON") or sys.executable


def dry_run() -> bool:
    """Whether commands are only printed: DRY_RUN of the environment."""
    return os.environ.get("DRY_RUN", "") not in ("", "0")


class Programs:
    """`with Programs() as programs:` notes signals; outside, they are as they were."""

    def __init__(self) -> None:
        self.child: subprocess.Popen | None = None
        self.starting = False
        self.code = 0  # of the last signal that came
        self.failed = False
        self.before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        # What was ignored from the start, as SIGINT in a shell's background, remains so, here and in what runs.
        wanted = [number for number in CODES if signal.getsignal(number) != signal.SIG_IGN]
        self.before = {number: signal.signal(number, self._note) for number in wanted}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def run(self, words: Sequence[str], go_on: bool = False) -> None:
        """Run a program to its end, whatever signals come meanwhile.

        Where it fails or a signal came, this process ends as it did, with an exit code as a shell has it.

        Args:
            go_on: a failure is noted in `failed`, and does not end this process.
        """
        self.starting = True
        # No standard input: a loop of a shell that reads lines keeps them.
        self.child = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        self.starting = False
        if self.code:  # it came too early to be handed on
            self.child.send_signal(next(number for number, code in CODES.items() if code == self.code))
        code = shell_code(self.child.wait())
        self.child = None
        if self.code == CODES[signal.SIGINT]:
            end(self.code)
        if ended := self.code if go_on else code or self.code:
            end(ended)
        self.failed |= code != 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.code = CODES[signal.Signals(number)]
        if self.child is not None:
            if number != signal.SIGINT:
                self.child.send_signal(number)
        elif not self.starting:
            end(self.code)


def shell_code(code: int) -> int:
    """The exit code for a program that ended with `code`, negative by a signal: as a shell has it, but UNSAVED where
    that would say that it saved."""
    if code >= 0:
        return code
    return UNSAVED if -code in CODES else 128 - code


def end(code: int) -> Never:
    """End this process with an exit code; for 130 by SIGINT, since only then a shell ends its loop over recipes."""
    sys.stdout.flush()
    if code == CODES[signal.SIGINT]:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(code)
