"""Arrays made from an archive of JPEG files: their order, and one line of error for bad archives and labels."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import gpu_study
from benchmarks.study.jpegs import write_arrays
from tests.conftest import PROJECT
from utils.errors import InputError

SHARED = PROJECT.parent / "shared"
CLASSES = ["cat", "dog"]


def archive_of(path, files: dict[str, int], side: int = 32) -> None:
    """Make an archive of grey images. files: name -> grey value."""
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
    arrays = np.load(tmp_path / "out.npz")
    assert arrays["train_images"].shape == (3, 32, 32, 3) and arrays["train_images"].dtype == np.uint8
    assert arrays["train_images"][:, 0, 0, 0].tolist() == [20, 10, 30]
    assert arrays["train_labels"].tolist() == [1, 0, 1]
    assert arrays["test_images"][:, 0, 0, 0].tolist() == [40, 41, 50, 51]
    assert arrays["test_labels"].tolist() == [0, 0, 1, 1]


CATS = {"train/cat/1.png": 1, "test/cat/1.png": 1, "test/dog/1.png": 1}


@pytest.mark.parametrize(
    ("labels", "files", "message"),
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
def test_bad_archives_and_labels_are_one_line(tmp_path, labels, files, message):
    archive, path = tmp_path / "images.tar.xz", tmp_path / "labels.npy"
    archive.write_bytes(b"no archive")
    if files:
        archive_of(archive, files)
    if labels:
        np.save(path, np.array(labels))
    refuses(archive, path, message)


def refuses(archive: Path, labels: Path, message: str) -> None:
    """Check that no arrays are made, and that the error message matches."""
    with pytest.raises(InputError, match=message):
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
    """If there is an archive beside the project, the script beside it makes the same arrays."""
    archive, labels = SHARED / "cifar10/images.tar.xz", SHARED / "published_splits/cifar10_train_labels.npy"
    if not archive.exists():
        pytest.skip("no archive of CIFAR-10 here")
    write_arrays(archive, labels, gpu_study.CLASSES, tmp_path / "ours.npz")
    subprocess.run([sys.executable, SHARED / "cifar10/to_npz.py", tmp_path / "theirs.npz"], check=True)
    ours, theirs = np.load(tmp_path / "ours.npz"), np.load(tmp_path / "theirs.npz")
    assert sorted(ours) == sorted(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)
