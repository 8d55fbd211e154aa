"""Programs run one after the other; a signal to this process goes on to the running one, and no other one starts then.

SIGTERM and SIGUSR1 are handed on, so that the program saves and ends. A terminal's Ctrl-C reaches both by itself.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Never, Self

from utils.errors import CODES, UNSAVED

COMMANDS = "bash_log.txt"  # in the folder of a pre-training: the commands of its recipe


def program() -> str:
    """The Python that runs the steps: PYTHON of the environment, else this one."""
    return os.environ.get("PYTHON") or sys.executable


def switched_on(name: str) -> bool:
    """Whether a variable of the environment, DRY_RUN or TAIL, is set, and not to 0."""
    return os.environ.get(name, "") not in ("", "0")


def dry_run() -> bool:
    """Whether commands are only printed, by DRY_RUN of the environment."""
    return switched_on("DRY_RUN")


@contextmanager
def logged(line: str, folder: Path) -> Iterator[None]:
    """Append a command to the log in `folder` while it runs; one that leaves nothing else there leaves no folder.

    Folders that others have put something into meanwhile stay.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / COMMANDS).open("a", encoding="utf-8", errors="surrogateescape") as log:
        log.write(line + "\n")
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty, or gone already
            if missing and [path.name for path in folder.iterdir()] == [COMMANDS]:
                (folder / COMMANDS).unlink()
            for path in missing:
                path.rmdir()


class Programs:
    """`with Programs() as programs:` handles signals; afterwards their handlers are the previous ones."""

    def __init__(self) -> None:
        self.child: subprocess.Popen | None = None
        self.starting = False
        self.code = 0  # of the last signal that came
        self.failed = False
        self.before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        # Signals that are ignored, as SIGINT in a shell's background, remain so, here and in the programs.
        handled = [number for number in CODES if signal.getsignal(number) != signal.SIG_IGN]
        self.before = {number: signal.signal(number, self._handle) for number in handled}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def run(self, words: Sequence[str], go_on: bool = False) -> None:
        """Run a program and wait for its end, also after a signal.

        Where it fails or a signal came, this process ends, too, with the exit code that a shell would give.

        Args:
            go_on: a failure sets `failed`, and does not end this process.
        """
        self.starting = True
        # Without standard input: it would take the lines that a shell's loop around this process reads.
        self.child = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        self.starting = False
        if self.code:  # it came too early to be handed on
            self.child.send_signal(next(number for number, code in CODES.items() if code == self.code))
        code = shell_code(self.child.wait())
        self.child = None
        if self.code == CODES[signal.SIGINT]:
            end(self.code)
        if final_code := self.code if go_on else code or self.code:
            end(final_code)
        self.failed |= code != 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.code = CODES[signal.Signals(number)]
        if self.child is not None:
            if number != signal.SIGINT:
                self.child.send_signal(number)
        elif not self.starting:
            end(self.code)


def shell_code(code: int) -> int:
    """A shell's exit code for a program that ended with `code`, which is negative for a signal."""
    if code >= 0:
        return code
    # 128 + n of these signals means that the state was saved, which a program killed by one has not done.
    return UNSAVED if -code in CODES else 128 - code


def end(code: int) -> Never:
    """End this process with an exit code; with 130 by a SIGINT, since only then a shell ends its loop over recipes."""
    sys.stdout.flush()
    if code == CODES[signal.SIGINT]:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(code)
