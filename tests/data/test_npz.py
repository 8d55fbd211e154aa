"""Images of one's own in an .npz file, in the place of a data set's."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_digits

from data.sets.memory import load
from data.sets.registry import data_set
from tests.conftest import one_line_error
from utils.errors import InputError

CIFAR = data_set("cifar10")


def arrays(train=60, test=20, size=32):
    rng = np.random.RandomState(1)
    return {
        "train_images": rng.randint(0, 256, (train, size, size, 3)).astype(np.uint8),
        "train_labels": rng.randint(0, 10, train),
        "test_images": rng.randint(0, 256, (test, size, size, 3)).astype(np.uint8),
        "test_labels": rng.randint(0, 10, test),
    }


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_the_arrays_are_the_images(tmp_path, write):
    content = arrays()
    write(tmp_path / "own.npz", **content)
    found = load(CIFAR, str(tmp_path / "own.npz"), train=False)
    assert np.array_equal(found.images, content["test_images"]) and found.labels.tolist() == content[
        "test_labels"
    ].tolist()  # fmt: skip
    assert (found.labels.dtype, found.source) == (np.int64, "own")


def test_arrays_in_fortran_s_order_are_the_same_images(tmp_path):
    content = arrays()
    np.savez(tmp_path / "a.npz", **content)
    np.savez(tmp_path / "b.npz", **{name: np.asfortranarray(array) for name, array in content.items()})
    first, second = (data_set("folder").open(str(tmp_path / f"{name}.npz")).pixels for name in "ab")
    assert first == second and first["test"] == hashlib.sha256(content["test_images"].tobytes()).hexdigest()


class Evil:
    def __reduce__(self):
        return eval, ("open('executed', 'w')",)


BAD = {
    "other names": ({"x_train": np.zeros(3), "y": np.zeros(3)}, "no array train_images, but x_train, y"),
    "no labels": ({"train_images": arrays()["train_images"]}, "no array train_labels"),
    "nothing": ({}, "no array train_images, but none"),
    "floats": (arrays() | {"train_images": np.zeros((60, 32, 32, 3))}, "float64 [60, 32, 32, 3]"),
    "channels first": (arrays() | {"train_images": np.zeros((60, 3, 32, 32), np.uint8)}, "uint8 [60, 3, 32, 32]"),
    "grey": (arrays() | {"train_images": np.zeros((60, 32, 32), np.uint8)}, "uint8 [60, 32, 32]"),
    "float labels": (arrays() | {"train_labels": np.zeros(60)}, "float64 [60]"),
    "one-hot labels": (arrays() | {"train_labels": np.eye(10, dtype=int)}, "int64 [10, 10]"),
    "a label less": (arrays() | {"train_labels": np.zeros(59, int)}, "int64 [59]"),
    "label -1": (arrays() | {"train_labels": np.full(60, -1)}, "below 0"),
    "label too large": (arrays() | {"train_labels": np.full(60, 10)}, "0..9"),
    "huge label": (arrays() | {"train_labels": np.full(60, 2**64 - 1, np.uint64)}, "below 0, or beyond"),
    "no image": (arrays(train=0), "uint8 [0, 32, 32, 3]"),
    "size": (arrays(size=28), "not uint8 [N, 32, 32, 3]"),
    "too few": (arrays(), "60 training images, not 50000"),
    "objects": (arrays() | {"train_images": np.array([{}, Evil()])}, "not an .npz file of plain arrays"),
    "evil labels": (arrays() | {"train_labels": np.array([Evil()] * 60)}, "not an .npz file of plain arrays"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arrays_are_named(tmp_path, monkeypatch, what):
    content, words = BAD[what]
    np.savez(tmp_path / "own.npz", **content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        load(CIFAR, "own.npz", train=True)
    assert "own.npz" in str(error.value) and words in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["own.npz"]


@pytest.mark.parametrize("kind", ["text", "empty", "zip", "npy"])
def test_files_that_are_none(tmp_path, kind):
    path = tmp_path / "own.npz"
    path.write_bytes({"text": b"train_images\n", "empty": b"", "zip": b"", "npy": b""}[kind])
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train_images", "x")
    if kind == "npy":
        np.save(path.open("wb"), np.zeros(3))
    with pytest.raises(InputError, match="own.npz"):
        load(CIFAR, str(path), train=True)


def test_cut_and_changed_files_are_refused_or_read_right(tmp_path):
    content, rng = arrays(), np.random.RandomState(0)
    np.savez_compressed(tmp_path / "whole.npz", **content)
    whole = (tmp_path / "whole.npz").read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        if rng.rand() < 0.5:
            damaged = damaged[: rng.randint(len(damaged))]
        else:
            damaged[rng.randint(len(damaged))] ^= rng.randint(1, 256)
        (tmp_path / "own.npz").write_bytes(damaged)
        try:
            found = load(CIFAR, str(tmp_path / "own.npz"), train=False)
        except InputError as error:
            assert "own.npz" in str(error)
        else:
            assert np.array_equal(found.images, content["test_images"])


def test_an_array_that_would_fill_the_memory(tmp_path):
    """Its header claims a terabyte, which the file has not."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 32, 32, 3), }\n"
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        raw = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(999)
        archive.writestr("train_images.npy", raw)
        archive.writestr("train_labels.npy", raw)
    with pytest.raises(InputError, match="own.npz"):
        load(CIFAR, str(tmp_path / "own.npz"), train=True)


@pytest.mark.slow
def test_results_and_tables_say_whose_pixels_they_are_of(call, tmp_path, monkeypatch):
    """Digits at 32 pixels in CIFAR-10's place: their hashes are in results.json, and the table says so."""
    grey, labels = load_digits(return_X_y=True)
    images = np.repeat((grey.reshape(-1, 8, 8, 1) * 15).astype(np.uint8).repeat(4, 1).repeat(4, 2), 3, axis=3)
    order = np.resize(np.arange(1500), 50_000)
    content = {"train_images": images[order], "train_labels": labels[order], "test_images": images[1500:],
               "test_labels": labels[1500:]}  # fmt: skip
    np.savez(tmp_path / "own.npz", **content)
    for name, chosen in {"train": range(40), "val": range(40, 60)}.items():
        np.save(tmp_path / f"{name}.npy", np.array(chosen))
    name = "res20_s_scheduling_sgd_epoch1_split1_D_i_newNT_s1__f2layer4_d10d20_wd0_lr30_freezeBN"
    done = call("train_cifar.py", name, "--dataset", "cifar10", "--data", "own.npz", "--model", "res20_s",
                "--trainSplit", "train.npy", "--valiSplit", "val.npy", "--groupSplit", "train.npy", "--epochs", "1",
                "--test-batch-size", "512")  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "checkpoints_tune" / name / "results.json").read_text())
    hashes = {part: hashlib.sha256(content[f"{part}_images"].tobytes()).hexdigest() for part in ("train", "test")}
    assert result["pixels"] == {**hashes, "source": "own"}
    ours, theirs = result["departs"]["images"]
    assert hashes["train"][:8] in ours and theirs == "published ones"


def test_pixels_of_a_data_set_are_published(call, tmp_path):
    digits = data_set("digits").open("")
    assert digits.pixels["source"] == "published" and len(digits.pixels["test"]) == 64


@pytest.mark.parametrize("dataset", ["digits", "fashion_mnist"])
def test_sets_that_have_other_sizes_or_no_folder(call, tmp_path, dataset):
    np.savez(tmp_path / "own.npz", **arrays())
    done = call("train_simCLR.py", "run", "--dataset", dataset, "--data", "own.npz", "--epochs", "0")
    if dataset == "digits":  # they come with scikit-learn, wherever a folder is said to be
        assert done.returncode == 0
    else:
        one_line_error(done, "own.npz", "28")
