"""The study for a GPU: arrays of an archive, runs that end in time, what another machine goes on from, the whole."""

import io
import json
import subprocess
import sys
import tarfile
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import gpu_study
from benchmarks.gpu.measure import Clock
from benchmarks.study import timed
from benchmarks.study.carry import pack, unpack
from benchmarks.study.jpegs import write_arrays
from benchmarks.study.kept import folder_of
from benchmarks.study.timed import Pace, run_step
from data.sets.registry import data_set
from run.checkpoint import read_checkpoint, write_checkpoint
from tests.conftest import PROJECT
from utils.errors import InputError

SHARED = PROJECT.parent / "shared"
CLASSES = ["cat", "dog"]


def archive_of(path, files: dict[str, int]) -> None:
    """An archive of grey images, name -> value."""
    with tarfile.open(path, "w:xz") as archive:
        for name, value in files.items():
            buffer = io.BytesIO()
            Image.fromarray(np.full((4, 4), value, np.uint8)).save(buffer, "png")
            member = tarfile.TarInfo(name)
            member.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(member, buffer)


def test_arrays_are_in_the_order_of_the_labels(tmp_path):
    files = {"train/dog/2.png": 30, "train/cat/1.png": 10, "train/dog/1.png": 20, "test/dog/1.png": 50}
    archive_of(tmp_path / "images.tar.xz", files | {"test/cat/2.png": 41, "test/cat/1.png": 40, "read.me/a/b.png": 7})
    np.save(tmp_path / "labels.npy", np.array([1, 0, 1], np.uint8))
    write_arrays(tmp_path / "images.tar.xz", tmp_path / "labels.npy", CLASSES, tmp_path / "out.npz")
    found = np.load(tmp_path / "out.npz")
    assert found["train_images"].shape == (3, 4, 4, 3) and found["train_images"].dtype == np.uint8
    assert found["train_images"][:, 0, 0, 0].tolist() == [20, 10, 30] and found["train_labels"].tolist() == [1, 0, 1]
    assert found["test_images"][:, 0, 0, 0].tolist() == [40, 41, 50] and found["test_labels"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("labels", "files", "said"),
    [
        ([1, 0], {"train/cat/1.png": 1}, "has 0 training images of dog, .* 1"),
        ([0], {"train/cat/1.png": 1}, "no test images"),
        ([2], {"train/cat/1.png": 1}, "not a list of labels from 0 to 1"),
        ([0.5], {"train/cat/1.png": 1}, "not a list of labels from 0 to 1"),
        (None, {"train/cat/1.png": 1}, "not a list of labels"),
        ([0], None, "not a whole archive"),
    ],
)
def test_bad_archives_and_labels_are_one_line(tmp_path, labels, files, said):
    archive, path = tmp_path / "images.tar.xz", tmp_path / "labels.npy"
    archive.write_bytes(b"no archive")
    if files:
        archive_of(archive, files)
    if labels:
        np.save(path, np.array(labels))
    with pytest.raises(InputError, match=said):
        write_arrays(archive, path, CLASSES, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.slow
def test_the_arrays_of_cifar_10_are_those_of_its_lists(tmp_path):
    """The archive beside the project, if there is one: its own script makes the same arrays."""
    archive, labels = SHARED / "cifar10/images.tar.xz", SHARED / "published_splits/cifar10_train_labels.npy"
    if not archive.exists():
        pytest.skip("no archive of CIFAR-10 here")
    write_arrays(archive, labels, gpu_study.CLASSES, tmp_path / "ours.npz")
    subprocess.run([sys.executable, SHARED / "cifar10/to_npz.py", tmp_path / "theirs.npz"], check=True)
    ours, theirs = np.load(tmp_path / "ours.npz"), np.load(tmp_path / "theirs.npz")
    assert sorted(ours) == sorted(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)


SAVES = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); print(1); time.sleep(60)"


def test_a_run_ends_in_time(monkeypatch):
    monkeypatch.setattr(timed, "GRACE", 1)
    assert run_step([sys.executable, "-c", "pass"], {}, 60)
    with pytest.raises(InputError, match="ended with code 3"):
        run_step([sys.executable, "-c", "raise SystemExit(3)"], {}, 60)
    assert not run_step(["no-such-program"], {}, 1)  # too late to begin
    for program in (SAVES, SAVES.replace("sys.exit(143)", "0")):  # one that ends, one that must be killed
        before = time.monotonic()
        assert not run_step([sys.executable, "-c", program], {}, 3)
        assert time.monotonic() - before < 30


def checkpoint(folder, epoch: int, name: str = "model.pt") -> dict:
    weights = {"weight": torch.arange(12.0).reshape(3, 4)}
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3, 4)}}, "param_groups": [{"lr": 0.5, "params": [0]}]}
    content = {"epoch": epoch, "state_dict": weights, "optim": optimizer, "random": [1, 2]}
    write_checkpoint(folder / name, content)
    return content


def test_weights_are_carried_in_parts_and_momentum_is_not(tmp_path):
    content = checkpoint(tmp_path / "here/run", 5)
    (tmp_path / "here/run/metrics.jsonl").write_text('{"epoch": 5}\n')
    assert pack(tmp_path / "here/run", tmp_path / "packet", [2], part=500)
    parts = sorted((tmp_path / "packet").glob("weights.*"))
    assert len(parts) > 2 and all(path.stat().st_size <= 500 for path in parts)
    assert unpack(tmp_path / "packet", tmp_path / "there") == [2, 5]
    found = read_checkpoint(tmp_path / "there/run/model.pt")
    assert torch.equal(found["state_dict"]["weight"], content["state_dict"]["weight"]) and found["random"] == [1, 2]
    assert found["optim"] == content["optim"] | {"state": {}}
    assert (tmp_path / "there/run/metrics.jsonl").read_text() == '{"epoch": 5}\n'
    # What a machine has itself is newer; what is not there is nothing.
    assert unpack(tmp_path / "packet", tmp_path / "there") is None
    assert unpack(tmp_path / "none", tmp_path / "there") is None and not pack(tmp_path / "none", tmp_path / "p", [])
    parts[1].unlink()
    with pytest.raises(InputError, match="not all"):
        unpack(tmp_path / "packet", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_whole_pretraining_is_carried_by_the_name_that_probes_ask_for(tmp_path):
    for name in ("model.pt", "model_6.pt"):
        checkpoint(tmp_path / "here/run", 6, name)
    assert pack(tmp_path / "here/run", tmp_path / "packet", []) and unpack(tmp_path / "packet", tmp_path / "there")
    assert [path.name for path in (tmp_path / "there/run").iterdir()] == ["model_6.pt"]


def test_the_plan_fills_the_time(monkeypatch):
    """Against a sum over all that will be run: as many epochs as fit, and not one more."""
    paces = {"simclr": Pace(10, 2.0), "sdclr": Pace(12, 3.0), "bcl-d": Pace(14, 3.5)}
    probes = [Pace(5, 1.0), Pace(6, 0.1)]
    options = Namespace(methods=list(paces), calls=3, minutes=9, work=Path("w"))
    monkeypatch.setattr(gpu_study, "recipe_of", lambda method, o, **_: [[method, "--epochs", n] for n in "369"])
    answers = {"simclr": [paces["simclr"], *probes], "sdclr": [paces["sdclr"]], "bcl-d": [paces["bcl-d"]]}
    monkeypatch.setattr(gpu_study, "pace_of", lambda words, *_: answers[words[0]].pop(0))
    found = gpu_study.plan(options, Clock(9))
    assert found.pretraining == paces and found.probes == probes

    def whole(epochs: int) -> float:
        of_probes = sum(pace.start + n * pace.epoch for pace, n in zip(probes, (6, 9), strict=True))
        runs = sum(pace.start + epochs * pace.epoch + of_probes for pace in paces.values())
        return runs + 2 * (timed.GRACE + 14)  # two stops, each with a start again

    time_there_is = gpu_study.SHARE * 27 * 60
    assert whole(found.epochs) <= time_there_is < whole(found.epochs + 1) + 1
    for method, pace in paces.items():
        answers[method] = [pace, *(probes if method == "simclr" else [])]
    options.calls = options.minutes = 1
    with pytest.raises(InputError, match="too short for one epoch"):
        gpu_study.plan(options, Clock(1))


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_interrupted_carried_and_finished(call, tmp_path, monkeypatch):
    """On digits: the plan, a call that ends within a pre-training, another machine, both probes, the table."""
    monkeypatch.setattr(gpu_study, "CIFAR", data_set("digits"))
    monkeypatch.setattr(gpu_study, "RECIPE", PROJECT / "cmds/shell_scrips/digits-LT.sh")
    monkeypatch.setattr(gpu_study, "MOST", 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def study(work: str, *words: str):
        return call(
            "benchmarks/gpu_study.py", "--data", tmp_path / "none", "--device", "cpu", "--methods", "simclr", "--model",
            "res20_s", "--work", tmp_path / work, "--carry", tmp_path / "carry", "--out", tmp_path / "out", *words,
        )  # fmt: skip

    whole = gpu_study.run_step

    def stopped(words, environment, seconds):
        """As where the time is over within the third epoch of the pre-training."""
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
    monkeypatch.setattr(gpu_study, "run_step", whole)
    done = study("second")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out/split1/simclr/run.json").read_text())
    assert told["epochs"] == 4 and told["momentum_anew"] == [2]
    assert "simclr went on on another machine after epoch 2: its momentum began anew there" in done.stdout
    assert "published, 2,000 epochs" in done.stdout and (tmp_path / "out.png").exists()


def test_without_a_gpu_without_data_without_results(call, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for words, said in (
        (["--data", "x.npz", "--work", tmp_path / "w"], "there is no GPU"),
        ([], "--data and --work are missing"),
        (["--table", "--out", tmp_path / "none"], "has no result yet"),
        (["--data", "x.tar.xz", "--work", tmp_path / "w", "--device", "cpu"], "--lists is missing"),
    ):
        done = call("benchmarks/gpu_study.py", *words)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and said in done.stderr
