"""CIFAR-10 as arrays in the published order, of an archive of JPEG files."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from utils.errors import InputError
from utils.files import replace_file

Images = list[tuple[str, np.ndarray]]  # file name, pixels uint8 [32, 32, 3]


def write_arrays(archive: Path, labels: Path, classes: Sequence[str], out: Path) -> None:
    """Write train_images, train_labels, test_images, test_labels as `out`, an .npz that --data takes.

    Args:
        archive: a .tar, compressed or not, of `train/CLASS/FILE` and `test/CLASS/FILE`; within a class, sorted names of
            files are in the published order.
        labels: .npy of the training images' labels [N] in the published order: it says of which class each next image
            is, so that the authors' index lists hold.
        classes: in the order of labels.

    Raises:
        InputError: a file is missing or is none of that, or the archive has another number of images of a class.
    """
    found = _read(archive, classes)
    order = _labels(labels, len(classes))
    counts = np.bincount(order, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if len(found["train", name]) != count:
            raise InputError(f"{archive} has {len(found['train', name])} training images of {name}, {labels} {count}")
    rows = [iter(sorted(found["train", name], key=_name)) for name in classes]
    test = [(number, image) for number, name in enumerate(classes) for image in sorted(found["test", name], key=_name)]
    if not test:
        raise InputError(f"{archive} has no test images: it needs test/CLASS/FILE")
    buffer = io.BytesIO()
    np.savez(
        buffer,
        train_images=np.stack([next(rows[label])[1] for label in order]),
        train_labels=order,
        test_images=np.stack([pixels for _, (_, pixels) in test]),
        test_labels=np.array([number for number, _ in test]),
    )
    replace_file(out, buffer.getvalue())


def _name(image: tuple[str, np.ndarray]) -> str:
    return image[0]


def _read(archive: Path, classes: Sequence[str]) -> dict[tuple[str, str], Images]:
    """The images of each part and class."""
    found: dict[tuple[str, str], Images] = {(part, name): [] for part in ("train", "test") for name in classes}
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                place = PurePosixPath(member.name).parts[-3:]
                if member.isfile() and place[:2] in found:
                    pixels = Image.open(io.BytesIO(opened.extractfile(member).read())).convert("RGB")
                    found[place[:2]].append((place[2], np.asarray(pixels)))
    except (OSError, tarfile.TarError, EOFError, UnidentifiedImageError) as error:
        raise InputError(f"{archive} is not a whole archive of images: {error}") from error
    return found


def _labels(path: Path, classes: int) -> np.ndarray:
    """Labels int64 [N]."""
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a list of labels: {error}") from error
    if (
        labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or not len(labels)
        or labels.min() < 0
        or labels.max() >= classes
    ):
        raise InputError(f"{path} is not a list of labels from 0 to {classes - 1}")
    return labels.astype(np.int64)
