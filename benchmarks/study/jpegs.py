"""Converts an archive of CIFAR-10 as JPEG files into arrays in the published order of the images."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from data.pillow import read_image
from utils.archives import unpack
from utils.errors import InputError
from utils.files import replace_file

SIDE = 32  # pixels
MOST = 2**30, 100_000  # limits of an archive: bytes, files
Images = list[tuple[str, np.ndarray]]  # file name, pixels uint8 [32, 32, 3]


def write_arrays(archive: Path, labels: Path, classes: Sequence[str], out: Path) -> None:
    """Write train_images, train_labels, test_images, test_labels as `out`, an .npz that --data takes.

    Args:
        archive: a .tar, compressed or not, of `train/CLASS/FILE` and `test/CLASS/FILE`, with the same number of test
            images in each class; within a class, the published order is that of the sorted file names.
        labels: .npy of the training images' labels [N] in the published order. Image i is the next one of the class
            labels[i], so that the authors' index lists select the same images.
        classes: names, in the order of labels.

    Raises:
        InputError: a file is missing or unreadable, or the archive has another number of images of a class.
    """
    order = _labels(labels, len(classes))
    images = _read(archive, classes)
    counts, tests = np.bincount(order, minlength=len(classes)), {len(images["test", name]) for name in classes}
    for name, count in zip(classes, counts, strict=True):
        if len(images["train", name]) != count:
            raise InputError(f"{archive} has {len(images['train', name])} training images of {name}, {labels} {count}")
    if len(tests) > 1 or not max(tests):
        raise InputError(f"{archive} has {min(tests)} to {max(tests)} test images of a class: it needs as many of each")
    next_of_class = [iter(images["train", name]) for name in classes]
    test = [(number, pixels) for number, name in enumerate(classes) for _, pixels in images["test", name]]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        train_images=np.stack([next(next_of_class[label])[1] for label in order]),
        train_labels=order,
        test_images=np.stack([pixels for _, pixels in test]),
        test_labels=np.array([number for number, _ in test]),
    )
    replace_file(out, buffer.getvalue())


def _read(archive: Path, classes: Sequence[str]) -> dict[tuple[str, str], Images]:
    """(part, class) -> its images, sorted by file name."""
    images: dict[tuple[str, str], Images] = {(part, name): [] for part in ("train", "test") for name in classes}
    with tempfile.TemporaryDirectory() as folder:
        for name, file in unpack(archive, Path(folder), *MOST):
            place = PurePosixPath(name).parts[-3:]
            if place[:2] in images:
                images[place[:2]].append((place[2], _pixels(file, f"{archive}: {name}")))
    return {place: sorted(of_class, key=lambda image: image[0]) for place, of_class in images.items()}


def _pixels(file: Path, name: str) -> np.ndarray:
    try:
        pixels = np.asarray(read_image(file))
    except Exception as error:  # Pillow raises anything on a bad file
        raise InputError(f"{name} cannot be read: {error}") from error
    if pixels.shape != (SIDE, SIDE, 3):
        raise InputError(f"{name} has {pixels.shape[1]} x {pixels.shape[0]} pixels, not {SIDE} x {SIDE}")
    return pixels


def _labels(path: Path, classes: int) -> np.ndarray:
    """The labels in a .npy file, int64 [N]."""
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not a list of labels: {error}") from error
    is_list = isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels)
    if not is_list or labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"{path} is not a list of labels from 0 to {classes - 1}")
    return labels.astype(np.int64)
