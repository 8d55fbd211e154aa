"""The study for a GPU: its plan, its lists, runs that end in time, and the whole at a tiny size."""

import json
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu_study
from benchmarks.gpu.measure import Clock
from benchmarks.study import timed
from benchmarks.study.kept import folder_of
from benchmarks.study.plan import SHARE, Plan, fit, planned, seconds_planned
from benchmarks.study.timed import Pace, run_step
from data.sets.registry import data_set
from tests.conftest import PROJECT, quick_first
from utils.errors import InputError

SAVES = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); print(1); time.sleep(60)"


@pytest.mark.slow
def test_a_run_ends_in_time(monkeypatch):
    monkeypatch.setattr(timed, "GRACE", 1)
    assert run_step([sys.executable, "-c", "pass"], {}, 60)
    with pytest.raises(InputError, match="ended with code 3"):
        run_step([sys.executable, "-c", "raise SystemExit(3)"], {}, 60)
    assert not run_step(["no-such-program"], {}, 1)  # too late to begin
    with pytest.raises(InputError, match="ended with code -9"):  # such as for its memory: it would be killed again
        run_step([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], {}, 60)
    for program in (SAVES, SAVES.replace("sys.exit(143)", "0")):  # one ends when asked, one must be killed
        before = time.monotonic()
        assert not run_step([sys.executable, "-c", program], {}, 3)
        assert time.monotonic() - before < 30


@pytest.mark.slow
@pytest.mark.parametrize("number", quick_first([signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))
def test_a_study_that_is_interrupted_lets_its_run_save(tmp_path, number):
    saves = SAVES.replace("sys.exit(143)", f"(open({str(tmp_path / 'saved')!r}, 'w').close(), sys.exit(143))")
    saves = saves.replace("print(1)", f"open({str(tmp_path / 'begun')!r}, 'w').close()")
    study = f"from benchmarks.study.timed import run_step; run_step([{sys.executable!r}, '-c', {saves!r}], {{}}, 60)"
    process = subprocess.Popen([sys.executable, "-c", study], cwd=PROJECT, stderr=subprocess.DEVNULL)
    while not (tmp_path / "begun").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) != 0 and (tmp_path / "saved").exists()


def test_the_plan_fills_the_time():
    """The number of epochs fits, and one more does not, by a sum over all runs of the study."""
    paces = {"simclr": Pace(10, 2.0), "sdclr": Pace(12, 3.0), "bcl-d": Pace(14, 3.5)}
    probes, probe_epochs = [Pace(5, 1.0), Pace(6, 0.1)], [30, 100]

    def total(epochs: int) -> float:
        both_probes = sum(pace.start + n * pace.epoch for pace, n in zip(probes, probe_epochs, strict=True))
        return sum(pace.start + epochs * pace.epoch + both_probes for pace in paces.values())

    for seconds in (60, 500, 1000, 3000.5):
        epochs = fit(paces, probes, probe_epochs, seconds)
        assert (total(epochs) <= seconds or epochs == 0) and seconds < total(epochs + 1)
    clock = Clock(9)
    left = seconds_planned(paces, 3, clock)
    assert left == pytest.approx(SHARE * 27 * 60 - 2 * (timed.GRACE + 14), abs=1)


def test_a_plan_is_kept_and_a_damaged_one_is_one_line(tmp_path):
    made = Plan(7, {"simclr": Pace(1.0, 2.0)}, [Pace(3.0, 4.0)])
    folders = [tmp_path / "work", tmp_path / "carry"]
    assert planned(folders, lambda: made) == made
    (folders[0] / "plan.json").unlink()
    assert planned(folders, lambda: pytest.fail("there is one")) == made and (folders[0] / "plan.json").exists()
    for text in ("", "{}", "[1]", '{"epochs": 1, "pretraining": {"simclr": ["a", 1]}, "probes": []}'):
        (folders[0] / "plan.json").write_text(text)
        with pytest.raises(InputError, match=r"plan\.json is damaged"):
            planned(folders, lambda: made)


def test_results_of_other_epochs_share_no_table(tmp_path, monkeypatch):
    options = Namespace(out=tmp_path, model="res18", methods=["simclr", "sdclr"])
    results = {("simclr", 1): {"epochs": 9, "model": "res18"}}
    monkeypatch.setattr(gpu_study, "results_in", lambda folder: results)
    assert gpu_study.missing(options, 9) == ["sdclr"]
    with pytest.raises(InputError, match="simclr of 9 epochs of res18: move it"):
        gpu_study.missing(options, 8)


def test_lists_are_copied_where_they_are_not(tmp_path, monkeypatch):
    theirs, ours = tmp_path / "lists", tmp_path / "split"
    names = ["cifar10/trainIdxList.npy", "cifar10_imbSub_with_subsets/split1_D_i.npy", "cifar10_train_labels.npy"]
    for number, name in enumerate([*names, "cifar100/trainIdxList.npy"]):
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(theirs / name, np.array([number]))
    monkeypatch.setattr(gpu_study, "PROJECT", tmp_path)
    for _ in range(2):
        gpu_study.copy_lists(theirs)
        copied = {str(path.relative_to(ours)): np.load(path).tolist() for path in ours.rglob("*.npy")}
        assert copied == {names[0]: [0], names[1]: [1]}
    np.save(ours / names[0], np.array([9]))
    with pytest.raises(InputError, match="another list than"):
        gpu_study.copy_lists(theirs)
    assert np.load(ours / names[0]).tolist() == [9]


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_interrupted_carried_and_finished(call, tmp_path, monkeypatch):
    """On digits: plan, a call that ends within a pre-training, another machine, both probes, table."""
    monkeypatch.setattr(gpu_study, "CIFAR", data_set("digits"))
    monkeypatch.setattr(gpu_study, "RECIPE", PROJECT / "cmds/shell_scrips/digits-LT.sh")
    monkeypatch.setattr(gpu_study, "MOST", 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def study(work: str, *words: str):
        return call(
            "benchmarks/gpu_study.py", "--data", tmp_path / "none", "--device", "cpu", "--methods", "simclr", "--model",
            "res20_s", "--work", tmp_path / work, "--carry", tmp_path / "carry", "--out", tmp_path / "out", *words,
        )  # fmt: skip

    run_to_the_end = gpu_study.run_step

    def stopped(words, environment, seconds):
        """As if the time ended within the third epoch of the pre-training."""
        process = subprocess.Popen(words, cwd=PROJECT)
        while '"epoch": 2' not in read(folder_of(words) / "metrics.jsonl") and process.poll() is None:
            time.sleep(0.05)
        process.terminate()
        assert process.wait() == 143
        return False

    monkeypatch.setattr(gpu_study, "run_step", stopped)
    done = study("first")
    assert done.returncode == 0, done.stderr
    assert "4 epochs of each method" in done.stdout and "the time is over within simclr" in done.stdout
    monkeypatch.setattr(gpu_study, "run_step", run_to_the_end)
    done = study("second")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out/split1/simclr/run.json").read_text())
    assert record["epochs"] == 4 and record["momentum_anew"] == [2]
    assert "simclr went on on another machine after epoch 2: its momentum began anew there" in done.stdout
    assert "published, 2,000 epochs" in done.stdout and (tmp_path / "out.png").exists()


def test_without_a_gpu_without_data_without_results(call, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for words, message in (
        (["--data", "x.npz", "--work", tmp_path / "w"], "there is no GPU"),
        ([], "--data and --work are missing"),
        (["--table", "--out", tmp_path / "none"], "has no result yet"),
        (["--data", "x.tar.xz", "--work", tmp_path / "w", "--device", "cpu"], "--lists is missing"),
    ):
        done = call("benchmarks/gpu_study.py", *words)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and message in done.stderr
