"""Data sets: embedded digits, Fashion-MNIST's idx files, CIFAR's batches; missing and damaged data."""

import dataclasses
import gzip
import hashlib
import http.server
import pickle
import struct
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_digits
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from data.sets import cifar
from data.sets.memory import load
from data.sets.registry import data_set, data_sets
from utils.errors import InputError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def fails(call, *names) -> str:
    """The message of the InputError that `call` raises: one line that holds all `names`."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for name in names:
        assert str(name) in message
    return message


# ---- digits


@pytest.fixture(scope="module")
def digits():
    return load(data_set("digits"), "", train=True), load(data_set("digits"), "", train=False)


def test_digits_sizes_and_types(digits):
    train, test = digits
    assert (len(train.images), len(test.images)) == (1397, 400)
    for part in digits:
        assert part.images.dtype == np.uint8
        assert part.labels.dtype == np.int64
        assert part.images.shape == (len(part.labels), 16, 16, 3)
        assert part.images.flags.c_contiguous
        assert (part.images[..., 0] == part.images[..., 1]).all()
        assert (part.images[..., 0] == part.images[..., 2]).all()
        assert part.dataset == data_set("digits")
    assert [int((test.labels == c).sum()) for c in range(10)] == [40] * 10


def test_digits_are_the_same_each_time(digits):
    for part, train in zip(digits, (True, False), strict=True):
        again = load(data_set("digits"), "anywhere", train=train)
        assert np.array_equal(part.images, again.images)
        assert np.array_equal(part.labels, again.labels)


def test_digits_test_set_is_the_last_40_of_each_class_enlarged(digits):
    """The oracle resizes with torch, and splits by counting from the end."""
    pixels, labels = load_digits(return_X_y=True)
    seen, test = [0] * 10, []
    for i in reversed(range(len(labels))):
        seen[labels[i]] += 1
        if seen[labels[i]] <= 40:
            test.append(i)
    test = sorted(test)
    train = [i for i in range(len(labels)) if i not in set(test)]
    large = torch.from_numpy(pixels).view(-1, 1, 8, 8) * 255 / 16
    for size in ((8, 16), (16, 16)):  # across, then down, in whole grey levels between 0 and 255
        large = torch.nn.functional.interpolate(large.round(), size, mode="bicubic", antialias=True).clamp(0, 255)
    large = large[:, 0].numpy()
    for part, chosen in zip(digits, (train, test), strict=True):
        assert np.array_equal(part.labels, labels[chosen])
        assert np.abs(part.images[..., 0] - large[chosen]).max() <= 2


def test_no_digit_is_in_both_sets(digits):
    train, test = ({image.tobytes() for image in part.images} for part in digits)
    assert len(train) == 1397
    assert len(test) == 400
    assert not train & test


# ---- Fashion-MNIST


def idx(array: np.ndarray) -> bytes:
    """LeCun's format, written with struct."""
    array = np.asarray(array, np.uint8)
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def sample(n: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(3)
    return rng.randint(0, 256, (n, 28, 28)), rng.randint(0, 10, n)


def write_fashion(folder: Path, images: bytes, labels: bytes, end: str = "", stem: str = "t10k") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pack = partial(gzip.compress, compresslevel=1) if end == ".gz" else bytes
    (folder / f"{stem}-images-idx3-ubyte{end}").write_bytes(pack(images))
    (folder / f"{stem}-labels-idx1-ubyte{end}").write_bytes(pack(labels))


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("below", [".", "FashionMNIST/raw"])
def test_fashion_mnist_layouts(tmp_path, end, below):
    images, labels = sample()
    write_fashion(tmp_path / below, idx(images), idx(labels), end)
    data = load(data_set("fashion_mnist"), str(tmp_path), train=False)
    assert data.images.shape == (7, 28, 28, 3)
    assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int64)
    for channel in range(3):
        assert np.array_equal(data.images[..., channel], images)
    assert np.array_equal(data.labels, labels)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("given", [".", "FashionMNIST", "FashionMNIST/raw"])
def test_fashion_mnist_by_other_names_and_from_any_of_its_folders(tmp_path, monkeypatch, end, given):
    images, labels = sample()
    folder = tmp_path / "FashionMNIST" / "raw"
    write_fashion(folder, idx(images), idx(labels), end)
    for name in (IMAGES, LABELS):
        (folder / f"{name}{end}").rename(folder / f"{name.replace('-idx', '.idx')}{end}")
    monkeypatch.chdir(tmp_path / given)
    for root in (str(tmp_path / given), "."):
        assert np.array_equal(load(data_set("fashion_mnist"), root, train=False).images[..., 0], images)


def test_fashion_mnist_in_a_folder_for_each_file(tmp_path):
    """As an archive of the popular download unpacks: train-images-idx3-ubyte/train-images-idx3-ubyte."""
    images, labels = sample()
    write_fashion(tmp_path, idx(images), idx(labels))
    for name in (IMAGES, LABELS):
        (tmp_path / name).rename(tmp_path / "file")
        (tmp_path / name).mkdir()
        (tmp_path / "file").rename(tmp_path / name / name)
    assert np.array_equal(load(data_set("fashion_mnist"), str(tmp_path), train=False).labels, labels)


def test_fashion_mnist_is_what_torchvision_reads(tmp_path):
    images, labels = sample()
    write_fashion(tmp_path / "FashionMNIST" / "raw", idx(images), idx(labels))
    theirs = read_sn3_pascalvincent_tensor(str(tmp_path / "FashionMNIST" / "raw" / IMAGES)).numpy()
    data = load(data_set("fashion_mnist"), str(tmp_path), train=False)
    assert np.array_equal(data.images[..., 0], theirs)


@pytest.mark.parametrize("n", [60_000, 59_999])
def test_fashion_mnist_training_set_must_be_whole(tmp_path, n):
    labels = np.arange(n) % 10
    write_fashion(tmp_path, idx(np.zeros((n, 28, 28))), idx(labels), ".gz", stem="train")
    if n == 60_000:
        data = load(data_set("fashion_mnist"), str(tmp_path), train=True)
        assert len(data.images) == 60_000
        assert np.array_equal(data.labels, labels)
    else:
        fails(lambda: load(data_set("fashion_mnist"), str(tmp_path), train=True), tmp_path, "59999", "60000")


DAMAGED = {
    "empty": lambda raw: b"",
    "three bytes": lambda raw: raw[:3],
    "only the magic number": lambda raw: raw[:4],
    "cut in the sizes": lambda raw: raw[:9],
    "cut in the data": lambda raw: raw[:-1],
    "a byte too many": lambda raw: raw + b"\0",
    "signed bytes": lambda raw: b"\0\0\x09" + raw[3:],
    "no leading zeros": lambda raw: b"\1" + raw[1:],
    "another number of dimensions": lambda raw: raw[:3] + bytes([raw[3] + 1]) + raw[4:],
    "no dimensions": lambda raw: b"\0\0\x08\0\7",
    "text": lambda raw: b"<html>404 not found</html>",
}


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("which", [IMAGES, LABELS])
@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_idx_file(tmp_path, damage, which, end):
    images, labels = map(idx, sample())
    damaged = DAMAGED[damage](images if which == IMAGES else labels)
    write_fashion(tmp_path, damaged if which == IMAGES else images, damaged if which == LABELS else labels, end)
    fails(lambda: load(data_set("fashion_mnist"), str(tmp_path), train=False), tmp_path / f"{which}{end}")


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.999])
def test_truncated_gz(tmp_path, keep):
    images, labels = map(idx, sample())
    write_fashion(tmp_path, images, labels, ".gz")
    path = tmp_path / f"{IMAGES}.gz"
    packed = path.read_bytes()
    path.write_bytes(packed[: int(keep * len(packed))])
    fails(lambda: load(data_set("fashion_mnist"), str(tmp_path), train=False), path)


def test_gz_with_one_wrong_byte_is_refused_or_read_right(tmp_path):
    """Every offset in turn: what the checksum does not cover is only the header's time and the like."""
    images, labels = sample(1)
    write_fashion(tmp_path, idx(images), idx(labels), ".gz")
    path = tmp_path / f"{IMAGES}.gz"
    packed, refused, others = path.read_bytes(), 0, {}
    for i in range(len(packed)):
        path.write_bytes(packed[:i] + bytes([packed[i] ^ 0xFF]) + packed[i + 1 :])
        try:
            assert np.array_equal(load(data_set("fashion_mnist"), str(tmp_path), train=False).images[..., 0], images)
        except InputError as error:
            assert str(path) in str(error)
            refused += 1
        except Exception as error:
            others[i] = repr(error)
    assert not others, f"{len(others)} offsets, the first: {min(others.items())}"
    assert refused > 0.98 * len(packed)


def test_fashion_mnist_of_the_wrong_kind(tmp_path):
    images, labels = sample()
    root = str(tmp_path)
    for bad_images, bad_labels in (
        (idx(images[:, :27]), idx(labels)),
        (idx(images[0]), idx(labels)),
        (idx(labels), idx(labels)),
        (idx(images), idx(images)),
        (idx(images), idx(labels[:-1])),
        (idx(images), idx(np.full(7, 10))),
    ):
        write_fashion(tmp_path, bad_images, bad_labels)
        fails(lambda: load(data_set("fashion_mnist"), root, train=False), tmp_path)


def test_fashion_mnist_labels_must_be_a_row(tmp_path):
    write_fashion(tmp_path, idx(sample()[0]), idx(np.zeros((7, 28, 28))))
    fails(lambda: load(data_set("fashion_mnist"), str(tmp_path), train=False), tmp_path)


@pytest.mark.parametrize("train", [True, False])
def test_fashion_mnist_without_an_image(tmp_path, train):
    stem = "train" if train else "t10k"
    write_fashion(tmp_path, idx(np.zeros((0, 28, 28))), idx(np.zeros(0)), stem=stem)
    fails(lambda: load(data_set("fashion_mnist"), str(tmp_path), train=train), tmp_path)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100"])
@pytest.mark.parametrize("train", [True, False])
def test_missing_data(tmp_path, monkeypatch, name, train):
    for root in (tmp_path, tmp_path / "not there"):
        message = fails(lambda root=root: load(data_set(name), str(root), train), name, root, "--data")
        assert "--download" in message
    monkeypatch.chdir(tmp_path)
    fails(lambda: load(data_set(name), "", train), name, "--data")


def test_fashion_mnist_with_one_file_missing(tmp_path):
    images, labels = map(idx, sample())
    for name in (IMAGES, LABELS):
        write_fashion(tmp_path, images, labels)
        (tmp_path / name).unlink()
        fails(lambda: load(data_set("fashion_mnist"), str(tmp_path), train=False), tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_real_fashion_mnist():
    """Against its well-known numbers: 6,000 and 1,000 images per class, mean 0.2860, deviation 0.3530."""
    train, test = (load(data_set("fashion_mnist"), str(DEBIAN), train=t) for t in (True, False))
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    grey = train.images[..., 0]
    mean = grey.mean(dtype=np.float64) / 255
    histogram = np.bincount(grey.ravel(), minlength=256) / grey.size
    deviation = np.sqrt((histogram * (np.arange(256) / 255 - mean) ** 2).sum())
    assert mean == pytest.approx(0.2860, abs=5e-5)
    assert deviation == pytest.approx(0.3530, abs=5e-5)
    assert np.array_equal(train.images[::1000, ..., 0], train.images[::1000, ..., 2])


# ---- download, from 127.0.0.1 only


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def test_download_of_fashion_mnist(tmp_path, server, monkeypatch):
    images, labels = sample()
    folder, url = server
    for stem in ("train", "t10k"):
        write_fashion(folder, idx(images), idx(labels), ".gz", stem)
    kind = torchvision.datasets.FashionMNIST
    sums = [(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in sorted(folder.glob("*.gz"))]
    monkeypatch.setattr(kind, "mirrors", [url])
    monkeypatch.setattr(kind, "resources", sums)
    root = tmp_path / "new" / "folder"
    fails(lambda: load(data_set("fashion_mnist"), str(root), train=False))
    data = load(data_set("fashion_mnist"), str(root), train=False, download=True)
    assert np.array_equal(data.images[..., 1], images)
    monkeypatch.setattr(kind, "mirrors", ["http://127.0.0.1:9/"])
    again = load(data_set("fashion_mnist"), str(root), train=False, download=True)
    assert np.array_equal(again.labels, labels)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100"])
def test_download_fails(tmp_path, server, monkeypatch, name):
    """The server is there, the files are not. torchvision's message has several lines; run() joins them."""
    _, url = server
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [url])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", url + "cifar-10-python.tar.gz")
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", url + "cifar-100-python.tar.gz")
    with pytest.raises(InputError) as caught:
        load(data_set(name), str(tmp_path), train=True, download=True)
    assert name in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "404" in str(caught.value)


# ---- CIFAR


def write_cifar(root: Path, name: str, per_file: int = 6) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Batches in the authors' pickle format; returns what each file holds."""
    rng, classes = np.random.RandomState(5), data_set(name).classes
    if name == "cifar10":
        folder, files, key = "cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"], "labels"
        meta = ("batches.meta", {"label_names": [str(i) for i in range(10)]})
    else:
        folder, files, key = "cifar-100-python", ["train", "test"], "fine_labels"
        meta = ("meta", {"fine_label_names": [str(i) for i in range(100)]})
    (root / folder).mkdir(parents=True)
    contents = {}
    for file in files:
        rows = rng.randint(0, 256, (per_file, 3072)).astype(np.uint8)
        labels = rng.randint(0, classes, per_file).tolist()
        entry = {"batch_label": file, key: labels, "data": rows, "filenames": ["x.png"] * per_file}
        if name == "cifar100":
            entry["coarse_labels"] = [label // 5 for label in labels]
        (root / folder / file).write_bytes(pickle.dumps(entry, protocol=2))
        contents[file] = rows, labels
    (root / folder / meta[0]).write_bytes(pickle.dumps(meta[1], protocol=2))
    return contents


@pytest.fixture
def no_md5(monkeypatch):
    """Files of any content pass torchvision's integrity check, as long as they are there."""
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: Path(path).is_file())


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar"])
def test_cifar_batches(tmp_path, monkeypatch, no_md5, name):
    full = "cifar10" if name == "cifar" else name
    contents = write_cifar(tmp_path, full)
    test_file = "test_batch" if full == "cifar10" else "test"
    train_files = [file for file in contents if file != test_file]
    size = 6 * len(train_files)
    monkeypatch.setattr(cifar, full.upper(), dataclasses.replace(data_set(full), train_images=size))
    for train, files in ((True, train_files), (False, [test_file])):
        data = load(data_set(name), str(tmp_path), train=train)
        assert data.dataset.name == full
        assert data.images.shape == (6 * len(files), 32, 32, 3)
        assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int64)
        assert data.images.flags.c_contiguous
        assert data.labels.tolist() == [label for file in files for label in contents[file][1]]
        rows = np.concatenate([contents[file][0] for file in files])
        for n, y, x, c in np.random.RandomState(0).randint(0, (len(rows), 32, 32, 3), (200, 4)):
            # Each row holds the red plane, then green, then blue, 1,024 bytes each.
            assert data.images[n, y, x, c] == rows[n, 1024 * c + 32 * y + x]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("renamed", [False, True])
def test_the_folder_of_the_batches_itself_is_given(tmp_path, monkeypatch, no_md5, name, renamed):
    contents = write_cifar(tmp_path, name)
    folder = tmp_path / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    folder = folder.rename(tmp_path / "mine") if renamed else folder
    rows, labels = contents["test_batch" if name == "cifar10" else "test"]
    monkeypatch.chdir(folder)
    for root in (str(folder), "."):
        for download in (False, True):  # of files that are there, nothing is fetched
            data = load(data_set(name), root, train=False, download=download)
            assert data.labels.tolist() == labels and data.images[3, 2, 1, 0] == rows[3, 32 * 2 + 1]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_with_too_few_images(tmp_path, no_md5, name):
    write_cifar(tmp_path, name)
    fails(lambda: load(data_set(name), str(tmp_path), train=True), name, tmp_path, "50000")


def test_cifar_with_a_label_out_of_range(tmp_path, no_md5):
    write_cifar(tmp_path, "cifar10")
    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    entry = pickle.loads(file.read_bytes())
    for bad in (10, -1):
        file.write_bytes(pickle.dumps({**entry, "labels": [bad, *entry["labels"][1:]]}))
        fails(lambda: load(data_set("cifar10"), str(tmp_path), train=False), "cifar10", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_with_wrong_checksums(tmp_path, name):
    """torchvision's check is on: files of other content are taken for damaged, and never unpickled."""
    write_cifar(tmp_path, name)
    fails(lambda: load(data_set(name), str(tmp_path), train=True), name, tmp_path)


# ---- names


def test_unknown_data_set():
    message = fails(lambda: load(data_set("mnist"), "", train=True), "mnist")
    for name in data_sets("cifar"):
        assert name in message


def test_published_names_of_the_lists():
    assert data_set("cifar").name == "cifar10"
    assert data_set("cifar10").train_list == "cifar10/trainIdxList.npy"
    assert data_set("cifar10").val_list == "cifar10/valIdxList.npy"
    assert data_set("cifar10").split_list("split1_D_i") == "cifar10_imbSub_with_subsets/split1_D_i.npy"
    assert data_set("cifar100").train_list == "cifar100/cifar100_trainIdxList.npy"
    assert data_set("cifar100").val_list == "cifar100/cifar100_valIdxList.npy"
    below = "cifar100_imbSub_with_subsets/cifar100_split1_S_b.npy"
    assert data_set("cifar100").split_list("cifar100_split1_S_b") == below
