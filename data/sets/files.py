"""What is known of a data set of image files: lists that name the files, and how published scripts treat such sets."""

from dataclasses import dataclass
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from data.groups import thresholds
from data.paths import Paths
from data.sets.base import SHOTS, DataSet, Opening, Split
from utils.errors import InputError

if TYPE_CHECKING:
    from data.opened import Opened


@dataclass(frozen=True)
class Files(DataSet):
    """What all data sets of image files have in common."""

    style = "imagenet"
    engines = ("opencv", "pillow")
    default_model = "res50"
    smallest_crop = 0.08
    save_every = 1
    list_flag = "imagenetCustomSplit"
    at_once = 0
    prune_percent = 0.3
    best = "top5"
    labels_in_lists = True
    groups = staticmethod(thresholds)


@dataclass(frozen=True)
class FileSet(Files):
    """A data set of image files: where its lists lie below split/, and what they are called (without .txt)."""

    splits = (1,)

    folder: str
    train_list: str  # all training images except those of `val_list`
    val_list: str  # drawn from the training images
    test_list: str
    few_shot: str  # one percent of the training images, balanced
    long_tailed: tuple[tuple[str, str], ...]  # (long-tailed list, its balanced twin), the recipes' first
    probe_list: str  # the list that is trained on unless the command line names one
    download: str  # what to download, in words
    few_per_class: int
    val_per_class: int = 20
    head: int = 1280  # images of the largest class of a long-tailed list that is made; default as in ImageNet-LT-exp
    imb_factor: float = 256  # imbalance factor: images of the largest class over those of the smallest
    hundred_shot: str = ""  # labelled images of BCL's few-shot probe (the authors' later repository has it)
    size: int = 224  # pixels, height and width of a view
    fetchable: bool = True  # the authors published lists

    def labels_of(self, paths: Paths) -> np.ndarray | None:
        """Labels [n] by the places of the images at `paths`, -1 for those that are missing; None if only lists have
        labels."""
        return None

    @property
    def bcl_shape(self) -> str:
        """The lists that BCL's paper calls ImageNet-LT are the second pair here."""
        return "pareto" if len(self.long_tailed) > 1 else ""

    def split_name(self, split: int, long_tailed: bool, shape: str) -> str:
        """The list that an experiment is named after; with shape 'pareto' that of ImageNet's second pair.

        Raises:
            InputError: there are no lists of that shape.
        """
        if shape not in ("", "pareto") or shape and len(self.long_tailed) == 1:
            raise InputError(f"shape {shape} has no meaning for {self.name}")
        return self.long_tailed[bool(shape)][not long_tailed]

    def split_of(self, name: str) -> Split | None:
        """The split of a list, by the list's name or path; None if it is no pre-training list of a split."""
        name = PurePath(name).name.removesuffix(".txt")
        pairs = zip(self.long_tailed, ("", "pareto"), strict=False)
        return next((Split(1, name == pair[0], shape) for pair, shape in pairs if name in pair), None)

    def list_of(self, split: Split) -> str:
        """Name of the list of a split, which names experiments and recipes."""
        return self.split_name(split.number, split.long_tailed, split.shape)

    def split_list(self, name: str) -> str:
        """A list as command lines give it: its name."""
        return name

    @property
    def few_shot_name(self) -> str:
        """The few-shot list, one for all lists of pre-training."""
        return self.few_shot

    def list_kind(self, long_tailed: bool, shape: str) -> str:
        """Name of the kind of pre-training list in tables."""
        return self.split_name(1, long_tailed, shape)

    def is_tailed(self, experiment: str) -> bool:
        """Whether an experiment of this name was pre-trained on a long-tailed list."""
        return experiment.startswith(tuple(f"{tailed}_res" for tailed, _ in self.long_tailed))

    def is_few_shot(self, name: str) -> bool:
        """Whether a list is the few-shot list of SDCLR's paper, by its name."""
        return name.removesuffix(".txt") == self.few_shot

    def few_shot_list(self, split: Split) -> str:
        """Name of the few-shot list, one for all lists of pre-training."""
        return self.few_shot

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}.txt"

    def names(self) -> list[str]:
        """Names of all lists."""
        twins = chain.from_iterable(self.long_tailed)
        names = [self.train_list, self.val_list, self.test_list, self.few_shot, *twins, self.hundred_shot]
        return [name for name in names if name]

    def probe_lists(self, shots: int) -> list[str]:
        """Name of the list that a protocol on features trains on; none if there is no such list.

        Args:
            shots: labelled images per class, 0 for all.
        """
        name = {0: self.train_list, SHOTS[0]: self.hundred_shot}.get(shots)
        return [name] if name else []

    def grouping_list(self, experiment: str) -> str:
        """The long-tailed list whose class sizes make Many, Medium, Few of an experiment, by the list in its name.

        Balanced experiments are grouped by the long-tailed twin of their list, as published; '' if no list is in it.
        """
        named = (tailed for tailed, twin in self.long_tailed if experiment.startswith((f"{tailed}_res", f"{twin}_res")))
        return next(named, "")

    def open(self, root: str, download: bool | None = False, opening: Opening = Opening()) -> "Opened":  # noqa: B008
        """Its images; the paths of lists are relative to `root`. They cannot be downloaded."""
        from data.opened import OpenedFiles

        return OpenedFiles(self, root)
