"""Runs command lines within a time limit, and measures how long they take."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from benchmarks.study.kept import folder_of
from utils.errors import CODES, InputError
from utils.files import PROJECT

GRACE = 30  # seconds that a stopped run has to end its step and to save


class Pace(NamedTuple):
    """Seconds of a recipe's step: `start` for all that is not an epoch, `epoch` for each epoch."""

    start: float
    epoch: float

    def seconds(self, epochs: int) -> float:
        return self.start + epochs * self.epoch


def run_step(words: Sequence[str], environment: Mapping[str, str], seconds: float) -> bool:
    """Run a command line for at most `seconds`; returns whether it was complete by then.

    It is asked to save and end GRACE seconds before the limit, and killed at the limit.

    Args:
        words: the command line, run in the project's folder. environment: all its variables.

    Raises:
        InputError: it failed.
    """
    if seconds <= GRACE:
        return False
    process = subprocess.Popen(
        words, cwd=PROJECT, env=dict(environment), stdin=subprocess.DEVNULL, start_new_session=True
    )
    stopped = False
    with _ended_by_signals():
        try:
            code = process.wait(seconds - GRACE)
        except subprocess.TimeoutExpired:
            stopped, code = True, _end(process)
        except BaseException:  # this program is to end, but its run is to save first
            _end(process)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):  # workers of a run that was killed
                os.killpg(process.pid, signal.SIGKILL)
    if stopped and code in (CODES[signal.SIGTERM], -signal.SIGTERM, -signal.SIGKILL):
        return False
    if code:
        raise InputError(f"`{' '.join(words[:3])} ...` ended with code {code}")
    return True


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise SystemExit, as Ctrl-C raises KeyboardInterrupt."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers} if _in_main_thread() else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_main_thread() -> bool:
    """Whether signal handlers can be set here: Python allows it in no other thread."""
    return threading.current_thread() is threading.main_thread()


def _end(process: subprocess.Popen) -> int:
    """Ask a run to save and end, kill it if it has not after GRACE seconds, and return its exit code."""
    process.terminate()
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def pace_of(words: Sequence[str], environment: Mapping[str, str], seconds: float) -> Pace:
    """Run a command line of two or more epochs, and measure its pace.

    Raises:
        InputError: it failed, or was not complete after `seconds`.
    """
    start = time.perf_counter()
    if not run_step(words, environment, seconds):
        raise InputError(
            f"a trial of `{' '.join(words[:3])} ...` is not over within {seconds:.0f} s: give more --minutes"
        )
    total = time.perf_counter() - start
    lines = [json.loads(line) for line in (Path(folder_of(words)) / "metrics.jsonl").read_text("utf-8").splitlines()]
    ends = {line["epoch"]: line["time"] for line in lines}  # an epoch with several lines: the last one
    per_epoch = (max(ends.values()) - min(ends.values())) / (max(ends) - min(ends))
    return Pace(max(total - max(ends) * per_epoch, 0.0), per_epoch)
