"""Data sets whose images fit in memory, as RGB uint8 arrays, and the sizes of their published lists."""

import gzip
import math
import zlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image

from data.flags import GIVE_DATA
from data.images import ImageSet
from data.sets.base import Spec
from utils.errors import InputError
from utils.files import locked, read_file

LARGEST_IDX = 100_000_000  # bytes; Fashion-MNIST's training images have 47 million

# Counts of the CIFAR lists: recomputed from the authors' lists. Digits: the 1,397 images that are not test images.
SPECS = {
    s.name: s
    for s in (
        Spec("cifar10", 10, 50_000, 32, True, 500, 4500, 45, 100, "", True),
        Spec("cifar100", 100, 50_000, 32, True, 50, 400, 4, 100, "cifar100_", True),
        Spec("fashion_mnist", 10, 60_000, 28, True, 600, 5400, 54, 100, "fashion_mnist_"),
        Spec("digits", 10, 1_397, 16, False, 14, 120, 5, 20, "digits_", shots=(20, 10)),
    )
}


def load(spec: Spec, root: str, train: bool, download: bool | None = False) -> ImageSet:
    """The training or the test images of a data set.

    Args:
        spec: the data set, one of SPECS.
        root: folder of the data; digits need none.
        download: fetch CIFAR or Fashion-MNIST with torchvision where they are missing; None: say that a run would.

    Raises:
        InputError: no data at root, damaged files, images of another shape, or the download failed.
    """
    if spec.name != "digits" and not root:
        raise InputError(f"{spec.name} needs a data folder: {GIVE_DATA}")
    if spec.name == "digits":
        images, labels = _digits(train, spec.size)
    elif spec.name == "fashion_mnist":
        images, labels = _fashion_mnist(Path(root), train, download)
    else:
        images, labels = _cifar(spec, root, train, download)
    images = np.ascontiguousarray(images)
    labels = np.asarray(labels, np.int64)
    if images.shape[1:] != (spec.size, spec.size, 3) or images.dtype != np.uint8:
        found = f"{images.dtype} of shape {list(images.shape)}"
        raise InputError(
            f"{spec.name} in {root} has images that are {found}, not uint8 [N, {spec.size}, {spec.size}, 3]"
        )
    if labels.shape != (len(images),) or not len(labels) or labels.min() < 0 or labels.max() >= spec.classes:
        raise InputError(f"{spec.name} in {root} has labels outside 0..{spec.classes - 1}, or a number missing")
    if train and len(images) != spec.train_images:
        raise InputError(f"{spec.name} in {root} has {len(images)} training images, not {spec.train_images}")
    return ImageSet(spec, images, labels)


def _missing(name: str, root: str | Path, download: bool | None, why: object) -> InputError:
    if download is None:
        return InputError(f"{name} is not in {str(root)!r} yet: a run would download it, a check writes nothing")
    if download:
        what = f"{name} could not be downloaded to {str(root)!r} ({why})"
        return InputError(f"{what}: get it otherwise, and give its folder")
    return InputError(f"{name} was not found in {str(root)!r} ({why}): {GIVE_DATA}")


def _cifar(spec: Spec, root: str, train: bool, download: bool | None) -> tuple[np.ndarray, np.ndarray]:
    import torchvision  # takes seconds, which tables and lists do not need

    kind = torchvision.datasets.CIFAR10 if spec.name == "cifar10" else torchvision.datasets.CIFAR100
    try:
        with locked(Path(root)) if download else nullcontext():
            data = kind(root, train=train, download=download)
    except (RuntimeError, OSError, EOFError) as error:
        raise _missing(spec.name, root, download, error) from error
    return data.data, data.targets


def _fashion_mnist(root: Path, train: bool, download: bool | None) -> tuple[np.ndarray, np.ndarray]:
    stem = "train" if train else "t10k"
    # torchvision unpacks into FashionMNIST/raw; Debian's dataset-fashion-mnist keeps the .gz files in one folder.
    folders = [root, root / "FashionMNIST" / "raw"]
    names = f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"
    images, labels = (_first_file(folders, name) for name in names)
    if None in (images, labels) and download:
        import torchvision

        try:
            with locked(root):
                torchvision.datasets.FashionMNIST(str(root), download=True)
        except (RuntimeError, OSError) as error:
            raise _missing("fashion_mnist", root, download, error) from error
        images, labels = (_first_file(folders, name) for name in names)
    if images is None or labels is None:
        raise _missing("fashion_mnist", root, download, f"no {' or no '.join(names)}, plain or .gz")
    grey = _read_idx(images)
    if grey.ndim != 3 or grey.shape[1:] != (28, 28):
        raise InputError(f"{images} does not hold 28x28 images; it is damaged or another file")
    return np.repeat(grey[..., None], 3, axis=3), _read_idx(labels)


def _first_file(folders: list[Path], name: str) -> Path | None:
    candidates = [folder / (name + end) for folder in folders for end in ("", ".gz")]
    return next((path for path in candidates if path.is_file()), None)


def _read_idx(path: Path) -> np.ndarray:
    """LeCun's idx format: two zero bytes, type 8 (uint8), dimensions, big-endian sizes, data."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                raw = file.read(LARGEST_IDX + 1)
        else:
            raw = read_file(path, LARGEST_IDX)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); get it again") from error
    dimensions = raw[3] if len(raw) > 3 else 0
    start = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(raw[4:start], ">u4")) if len(raw) >= start else ()
    if raw[:3] != b"\0\0\x08" or not 0 < dimensions < 4 or math.prod(map(int, shape)) != len(raw) - start:
        raise InputError(f"{path} is not a complete idx file; get it again")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _digits(train: bool, size: int) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 digits at `size` pixels; the last 40 of each class, later writers, are the test set."""
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    grey = np.round(grey.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    test = np.zeros(len(labels), bool)
    for c in range(10):
        test[np.flatnonzero(labels == c)[-40:]] = True
    chosen = np.flatnonzero(test != train)
    bicubic = Image.Resampling.BICUBIC
    images = np.stack([np.asarray(Image.fromarray(grey[i]).resize((size, size), bicubic)) for i in chosen])
    return np.repeat(images[..., None], 3, axis=3), labels[chosen]
