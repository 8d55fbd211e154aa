"""Workers of a loader: they outlive a group's signals, and what ends or stops them is one line, never a wait."""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch

import data.workers
from data.workers import AHEAD, SMALL_TENSORS, WorkerLoader, workers_that_fit
from tests.conftest import PROJECT, one_line_error, slow_but
from tests.warm import environment
from utils.errors import InputError, run_main

DIGITS = ["--dataset", "digits", "--model", "res20_s", "--augment", "pillow", "--batch_size", "20", "--print_freq", "1"]
DIGITS += ["--trainSplit", "digits_imbSub_with_subsets/digits_split1_S_b.npy", "--num_workers", "2"]
SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 85)]
Usage = namedtuple("Usage", "total used free")


class Numbers(torch.utils.data.Dataset):
    """0, 1, ... as tensors; `odd` is done to the number 5, in the worker that has it."""

    def __init__(self, odd=lambda number: number):
        self.odd = odd

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return self.odd(torch.tensor(i)) if i == 5 else torch.tensor(i)


def loader(odd=lambda number: number) -> WorkerLoader:
    return WorkerLoader(Numbers(odd), batch_size=2, num_workers=2, prefetch_factor=1, collate_fn=list)


def children(pid: int) -> list[int]:
    """Processes of a process and of its processes."""
    direct = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(p) for p in direct] + [p for d in direct for p in children(int(d))]


def test_workers_are_not_ended_by_signals_of_others():
    batches = iter(loader())
    first = next(batches)
    pids = [worker.pid for worker in batches._workers]
    for name in ("TERM", "INT", "USR1", "TERM"):
        subprocess.run(["kill", f"-{name}", *map(str, pids)], check=True)
    time.sleep(0.2)
    assert [int(n) for batch in (first, *batches) for n in batch] == list(range(40))


def test_workers_end_by_their_owner_at_once():
    batches = iter(loader())
    next(batches)
    (worker, _), before = batches._workers, time.monotonic()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0 and time.monotonic() - before < 5


def no_more_files() -> None:
    """Let this process open no further file."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def of_a_run(odd, capsys) -> str:
    """The line that a run ends with."""

    def main():
        for _ in loader(odd):
            pass

    with pytest.raises(SystemExit) as end:
        run_main(main)
    said = capsys.readouterr().err.strip()
    assert end.value.code == 2 and "\n" not in said and said.startswith("error: ")
    return said


ENDS = {
    "killed": (lambda n: os.kill(os.getpid(), signal.SIGKILL), "out of memory perhaps"),
    "bus error": (lambda n: os.kill(os.getpid(), signal.SIGBUS), "/dev/shm, is full"),
    "ended": (lambda n: os._exit(1), "has ended"),
    "no file can be opened": (lambda n: no_more_files() or n, "ulimit -n"),
}


@pytest.mark.parametrize("what", slow_but("killed", ENDS))
def test_a_worker_that_ends_is_one_line(capsys, what):
    odd, word = ENDS[what]
    said = of_a_run(odd, capsys)
    assert "a loader's worker" in said and word in said and "num_workers" in said


FAILED = [(errno.ENOSPC, "/dev/shm, is full"), (errno.EMFILE, "ulimit -n"), (errno.EACCES, "worker")]


@pytest.mark.parametrize(("number", "word"), FAILED)
@pytest.mark.slow
def test_a_batch_that_cannot_be_passed_on_is_one_line(capsys, monkeypatch, number, word):
    def full(tensor):
        raise RuntimeError(f"unable to write to file </torch_1_2_3>: {os.strerror(number)} ({number})")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    assert word in of_a_run(lambda n: n, capsys)


@pytest.mark.slow
def test_files_that_can_be_opened_are_counted():
    """Two of them are sockets, which are opened after the check."""
    code = "import resource, os; from data.workers import _check_descriptors as check\n"
    code += "free = os.open(os.devnull, 0); os.close(free); limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
    code += "resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, limit)); check(3); check(3)\n"
    code += "try: check(4)\nexcept OSError as error: print(error.errno)\ncheck(3)"
    said = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert int(said.stdout) == errno.EMFILE


@pytest.mark.slow
def test_a_worker_that_never_answers_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(data.workers, "PATIENCE", 2)
    assert "no batch for 2 seconds" in of_a_run(lambda n: time.sleep(600), capsys)


BATCH = 2**20
SHARED = {  # workers, batches that fit, processes of the machine -> workers and batches ahead, None: refused
    "all": (4, 2 * 4 + 2, 1, (4, AHEAD)),
    "one less": (4, 2 * 4 + 1, 1, (4, 1)),
    "one ahead": (4, 6, 1, (4, 1)),
    "fewer": (4, 5, 1, (3, 1)),
    "one each": (4, 4, 1, (2, 1)),
    "not one each": (4, 3, 1, None),
    "none is left": (2, 2, 1, (0, 1)),
    "two processes": (4, 12, 2, (4, 1)),
    "two processes, less": (4, 7, 2, None),
}


@pytest.mark.parametrize("case", SHARED)
def test_shared_memory_decides_how_many(monkeypatch, capsys, case):
    workers, fitting, processes, found = SHARED[case]
    free = fitting * BATCH + (processes > 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 * free, free, free))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    if found is None:
        with pytest.raises(InputError, match=r"/dev/shm has .* MiB free.*--shm-size.*--num_workers 0"):
            workers_that_fit(workers, BATCH - SMALL_TENSORS)
        return
    assert workers_that_fit(workers, BATCH - SMALL_TENSORS) == found
    said = capsys.readouterr().err
    assert ("--shm-size" in said and said.count("\n") == 1) == (found != (workers, AHEAD))


def test_no_shared_memory_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(data.workers, "SHARED_MEMORY", tmp_path / "none")
    assert workers_that_fit(3, 2**60) == (3, AHEAD)


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
def test_a_long_name_of_the_temporary_folder(monkeypatch):
    """The longest name that works, and one more; the socket itself is the oracle."""
    import socket

    for length, fits in ((75, True), (76, False)):
        folder = "/" + "x" * (length - 1)
        monkeypatch.setattr(tempfile, "gettempdir", lambda folder=folder: folder)
        with socket.socket(socket.AF_UNIX) as s, pytest.raises(OSError) as error:
            s.bind(f"{folder}/pymp-xxxxxxxx/listener-xxxxxxxx")
        assert (error.value.errno == errno.ENOENT) == fits  # else the path is too long
        if fits:
            workers_that_fit(1, 1)
            continue
        with pytest.raises(InputError, match="TMPDIR"):
            workers_that_fit(1, 1)


def begun(folder, *command: str) -> subprocess.Popen:
    """A training in a session of its own, within its second epoch."""
    variables = environment(
        PYTHONPATH=str(PROJECT), PYTHON=sys.executable, PYTHON_EXEC=sys.executable, OMP_NUM_THREADS="1"
    )
    run = subprocess.Popen(
        command, cwd=folder, env=variables, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    for line in run.stdout:
        if line.startswith("Epoch: [2][0"):
            return run
    raise AssertionError(run.stderr.read())


def ends_saved(run: subprocess.Popen, folder, number: int, code: int) -> None:
    """Signal the group: the run has saved, and nothing of it is left."""
    others = children(run.pid)
    assert len(others) >= 2
    os.killpg(run.pid, number)
    _, said = run.communicate(timeout=90)
    assert run.returncode == code, said
    (line,) = [line for line in said.splitlines() if "warning" not in line.lower()]
    # Steps are short: some may be done between the line that was waited for and the signal.
    epoch = int(re.match(r"interrupted: saved after epoch (\d+)", line)[1])
    (model,) = folder.rglob("model.pt")
    assert epoch >= 2 and torch.load(model, weights_only=True)["epoch"] in (epoch - 1, epoch)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in others):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere SIGTERM ends workers")
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_to_the_group_is_saved(tmp_path, number, code):
    run = begun(tmp_path, sys.executable, str(PROJECT / "train_simCLR.py"), "x", *DIGITS, "--epochs", "500")
    ends_saved(run, tmp_path, number, code)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_whatever_processes_are_started_by_default(tmp_path, method):
    (tmp_path / "start.py").write_text(
        "import multiprocessing, runpy, sys\n"
        "if __name__ == '__main__':\n"
        f"    multiprocessing.set_start_method('{method}')\n"
        f"    sys.argv[:1] = [{str(PROJECT / 'train_simCLR.py')!r}]\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    run = begun(tmp_path, sys.executable, "start.py", "x", *DIGITS, "--epochs", "500")
    ends_saved(run, tmp_path, *SIGNALS[0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere SIGTERM ends workers")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_to_a_recipes_group_is_saved(tmp_path, number, code):
    """Two processes under the launcher under the recipe: those that hand on a signal do not end what has had it."""
    words = "--dataset digits -e 500 -g 2 -w 2 --augment pillow --batch_size 64 -p 4879"
    run = begun(PROJECT, sys.executable, "-m", "recipes", *words.split(), "--root", str(tmp_path))
    ends_saved(run, tmp_path, number, -2 if number == signal.SIGINT else code)  # as a shell's loop needs it


@pytest.mark.slow
def test_a_small_shared_memory_is_one_line_of_the_script(call, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**16, 0, 2**16))
    one_line_error(call("train_simCLR.py", "x", *DIGITS, "--epochs", "1"), "/dev/shm", "--num_workers 0")
    assert not list(tmp_path.iterdir())
