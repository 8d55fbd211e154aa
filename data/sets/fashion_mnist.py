"""Fashion-MNIST (Xiao et al., 2017), from the four idx files, plain or .gz."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from data.sets.base import MemorySet
from data.sets.memory import missing
from utils.errors import InputError
from utils.files import locked, read_file

LARGEST_IDX = 100_000_000  # bytes; the training images have 47 million


def read(dataset: MemorySet, root: str, train: bool, download: bool | None) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 28, 28, 3] uint8, grey, and labels [N] of the training or the test images.

    Raises:
        InputError: they are not in `root`, are damaged, or could not be downloaded.
    """
    stem = "train" if train else "t10k"
    # torchvision unpacks into FashionMNIST/raw; Debian's dataset-fashion-mnist keeps the .gz files in one folder.
    folders = [Path(root), Path(root) / "raw", Path(root) / "FashionMNIST" / "raw"]
    names = f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"
    images, labels = (_first_file(folders, name) for name in names)
    if None in (images, labels) and download:
        import torchvision

        try:
            with locked(Path(root)):
                torchvision.datasets.FashionMNIST(root, download=True)
        except (RuntimeError, OSError) as error:
            raise missing(dataset.name, root, download, error) from error
        images, labels = (_first_file(folders, name) for name in names)
    if images is None or labels is None:
        raise missing(dataset.name, root, download, f"no {' or no '.join(names)}, plain or .gz")
    grey = _read_idx(images)
    if grey.ndim != 3 or grey.shape[1:] != (28, 28):
        raise InputError(f"{images} does not hold 28x28 images; it is damaged or another file")
    return np.repeat(grey[..., None], 3, axis=3), _read_idx(labels)


def _first_file(folders: list[Path], name: str) -> Path | None:
    """The file of that name, or with a dot before `idx`, as some programs unpack it, or in a folder of that name."""
    spellings = (name, name.replace("-idx", ".idx"))
    files = [file for spelling in spellings for file in (spelling, f"{spelling}.gz", f"{spelling}/{spelling}")]
    return next((folder / file for folder in folders for file in files if (folder / file).is_file()), None)


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


FASHION_MNIST = MemorySet(
    "fashion_mnist", classes=10, train_images=60_000, size=28, flip=True, val_per_class=600, train_per_class=5400,
    few_shot=54, imb_factor=100, prefix="fashion_mnist_", read=read, recipe="fashion-mnist-LT.sh",
)  # fmt: skip
