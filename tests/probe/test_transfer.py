"""Transfer: the protocols on small trees of every set, weight decay from a held-out tenth, resuming, mistakes."""

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from data.sets.registry import TRANSFER_SETS
from features.accuracy import accuracy, count_hits
from features.extract import Features
from probe.decay import DECAYS, choose_decay, held_out
from probe.on_features import fit, linear
from run.checkpoint import read_checkpoint
from tests.conftest import one_line_error, slow_but
from tests.features.sources import random, ten
from tests.run.test_resume import equal
from tests.transfer_trees import CLASSES, TEST, TRAIN, make, take
from utils.errors import InputError

HOW = ["--image_size", 32, "--num_workers", 0, "--no-cuda", "--precision", "fp32"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    torch.save(random(ten(small=False)).state_dict(), tmp_path / "ten.pth")
    return tmp_path / "ten.pth"


@pytest.fixture
def cub(tmp_path, monkeypatch):
    small = make("cub", tmp_path / "data")
    take(small, monkeypatch.setattr)
    return small


def results(folder) -> dict[str, dict]:
    """Name of a probe's folder, without the checkpoint's hash -> its results.json."""
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/*/results.json")}
    return {re.sub("-[0-9a-f]{8}__", "__", name): result for name, result in found.items()}


@pytest.mark.parametrize("name", slow_but("cub", TRANSFER_SETS))
def test_every_set_with_the_probe_of_bcl(call, tmp_path, monkeypatch, checkpoint, name):
    """Top-1 and top-5 by the definition, from features that the network itself gives of the centre crops."""
    small = make(name, tmp_path / "data")
    take(small, monkeypatch.setattr)
    words = ["--checkpoint", checkpoint, "--dataset", name, "--data", small.root, *HOW, "--epochs", 30]
    done = call("probe/__main__.py", *words, "--protocol", "bcl-transfer")
    assert done.returncode == 0, done.stderr
    (result,) = results(tmp_path).values()
    assert (result["protocol"], result["dataset"], result["seed"]) == ("bcl-transfer", name, 10)
    assert result["departs"] == {"epochs": [30, 500], "image_size": [32, 224]}
    assert result["groups"] is None and result["images"] == CLASSES * TEST
    assert {k: v["path"] for k, v in result["lists"].items() if v} == {"train1": "train", "test": "test"}
    assert result["top5"] >= result["top1"] and len(result["per_class"]) == CLASSES
    assert result["top1"] > 60  # colours tell the class
    shown = [line.split() for line in done.stdout.splitlines()]
    assert ["Top-1", "Top-5"] in shown and ["bcl-transfer", *(f"{result[k]:.2f}" for k in ("top1", "top5"))] in shown
    assert "groups" not in done.stdout
    assert "bcl-transfer departs from its protocol: epochs 30, not 500, image_size 32, not 224" in done.stdout


@pytest.mark.slow
def test_the_two_protocols_side_by_side_and_all_sets_in_one_folder(call, tmp_path, monkeypatch, checkpoint):
    for name in ("cub", "dogs"):
        small = make(name, tmp_path / "data")
        take(small, monkeypatch.setattr)
        words = ["--checkpoint", checkpoint, "--dataset", name, "--data", tmp_path / "data", *HOW, "--epochs", 2]
        done = call("probe/__main__.py", *words, "--protocol", "bcl-transfer", "sgd-transfer")
        assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert found.keys() == {f"ten__{n}_{p}" for n in ("cub", "dogs") for p in ("bcl-transfer", "sgd-transfer")}
    result = found["ten__cub_sgd-transfer"]
    assert result["departs"].keys() == {"epochs", "image_size"}
    assert result["best"] == {"epoch": 2.0, "val": None}
    assert {k: v["path"] for k, v in result["lists"].items() if v} == {"train": "train", "test": "test"}


SGD = ["--protocol", "sgd-transfer", "--epochs", 3, "--lr", 1, "--wd", 0, "--batch-size", 8, "--decreasing_lr", 2,
       "--fullset", "--test_freq", 1]  # fmt: skip


@pytest.mark.slow
def test_the_last_epoch_counts_and_a_run_that_is_interrupted_ends_as_the_undisturbed_one(
    call, tmp_path, cub, checkpoint, interrupted
):
    words = ["--dataset", "cub", "--data", cub.root, "--checkpoint", checkpoint, "--cvt_state_dict", "--model", "res10",
             *HOW, *SGD]  # fmt: skip
    assert call("train_imagenet.py", "whole", *words).returncode == 0
    interrupted(2, 3)  # steps; an epoch has three
    assert call("train_imagenet.py", "parts", *words).returncode == 143
    assert call("train_imagenet.py", "parts", *words, "--resume").returncode == 143
    done = call("train_imagenet.py", "parts", *words, "--resume")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "checkpoints_imagenet_tune"
    assert equal(folder / "whole", folder / "parts")
    best, last = (read_checkpoint(folder / "whole" / f"{name}.pt") for name in ("best_model", "model"))
    assert best["epoch"] == last["epoch"] == 3
    assert all(torch.equal(best["state_dict"][k], v) for k, v in last["state_dict"].items())
    again = call("train_imagenet.py", "whole", *words, "--test_only")
    assert again.returncode == 0, again.stderr
    ours = [json.loads((folder / name / "results.json").read_text()) for name in ("whole", "parts")]
    assert ours[0]["per_class"] == ours[1]["per_class"] and ours[0]["best"] == {"epoch": 3.0, "val": None}


def test_the_backbone_stays(call, tmp_path, cub, checkpoint):
    words = ["--dataset", "cub", "--data", cub.root, "--checkpoint", checkpoint, "--cvt_state_dict", "--model", "res10"]
    assert call("train_imagenet.py", "x", *words, *HOW, *SGD).returncode == 0
    before = torch.load(checkpoint)
    after = read_checkpoint(tmp_path / "checkpoints_imagenet_tune" / "x" / "best_model.pt")["state_dict"]
    after = {k.removeprefix("module."): v for k, v in after.items()}
    kept = [k for k in before if not k.startswith("fc.")]
    assert len(kept) > 20 and all(torch.equal(before[k], after[k]) for k in kept if k in after)
    assert sum(k in after for k in kept) > 20


@pytest.mark.slow
def test_a_check_of_each_protocol_writes_nothing(call, tmp_path, cub, checkpoint):
    before = set(tmp_path.rglob("*"))
    words = ["--checkpoint", checkpoint, "--dataset", "cub", "--data", cub.root, *HOW, "--check"]
    done = call("probe/__main__.py", *words, "--protocol", "bcl-transfer", "sgd-transfer")
    assert done.returncode == 0 and done.stdout.count("nothing was written") == 2, done.stderr
    assert call("probe/__main__.py", *words, "--protocol", "bcl-transfer", "--select_wd").returncode == 0
    assert set(tmp_path.rglob("*")) == before


# ---- weight decay


def noisy(n: int, classes: int = 4, width: int = 64, seed: int = 0) -> Features:
    """Features whose first dimensions tell the class, and noise in all."""
    rng = np.random.RandomState(seed)
    labels = np.arange(n) % classes
    values = rng.normal(size=(n, width)) * 1.5
    values[np.arange(n), labels] += 2
    return Features(torch.tensor(values).float(), torch.tensor(labels), torch.arange(n))


def test_a_tenth_of_each_class_is_held_out():
    sizes = [1, 2, 4, 10, 15, 16, 30, 104]
    labels = np.random.RandomState(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    chosen = held_out(labels, 10)
    found = np.bincount(labels[chosen], minlength=len(sizes)).tolist()
    assert found == [0, 1, 1, 1, 2, 2, 3, 10]
    assert np.array_equal(chosen, held_out(labels, 10)) and not np.array_equal(chosen, held_out(labels, 11))


def test_the_decay_is_the_best_on_the_held_out_images_alone():
    train = noisy(200)
    decay, scores = choose_decay(train, 4, 40, seed=3)
    out = torch.from_numpy(held_out(train.labels.numpy(), 3))
    assert list(scores) == list(DECAYS) and out.sum() == 20
    for value, score in scores.items():
        torch.manual_seed(3)
        layer = fit(Features(train.values[~out], train.labels[~out], train.ids[~out]), 4, 40, value)
        hits = (layer(train.values[out]).argmax(1) == train.labels[out]).tolist()
        assert score == pytest.approx(100 * sum(hits) / 20)
    assert decay == next(value for value in DECAYS if scores[value] == max(scores.values()))


def test_images_that_are_not_held_out_tell_nothing_of_the_scores():
    """Labels of held-out images alone change the scores, and not what is trained."""
    train = noisy(120)
    out = torch.from_numpy(held_out(train.labels.numpy(), 0))
    values = torch.where(out[:, None], torch.zeros(()), train.values)
    _, scores = choose_decay(train._replace(values=values), 4, 5, seed=0)
    assert set(scores.values()) == {25.0}  # all alike: one class is said of each


@pytest.mark.slow
def test_ties_keep_the_decay_of_bcl():
    train = noisy(80, width=8)._replace(values=10 * F.one_hot(torch.arange(80) % 4, 8).float())
    decay, scores = choose_decay(train, 4, 600, seed=0)
    assert set(scores.values()) == {100.0} and decay == DECAYS[0] == 5e-6


def test_one_image_a_class_is_refused():
    with pytest.raises(InputError, match="no class has two training images"):
        choose_decay(noisy(4), 4, 2, seed=0)


def test_decay_is_the_l2_penalty_of_scikit_learn():
    """The optimum of mean cross-entropy + decay / 2 |w|^2 is that of C = 1 / (N decay); biases have it here, too, and
    are small."""
    train, decay = noisy(400, width=8), 0.3
    torch.manual_seed(0)
    layer = fit(train, 4, 2000, decay)
    x = np.c_[train.values.double().numpy(), np.ones(400)]
    theirs = LogisticRegression(C=1 / (400 * decay), fit_intercept=False, tol=1e-10, max_iter=10_000).fit(
        x, train.labels
    )
    ours = np.c_[layer.weight.detach().numpy(), layer.bias.detach().numpy()]
    centred = ours - ours.mean(0), theirs.coef_ - theirs.coef_.mean(0)
    np.testing.assert_allclose(*centred, atol=4e-3)


def test_without_a_choice_it_is_the_published_decay():
    train, test = noisy(60), noisy(20, seed=1)
    found = []
    for options in ({}, {"decay": 5e-6}, {"decay": 0.5}):
        torch.manual_seed(0)
        found.append(linear(train, test.values, 4, 5, **options))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_the_choice_is_told(call, tmp_path, cub, checkpoint):
    words = ["--checkpoint", checkpoint, "--dataset", "cub", "--data", cub.root, *HOW, "--epochs", 20]
    done = call("probe/__main__.py", *words, "--protocol", "bcl-transfer", "--select_wd")
    assert done.returncode == 0, done.stderr
    (result,) = results(tmp_path).values()
    told = result["weight_decay"]
    assert result["departs"]["select_wd"] == [True, False]
    assert list(map(float, told["held_out_top1"])) == list(DECAYS) and told["chosen"] in DECAYS
    assert done.stdout.count("of a held-out tenth of the training images") == len(DECAYS)
    assert result["images"] == CLASSES * TEST and TRAIN > 1


# ---- top-5


def test_top_5_is_that_of_a_sort():
    rng = np.random.RandomState(0)
    for classes in (3, 5, 7, 40):
        scores, labels = rng.normal(size=(200, classes)).astype(np.float32), rng.randint(classes, size=200)
        scores[:20] = np.round(scores[:20])  # ties
        first = five = 0
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
            ranked = sorted(range(classes), key=lambda c: (-row[c], c))
            first, five = first + (ranked[0] == label), five + (label in ranked[:5])
        found = accuracy(count_hits(scores, labels, classes))
        assert found["top1"] == pytest.approx(100 * first / 200) and found["top5"] == pytest.approx(100 * five / 200)


# ---- mistakes


def test_mistakes_are_one_line_and_leave_nothing(call, tmp_path, cub, checkpoint):
    torch.save({k: v[:3] for k, v in torch.load(checkpoint).items() if v.ndim}, tmp_path / "part.pth")
    (tmp_path / "empty").mkdir()
    half = make("cub", tmp_path / "half")
    (half.place / half.parts["test"][0][0]).unlink()
    before = set(tmp_path.rglob("*"))
    base = ["--checkpoint", checkpoint, "--dataset", "cub", "--data", cub.root, *HOW]
    words = [*base, "--protocol", "bcl-transfer"]
    for options, *parts in (
        ([*words[:4], "--data", half.root, *words[6:]], "1 of 35 images of cub missing", "half unpacked"),
        ([*words[:4], "--data", tmp_path / "empty", *words[6:]], "cub is not in", "CUB_200_2011.tgz"),
        ([*base, "--protocol", "bcl-full"], "cub is for transfer", "bcl-transfer or sgd-transfer"),
        ([*base, "--protocol", "sdclr-linear"], "cub is for transfer"),
        ([*words, "--groupSplit", "x"], "--groupSplit has no meaning for cub"),
        ([*base, "--protocol", "sgd-transfer", "--select_wd"], "--select_wd is for --protocol bcl-transfer"),
        (["--checkpoint", checkpoint, "--dataset", "digits", "--protocol", "bcl-transfer"],
         "--protocol bcl-transfer is for cub, cars, aircraft, dogs, nabirds, not for digits"),
        (["--checkpoint", tmp_path / "part.pth", *words[2:]], "part.pth"),
        ([*words[:3], "imagenet", *words[4:]], "is for cub"),
    ):  # fmt: skip
        one_line_error(call("probe/__main__.py", *options), *parts)
        assert set(tmp_path.rglob("*")) == before, options
    script = ["x", *words[2:6], "--checkpoint", checkpoint, "--cvt_state_dict"]
    for options, *parts in (
        ([*script], "cub is for transfer: choose --protocol"),
        ([*script, "--protocol", "sgd-transfer", "--valiSplit", "test"], "no validation: leave out --valiSplit"),
        ([*script, "--protocol", "sgd-transfer", "--customSplit", "train"], "leave out --customSplit"),
        ([*script, "--protocol", "bcl-transfer", "--fullset"], "leave out --fullset"),
        ([*script, "--dataset", "imagenet-100", "--select_wd"], "--select_wd is for --protocol bcl-transfer"),
    ):
        one_line_error(call("train_imagenet.py", *options), *parts)
        assert set(tmp_path.rglob("*")) == before, options
