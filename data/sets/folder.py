"""Images of one's own: all below a folder, those that a text file names, or arrays of an .npz file (data/tree.py).

Nothing is known of them before they are found: `at` gives the data set with its classes, its lists and its size.
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
from data.tree import Tree, arrays_of, read_paths, scan, some
from utils.errors import InputError

if TYPE_CHECKING:
    from data.opened import Opened

SMALL = 64  # pixels up to which images have CIFAR's stem, and are decoded once
ALL = "all"  # the list of all training images, which is not a file


def groups_of_tail(counts: list[int]) -> dict[str, list[int]]:
    """Thirds of the classes by their images, as of data sets in memory; without any where all have as many."""
    return thirds(counts) if min(counts) < max(counts) else {name: [] for name in GROUPS}


@dataclass(frozen=True)
class FolderSet(FileSet):
    """Own images; tree: those that were found, None before. Lists are those of data sets in memory, as text files.

    Without classes, there is the list `all` alone.
    """

    default_model = "res18"
    splits = (0,)  # that of all images as they are; 1, 2, ... are drawn from them
    groups = staticmethod(groups_of_tail)
    own = True
    best = "top1"
    bcl_shape = ""
    few_shot_name = ""

    tree: Tree | None = None
    cached: bool | None = None  # decoded once; None before they are opened

    @property
    def engines(self) -> tuple[str, ...]:
        """By whether they are decoded once; all before that is known."""
        if self.cached is None:
            return ("auto", "batched", "opencv", "pillow")
        return ("batched" if self.cached else "opencv", "pillow")

    @property
    def pretraining_list(self) -> str:
        """All images: no label is needed."""
        return ALL

    @property
    def checkpoints(self) -> str:
        """By the name of the folder: `checkpoints_photos`."""
        return f"checkpoints_{self.folder.removeprefix('folder_').rpartition('_')[0] or self.folder}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of their folders."""
        return tuple(self.tree.classes) if self.tree else ()

    def labels_of(self, paths: Paths) -> np.ndarray | None:
        """Those of the folders of classes, or of the text file, once they were found."""
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
            InputError: there are none, or what is there cannot be read, or named in a list.
        """
        place = Path(root)
        tree = arrays_of(place) if place.suffix == ".npz" else read_paths(place) if place.is_file() else None
        tree = tree or (opening.kept and kept(place, opening.kept)) or scan(place, opening.show)
        if tree.unlisted and not opening.skip_bad:
            raise InputError(f"{len(tree.unlisted):,} images have names that are not UTF-8, or have control "
                             f"characters: {some(tree.unlisted)}; rename them, or {SKIP_BAD}")  # fmt: skip
        return replace(self.called(root), tree=tree, classes=max(1, len(tree.classes)), size=usual_size(tree))

    def stem(self, size: int) -> str:
        return "cifar" if size <= SMALL else "imagenet"

    def split_name(self, split: int, long_tailed: bool, shape: str) -> str:
        """The list that an experiment is named after: `split1_D_i`, and of split 0 `train`, or `all` by its shape."""
        if not split:
            return shape or self.train_list
        return f"split{split}{f'_{shape}' if shape else ''}_{'D_i' if long_tailed else 'D_b'}"

    def tailed_list(self, split: Split) -> str:
        return super().tailed_list(split) if split.number else self.train_list

    def split_of(self, name: str) -> Split | None:
        name = PurePath(name).name.removesuffix(".txt")
        if name in (ALL, self.train_list):
            return Split(0, True, "" if name == self.train_list else name)
        found = re.fullmatch(r"split(\d{1,9})(?:_(.+))?_D_([ib])", name)
        return Split(int(found[1]), found[3] == "i", found[2] or "") if found else None

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
        """The long-tailed list of the split in an experiment's name; of others the labelled training images."""
        found = re.match(r"(split\d+(?:_pareto[\d.]+)?(?:_imb[\d.]+)?)_D_[ib]_res", experiment)
        return f"{found[1]}_D_i" if found else self.train_list if self.classes > 1 else ""

    def names(self) -> list[str]:
        """Names of the lists that all splits have in common."""
        return [self.train_list, self.val_list, self.test_list, self.few_shot]

    def probe_lists(self, shots: int) -> list[str]:
        """None: there are no lists for BCL's probes."""
        return []

    def open(self, root: str, download: bool | None = False, opening: Opening = Opening()) -> "Opened":  # noqa: B008
        """Its images, found where they were not yet."""
        from data.opened_folder import OpenedFolder

        return OpenedFolder(self if self.tree else self.at(root, opening), opening)


FOLDER = FolderSet(
    "folder", classes=0, folder="folder", train_list="train", val_list="val", test_list="test", few_shot="train_S_b",
    long_tailed=(("split1_D_i", "split1_D_b"),), probe_list="train", few_per_class=5, imb_factor=100, fetchable=False,
    size=0, download="any folder of images", recipe="folder.sh",
)  # fmt: skip
