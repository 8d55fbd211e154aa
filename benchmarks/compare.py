"""Times procedures in turns, each in a process of its own; and measures the best speed of the processor.

A contender is a function, named by its module, that prepares its work and returns `step`, which does one unit of it.
Allocators, threads and memory formats of one process do not affect the other. A process that is not asked for a step is
stopped together with its children, such as a loader's workers. Other work of the computer during a round slows both
alike, so the ratio of a round is more reliable than two separate times.

    with Contender("benchmarks.a", "prepare", batch=512) as theirs, Contender("benchmarks.b", "prepare") as ours:
        print(interleaved([theirs, ours], rounds=7, warmup=2)[0].ratio)

The children run this file: `python -m benchmarks.compare FILE_DESCRIPTOR` serves requests on that pipe.
"""

import contextlib
import importlib
import multiprocessing
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from run.processor import processor
from utils.distributed import cores

ROOT = Path(__file__).resolve().parents[1]
Step = Callable[[], float | None]


class Contender:
    """A procedure in a process of its own, which does one step at a time. As a context manager it ends the process.

    Args:
        module, function: the function that returns the step; the step's work is complete when it returns.
        environment: variables of the process in addition to this one's, such as LD_PRELOAD or OMP_NUM_THREADS.
        arguments: of the function; anything that can be pickled.

    Attributes:
        value: what the last step returned; None before the first one.
        peak: peak resident memory of the process so far, in bytes, without its children.

    Raises:
        RuntimeError: the function raised, with its traceback; or the process died.
    """

    def __init__(self, module: str, function: str, environment: dict[str, str] | None = None, **arguments: Any) -> None:
        self.name, self.value, self.peak = f"{module}.{function}", None, 0
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        variables = {**os.environ, "PYTHONPATH": path, **(environment or {})}
        self._pipe, theirs = multiprocessing.Pipe()
        with theirs:
            command = [sys.executable, "-m", "benchmarks.compare", str(theirs.fileno())]
            # A group in this session: if this process is killed, the kernel wakes and ends the stopped group.
            self.process = subprocess.Popen(command, env=variables, pass_fds=[theirs.fileno()], process_group=0)
        self._ask((module, function, arguments))

    def step(self) -> float:
        """Do one step; returns its seconds.

        Raises:
            RuntimeError: the step raised, with its traceback; or the process died. In both cases it has ended.
        """
        return self._ask("step")

    def _ask(self, request: object) -> float:
        try:
            self._signal(signal.SIGCONT)
            self._pipe.send(request)
            error, seconds, self.value, self.peak = self._pipe.recv()
            self._signal(signal.SIGSTOP)
        except (EOFError, OSError):
            error = "it died"
        if error:
            self.close()
            raise RuntimeError(f"{self.name} failed (exit code {self.process.returncode}): {error}")
        return seconds

    def _signal(self, number: int) -> None:
        """Send a signal to the process and its children, if they still exist."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        """End the process: at once if it waits for a request, by SIGKILL if it is still busy after 5 seconds."""
        self._signal(signal.SIGCONT)
        self._pipe.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pair(NamedTuple):
    """Median seconds of a step; median over rounds of theirs / ours; peak bytes; (theirs, ours) of each round."""

    theirs: float
    ours: float
    ratio: float
    theirs_peak: int
    ours_peak: int
    rounds: list[tuple[float, float]]


def interleaved(contenders: Sequence[Contender], rounds: int, warmup: int) -> list[Pair]:
    """Let each contender do a step in every round; the one that begins changes from round to round.

    Args:
        rounds: >= 1, that are evaluated. warmup: >= 0, rounds before them that are not.

    Returns:
        The Pair of the first contender with each other one.

    Raises:
        ValueError: rounds < 1.
        RuntimeError: a step failed.
    """
    if rounds < 1:
        raise ValueError(f"there must be at least one round, not {rounds}")
    measured = []
    for i in range(warmup + rounds):
        first = i % len(contenders)
        seconds = {contender: contender.step() for contender in [*contenders[first:], *contenders[:first]]}
        measured.append(seconds)
    measured, (theirs, *others) = measured[warmup:], contenders
    pairs = []
    for ours in others:
        both = [(seconds[theirs], seconds[ours]) for seconds in measured]
        medians = [statistics.median(column) for column in zip(*both, strict=True)]
        ratio = statistics.median(a / b for a, b in both)
        pairs.append(Pair(*medians, ratio, theirs.peak, ours.peak, both))
    return pairs


def matmul_peak(dtype: torch.dtype, threads: int, sizes: Sequence[int] = (1024, 2048, 4096), repeats: int = 3) -> float:
    """Floating-point operations per second of the fastest square matrix product on the processor.

    Args:
        dtype: of the matrices. threads: of PyTorch, restored afterwards. sizes: rows of the matrices.
        repeats: >= 1, products of each size; the fastest counts.
    """
    before, best = torch.get_num_threads(), 0.0
    torch.set_num_threads(threads)
    try:
        for n in sizes:
            a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
            out = a @ b
            for _ in range(repeats):
                start = time.perf_counter()
                torch.matmul(a, b, out=out)
                best = max(best, 2 * n**3 / (time.perf_counter() - start))
    finally:
        torch.set_num_threads(before)
    return best


def flops(step: Step) -> int:
    """Floating-point operations of a step: convolutions and matrix products, forward and backward (torch's counter)."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def _peak() -> int:
    """Peak resident memory in bytes. Linux's getrusage would include the parent's: an exec does not reset it."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _timed(step: Step) -> tuple[float, float | None]:
    start = time.perf_counter()
    value = step()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - start, value


def _serve(pipe: Connection) -> None:
    """Answer (error, seconds, value, peak bytes) to each request until the parent's end of the pipe closes."""
    step = None
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        try:
            if step is None:
                module, function, arguments = request
                step = getattr(importlib.import_module(module), function)(**arguments)
                answer = "", 0.0, None
            else:
                answer = "", *_timed(step)
        except Exception:
            answer = traceback.format_exc(), 0.0, None
        pipe.send((*answer, _peak()))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))


def machine() -> str:
    """Processor and number of cores, in the form of a file name."""
    return re.sub("[^a-z0-9]+", "-", f"{processor()} {cores()} cores".lower()).strip("-")
