"""Supervised learning by train_imagenet.py on a small tree of JPEG files: views, stages, resuming, bad images."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from data.sets.registry import data_set
from run.checkpoint import read_checkpoint
from tests.conftest import one_line_error, slow_but
from tests.run.test_resume import equal
from tests.scripts.test_folder import photographs
from tests.trees import take_lists_from

pytestmark = pytest.mark.usefixtures("one_thread")

TAILED = "imageNet_100_LT_train"
SMALL = ["--dataset", "imagenet-100", "--model", "res10", "--image_size", "32", "--num_workers", "0"]
LEARN = [*SMALL, "--customSplit", TAILED, "--batch-size", "48", "--epochs", "1"]
TUNED = "checkpoints_imagenet_tune"


@pytest.fixture
def learn(call, images, monkeypatch):
    """Run train_imagenet.py on the tree, with its lists in the place of split/."""
    take_lists_from(images[1], monkeypatch.setattr)
    return lambda *args, data=None: call("train_imagenet.py", *args, "--data", data or images[0])


def result(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def state(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "best_model.pt")["state_dict"]


@pytest.mark.slow
def test_ce_then_crt_then_post_hoc(learn, tmp_path):
    done = learn("ce", *LEARN, "--protocol", "ce")
    assert done.returncode == 0, done.stderr
    found = result(tmp_path / TUNED / "ce")
    assert found["protocol"] == "ce" and found["departs"].keys() == {"epochs", "batch_size", "image_size"}
    assert found["supervised"]["settings"]["jitter"] == 0.4 and found["lists"]["train"]["path"] == f"{TAILED}.txt"
    before = state(tmp_path / TUNED / "ce")
    drifted = [k for k, v in before.items() if k.endswith("running_mean") and v.abs().max() > 0]
    assert drifted  # the whole network learns, its statistics too
    for name in ("crt", "la-posthoc"):
        words = ["--epochs", "1", "--batch-size", "48"] if name == "crt" else []
        done = learn(name, *SMALL, "--protocol", name, "--ce", Path(TUNED) / "ce", *words)
        assert done.returncode == 0, done.stderr
        assert "ce_epochs" in result(tmp_path / TUNED / name)["departs"]
    now = state(tmp_path / TUNED / "crt")
    assert {k for k in before if not torch.equal(before[k], now[k])} == {"module.fc.weight", "module.fc.bias"}


@pytest.mark.slow
def test_jitter_reaches_the_images(learn, tmp_path):
    for name, words in {"plain": ["--jitter", "0"], "usual": []}.items():
        assert learn(name, *LEARN, "--protocol", "la", *words).returncode == 0
    plain, usual = (state(tmp_path / TUNED / name) for name in ("plain", "usual"))
    assert not torch.equal(plain["module.conv1.weight"], usual["module.conv1.weight"])
    assert result(tmp_path / TUNED / "plain")["departs"]["jitter"] == [0.0, 0.4]


def test_images_that_are_decoded_once_have_no_jitter(call, tmp_path, ledger, monkeypatch):
    take_lists_from(tmp_path / "lists", monkeypatch.setattr)
    (tmp_path / "lists").mkdir()
    own = photographs(tmp_path / "own", {"train/a": 12, "train/b": 8, "train/c": 5, "test/a": 2, "test/b": 2})
    words = ["--dataset", "folder", "--data", own, "--model", "res20_s", "--protocol", "la", "--epochs", "1"]
    words += ["--num_workers", "0"]
    done = call("train_imagenet.py", "x", *words, "--jitter", "0.2")
    one_line_error(done, "--jitter 0.2 has no effect", "--cache none")
    assert not (tmp_path / TUNED).exists()
    for name, more, jitter in (("cached", [], 0.0), ("files", ["--cache", "none", "--jitter", "0.2"], 0.2)):
        done = call("train_imagenet.py", name, *words, *more)
        assert done.returncode == 0, done.stderr
        found = result(tmp_path / TUNED / name)
        assert found["supervised"]["settings"]["jitter"] == jitter and found["departs"]["jitter"] == [jitter, 0.4]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", slow_but("la", ["la", "crt"]))
def test_interrupted_within_an_epoch_it_is_the_undisturbed_one(learn, tmp_path, interrupted, protocol):
    options = [*LEARN, "--protocol", protocol, *(["--ce_epochs", "1"] if protocol == "crt" else [])]
    assert learn("whole", *options).returncode == 0
    interrupted(2, 2)
    for _ in range(2):
        assert learn("parts", *options, "--resume").returncode == 143
    assert learn("parts", *options, "--resume").returncode == 0
    folder = tmp_path / TUNED
    assert equal(folder / "whole", folder / "parts") and equal(folder / "whole", folder / "parts", "best_model.pt")


@pytest.mark.slow
def test_a_bad_image_is_one_line_or_left_out(learn, images, tmp_path):
    root, lists = tmp_path / "damaged", images[1]
    shutil.copytree(images[0], root)
    path = (lists / data_set("imagenet-100").path(TAILED)).read_text().splitlines()[3].split()[0]
    (root / path).unlink()
    one_line_error(learn("x", *LEARN, "--protocol", "ce", data=root), path)
    done = learn("y", *LEARN, "--protocol", "ce", "--on_bad_image", "skip", data=root)
    assert done.returncode == 0, done.stderr
    assert path in (tmp_path / TUNED / "y/log.txt").read_text()


def test_a_list_without_images_of_a_class_is_refused(learn, images, tmp_path):
    lines = (images[1] / data_set("imagenet-100").path(TAILED)).read_text().splitlines()
    (tmp_path / "short.txt").write_text("\n".join(x for x in lines if x.split()[1] != "7") + "\n")
    done = learn("x", *LEARN, "--protocol", "la", "--customSplit", tmp_path / "short.txt")
    one_line_error(done, "short.txt has no image of 1 of 100 classes, 7 first")
    (tmp_path / "beyond.txt").write_text("\n".join([*lines[:-1], f"{lines[-1].split()[0]} 100"]) + "\n")
    done = learn("x", *LEARN, "--protocol", "la", "--customSplit", tmp_path / "beyond.txt")
    one_line_error(done, "beyond.txt", "100")
    assert not (tmp_path / TUNED).exists()


@pytest.mark.slow
def test_the_best_epoch_is_that_of_top1(learn, tmp_path, monkeypatch):
    """As in the code of Kang et al.; probes of image files take that of top-5."""
    scores = iter([{"top1": 3.0, "top5": 4.0}, {"top1": 2.0, "top5": 9.0}])
    monkeypatch.setattr(
        "probe.network.Network.evaluate", lambda self, images, classes: {**next(scores), "per_class": [0.0] * classes}
    )
    words = ["--epochs", "2", "--test_freq", "1", "--select", "val"]
    done = learn("best", *LEARN, "--protocol", "ce", *words)
    assert done.returncode == 0, done.stderr
    assert result(tmp_path / TUNED / "best")["best"] == {"epoch": 1, "val": 3.0}
