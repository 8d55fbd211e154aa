"""The lock of an experiment's folder: one holder, and none that is dead."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import PROJECT
from utils.errors import InputError
from utils.lock import Lock

HOLD = (
    "import sys, pathlib, utils.lock as l\nwith l.Lock(pathlib.Path(sys.argv[1])):\n    print(1, flush=True); input()"
)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path until its standard input ends."""
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "1\n"
        yield process
        process.kill()


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that has none."""

    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)


def taken(folder, *words: str) -> None:
    with pytest.raises(InputError) as error, Lock(folder):
        pass
    assert all(word in str(error.value) for word in words), error.value


def test_a_second_run_is_refused_until_the_first_one_is_killed(tmp_path, holder):
    taken(tmp_path, socket.gethostname(), f"process {holder.pid} ")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "lock").exists()
    with Lock(tmp_path):
        assert (tmp_path / "lock").read_text().split()[:2] == [socket.gethostname(), str(os.getpid())]
    assert not list(tmp_path.iterdir())


def test_without_locks_the_process_named_in_the_file_decides(tmp_path, holder, without_locks):
    taken(tmp_path, str(holder.pid), f"delete {tmp_path}/lock")
    holder.kill()
    holder.wait()
    for _ in range(2):
        with Lock(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_another_machine_holds_it_while_it_touches_the_file(tmp_path, monkeypatch):
    lock = tmp_path / "lock"
    lock.write_text("elsewhere 7 99")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    taken(tmp_path, "process 7 on elsewhere", f"delete {lock}", "180 seconds")
    monkeypatch.setenv("SLURM_JOB_ID", "98")
    taken(tmp_path, "elsewhere")
    assert lock.read_text() == "elsewhere 7 99"
    monkeypatch.setenv("SLURM_JOB_ID", "99")  # requeued
    with Lock(tmp_path):
        assert lock.read_text() == f"{socket.gethostname()} {os.getpid()} 99"
    monkeypatch.delenv("SLURM_JOB_ID")
    lock.write_text("elsewhere 7 ")
    taken(tmp_path, "elsewhere")
    os.utime(lock, (time.time() - 181,) * 2)
    with Lock(tmp_path):
        pass


def test_the_file_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.lock.TOUCHED", 0.01)
    with Lock(tmp_path):
        os.utime(tmp_path / "lock", (1, 1))
        deadline = time.time() + 10
        while (tmp_path / "lock").stat().st_mtime < 2 and time.time() < deadline:
            time.sleep(0.01)
        assert (tmp_path / "lock").stat().st_mtime > 2


def test_a_lock_removed_by_its_holder_just_then_is_taken_anew(tmp_path, monkeypatch):
    original, waits = fcntl.lockf, [1]

    def after_the_holder(*args):
        if waits:
            waits.pop()
            (tmp_path / "lock").unlink()
        original(*args)

    monkeypatch.setattr(fcntl, "lockf", after_the_holder)
    with Lock(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(socket.gethostname())


def test_a_file_of_another_run_is_left(tmp_path):
    with Lock(tmp_path):
        (tmp_path / "lock").unlink()
        (tmp_path / "lock").write_text("another")
    assert (tmp_path / "lock").read_text() == "another"


def test_temporary_files_of_a_killed_run_are_removed(tmp_path):
    kept = {"model.pt", ".hidden", "log.1", ".model.pt.x1"}
    for name in kept | {".model.pt.123", ".results.json.4"}:
        (tmp_path / name).touch()
    (tmp_path / ".folder.5").mkdir()
    with Lock(tmp_path / "new" / "folder"):
        pass
    with Lock(tmp_path):
        pass
    assert {p.name for p in tmp_path.iterdir()} == kept | {".folder.5", "new"}
