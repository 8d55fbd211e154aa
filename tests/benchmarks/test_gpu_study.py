"""The study for a GPU: arrays of an archive, runs that end in time, what another machine goes on from, the whole."""

import io
import json
import signal
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
from benchmarks.study.carry import momentum_anew, pack, seconds_before, unpack
from benchmarks.study.jpegs import write_arrays
from benchmarks.study.kept import folder_of
from benchmarks.study.plan import SHARE, Plan, fit, planned, seconds_planned
from benchmarks.study.timed import Pace, run_step
from data.sets.registry import data_set
from run.checkpoint import read_checkpoint, write_checkpoint
from tests.conftest import PROJECT, quick_first
from utils.errors import InputError

SHARED = PROJECT.parent / "shared"
CLASSES = ["cat", "dog"]


def archive_of(path, files: dict[str, int], side: int = 32) -> None:
    """An archive of grey images, name -> value."""
    with tarfile.open(path, "w:xz") as archive:
        for name, value in files.items():
            buffer = io.BytesIO()
            Image.fromarray(np.full((side, side), value, np.uint8)).save(buffer, "png")
            member = tarfile.TarInfo(name)
            member.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(member, buffer)


def test_arrays_are_in_the_order_of_the_labels(tmp_path):
    files = {
        "train/dog/2.png": 30,
        "train/cat/1.png": 10,
        "train/dog/1.png": 20,
        "test/dog/1.png": 50,
        "test/dog/2.png": 51,
    }
    archive_of(tmp_path / "images.tar.xz", files | {"test/cat/2.png": 41, "test/cat/1.png": 40, "read.me/a/b.png": 7})
    np.save(tmp_path / "labels.npy", np.array([1, 0, 1], np.uint8))
    write_arrays(tmp_path / "images.tar.xz", tmp_path / "labels.npy", CLASSES, tmp_path / "out.npz")
    found = np.load(tmp_path / "out.npz")
    assert found["train_images"].shape == (3, 32, 32, 3) and found["train_images"].dtype == np.uint8
    assert found["train_images"][:, 0, 0, 0].tolist() == [20, 10, 30] and found["train_labels"].tolist() == [1, 0, 1]
    assert found["test_images"][:, 0, 0, 0].tolist() == [40, 41, 50, 51] and found["test_labels"].tolist() == [
        0,
        0,
        1,
        1,
    ]


CATS = {"train/cat/1.png": 1, "test/cat/1.png": 1, "test/dog/1.png": 1}


@pytest.mark.parametrize(
    ("labels", "files", "said"),
    [
        ([1, 0], CATS, "has 0 training images of dog, .* 1"),
        ([0], {"train/cat/1.png": 1}, "0 to 0 test images of a class"),
        ([0], {name: 1 for name in CATS if "test/dog" not in name}, "0 to 1 test images of a class"),
        ([2], CATS, "not a list of labels from 0 to 1"),
        ([0.5], CATS, "not a list of labels from 0 to 1"),
        (None, CATS, "not a list of labels"),
        ([0], None, "cannot be unpacked"),
    ],
)
def test_bad_archives_and_labels_are_one_line(tmp_path, labels, files, said):
    archive, path = tmp_path / "images.tar.xz", tmp_path / "labels.npy"
    archive.write_bytes(b"no archive")
    if files:
        archive_of(archive, files)
    if labels:
        np.save(path, np.array(labels))
    refuses(archive, path, said)


def refuses(archive: Path, labels: Path, said: str) -> None:
    with pytest.raises(InputError, match=said):
        write_arrays(archive, labels, CLASSES, labels.parent / "out.npz")
    assert not (labels.parent / "out.npz").exists()


def test_a_damaged_archive_and_images_of_another_size_are_one_line(tmp_path):
    archive, labels = tmp_path / "images.tar.xz", tmp_path / "labels.npy"
    np.save(labels, np.array([0]))
    archive_of(archive, CATS, side=16)
    refuses(archive, labels, "16 x 16 pixels, not 32 x 32")
    archive_of(archive, CATS)
    whole = archive.read_bytes()
    for place in range(len(whole) // 8, len(whole), len(whole) // 8):
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        refuses(archive, labels, "images.tar.xz")


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


@pytest.mark.slow
def test_a_run_ends_in_time(monkeypatch):
    monkeypatch.setattr(timed, "GRACE", 1)
    assert run_step([sys.executable, "-c", "pass"], {}, 60)
    with pytest.raises(InputError, match="ended with code 3"):
        run_step([sys.executable, "-c", "raise SystemExit(3)"], {}, 60)
    assert not run_step(["no-such-program"], {}, 1)  # too late to begin
    with pytest.raises(InputError, match="ended with code -9"):  # for its memory, say: it would do so again
        run_step([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], {}, 60)
    for program in (SAVES, SAVES.replace("sys.exit(143)", "0")):  # one that ends, one that must be killed
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


def checkpoint(folder, epoch: int, name: str = "model.pt") -> dict:
    weights = {"weight": torch.arange(12.0).reshape(3, 4)}
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3, 4)}}, "param_groups": [{"lr": 0.5, "params": [0]}]}
    content = {"epoch": epoch, "state_dict": weights, "optim": optimizer, "random": [1, 2]}
    write_checkpoint(folder / name, content)
    return content


def test_weights_are_carried_in_parts_and_momentum_is_not(tmp_path):
    here, there, packet = tmp_path / "here/run", tmp_path / "there/run", tmp_path / "packet"
    content = checkpoint(here, 5)
    (here / "metrics.jsonl").write_text('{"epoch": 5}\n')
    assert pack(here, packet, [2], 12.25, part=500) and momentum_anew(packet) == [2, 5]
    assert seconds_before(packet) == 12.2 and seconds_before(tmp_path / "none") == 0
    parts = sorted(packet.glob("weights-*"))
    assert len(parts) > 2 and all(path.stat().st_size <= 500 for path in parts)
    assert unpack(packet, there)
    found = read_checkpoint(there / "model.pt")
    assert torch.equal(found["state_dict"]["weight"], content["state_dict"]["weight"]) and found["random"] == [1, 2]
    assert found["optim"] == content["optim"] | {"state": {}}
    assert (there / "metrics.jsonl").read_text() == '{"epoch": 5}\n'
    # What a machine has itself is newer; what is not there is nothing.
    assert not unpack(packet, there) and momentum_anew(tmp_path / "none") == []
    assert not unpack(tmp_path / "none", there) and not pack(tmp_path / "none", tmp_path / "p", [])
    # Another packet in its place.
    checkpoint(here, 6)
    assert pack(here, packet, [2]) and momentum_anew(packet) == [2, 6]
    assert len(list(packet.glob("weights-*"))) == 1 and unpack(packet, tmp_path / "third")
    # Where the newest one is damaged, the one before it is carried.
    (here / "model.pt").rename(here / "model.previous.pt")
    assert pack(here, packet, []) and unpack(packet, tmp_path / "fourth/run")
    assert read_checkpoint(tmp_path / "fourth/run/model.pt")["epoch"] == 6


def test_a_damaged_packet_is_one_line(tmp_path):
    checkpoint(tmp_path / "here", 5)
    pack(tmp_path / "here", tmp_path / "packet", [], part=500)
    told = tmp_path / "packet/run.json"
    whole = told.read_text()
    odd = [whole[:40], "[]", whole.replace('"model.pt"', '"../model.pt"'), whole.replace('"epoch": 5', '"epoch": "5"')]
    for text in [*odd, whole.replace('"file"', '"fill"')]:
        told.write_text(text)
        with pytest.raises(InputError, match=r"run\.json is damaged"):
            unpack(tmp_path / "packet", tmp_path / "there")
    told.write_text(whole)
    sorted((tmp_path / "packet").glob("weights-*"))[1].unlink()
    with pytest.raises(InputError, match="not all"):
        unpack(tmp_path / "packet", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_whole_pretraining_is_carried_by_the_name_that_probes_ask_for(tmp_path):
    here = tmp_path / "here"
    for name in ("model.pt", "model_6.pt"):
        checkpoint(here, 6, name)
    assert pack(here, tmp_path / "packet", []) and unpack(tmp_path / "packet", tmp_path / "there")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["model_6.pt"]
    # Within the epoch after it, the weights are no more those of epoch 6.
    write_checkpoint(here / "model.pt", checkpoint(here, 6, "model_6.pt") | {"within": {"steps": 1}})
    assert pack(here, tmp_path / "packet", []) and unpack(tmp_path / "packet", tmp_path / "later")
    assert [path.name for path in (tmp_path / "later").iterdir()] == ["model.pt"]


def test_the_plan_fills_the_time():
    """Against a sum over all that will be run: as many epochs as fit, and not one more."""
    paces = {"simclr": Pace(10, 2.0), "sdclr": Pace(12, 3.0), "bcl-d": Pace(14, 3.5)}
    probes, of_probes = [Pace(5, 1.0), Pace(6, 0.1)], [30, 100]

    def whole(epochs: int) -> float:
        each = sum(pace.start + n * pace.epoch for pace, n in zip(probes, of_probes, strict=True))
        return sum(pace.start + epochs * pace.epoch + each for pace in paces.values())

    for seconds in (60, 500, 1000, 3000.5):
        found = fit(paces, probes, of_probes, seconds)
        assert (whole(found) <= seconds or found == 0) and seconds < whole(found + 1)
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
    told = {("simclr", 1): {"epochs": 9, "model": "res18"}}
    monkeypatch.setattr(gpu_study, "results_in", lambda folder: told)
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
        found = {str(path.relative_to(ours)): np.load(path).tolist() for path in ours.rglob("*.npy")}
        assert found == {names[0]: [0], names[1]: [1]}
    np.save(ours / names[0], np.array([9]))
    with pytest.raises(InputError, match="another list than"):
        gpu_study.copy_lists(theirs)
    assert np.load(ours / names[0]).tolist() == [9]


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
