"""benchmarks/compare.py: turns, medians, failures, the end of processes; FLOPs and the processor's peak."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.compare import ROOT, Contender, flops, interleaved, matmul_peak


def recorder(path: str, name: str):
    """A step that appends its name to a file and returns how often it has been called."""
    calls = []

    def step() -> float:
        with Path(path).open("a") as file:
            file.write(name)
        calls.append(name)
        return float(len(calls))

    return step


def busy(path: str, name: str, variables: list[str]):
    """A step that fills 400 MB, frees them, and returns the sum of environment variables."""
    note = recorder(path, name)

    def step() -> float:
        note()
        filled = np.ones(400 << 20, np.uint8)
        return float(filled[0]) * sum(float(os.environ[name]) for name in variables)

    return step


def failing(kind: str):
    """Fails when it is made or at its first step, or dies there without an exception."""
    if kind == "made":
        raise ValueError("cannot be made")

    def step() -> None:
        if kind == "died":
            os._exit(7)
        raise ValueError("cannot step")

    return step


class Clock:
    """A contender with given seconds, which records when it is asked for a step."""

    def __init__(self, name: str, seconds: list[float], asked: list[str]) -> None:
        self.name, self.seconds, self.asked, self.peak = name, iter(seconds), asked, len(seconds)

    def step(self) -> float:
        self.asked.append(self.name)
        return next(self.seconds)


def test_turns_and_medians():
    """Warm-up times do not count, and the ratio is the median of the rounds' ratios: that of the medians is 4 / 2."""
    asked = []
    clocks = [Clock("t", [100, 1, 4, 9], asked), Clock("o", [0.1, 2, 1, 3], asked)]
    (pair,) = interleaved(clocks, rounds=3, warmup=1)
    assert "".join(asked) == "toottoot"
    assert (pair.theirs, pair.ours, pair.ratio) == (4, 2, 3)
    assert (pair.theirs_peak, pair.ours_peak, pair.rounds) == (4, 4, [(1, 2), (4, 1), (9, 3)])
    with pytest.raises(ValueError, match="round"):
        interleaved([Clock("t", [1], asked), Clock("o", [1], asked)], rounds=0, warmup=1)


def test_several_take_turns_and_are_compared_with_the_first():
    asked = []
    clocks = [Clock("t", [6, 8], asked), Clock("a", [3, 2], asked), Clock("b", [1, 4], asked)]
    assert [pair.ratio for pair in interleaved(clocks, rounds=2, warmup=0)] == [3, 4]
    assert "".join(asked) == "tababt"


@pytest.mark.slow
def test_children_take_turns_keep_their_own_memory_and_environment_and_end(tmp_path):
    """The peak of a child has the memory that it fills, but not what its parent or the other child has filled."""
    path, filled, mine = str(tmp_path / "turns"), np.ones(400 << 20, np.uint8), dict(os.environ)
    parents = int(filled[0]) * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    variables, threads = ["OMP_NUM_THREADS"], {"OMP_NUM_THREADS": "3"}
    with (
        Contender("tests.benchmarks.test_compare", "recorder", path=path, name="t") as theirs,
        Contender("tests.benchmarks.test_compare", "busy", threads, path=path, name="o", variables=variables) as ours,
    ):
        assert dict(os.environ) == mine
        assert (theirs.value, ours.value) == (None, None)
        before = ours.peak
        (pair,) = interleaved([theirs, ours], rounds=2, warmup=1)
        assert Path(path).read_text() == "tootto"
        assert (theirs.value, ours.value) == (3.0, 3.0)
        assert all(0 < seconds < 60 for times in pair.rounds for seconds in times)
        assert theirs.process.poll() is None and theirs.process.pid != ours.process.pid
    assert (theirs.process.poll(), ours.process.poll()) == (0, 0)
    assert 50 << 20 < before < parents - (200 << 20) and pair.theirs_peak < parents - (200 << 20)
    assert pair.ours_peak - before > 300 << 20


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "words"), [("made", "cannot be made"), ("step", "cannot step"), ("died", "code 7")])
def test_failures_reach_the_parent(kind, words):
    with pytest.raises(RuntimeError, match=words) as error:  # noqa: SIM117 - the child may fail when it is made
        with Contender("tests.benchmarks.test_compare", "failing", kind=kind) as child:
            assert kind != "made" and child.step() is None
    assert "tests.benchmarks.test_compare.failing" in str(error.value)
    assert kind == "died" or "Traceback" in str(error.value)
    assert kind == "made" or child.process.poll() is not None


PARENT = """
import sys
from benchmarks.compare import Contender
with Contender("tests.benchmarks.test_compare", "recorder", path=sys.argv[1], name="a") as contender:
    contender.step()
    print(contender.process.pid, flush=True)
    sys.stdin.read()
"""


def running(pid: int) -> bool:
    """Whether a process exists and is more than an entry that nobody has waited for."""
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the state of another process is read from /proc")
def test_a_waiting_process_ends_when_its_parent_is_killed(tmp_path):
    command = [sys.executable, "-c", PARENT, str(tmp_path / "calls")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        child = int(parent.stdout.readline())
        assert running(child)
        parent.kill()
    try:
        deadline = time.monotonic() + 20
        while running(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not running(child)
    finally:
        if running(child):
            os.kill(child, signal.SIGKILL)


def test_rates():
    a, b = torch.randn(3, 5, requires_grad=True), torch.randn(5, 7)
    assert flops(lambda: (a @ b).sum().item()) == 2 * 3 * 5 * 7
    assert flops(lambda: (a @ b).sum().backward()) == 2 * 2 * 3 * 5 * 7
    threads = torch.get_num_threads()
    assert matmul_peak(torch.float32, threads + 1, sizes=(64, 128)) > 1e6
    assert torch.get_num_threads() == threads
