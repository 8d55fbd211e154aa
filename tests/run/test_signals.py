"""Signals: noted, known to all processes at the same call, handed on by the launcher; and how a script ends on them."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch.distributed.elastic import multiprocessing as elastic

from recipes.launch import Workers
from recipes.running import shell_code
from run.checkpoint import read_checkpoint
from run.signals import HELD, PATIENCE, Signals
from tests.conftest import PROJECT, quick_first
from tests.scripts.test_train_scripts import PRETRAIN, PROBE, S_B
from tests.warm import environment, free_port, python, spawn
from utils.distributed import World
from utils.errors import Interrupted

ALONE = World(0, 1, torch.device("cpu"))
ENDINGS = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 85)]


@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_a_signal_is_noted_and_the_first_one_counts(number, code):
    before = [signal.getsignal(n) for n, _ in ENDINGS]
    with Signals(ALONE) as signals:
        assert signals.requested() == 0
        os.kill(os.getpid(), number)
        assert signals.requested() == code
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.requested() == code
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= PATIENCE  # where no step comes any more
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert [signal.getsignal(n) for n, _ in ENDINGS] == before


def test_nothing_is_installed_outside_the_main_thread():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def inside():
        with Signals(ALONE) as signals:
            seen.extend([signal.getsignal(signal.SIGTERM), signals.requested()])

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before, 0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -2), (signal.SIGTERM, 3), (signal.SIGUSR1, 3)])
def test_a_persons_second_one_ends_the_process(number, status):
    child = os.fork()
    if not child:
        with Signals(ALONE):
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status


def _two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    world, answers = World(rank, 2, torch.device("cpu")), []
    with Signals(world) as signals:
        for step in range(6):
            time.sleep(0.05 * rank)  # one of them is always late
            if rank == 1 and step == 3:
                os.kill(os.getpid(), signal.SIGUSR1)
            answers.append(signals.requested())
    with pytest.raises(ZeroDivisionError), Signals(world) as signals:
        if rank == 0:  # the other one never comes
            signals.requested()
        raise ZeroDivisionError
    with open(f"{folder}/{rank}.json", "w") as file:  # noqa: PTH123
        json.dump(answers, file)
    dist.barrier()
    os._exit(0)  # the group is in the middle of a call


def test_all_processes_hear_of_one_process_s_signal_at_the_same_call(tmp_path):
    spawn(_two, (str(tmp_path),), 2)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [0, 0, 0, 0, 85, 85]


# A run on its way to its first step, whose function is called in set_up.
SET_UP = {
    "train_simCLR.py": ("pretrain.setup.build_method", "checkpoints", PRETRAIN),
    "train_cifar.py": ("probe.setup.build_classifier", "checkpoints_tune", [*PROBE, "--trainSplit", S_B]),
}


@pytest.mark.parametrize("script", SET_UP)
@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_a_run_never_says_that_it_saved_what_it_did_not(call, tmp_path, monkeypatch, script, number, code):
    """Until its first step, SIGTERM and SIGUSR1 wait for it; a person's SIGINT ends it with another exit code."""
    where, folder, words = SET_UP[script]
    module, _, name = where.rpartition(".")
    original = getattr(importlib.import_module(module), name)

    def interrupted(*args, **how):
        signal.raise_signal(number)  # of this thread alone, which holds it: others of the tests' do not
        return original(*args, **how)

    monkeypatch.setattr(where, interrupted)
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)  # as the script does
    done = call(script, "run", *words, "--epochs", 3)
    if number == signal.SIGINT:
        assert (done.returncode, done.stderr) == (1, "interrupted: there was no step to save\n")
        assert not list(tmp_path.iterdir())
    else:
        assert done.returncode == code and "saved after epoch 1, step 1" in done.stderr
        content = read_checkpoint(tmp_path / folder / "run" / "model.pt")
        assert content["epoch"] == 0 and content["within"]["meters"]["done"] == 1
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {n for n, _ in ENDINGS}


def test_signals_that_were_held_end_what_never_comes_to_a_step(script, tmp_path):
    (tmp_path / "program.py").write_text(
        "import os, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [15])\n"
        "from utils.errors import InputError, run_main\n"
        "def main():\n    os.kill(os.getpid(), 15)\n    raise InputError('no data')\nrun_main(main)\n"
    )
    done = script("-c", "import runpy; runpy.run_path('program.py')")
    assert (done.returncode, done.stderr) == (-15, "error: no data\n")


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (2, 2), (143, 143), (-9, 137), (-15, 1), (-2, 1), (-10, 1)])
def test_who_died_of_a_signal_did_not_save(code, expected):
    assert shell_code(code) == expected


def holds_signals(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16) >> signal.SIGTERM - 1 & 1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [15, 10])
@pytest.mark.parametrize("command", [["-m", "recipes.launch", "--nproc_per_node=2"], []])
def test_a_signal_is_not_lost_while_the_programs_load_their_modules(tmp_path, number, command):
    """It comes as soon as the first line has run; the processes of a launcher have not been started by then."""
    words = [sys.executable, *command, *([f"--master_port={free_port()}"] if command else [])]
    words += [str(PROJECT / "train_simCLR.py"), "run", *PRETRAIN, "--epochs", "100"]
    env = environment(PYTHONPATH=str(PROJECT), PYTHON_EXEC=sys.executable)
    with subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        while not holds_signals(process.pid):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert "saved after epoch 1, step" in said and process.returncode == dict(ENDINGS)[number]
    assert (tmp_path / "checkpoints" / "run" / "model.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [15, 2, 10])
def test_the_launcher_of_a_process_that_died_of_a_signal_does_not_say_that_it_saved(script, tmp_path, number):
    (tmp_path / "dies.py").write_text(
        f"import os, signal\nsignal.signal({number}, 0)\nsignal.pthread_sigmask(signal.SIG_UNBLOCK, [{number}])\n"
        f"os.kill(os.getpid(), {number})\n"
    )
    launch = ["-m", "recipes.launch", "--nproc_per_node=1", f"--master_port={free_port()}", "dies.py"]
    assert script(*launch, env={"PYTHON_EXEC": sys.executable}).returncode == 1


def test_interrupted_is_one_line_and_its_code(call, monkeypatch):
    def main():
        raise Interrupted(143, "epoch 3,\nresume with --resume True")

    monkeypatch.setattr("train_cifar.main", main)
    assert call("train_cifar.py") == (143, "", "interrupted: epoch 3, resume with --resume True\n")
    monkeypatch.setenv("RANK", "1")
    assert call("train_cifar.py") == (143, "", "")


TRAINING = """
import os, signal, sys, time
from run.world import world_from_environment
from utils.distributed import join
from utils.errors import Interrupted, run_main
from run.signals import HELD, PATIENCE, Signals

def main():
    join(world := world_from_environment(no_cuda=True))
    with Signals(world) as signals:
        for step in range(100):
            if world.rank == 1 and step == 3:
                os.kill(os.getpid(), signal.SIGUSR1)
            if code := signals.requested():
                time.sleep(1 - world.rank)  # rank 0 saves
                print("saved" * world.main, end="", flush=True)
                raise Interrupted(code, f"step {step}")

run_main(main)
"""


def test_the_launcher_ends_with_the_processes_code_when_all_have_ended(script, tmp_path):
    (tmp_path / "training.py").write_text(TRAINING)
    launch = ["-m", "recipes.launch", "--nproc_per_node=2", f"--master_port={free_port()}"]
    assert [*script(*launch, "training.py").__dict__.values()][1:] == [85, "saved", "interrupted: step 4\n"]


SAVER = r"""
import os, signal, sys, time
rank, codes = int(os.environ["RANK"]), []
for number, code in ((15, 143), (2, 130), (10, 85)):
    signal.signal(number, lambda number, frame, code=code: codes.append(code))
def say(words):  # in one piece
    os.write(1, f"{words}\n".encode())
signal.pthread_sigmask(signal.SIG_UNBLOCK, [15, 2, 10])  # held from the start
say(os.getppid())
while not codes:
    time.sleep(0.02)
time.sleep(1 - rank)
say(codes)
sys.exit(codes[0])
"""


@pytest.mark.parametrize("number", [number for number, _ in ENDINGS])
def test_a_signal_while_processes_start_reaches_them_all(monkeypatch, number):
    """Else the launcher would end, and processes that it has started would live on."""
    sent, workers = [], object.__new__(Workers)
    workers.subprocess_handlers = {}

    def start(self: Workers) -> None:
        os.kill(os.getpid(), number)  # one process is there, the other is not
        self.subprocess_handlers = {i: SimpleNamespace(proc=SimpleNamespace(send_signal=sent.append)) for i in (0, 1)}

    monkeypatch.setattr(elastic.SubprocessContext, "_start", start)
    before = {n: signal.getsignal(n) for n, _ in ENDINGS}
    try:
        for n in before:
            signal.signal(n, signal.SIG_IGN)
        workers._start()
        assert sent == [number] * 2 and workers.deadline
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


@pytest.mark.parametrize(("number", "code"), quick_first(ENDINGS))
def test_the_launcher_hands_signals_on_once_and_waits(tmp_path, number, code):
    (tmp_path / "saver.py").write_text(SAVER)
    words = [python(), "-m", "recipes.launch", "--nproc_per_node=2", f"--master_port={free_port()}", "saver.py"]
    env = environment(PYTHONPATH=str(PROJECT), PYTHON_EXEC=sys.executable)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=tmp_path, env=env, **pipes) as launcher:
        (pid,) = {int(launcher.stdout.readline()) for _ in range(2)}
        os.kill(pid, number)
        out, errors = launcher.communicate()
    assert (launcher.returncode, errors, out.splitlines()) == (code, "", [f"[{code}]"] * 2)
