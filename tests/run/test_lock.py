"""Locks of folders: one holder, none that is dead, and no litter."""

import errno
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from run.lock import experiment_lock
from tests.conftest import PROJECT, quick_first
from utils.errors import InputError
from utils.files import locked

# It prints `holds` when it has the lock, and ends with its standard input.
HOLD = """
import os, pathlib, signal, sys
from run.lock import experiment_lock
from utils.files import locked
with {"experiment_lock": experiment_lock, "locked": locked}[sys.argv[1]](pathlib.Path(sys.argv[2])):
    child = os.fork() if "fork" in sys.argv else None
    if child == 0:  # like a worker that loads images
        signal.pause()
    print("holds", child, flush=True)
    sys.stdin.read()
"""
Hold = Callable[..., subprocess.Popen]


@pytest.fixture
def hold(tmp_path) -> Iterator[Hold]:
    """Starts a process that takes a lock of tmp_path; it is killed in the end."""
    with ExitStack() as stack:

        def start(kind: str, *options: str) -> subprocess.Popen:
            words = [sys.executable, "-c", HOLD, kind, str(tmp_path), *options]
            process = subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as error, experiment_lock(folder):
        pass
    assert all(word in str(error.value) for word in (str(folder), "in use", *words)), error.value


def test_a_second_run_is_refused_until_the_first_one_is_killed(tmp_path, hold):
    process = hold("experiment_lock")
    assert process.stdout.readline()
    refused(tmp_path, f"process {process.pid} on {socket.gethostname()}")
    (tmp_path / "lock").write_bytes(b"\xff")
    refused(tmp_path, "another run")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "lock").exists()
    with experiment_lock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{socket.gethostname()} {os.getpid()}"
        refused(tmp_path, str(os.getpid()))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_children_of_a_killed_run_do_not_keep_its_lock(tmp_path, hold):
    process = hold("experiment_lock", "fork")
    child = int(process.stdout.readline().removeprefix("holds "))
    process.kill()
    process.wait()
    with experiment_lock(tmp_path):
        os.kill(child, signal.SIGKILL)  # it was alive


@pytest.mark.slow
def test_a_run_that_is_just_ending_is_waited_for(tmp_path, hold, monkeypatch):
    monkeypatch.setattr("run.lock.PATIENCE", 60)
    process = hold("experiment_lock")
    assert process.stdout.readline()
    process.stdin.close()
    with experiment_lock(tmp_path):
        process.wait()
        assert (tmp_path / "lock").read_text().endswith(f" {os.getpid()}")


@pytest.mark.parametrize("code", quick_first([errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]))
def test_without_locks_there_is_one_warning(tmp_path, hold, monkeypatch, capsys, code):
    process = hold("experiment_lock")
    assert process.stdout.readline()

    def refuse(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        with experiment_lock(tmp_path), locked(tmp_path):
            pass
    assert not list(tmp_path.iterdir())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {tmp_path} has no lock ({os.strerror(code)})")


def test_other_errors_of_the_lock_are_told(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for lock in (experiment_lock, locked):
        with pytest.raises(OSError, match="broken"), lock(tmp_path):
            pass


def test_temporary_files_of_a_killed_run_are_removed(tmp_path):
    kept = {"model.pt", ".hidden", "log.1", ".model.pt.x1"}
    for name in kept | {".model.pt.123", ".results.json.4"}:
        (tmp_path / name).touch()
    (tmp_path / ".folder.5").mkdir()
    with experiment_lock(tmp_path / "new" / "folder"):
        pass
    with experiment_lock(tmp_path):
        pass
    assert {p.name for p in tmp_path.iterdir()} == kept | {".folder.5", "new"}


# ---- of fetching and making files


def test_a_second_process_waits(tmp_path, hold):
    first = hold("locked")
    assert first.stdout.readline()
    second = hold("locked")
    assert not select.select([second.stdout], [], [], 2)[0]
    first.kill()
    assert second.stdout.readline().startswith("holds")
    second.communicate()
    assert second.returncode == 0 and not list(tmp_path.iterdir())


def test_a_lock_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "new"):
        assert (tmp_path / "new/.lock").exists()
        raise KeyError
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize("place", [".", "new"])
def test_a_lock_excludes_others_although_its_file_comes_and_goes(tmp_path, place):
    """Eight processes add to a number 25 times each, reading and writing it apart; `new` comes and goes as well."""
    (tmp_path / "number").write_text("0")
    children = []
    for _ in range(8):
        child = os.fork()
        if not child:
            for _ in range(25):
                with locked(tmp_path / place):
                    (tmp_path / "number").write_text(str(int((tmp_path / "number").read_text()) + 1))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert (tmp_path / "number").read_text() == "200"
    # `new` stays where another took its lock just before it was to be removed.
    assert [p.name for p in tmp_path.rglob("*") if p.name != "new"] == ["number"]
