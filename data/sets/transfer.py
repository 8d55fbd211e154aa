"""Five fine-grained sets that a frozen network is transferred to: BCL's table 4 (Zhou et al., ICML 2022).

They have labelled training and test images by their publishers' split, and nothing long-tailed. Each is read as its
archive unpacks, below `--data` or in the archive's folder there:

    cub       CUB-200-2011 (Wah et al., 2011)    CUB_200_2011/: images.txt, image_class_labels.txt,
                                                 train_test_split.txt, images/
    nabirds   NABirds (Van Horn et al., 2015)    nabirds/: the same files and classes.txt; ids of a tree of classes
    cars      Stanford Cars (Krause et al., 2013)  devkit/*.mat, cars_test_annos_withlabels.mat, cars_train/, cars_test/
    dogs      Stanford Dogs (Khosla et al., 2011)  train_list.mat, test_list.mat, Images/
    aircraft  FGVC-Aircraft (Maji et al., 2013)  fgvc-aircraft-2013b/data/: variants.txt, images_variant_*.txt, images/

Labels count from 0. They are the publisher's numbers, which count from 1, less one; for aircraft, by the line of a
variant in variants.txt; for NABirds, the rank of an id among the 555 of 1,011 that have images (the others are inner
nodes of its tree of classes). Aircraft's classes are the variants, its training images `trainval`, and the strip with
the copyright below each image is kept: chosen here, as the paper only names the sets.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.flags import GIVE_UNPACKED
from data.images import ImageList
from data.paths import Paths
from data.sets.base import Opening, Split
from data.sets.files import Files
from data.sets.layouts import PARTS, Part, aircraft, by_ids, cars, dogs
from utils.errors import InputError

if TYPE_CHECKING:
    from data.opened import Opened


class Archive(NamedTuple):
    """An archive that `python -m data.sets.fetch` gets. md5: as published, '' if none is."""

    url: str
    md5: str = ""


@dataclass(frozen=True)
class TransferSet(Files):
    """A labelled set with a training and a test list.

    train_images, test_images: published numbers, which an opened set must have. marks: files of which the set's folder
    has at least one. folders: in which the archive may have it. read: folder -> part -> its images. download: what to
    get, in words. archives: what may be fetched; none if the host does not allow it.
    """

    transfer = True
    splits = (1,)
    train_list, test_list, probe_list, val_list = "train", "test", "train", ""
    size = 224  # pixels of a side of the centre crop, chosen here

    train_images: int
    test_images: int
    marks: tuple[str, ...]
    folders: tuple[str, ...]
    read: Callable[[Path], dict[str, Part]]
    download: str
    archives: tuple[Archive, ...] = ()
    sparse: bool = field(default=False, kw_only=True)  # ids are not 1, 2, ...: the classes are those that have images

    @property
    def checkpoints(self) -> str:
        """One folder for all transfer sets."""
        return "checkpoints_transfer"

    def tailed_list(self, split: Split) -> str:
        """None: there are no groups."""
        return ""

    def grouping_list(self, experiment: str) -> str:
        return ""

    def split_of(self, name: str) -> Split | None:
        return None

    def is_few_shot(self, name: str) -> bool:
        return False

    def few_shot_list(self, split: Split) -> str:
        return ""

    def probe_lists(self, shots: int) -> list[str]:
        return [] if shots else [self.train_list]

    def place(self, root: str) -> Path:
        """The folder of the set: `root`, or the archive's folder in it.

        Raises:
            InputError: it is not there.
        """
        if not root:
            raise InputError(f"{self.name} needs a data folder: {GIVE_UNPACKED}")
        base = Path(root)
        for folder in (base, base / self.name, *(base / f for f in self.folders)):
            if any((folder / mark).is_file() for mark in self.marks):
                return folder
        there = " or ".join(self.marks)
        raise InputError(f"{self.name} is not in {root!r}, nor in {self.folders[0]} there (no {there}): "
                         f"get and unpack {self.download}")  # fmt: skip

    def lists(self, place: Path, skip_missing: bool = False) -> dict[str, ImageList]:
        """The publisher's training and test list.

        Args:
            place: the set's folder. skip_missing: missing images are reported when they are read, not here.

        Raises:
            InputError: files are missing or damaged, numbers of images or classes are not the published ones, labels
                are outside the classes, an image is in both lists or twice in one, or images are missing.
        """
        parts = self.read(place)
        found = {name: len(parts[name]) for name in PARTS}, len({c for part in parts.values() for _, c in part})
        wanted = {"train": self.train_images, "test": self.test_images}, self.classes
        if found != wanted:
            texts = (
                "{train:,} training and {test:,} test images of {} classes".format(c, **n) for n, c in (found, wanted)
            )
            raise InputError(
                f"{self.name} in {str(place)!r} has {', not '.join(texts)}: get and unpack {self.download}"
            )
        labels = self._labels(parts, place)
        paths = [_clean(path, place) for name in PARTS for path, _ in parts[name]]
        if twice := next((path for path, n in Counter(paths).items() if n > 1), None):
            raise InputError(f"{self.name} in {str(place)!r} has {twice} in its lists twice: unpack it again")
        if not skip_missing and (gone := _missing(place, paths)):
            problem = f"{len(gone):,} of {len(paths):,} images of {self.name} missing, {gone[0]} first"
            raise InputError(f"{str(place)!r} has {problem}: it is half unpacked; unpack {self.download} again")
        slices = {"train": slice(0, self.train_images), "test": slice(self.train_images, None)}
        return {name: _as_list(self, name, paths[rows], labels[rows]) for name, rows in slices.items()}

    def _labels(self, parts: dict[str, Part], place: Path) -> np.ndarray:
        """Labels [N] of the training, then the test images, in 0..classes-1."""
        ids = np.array([c for name in PARTS for _, c in parts[name]], np.int64)
        known = np.unique(ids) if self.sparse else np.arange(1, self.classes + 1)
        outside = next((c for c in ids.tolist() if not known[0] <= c <= known[-1]), None)
        if outside is not None:
            raise InputError(f"{self.name} in {str(place)!r} has label {outside}, outside 1..{self.classes}: "
                             f"get and unpack {self.download}")  # fmt: skip
        labels = np.searchsorted(known, ids)
        for name, of_part in zip(PARTS, np.split(labels, [len(parts["train"])]), strict=True):
            if len(gone := np.setdiff1d(np.arange(self.classes), of_part)):
                raise InputError(f"{self.name} in {str(place)!r} has no {name} image of class {known[gone[0]]}: "
                                 f"get and unpack {self.download}")  # fmt: skip
        return labels

    def open(self, root: str, download: bool | None = False, opening: Opening = Opening()) -> "Opened":  # noqa: B008
        """Its images; `root` is the folder of the set, or the one that holds it. Nothing is downloaded here."""
        from data.opened import OpenedTransfer

        place = self.place(root)
        return OpenedTransfer(self, str(place), self.lists(place, opening.skip_bad))


def _as_list(dataset: TransferSet, name: str, paths: list[str], labels: np.ndarray) -> ImageList:
    """The list `name`; its SHA-1 is of the lines `<path> <label>` that it would have as a file."""
    lines = "".join(f"{path} {label}\n" for path, label in zip(paths, labels.tolist(), strict=True))
    sha1 = hashlib.sha1(lines.encode(errors="surrogateescape")).hexdigest()
    return ImageList(Path(dataset.name) / name, sha1, "published", labels, paths=Paths(paths))


def _clean(path: str, place: Path) -> str:
    """A path below the folder with slashes, as lists made on Windows have backslashes.

    Raises:
        InputError: the path leads out of the folder.
    """
    spelt = PurePosixPath(path.replace("\\", "/"))
    if (
        spelt.is_absolute()
        or ".." in spelt.parts
        or not spelt.name
        or "\0" in path
        or re.match("[A-Za-z]:/", str(spelt))
    ):
        raise InputError(f"a list in {str(place)!r} names {path!r}, which leaves the folder: get it again")
    return str(spelt)


def _missing(place: Path, paths: list[str]) -> list[str]:
    """The paths that do not exist; each folder is listed once, which is faster than a look at each file."""
    folders: dict[str, set[str]] = {}
    for parent in {str(PurePosixPath(path).parent) for path in paths}:
        folder = place / parent
        folders[parent] = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    return [p for p in paths if PurePosixPath(p).name not in folders[str(PurePosixPath(p).parent)]]


CUB = TransferSet(
    "cub", classes=200, train_images=5_994, test_images=5_794, published_name="CUB", read=by_ids,
    marks=("train_test_split.txt", "image_class_labels.txt"), folders=("CUB_200_2011",),
    download="CUB_200_2011.tgz (not CUB-200 of 2010) from https://data.caltech.edu/records/65de6-vp158",
    archives=(Archive("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                      "97eceeb196236b17998738112f37df78"),),
)  # fmt: skip

CARS = TransferSet(
    "cars", classes=196, train_images=8_144, test_images=8_041, published_name="Cars", read=cars,
    marks=("devkit/cars_train_annos.mat", "cars_train_annos.mat"), folders=("stanford_cars", "stanford-cars"),
    download="cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat of Stanford Cars, from "
    "a mirror: https://ai.stanford.edu/~jkrause/cars/car_dataset.html gives them no longer",
)  # fmt: skip

AIRCRAFT = TransferSet(
    "aircraft", classes=100, train_images=6_667, test_images=3_333, published_name="Aircrafts", read=aircraft,
    marks=("images_variant_trainval.txt", "variants.txt"), folders=("fgvc-aircraft-2013b/data", "data"),
    download="fgvc-aircraft-2013b.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
    archives=(Archive("https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"),),
)  # fmt: skip

_OF_DOGS = "http://vision.stanford.edu/aditya86/ImageNetDogs"
DOGS = TransferSet(
    "dogs", classes=120, train_images=12_000, test_images=8_580, published_name="Dogs", read=dogs,
    marks=("train_list.mat", "lists/train_list.mat"), folders=("stanford_dogs", "StanfordDogs"),
    download=f"images.tar and lists.tar from {_OF_DOGS}",
    archives=(Archive(f"{_OF_DOGS}/images.tar"), Archive(f"{_OF_DOGS}/lists.tar")),
)  # fmt: skip

NABIRDS = TransferSet(
    "nabirds", classes=555, train_images=23_929, test_images=24_633, published_name="NABirds", read=by_ids, sparse=True,
    marks=("train_test_split.txt", "image_class_labels.txt"), folders=("nabirds",),
    download="nabirds.tar.gz from https://dl.allaboutbirds.org/nabirds, which asks for consent to its terms",
)  # fmt: skip
