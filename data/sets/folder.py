"""The user's own images: all below a folder, those that a text file names, or arrays of an .npz file (data/tree.py).

Nothing is known of them before they are scanned: `at` gives the data set with its classes, its lists and its size.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Self

import numpy as np

from data.flags import GIVE_OWN, SKIP_BAD
from data.groups import GROUPS, thirds
from data.kept import kept
from data.paths import Paths
from data.sets.base import Opening, Split
from data.sets.files import FileSet
from data.sizes import usual_size
from data.tree import Tree, arrays_of, name_unlisted, read_paths, scan
from utils.errors import InputError

if TYPE_CHECKING:
    from data.opened import Opened

SMALL = 64  # pixels; up to this size images have CIFAR's stem, and are decoded once
ALL = "all"  # the list of all training images, which is not a file


def groups_of_tail(counts: list[int]) -> dict[str, list[int]]:
    """Thirds of the classes by their images, as for data sets in memory; empty groups if all have equally many."""
    return thirds(counts) if min(counts) < max(counts) else {name: [] for name in GROUPS}


@dataclass(frozen=True)
class FolderSet(FileSet):
    """Own images; tree: the scan, None before it. They have the lists of data sets in memory, as text files.

    Without classes, the only list is `all`.
    """

    default_model = "res18"
    splits = (0,)  # split 0 has all images as they are; splits 1, 2, ... are drawn from them
    groups = staticmethod(groups_of_tail)
    own = True
    best = "top1"
    bcl_shape = ""
    few_shot_name = ""

    tree: Tree | None = None
    cached: bool | None = None  # whether they are decoded once; None before they are opened

    @property
    def engines(self) -> tuple[str, ...]:
        """Depend on whether images are decoded once; all of them before that is known."""
        if self.cached is None:
            return ("auto", "batched", "opencv", "pillow")
        return ("batched" if self.cached else "opencv", "pillow")

    @property
    def pretraining_list(self) -> str:
        """All images, as no label is needed."""
        return ALL

    @property
    def checkpoints(self) -> str:
        """Named after the folder of the images: `checkpoints_photos`."""
        return f"checkpoints_{self.short_name}"

    @property
    def short_name(self) -> str:
        return self.folder.removeprefix("folder_").rpartition("_")[0] or self.folder

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the folders of the classes."""
        return tuple(self.tree.classes) if self.tree else ()

    def labels_of(self, paths: Paths) -> np.ndarray | None:
        """By the folders of classes, or as in the text file; None before the scan, and without classes."""
        if not self.tree or not self.tree.classes:
            return None
        labels = np.full(len(paths), -1)
        for part in self.tree.parts.values():
            places = paths.places_in(part.paths)
            labels[places >= 0] = part.labels[places[places >= 0]]
        return labels

    def called(self, root: str) -> Self:
        if not root:
            raise InputError(f"own images need {GIVE_OWN}")
        place = Path(root).absolute()
        name = re.sub(r"\W+", "-", place.stem, flags=re.ASCII).strip("-")[:40] or "images"
        digest = hashlib.sha256(str(place).encode(errors="surrogateescape")).hexdigest()[:8]
        return replace(self, folder=f"folder_{name}_{digest}")

    def at(self, root: str, opening: Opening = Opening()) -> Self:  # noqa: B008 - it is immutable
        """The data set of the images at `root`: a folder, a text file of paths, or an .npz file.

        Raises:
            InputError: there are none, they cannot be read, or no list can hold their names.
        """
        place = Path(root)
        tree = arrays_of(place) if place.suffix == ".npz" else read_paths(place) if place.is_file() else None
        tree = tree or (opening.kept and kept(place, opening.kept)) or scan(place, opening.show)
        if tree.unlisted and not opening.skip_bad:
            raise InputError(f"{len(tree.unlisted):,} images have {name_unlisted(tree.unlisted)}, or {SKIP_BAD}")
        return replace(self.called(root), tree=tree, classes=max(1, len(tree.classes)), size=usual_size(tree))

    def stem(self, size: int) -> str:
        return "cifar" if size <= SMALL else "imagenet"

    def split_name(self, split: int, long_tailed: bool, shape: str) -> str:
        """The list that an experiment is named after: `split1_D_i`; of split 0 `train`, or `all` if that is `shape`."""
        if not split:
            return shape or self.train_list
        return f"split{split}{f'_{shape}' if shape else ''}_{'D_i' if long_tailed else 'D_b'}"

    def tailed_list(self, split: Split) -> str:
        return super().tailed_list(split) if split.number else self.train_list

    def split_of(self, name: str) -> Split | None:
        name = PurePath(name).name.removesuffix(".txt")
        if name in (ALL, self.train_list):
            return Split(0, True, "" if name == self.train_list else name)
        match = re.fullmatch(r"split(\d{1,9})(?:_(.+))?_D_([ib])", name)
        return Split(int(match[1]), match[3] == "i", match[2] or "") if match else None

    def list_kind(self, long_tailed: bool, shape: str) -> str:
        return "D_i" if long_tailed else "D_b"

    def is_tailed(self, experiment: str) -> bool:
        return "_D_b_res" not in experiment

    def is_few_shot(self, name: str) -> bool:
        return name.removesuffix(".txt").endswith("_S_b")

    def few_shot_list(self, split: Split) -> str:
        return (
            self.split_name(*split).replace("_D_i", "_S_b").replace("_D_b", "_S_b") if split.number else self.few_shot
        )

    def grouping_list(self, experiment: str) -> str:
        """The long-tailed list of the split in an experiment's name; without one, the labelled training images."""
        match = re.match(r"(split\d+(?:_pareto[\d.]+)?(?:_imb[\d.]+)?)_D_[ib]_res", experiment)
        if match:
            return f"{match[1]}_D_i"
        return self.train_list if self.classes > 1 else ""

    def names(self) -> list[str]:
        """Names of the lists that all splits have in common."""
        return [self.train_list, self.val_list, self.test_list, self.few_shot]

    def probe_lists(self, shots: int) -> list[str]:
        """None: there are no lists for BCL's probes."""
        return []

    def open(self, root: str, download: bool | None = False, opening: Opening = Opening()) -> "Opened":  # noqa: B008
        """Its images, scanned if they were not yet."""
        from data.opened_folder import OpenedFolder

        return OpenedFolder(self if self.tree else self.at(root, opening), opening)


FOLDER = FolderSet(
    "folder", classes=0, folder="folder", train_list="train", val_list="val", test_list="test", few_shot="train_S_b",
    long_tailed=(("split1_D_i", "split1_D_b"),), probe_list="train", few_per_class=5, imb_factor=100, fetchable=False,
    size=0, download="any folder of images", recipe="folder.sh",
)  # fmt: skip
