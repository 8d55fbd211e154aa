"""The user's own images as arrays: an .npz file with train_images, train_labels, test_images and test_labels."""

import zipfile
from pathlib import Path

import numpy as np

from utils.errors import InputError

MOST = 64 * 2**30  # bytes of an array; CIFAR's training images have 154 million
WANTED = "train_images and test_images of uint8 [N, H, W, 3], train_labels and test_labels of integers [N]"


def read_npz(path: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, H, W, 3] uint8 and labels [N] int64 of the training or the test images; nothing is unpickled.

    Raises:
        InputError: it is no such file, is damaged, or its arrays have other names, types or shapes.
    """
    part = "train" if train else "test"
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        if large := [name for name, size in sizes.items() if size > MOST]:
            raise InputError(f"{path} has an array of more than {MOST:,} bytes, {large[0]}")
        with np.load(path, allow_pickle=False) as arrays:
            names = [name for name in (f"{part}_images", f"{part}_labels") if name not in arrays.files]
            if names:
                has = ", ".join(sorted(arrays.files)[:6]) or "none"
                raise InputError(f"{path} has no array {names[0]}, but {has}: it must have {WANTED}")
            images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path} has arrays that are larger than the memory") from error
    except Exception as error:
        # NumPy parses a header as Python code: on a bad one it raises anything.
        raise InputError(f"{path} is not an .npz file of plain arrays, or is damaged: it must have {WANTED}") from error
    pixels = images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3 and images.size
    if not pixels or labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        kinds = f"{images.dtype} {list(images.shape)} and {labels.dtype} {list(labels.shape)}"
        raise InputError(f"{path} has {part}_images and {part}_labels that are {kinds}: it must have {WANTED}")
    if labels.min() < 0 or labels.max() > np.iinfo(np.int64).max:
        raise InputError(f"{path} has a label below 0, or beyond all numbers of classes")
    return np.ascontiguousarray(images), labels.astype(np.int64)
