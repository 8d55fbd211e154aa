"""Images of a data set: arrays in memory, or files that a list names."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from data.flags import GIVE_TREE, SKIP_BAD
from data.paths import Paths
from data.pillow import OWN_FORMATS, PUBLISHED_FORMATS, read_image, rgb
from data.sets.base import MemorySet
from utils.errors import InputError


@dataclass(frozen=True)
class ImageSet:
    """images [N, H, W, 3] uint8 RGB, labels [N] int64 in 0..classes-1; source: 'published', or 'own' of an .npz."""

    dataset: MemorySet
    images: np.ndarray
    labels: np.ndarray
    source: str = "published"


@dataclass(frozen=True)
class ImageList:
    """The images that a list names: ids [N] of a data set in memory, or paths [N] below the data folder.

    labels: [N] int64; of ids only if the labels of the data set were given. path: of the list's file. sha1: git's blob
    id of that file. source: 'published', 'generated' or 'own'.
    """

    path: Path
    sha1: str
    source: str
    labels: np.ndarray | None = None
    ids: np.ndarray | None = None
    paths: Paths | None = None

    def __len__(self) -> int:
        return len(self.paths if self.ids is None else self.ids)


SOME = 300  # files of a list that are opened as a check before a run


class BadImage(Exception):
    """An image that is missing or cannot be decoded; names the file, the list and its line."""


# Folders that other programs leave among images. Hidden ones, such as .ipynb_checkpoints, are no classes either.
LEFT_BEHIND = {"__MACOSX", "@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN", "System Volume Information"}


def class_folders(folder: Path) -> list[str]:
    """The names of the folders of classes in a folder, sorted."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    return sorted(n for n in names if n.isprintable() and not n.startswith(".") and n not in LEFT_BEHIND)


def folder_of(given: str | Path, paths: Iterable[str]) -> Path | None:
    """The folder that relative paths begin in: the given one, or its parent if `.../train` itself was given.

    Args:
        paths: relative; the folder is the right one if any of them exists below it.

    Returns:
        None if no path exists below either.
    """
    folders = (Path(given), Path(given).absolute().parent)
    return next((folder for folder in folders if any((folder / path).exists() for path in paths)), None)


def _check_encoding(images: ImageList) -> None:
    """Refuse names that the locale's encoding cannot express: these files would be reported as missing."""
    encoding = sys.getfilesystemencoding()
    other = next((path for path in images.paths if not path.isascii()), None) if encoding != "utf-8" else None
    if other:
        raise InputError(
            f"{other} of {images.path} cannot be found in a locale whose names of files are in {encoding}: "
            "set one in UTF-8, by `export LC_ALL=C.UTF-8` say"
        )


class ImageFiles:
    """The images of a list, decoded by Pillow when asked for: a PIL image, or an array [H, W, 3] uint8.

    Args:
        root: the data folder. images: the list. as_array: give arrays, which data.views.arrays takes.
        skip_bad: False: SOME of the files are opened as a check. own: formats besides the published JPEG and PNG.

    `names` [N] are the paths of the list.

    Raises:
        InputError: root is no folder, or none of the images is below it; a file that was opened is bad; or the locale's
            encoding cannot express a name.
    """

    def __init__(self, root: str, images: ImageList, as_array: bool, skip_bad: bool = True, own: bool = False) -> None:
        if not root or not Path(root).is_dir():
            raise InputError(f"{root!r} is not a folder: {GIVE_TREE}")
        _check_encoding(images)
        # Single images may be missing; but if none of about a hundred exists, it is the wrong folder.
        some = images.paths[:: max(1, len(images.paths) // 100)]
        folder = folder_of(root, some)
        if folder is None:
            raise InputError(
                f"no image of {images.path} is below the data folder {root!r}, {some[0]} say: it is another folder"
            )
        self.root, self.images, self.as_array, self.names = folder, images, as_array, images.paths
        self.formats = OWN_FORMATS if own else PUBLISHED_FORMATS
        if not skip_bad and (bad := self._bad()):
            more = f"; {len(bad) - 3} more of those looked at" if len(bad) > 3 else ""
            raise InputError(f"{'; '.join(bad[:3])}{more}: get again, or {SKIP_BAD}")

    def __len__(self) -> int:
        return len(self.images.paths)

    @property
    def identity(self) -> np.ndarray:
        """Bytes [n] that identify the images: the names of their files."""
        return self.images.paths.text

    def __getitem__(self, index: int) -> Image.Image | np.ndarray:
        """Image of line `index` + 1.

        Raises:
            BadImage: the file is missing, or is not a whole image.
        """
        image = self._open(index, rgb)
        return np.array(image) if self.as_array else image

    def _bad(self) -> list[str]:
        """Messages on missing files and files without an image's header, among SOME that are evenly spread in the list.

        Pixels are not decoded: 0.03 ms a file on a local disk, 10 ms for SOME.
        """
        messages, looked_at = [], min(SOME, len(self))
        for i in range(looked_at):
            try:
                self._open(i * len(self) // looked_at, lambda file: None)
            except BadImage as error:
                messages.append(str(error))
        return messages

    def _open(self, index: int, read: Callable[[Image.Image], Any]) -> Any:
        path = self.root / self.images.paths[index]
        try:
            return read_image(path, read, self.formats)
        except Exception as error:
            # On a damaged file Pillow raises anything from OSError to SyntaxError and struct.error.
            why = f"is not a whole image ({error})"
            if reason := getattr(error, "strerror", ""):  # no permission, say, or a network drive that is gone
                why = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({reason})"
            raise BadImage(f"{path} (line {index + 1} of {self.images.path}) {why}") from error


class ImageArrays:
    """Images [N, H, W, 3] uint8 in memory as PIL images.

    Args:
        numbers: [N], ids within the data set, where the images are only a part of it. names: [N], of the files that
            they were decoded from. bad: number -> message on those that could not be read. by_pixels: `identity` is
            the pixels, although there are names.
    """

    def __init__(
        self,
        images: np.ndarray,
        numbers: np.ndarray | None = None,
        names: Paths | None = None,
        bad: Mapping[int, str] = MappingProxyType({}),
        by_pixels: bool = False,
    ) -> None:
        self.by_pixels = by_pixels or names is None
        self.images, self.numbers = images, np.arange(len(images)) if numbers is None else numbers
        self.paths, self.bad = names, bad

    @property
    def names(self) -> Sequence[str]:
        """The paths [N] of the files, or the numbers."""
        return [str(n) for n in self.numbers.tolist()] if self.paths is None else self.paths

    @property
    def identity(self) -> np.ndarray:
        """Bytes that identify the images: their pixels, or the names of their files as in ImageFiles."""
        return np.ascontiguousarray(self.images) if self.by_pixels else self.paths.text

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image.Image:
        """Raises:
        BadImage: the file could not be read.
        """
        if index in self.bad:
            raise BadImage(self.bad[index])
        return Image.fromarray(self.images[index])
