"""Shared helpers and fixtures: run a script as a user does, interrupt it, copies and images to run it on."""

import contextlib
import importlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import split.flags
import split.lists
from tests.figure_checks import figures  # noqa: F401 - a fixture of all tests
from tests.warm import environment, python
from utils.errors import run_main

PROJECT = Path(__file__).resolve().parents[1]

# A shell's background job ignores Ctrl-C, and so would the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def slow_but(kept: object, values: Iterable) -> list:
    """Values of a parametrized test; all but `kept` are marked slow."""
    return [
        v if v == kept else pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=pytest.mark.slow) for v in values
    ]


def quick_first(values: Iterable) -> list:
    """Values of a parametrized test; all but the first are marked slow."""
    first, *others = values
    return [first, *(v if isinstance(v, type(pytest.param())) else slow_but(None, [v])[0] for v in others)]


@pytest.fixture
def script(tmp_path):
    """Run `python SCRIPT ARGS` of the project in tmp_path; returns the finished process (text output)."""

    def run_script(*command: str, env: dict[str, str] | None = None, timeout: int = 240) -> subprocess.CompletedProcess:
        name, *args = map(str, command)
        variables = environment(PYTHONPATH=str(PROJECT), **(env or {}))
        program = [name, *args] if name.startswith("-") else [str(PROJECT / name), *args]
        return subprocess.run(
            [python(), *program], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=timeout
        )

    return run_script


def one_line_error(done, *words: str) -> str:
    """Check that a script ended with code 2 and exactly one line on stderr, which has these words; return the line."""
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


@pytest.fixture
def ledger(tmp_path, monkeypatch) -> Path:
    """A generated.tsv of this test only, so that the project's split/ is not changed."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    monkeypatch.setattr(split.lists, "ROOT", folder)
    monkeypatch.setattr(split.flags, "ROOT", folder)
    return folder / "generated.tsv"


class Finished(NamedTuple):
    """How a script ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run a script's main() in this process, in tmp_path, as `python SCRIPT ARGS` would; returns a Finished."""

    def call_script(name: str, *args: object) -> Finished:
        main = importlib.import_module(name.removesuffix(".py").replace("/", ".")).main
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        capsys.readouterr()
        try:
            run_main(main)
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return Finished(code, *capsys.readouterr())

    return call_script


@pytest.fixture(scope="session")
def project_copy(tmp_path_factory) -> Path:
    """A copy of the project's files as in a fresh clone, for tests that write into the project."""
    target = tmp_path_factory.mktemp("clone") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, capture_output=True
    ).stdout
    if not listed:  # an unpacked archive, not a clone
        ignore = shutil.ignore_patterns(".venv", "checkpoints*", "demo", "datasets", ".git", "*_imbSub_with_subsets")
        shutil.copytree(PROJECT, target, ignore=ignore)
    for name in filter(None, listed.decode().split("\0")):
        if (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target / name)
    return target


@pytest.fixture
def one_thread():
    """PyTorch with one thread, as under torchrun; for small networks it is the fastest."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextlib.contextmanager
def interrupted_after(saver: type, epoch: int):
    """Inside, a run is interrupted after `saver.save` has saved this epoch."""
    original = saver.save

    def save_and_interrupt(self, saved, *more):
        original(self, saved, *more)
        if saved == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saver, "save", save_and_interrupt)
        yield


class Called:
    """In place of run.signals.Signals: a signal arrives at the n-th call of `requested`, after each step and epoch."""

    steps: list[int] = []
    code = 143

    def __init__(self, world) -> None:
        self.calls = 0

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def settle(self) -> None:
        pass

    def requested(self) -> int:
        self.calls += 1
        if self.steps and self.calls >= self.steps[0]:
            self.steps.pop(0)
            return self.code
        return 0


@pytest.fixture
def interrupted(monkeypatch):
    """Interrupt a run after this many steps, and the runs that resume it after the further ones."""
    monkeypatch.setattr("run.folder.Signals", Called)

    def after(*steps: int, code: int = 143) -> None:
        Called.steps, Called.code = list(steps), code

    yield after
    Called.steps = []


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """(folder of images, folder of their lists) of ImageNet-100 with a hundredth of the published class sizes."""
    from tests.trees import make_listed_tree  # here: it imports much

    root, lists = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("lists")
    make_listed_tree(root, [20] * 3 + [7] * 15 + [4] * 82, lists)
    return root, lists
