"""Own images from end to end: pre-training, probes, table, tail, features; resumed; mistakes in one line."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import split.open
from data.kept import NAME
from run.folder import Run
from tests.conftest import interrupted_after, one_line_error, quick_first
from tests.data.test_tree import arrays

PRETRAIN = ["--dataset", "folder", "--model", "res20_s", "--batch_size", "8", "--epochs", "2", "--optimizer", "sgd",
            "--lr", "0.1", "--output_ch", "8", "--num_workers", "0", "--precision", "fp32"]  # fmt: skip
PROBE = ["--dataset", "folder", "--model", "res20_s", "--batch-size", "8", "--epochs", "2", "--lr", "1", "--wd", "0",
         "--num_workers", "0", "--precision", "fp32"]  # fmt: skip
METHODS = {
    "simclr": [],
    "sdclr": ["--prune_percent", "0.5"],
    "focal": [],
    "bcl-i": [],
    "bcl-d": ["--prune_percent", "0.5"],
    "rwsam": [],
    "simclr+gh": ["--gh_classes", "9"],
    "moclr": [],
}


def photographs(root: Path, counts: dict[str, int], size: int = 12) -> Path:
    """Images of noise around the colour of their folder."""
    rng = np.random.default_rng(0)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        colour = rng.integers(0, 190, 3)
        for i in range(count):
            pixels = (colour + rng.integers(0, 60, (size, size + i % 2, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i:02d}.png")
    return root


@pytest.fixture
def flat(tmp_path) -> Path:
    """Twenty images without classes, at two depths."""
    return photographs(tmp_path / "flat", {"": 8, "x/y": 12})


@pytest.fixture
def classes(tmp_path, ledger, monkeypatch) -> Path:
    """Three classes of unequal sizes, and their test images; lists go to a folder of the test's own."""
    monkeypatch.setattr(split.open, "ROOT", tmp_path / "lists")
    (tmp_path / "lists").mkdir()
    train = {f"train/{name}": count for name, count in (("a", 20), ("b", 12), ("c", 6))}
    return photographs(tmp_path / "own", train | {f"test/{name}": 4 for name in "abc"} | {"raw": 1})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model_2.pt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("method", METHODS)
def test_no_labels_are_needed(call, flat, tmp_path, method):
    done = call("train_simCLR.py", "run", *PRETRAIN, "--data", flat, "--method", method, *METHODS[method])
    assert done.returncode == 0, done.stderr
    assert "20 images, no classes, decoded once into memory" in done.stdout
    lines = (tmp_path / "checkpoints" / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 and {"loss", "alignment", "uniformity", "spread"} <= json.loads(lines[-1]).keys()


@pytest.mark.parametrize("cache", quick_first(["disk", "memory", "none"]))
def test_resumed_to_the_bit(call, flat, tmp_path, cache):
    options = [*PRETRAIN, "--data", flat, "--cache", cache, "--method", "bcl-i"]
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    with interrupted_after(Run, 1):
        call("train_simCLR.py", "parts", *options)
    done = call("train_simCLR.py", "parts", *options, "--resume")
    assert done.returncode == 0, done.stderr
    whole, parts = (weights(tmp_path / "checkpoints" / name) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert (tmp_path / "checkpoints" / "parts" / NAME).exists()


def test_another_folder_is_not_resumed(call, flat, tmp_path):
    assert call("train_simCLR.py", "run", *PRETRAIN, "--data", flat).returncode == 0
    Image.new("RGB", (12, 12)).save(flat / "new.png")
    done = call("train_simCLR.py", "run", *PRETRAIN, "--epochs", "3", "--data", flat, "--resume")
    one_line_error(done, "the training images are different ones")


def test_with_classes(call, classes, tmp_path):
    own = ["--data", classes]
    done = call("train_simCLR.py", "train_res20_s_x_epoch2_batch8", *PRETRAIN, *own, "--imagenetCustomSplit", "train",
                "--save-dir", "checkpoints_own", "--monitor", "knn")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "50 images (38 in train, 12 in test), 3 classes" in done.stdout and "not read: raw" in done.stdout
    assert "kNN on the validation list after epoch 2" in done.stdout
    checkpoint = tmp_path / "checkpoints_own" / "train_res20_s_x_epoch2_batch8" / "model_2.pt"
    for name, chosen in (("lr30_x", ["--fullset"]), ("train_S_b_lr30_x", ["--customSplit", "train_S_b"])):
        done = call("train_imagenet.py", f"train_res20_s_x_epoch2_batch8__{name}", *PROBE, *own, *chosen,
                    "--checkpoint", checkpoint, "--cvt_state_dict", "--save-dir", "checkpoints_own_tune")  # fmt: skip
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "checkpoints_own_tune" / f"train_res20_s_x_epoch2_batch8__{name}"
        result = json.loads((folder / "results.json").read_text())
        assert result["class_names"] == ["a", "b", "c"]
        assert result["class_counts"] == [18, 11, 5] and result["images"] == 12  # without validation images
        assert (
            result["groups"].keys() == {"Many", "Medium", "Few", "Std", "All"} and result["pretraining"]["split"] == 0
        )
        # The single class of each group; Std over the three.
        groups, each = [result["groups"][g] for g in ("Many", "Medium", "Few")], result["per_class"]
        assert groups == each and result["groups"]["Std"] == pytest.approx(np.std(each))
        assert "image_size" not in result["departs"]
    words = ["--probe", "linear", "fewShot", "--report", "page"]
    done = call("exp_analyse.py", "--dataset", "folder", *own, *words)
    assert done.returncode == 0 and done.stdout.count("SimCLR") == 2, done.stderr
    assert "pre-trained on train, sdclr-linear" in done.stdout and "missing" not in done.stdout
    page = (tmp_path / "page" / "index.html").read_text()
    assert all(f'<th scope="row">{name}</th>' in page for name in "abc") and 'class="views"' in page
    assert str(tmp_path) not in page and "python train_imagenet.py" in page and "python train_simCLR.py" in page
    done = call("tail/__main__.py", "--checkpoint", checkpoint, *own, "--out", "tail", "--draws", "1")
    assert done.returncode == 0, done.stderr
    ranked = list(csv.reader((tmp_path / "tail" / "loss.csv").open()))
    assert len(ranked) == 35 and any("train/a/00.png" in row for row in ranked)
    done = call("features/save.py", "--dataset", "folder", *own, "--checkpoint", checkpoint, "--model", "res20_s",
                "--out", "f.npz")  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "f.npz") as found:
        assert found["features"].shape == (12, 64) and set(found["paths"]) == {
            f"test/{c}/{i:02d}.png" for c in "abc" for i in range(4)
        }
    for more in ([], ["--features", "f.npz"]):
        source = more or ["--checkpoint", checkpoint, "--model", "res20_s"]
        done = call("features/embed.py", "--dataset", "folder", *own, *source, "--method", "pca", "--out", "f.png")
        assert done.returncode == 0, done.stderr
    done = call("features/export.py", "--checkpoint", checkpoint, "--to", "safetensors", "--out", "e.safetensors")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "e.safetensors.md").read_text()
    assert "| data set | folder (images of the user's own) |" in card and "| list of images | train |" in card
    assert str(tmp_path) not in card


def test_arrays(call, tmp_path, ledger, monkeypatch):
    monkeypatch.setattr(split.open, "ROOT", tmp_path / "lists")
    rng = np.random.default_rng(0)
    content = {
        f"{part}_images": rng.integers(0, 256, (n, 12, 12, 3), np.uint8) for part, n in (("train", 30), ("test", 6))
    }
    labels = {"train_labels": np.arange(30) % 3, "test_labels": np.arange(6) % 3}
    file = arrays(tmp_path / "a.npz", **content, **labels)
    assert call("train_simCLR.py", "run", *PRETRAIN, "--data", file).returncode == 0
    done = call("train_imagenet.py", "probe", *PROBE, "--data", file, "--fullset", "--cvt_state_dict",
                "--checkpoint", "checkpoints/run/model_2.pt")  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "checkpoints_imagenet_tune" / "probe"
    assert json.loads((folder / "results.json").read_text())["images"] == 6
    lines = next((tmp_path / "lists").glob("folder_a_*/train.txt")).read_text().splitlines()
    assert len(lines) == 27 and all(line.split()[0].split("/")[1] == line.split()[1] for line in lines)


def test_a_list_of_paths(call, flat, tmp_path):
    listed = tmp_path / "some.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(flat.rglob("*.png"))[:9]))
    done = call("train_simCLR.py", "run", *PRETRAIN, "--data", listed)
    assert done.returncode == 0 and "9 images, no classes" in done.stdout, done.stderr


def test_bad_images_are_counted_and_named(call, flat):
    (flat / "03.png").write_bytes(b"")
    (flat / "x/y/05.png").write_bytes(b"GIF89a")
    (flat / "04.png").rename(flat / os.fsdecode(b"\xff.png"))
    one_line_error(
        call("train_simCLR.py", "run", *PRETRAIN, "--data", flat), "1 images have names", "on_bad_image skip"
    )
    for cache in ("memory", "none"):
        options = [*PRETRAIN, "--data", flat, "--cache", cache]
        done = call("train_simCLR.py", cache, *options, "--on_bad_image", "skip")
        assert done.returncode == 0, done.stderr
        told = done.stdout + done.stderr
        assert "images left out so far: 2" in told and "03.png" in told and "x/y/05.png" in told
        assert "1 images have names that no list can hold" in told
    (flat / os.fsdecode(b"\xff.png")).unlink()
    for cache in ("memory", "none"):
        done = call("train_simCLR.py", "error", *PRETRAIN, "--data", flat, "--cache", cache)
        one_line_error(done, "03.png", "05.png", "--on_bad_image skip")


MISTAKES = {
    "nothing named": ([], "--data"),
    "missing": (["--data", "nowhere"], "neither a folder nor a file"),
    "empty": (["--data", "empty"], "no image below"),
    "one image": (["--data", "one"], "1 images, fewer than the batch of 8"),
    "fewer than a batch": (["--data", "flat", "--batch_size", "64"], "20 images, fewer than the batch of 64"),
    "a batch of one": (["--data", "flat", "--batch_size", "19", "--method", "sdclr"], "batch of one"),
    "no labels": (["--data", "flat", "--monitor", "knn"], "train on train"),
    "no lists": (["--data", "flat", "--imagenetCustomSplit", "split1_D_i"], "no classes"),
    "engine": (["--data", "flat", "--augment", "opencv"], "--cache none"),
    "no engine": (["--data", "flat", "--cache", "none", "--augment", "batched"], "--cache memory"),
    "cut arrays": (["--data", "cut.npz"], "damaged"),
    "cache of others": (["--dataset", "digits", "--cache", "memory"], "--cache is for own images"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(call, flat, tmp_path, name):
    (tmp_path / "empty").mkdir()
    photographs(tmp_path / "one", {"": 1})
    whole = arrays(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    before = sorted(tmp_path.rglob("*"))
    given, words = MISTAKES[name]
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN, *given), words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("cache", ["auto", "disk"])
def test_a_check_writes_nothing(call, classes, tmp_path, cache):
    before = sorted(tmp_path.rglob("*"))
    done = call("train_simCLR.py", "run", *PRETRAIN, "--data", classes, "--cache", cache, "--check")
    assert done.returncode == 0 and "nothing was written" in done.stdout, done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("counts", "words"), [
    ({"train/a": 8, "train/A": 8}, "differ in case alone"), ({"train/a": 8, "train/b": 1}, "'b' has 1 image"),
])  # fmt: skip
def test_classes_that_cannot_be_probed(call, tmp_path, ledger, monkeypatch, counts, words):
    monkeypatch.setattr(split.open, "ROOT", tmp_path / "lists")
    photographs(tmp_path / "own", counts)
    one_line_error(call("train_imagenet.py", "run", *PROBE, "--data", tmp_path / "own", "--fullset"), words)
    assert [path.name for path in tmp_path.iterdir() if path.name != "ledger"] == ["own"]


@pytest.mark.parametrize("script", ["train_simCLR.py", "train_imagenet.py", "split/make_splits.py", "features/save.py"])
def test_names_that_no_list_can_hold_are_told_before_lists_are_made(call, classes, tmp_path, script):
    """Else the lists are without these images for ever, and a class that has no other image is none."""
    assert call("train_simCLR.py", "first", *PRETRAIN, "--data", classes).returncode == 0
    (classes / "train/c").rename(classes / "train" / os.fsdecode(b"\xff"))
    (classes / "test/c").rename(classes / "test" / os.fsdecode(b"\xff"))
    checkpoint = ["--checkpoint", "checkpoints/first/model_2.pt"]
    options = {
        "train_simCLR.py": ["run", *PRETRAIN, "--imagenetCustomSplit", "train"],
        "train_imagenet.py": ["run", *PROBE, "--fullset", "--cvt_state_dict", *checkpoint],
        "split/make_splits.py": ["--dataset", "folder", "--out", "lists"],
        "features/save.py": [
            "--dataset",
            "folder",
            "--list",
            "train",
            "--model",
            "res20_s",
            *checkpoint,
            "--out",
            "f.npz",
        ],
    }[script]
    before = sorted(tmp_path.rglob("*"))
    one_line_error(call(script, *options, "--data", classes), "10 images have names that are not UTF-8")
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_is_decoded_for_a_batch_that_is_too_large(call, flat, tmp_path):
    options = [*PRETRAIN, "--data", flat, "--cache", "disk", "--batch_size", "64"]
    one_line_error(call("train_simCLR.py", "run", *options), "20 images, fewer than the batch of 64")
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_two_processes_share_a_file(script, flat, tmp_path):
    options = [*PRETRAIN, "--data", str(flat), "--cache", "disk", "--epochs", "1"]
    done = script("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29517",
                  str(Path(__file__).parents[2] / "train_simCLR.py"), "run", *options)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "checkpoints" / "decoded_images").glob("*.npy"))) == 1


@pytest.mark.parametrize("protocol", ["bcl-full", "bcl-100shot"])
def test_bcls_probes_have_no_lists_of_own_images(call, classes, protocol):
    done = call("train_imagenet.py", "x", "--dataset", "folder", "--data", classes, "--protocol", protocol)
    assert one_line_error(done, f"folder has no lists for protocol {protocol}").endswith(protocol)
