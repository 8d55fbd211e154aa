"""Data sets of image files that are named by lists: ImageNet-100-LT, ImageNet-LT and Places-LT.

A list has a line `<path below the data folder> <label>` for each image, as published.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from utils.errors import InputError

LONGEST = 200  # times its shorter side is an image's longer one at most


@dataclass(frozen=True)
class ListSpec:
    """A data set of image files: where its lists lie below split/, and what they are called (without .txt)."""

    name: str
    classes: int
    folder: str
    train: str  # all training images but those of `val`
    val: str  # drawn from the training images
    test: str
    few_shot: str  # one percent of the training images, balanced
    long_tailed: tuple[tuple[str, str], ...]  # (long-tailed list, its balanced twin), the recipes' first
    default: str  # what is trained on unless the command line says otherwise
    download: str  # which one is the right one
    few_per_class: int
    val_per_class: int = 20
    hundred_shot: str = ""  # labelled images of BCL's few-shot probe (the authors' later repository has it)
    size: int = 224  # pixels, height and width of a view
    fetchable: bool = True  # the authors published lists

    def path(self, name: str) -> str:
        """Path below split/ of the list `name`."""
        return f"{self.folder}/{name}.txt"

    def names(self) -> list[str]:
        """Names of all lists."""
        twins = [name for pair in self.long_tailed for name in pair]
        return [self.train, self.val, self.test, self.few_shot, *twins, *filter(None, [self.hundred_shot])]

    def probe_lists(self, protocol: str) -> list[str]:
        """Names of the training lists of one of BCL's probes; none where there are none."""
        lists = {"bcl-full": self.train, "bcl-100shot": self.hundred_shot}
        return [lists[protocol]] if lists.get(protocol) else []

    def grouping_list(self, experiment: str) -> str:
        """The long-tailed list whose class sizes make Many, Medium, Few of an experiment, by the list in its name.

        Balanced experiments are grouped by the long-tailed twin of their list, as published; '' where none is named.
        """
        for pair in self.long_tailed:
            if experiment.startswith(tuple(f"{name}_res" for name in pair)):
                return pair[0]
        return ""


_ILSVRC = "ILSVRC2012 (ImageNet-1k): train/n01440764/*.JPEG and val/n01440764/*.JPEG (data.imagenet_extract makes them)"
LIST_SPECS = {
    s.name: s
    for s in (
        ListSpec(
            "imagenet-100", 100, "imagenet-100", "ImageNet_100_train", "ImageNet_100_val", "ImageNet_100_test",
            "imageNet_100_sub_balance_train_0.01", (("imageNet_100_LT_train", "imageNet_100_BL_train"),),
            "ImageNet_100_train", _ILSVRC, few_per_class=12,
        ),
        ListSpec(
            "imagenet", 1000, "ImageNet_LT", "ImageNet_train", "ImageNet_LT_val", "ImageNet_LT_test",
            "imageNet_sub_balance_train_0.01",
            (("imageNet_LT_exp_train", "imageNet_BL_exp_train"), ("ImageNet_LT_train", "ImageNet_BL_train")),
            "ImageNet_LT_train", _ILSVRC, few_per_class=12, hundred_shot="ImageNet_split1_test_100shot",
        ),
        ListSpec(
            "places", 365, "Places_LT", "Places_train", "Places_LT_val", "Places_val",
            "Places_sub_balance_train_0.01", (("Places_LT_train", "Places_BL_train"),), "Places_LT_train",
            "Places365-Standard, small images (256x256), easy directory (places365standard_easyformat.tar): "
            "train/airfield/*.jpg and val/airfield/*.jpg", few_per_class=49, hundred_shot="Places_split1_test_100shot",
        ),
    )
}  # fmt: skip
# What train_simCLR.py calls them -> the data set, and the list that it pre-trains on by default.
PRETRAIN_LISTS = {
    "imagenet-100": ("imagenet-100", LIST_SPECS["imagenet-100"].default),
    "imagenet-LT": ("imagenet", LIST_SPECS["imagenet"].default),
    "imagenet-FULL": ("imagenet", LIST_SPECS["imagenet"].train),
    "places": ("places", LIST_SPECS["places"].default),
}


@dataclass(frozen=True)
class PathList:
    """paths [N] below the data folder and labels [N] int64 of a list; source 'published', 'generated' or 'own'."""

    path: Path
    paths: list[str]
    labels: np.ndarray
    sha1: str
    source: str


SOME = 300  # files of a list that are opened before a run


class BadImage(Exception):
    """An image that is missing or cannot be decoded; names the file, the list and its line."""


def _rgb(file: Image.Image) -> Image.Image:
    return file.convert("RGB")


def read_image(path: Path, read: Callable[[Image.Image], Any] = _rgb) -> Any:
    """What `read` takes of a JPEG or PNG file. Others are refused: Pillow gives EPS, a program, to Ghostscript.

    Raises:
        Exception: it is missing, no plain file, damaged, or would take gigabytes of memory, decoded or resized.
    """
    if path.exists() and not path.is_file():
        raise OSError("it is no plain file")  # a pipe would never end
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, say
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # from 89 million pixels
        with Image.open(path, formats=("JPEG", "PNG")) as file:
            # A centre crop is of the image resized by its shorter side.
            if max(file.size) > LONGEST * min(file.size):
                raise OSError(f"{file.width} x {file.height} pixels are too narrow")
            return read(file)


class ImageFiles:
    """The images of a list, decoded by Pillow when asked for: a PIL image, or an array [H, W, 3] uint8.

    Args:
        root: the data folder. images: the list. as_array: for data.opencv.
        on_bad_image: `error` opens SOME of the files, `skip` none.

    `names` [N] are the paths of the list.

    Raises:
        InputError: root is no folder, or another one: none of the images is there; or one that was opened is bad.
    """

    def __init__(self, root: str, images: PathList, as_array: bool, on_bad_image: str = "skip") -> None:
        if not root or not Path(root).is_dir():
            raise InputError(f"--data {root!r} is not a folder: give the one that holds train/ and val/ of the images")
        # Some may be missing; where none of a hundred is there, it is another folder.
        some = images.paths[:: max(1, len(images.paths) // 100)]
        if not any((Path(root) / path).exists() for path in some):
            raise InputError(f"no image of {images.path} is below --data {root!r}, {some[0]} say: it is another folder")
        self.root, self.images, self.as_array, self.names = Path(root), images, as_array, images.paths
        if on_bad_image == "error" and (bad := self.bad(SOME)):
            more = f"; {len(bad) - 3} more of those looked at" if len(bad) > 3 else ""
            raise InputError(
                f"{'; '.join(bad[:3])}{more}: get again, or leave out such images with --on_bad_image skip"
            )

    def __len__(self) -> int:
        return len(self.images.paths)

    def __getitem__(self, index: int) -> Image.Image | np.ndarray:
        """Image of line `index` + 1.

        Raises:
            BadImage: the file is missing, or is not a whole image.
        """
        image = self._open(index, _rgb)
        return np.array(image) if self.as_array else image

    def bad(self, most: int) -> list[str]:
        """Messages on those of `most` files, evenly spread over the list, that are missing or have no image's header.

        Pixels are not decoded: 0.03 ms a file on a local disk, 10 ms for SOME.
        """
        messages, count = [], len(self)
        for i in range(min(most, count)):
            try:
                self._open(i * count // min(most, count), lambda file: None)
            except BadImage as error:
                messages.append(str(error))
        return messages

    def _open(self, index: int, read: Callable[[Image.Image], Any]) -> Any:
        path = self.root / self.images.paths[index]
        try:
            return read_image(path, read)
        except Exception as error:
            # On a damaged file Pillow raises anything from OSError to SyntaxError and struct.error.
            why = "does not exist" if isinstance(error, FileNotFoundError) else f"is not a whole image ({error})"
            raise BadImage(f"{path} (line {index + 1} of {self.images.path}) {why}") from error


class ImageArrays:
    """Images [N, H, W, 3] uint8 in memory as PIL images.

    Args:
        numbers: [N], of each within its data set, where they are only a part of it.
    """

    def __init__(self, images: np.ndarray, numbers: np.ndarray | None = None) -> None:
        self.images, self.numbers = images, np.arange(len(images)) if numbers is None else numbers

    @property
    def names(self) -> list[str]:
        """The numbers [N], as ImageFiles have paths."""
        return [str(n) for n in self.numbers.tolist()]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])
