"""Data sets whose images fit in memory, as RGB uint8 arrays: read, and checked."""

from pathlib import Path

import numpy as np
from PIL import Image

from data.flags import GIVE_DATA
from data.images import ImageSet
from data.sets.base import MemorySet
from data.sets.npz import read_npz
from utils.errors import InputError


def load(dataset: MemorySet, root: str, train: bool, download: bool | None = False) -> ImageSet:
    """The training or the test images of a data set.

    Args:
        root: folder of the data, or an .npz file of other images in their place (data/sets/npz.py); digits need none.
        download: fetch CIFAR or Fashion-MNIST by torchvision if they are missing; None: only say that a run would.

    Raises:
        InputError: no data at root, damaged files, images of another shape, or the download failed.
    """
    if dataset.needs_folder and not root:
        raise InputError(f"{dataset.name} needs a data folder: {GIVE_DATA}")
    from_npz = dataset.needs_folder and Path(root).is_file()
    images, labels = read_npz(Path(root), train) if from_npz else dataset.read(dataset, root, train, download)
    images = np.ascontiguousarray(images)
    labels = np.asarray(labels, np.int64)
    if images.shape[1:] != (dataset.size, dataset.size, 3) or images.dtype != np.uint8:
        kind = f"{images.dtype} of shape {list(images.shape)}"
        raise InputError(
            f"{dataset.name} in {root} has images that are {kind}, not uint8 [N, {dataset.size}, {dataset.size}, 3]"
        )
    if labels.shape != (len(images),) or not len(labels) or labels.min() < 0 or labels.max() >= dataset.classes:
        raise InputError(f"{dataset.name} in {root} has labels outside 0..{dataset.classes - 1}, or a number missing")
    if train and len(images) != dataset.train_images:
        raise InputError(f"{dataset.name} in {root} has {len(images)} training images, not {dataset.train_images}")
    return ImageSet(dataset, images, labels, "own" if from_npz else "published")


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Images [N, H, W, 3] uint8 as [N, size, size, 3], by Pillow, bilinear.

    Pillow widens the filter when it shrinks an image, against aliasing; torchvision's Resize does the same with a PIL
    image. It takes about 50 microseconds an image from 32 to 16 pixels, and 160 from 32 to 64.

    Raises:
        InputError: there is not enough memory for them.
    """
    try:
        out = np.empty((len(images), size, size, 3), np.uint8)
    except MemoryError as error:
        needed = len(images) * size * size * 3 / 2**30
        raise InputError(f"{len(images):,} images of {size} pixels need {needed:.1f} GB of memory") from error
    for i, image in enumerate(images):
        out[i] = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return out


def missing(name: str, root: str | Path, download: bool | None, why: object) -> InputError:
    """The error for files that a reader does not find, or could not download."""
    if download is None:
        return InputError(f"{name} is not in {str(root)!r} yet: a run would download it, a check writes nothing")
    if download:
        problem = f"{name} could not be downloaded to {str(root)!r} ({why})"
        return InputError(f"{problem}: get it otherwise, and give its folder")
    return InputError(f"{name} was not found in {str(root)!r} ({why}): {GIVE_DATA}")
