"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), as torchvision reads them. Counts are those of the authors' lists."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np

from data.sets.base import MemorySet
from data.sets.memory import missing
from utils.files import locked


def read(dataset: MemorySet, root: str, train: bool, download: bool | None) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 32, 32, 3] uint8 and labels [N] of the training or the test images.

    Raises:
        InputError: they are not in `root`, are damaged, or could not be downloaded.
    """
    import torchvision  # here, as it takes seconds and tables do not need it

    kind = torchvision.datasets.CIFAR10 if dataset.name == "cifar10" else torchvision.datasets.CIFAR100
    if (Path(root) / kind.train_list[0][0]).is_file():  # `root` is the folder of the files, not the one above it
        kind = type(kind.__name__, (kind,), {"base_folder": ""})
    try:
        with locked(Path(root)) if download else nullcontext():
            data = kind(root, train=train, download=download)
    except (RuntimeError, OSError, EOFError) as error:
        raise missing(dataset.name, root, download, error) from error
    return data.data, data.targets


CIFAR10 = MemorySet(
    "cifar10", classes=10, train_images=50_000, size=32, flip=True, val_per_class=500, train_per_class=4500,
    few_shot=45, imb_factor=100, prefix="", read=read, fetchable=True, published_name="CIFAR10",
    recipe="cifar-10-LT.sh",
)  # fmt: skip

CIFAR100 = MemorySet(
    "cifar100", classes=100, train_images=50_000, size=32, flip=True, val_per_class=50, train_per_class=400,
    few_shot=4, imb_factor=100, prefix="cifar100_", read=read, fetchable=True, published_name="CIFAR100",
    recipe="cifar-100-LT.sh",
)  # fmt: skip
