"""What is known of a data set: its classes, lists and groups, and what the papers' scripts do with its kind.

A data set is one object. Its images are in memory (MemorySet) or files that lists name (data/sets/files.py). Both have
the same interface, so callers need not ask which. Nothing here, and no data set's own file, imports torch.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from data.groups import thirds

if TYPE_CHECKING:
    from data.opened import Opened


class Split(NamedTuple):
    """Identifies a pre-training list: of split `number`, long-tailed or balanced; shape: '' as published."""

    number: int
    long_tailed: bool
    shape: str


class Opening(NamedTuple):
    """How the images of a data set are opened. Only the user's own images (data/sets/folder.py) read it.

    kept: the folder of the run, which keeps the scan and beside which decoded images are; None keeps nothing. cache:
    images are decoded once to 'memory' or 'disk', each time with 'none'; 'auto' chooses by their number and size. size:
    of views in pixels, 0 for the usual one. show: progress bars on a terminal. skip_bad: images whose names no list can
    hold are left out; else they are an error.
    """

    kept: Path | None = None
    cache: str = "auto"
    size: int = 0
    show: bool = False
    skip_bad: bool = True


SHOTS = (100, 50)  # labelled images per class of BCL's few-shot protocols


@dataclass(frozen=True)
class DataSet:
    """What both kinds have in common. Lists are named as on command lines, see split/open.py."""

    style: ClassVar[str]  # 'cifar' or 'imagenet': the family of the papers' scripts that it follows, and its stem
    engines: ClassVar[tuple[str, ...]]  # values of --augment that it can have, the default first
    default_model: ClassVar[str]
    smallest_crop: ClassVar[float]  # of a pre-training view, as a share of the image's area
    save_every: ClassVar[int]  # pre-training saves model.pt every so many epochs
    list_flag: ClassVar[str]  # the published flag of pre-training that names its list
    at_once: ClassVar[int]  # images in a forward pass of a probe's frozen backbone; 0: those of one step
    prune_percent: ClassVar[float]  # SDCLR's, as published
    default_folder = ""  # of the data, in recipes
    few_shot_name = ""  # the few-shot list, if it is the same for all lists of pre-training
    splits: ClassVar[tuple[int, ...]]  # published splits by number
    labels_in_lists: ClassVar[bool]  # whether lists name labels, too, so that class sizes are known without the images
    groups: ClassVar[Callable[[list[int]], dict[str, list[int]]]]  # images per class -> classes of Many, Medium, Few
    bcl_shape = ""  # shape of the lists of BCL's table 1, '' for the usual one
    own = False  # the user's own images, without published lists, settings and results
    transfer = False  # a set for transfer of a frozen network, whose lists come with it (data/sets/transfer.py)
    best: ClassVar[str]  # the validation score that chooses a probe's best epoch, 'top1' or 'top5'

    name: str
    classes: int
    recipe: str = field(default="", kw_only=True)  # its script in cmds/shell_scrips; '': only `python -m recipes`
    published_name: str = field(default="", kw_only=True)  # its name in the papers

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of labels, if the images come with names of classes; else ()."""
        return ()

    @property
    def checkpoints(self) -> str:
        """Name of the folder in which the recipes keep its pre-training runs; with _tune at the end, its probes."""
        return "checkpoints" + ("" if self.name == "cifar10" else f"_{self.name.removesuffix('-100')}")

    def tailed_list(self, split: Split) -> str:
        """The long-tailed list of a split, whose class sizes make Many, Medium, Few."""
        return self.split_list(self.list_of(split._replace(long_tailed=True)))

    def path(self, name: str) -> str:
        """Path below split/ of the list `name`; lists of images in memory are named by their paths."""
        return name

    def stem(self, size: int) -> str:
        """'cifar' or 'imagenet', the stem of a network for views of `size` pixels."""
        return self.style

    @property
    def pretraining_list(self) -> str:
        """The list of pre-training unless the command line names one."""
        return self.probe_list

    @property
    def short_name(self) -> str:
        """What the names of folders with results of this data set end with."""
        return self.name

    def called(self, root: str) -> "DataSet":
        """The data set for the images at `root`, which are not read; own images name lists and checkpoints by it."""
        return self

    def at(self, root: str, opening: Opening = Opening()) -> "DataSet":  # noqa: B008 - it is immutable
        """The data set after a look at the images at `root`; own images get their classes and size from it."""
        return self


@dataclass(frozen=True)
class MemorySet(DataSet):
    """A data set whose images fit in memory, and how its lists are made (counts are images per class)."""

    style = "cifar"
    engines = ("batched", "pillow")
    default_model = "res18"
    smallest_crop = 0.1
    save_every = 2
    list_flag = "trainSplit"
    at_once = 1024
    prune_percent = 0.9
    best = "top1"
    splits = (1, 2, 3, 4, 5)
    labels_in_lists = False
    groups = staticmethod(thirds)

    train_images: int
    size: int  # pixels, height and width
    flip: bool  # whether a mirrored image is still of its class
    val_per_class: int
    train_per_class: int
    few_shot: int
    imb_factor: int
    prefix: str  # of the list names, as published
    read: Callable[..., tuple[np.ndarray, np.ndarray]]  # (data set, folder, train, download): see data/sets/memory.py
    needs_folder: bool = True
    fetchable: bool = False  # the authors published lists
    shots: tuple[int, int] = SHOTS  # labelled images per class of BCL's few-shot probes

    test_list = None  # the test images are those that `read` gives

    @property
    def train_list(self) -> str:
        """Published path of the labelled training list, below split/."""
        return f"{self.name}/{self.prefix}trainIdxList.npy"

    @property
    def val_list(self) -> str:
        """Published path of the validation list, below split/."""
        return f"{self.name}/{self.prefix}valIdxList.npy"

    probe_list = train_list  # the list that a probe trains on unless the command line names one

    def split_name(self, split: int, long_tailed: bool, shape: str) -> str:
        """Name of a split in names of experiments: `cifar100_split1`; shape: as in lists' names, '' as published."""
        return f"{self.prefix}split{split}" + (f"_{shape}" if shape else "")

    def split_of(self, name: str) -> Split | None:
        """The split of a list, by the list's name or path; None if it is no pre-training list of a split."""
        match = re.fullmatch(rf"{self.prefix}split(\d{{1,9}})(?:_(.+))?_D_([ib])", PurePath(name).stem)
        return Split(int(match[1]), match[3] == "i", match[2] or "") if match else None

    def list_of(self, split: Split) -> str:
        """Name of the list of a split in experiments and recipes: `cifar100_split1_D_i`."""
        kind = self.list_kind(split.long_tailed, split.shape)
        return f"{self.split_name(split.number, split.long_tailed, split.shape)}_{kind}"

    @property
    def default_folder(self) -> str:
        """Where the recipes look for the data."""
        return "datasets" if self.needs_folder else ""

    def list_kind(self, long_tailed: bool, shape: str) -> str:
        """Name of the kind of pre-training list in tables."""
        return "D_i" if long_tailed else "D_b"

    def is_tailed(self, experiment: str) -> bool:
        """Whether an experiment of this name was pre-trained on a long-tailed list."""
        return "_D_i_" in experiment

    def is_few_shot(self, name: str) -> bool:
        """Whether a list is a few-shot list of SDCLR's paper (S_b), by its name."""
        return PurePath(name).stem.endswith("_S_b")

    def few_shot_list(self, split: Split) -> str:
        """Path of the few-shot list of a split."""
        return self.split_list(f"{self.split_name(split.number, True, split.shape)}_S_b")

    def split_list(self, split: str) -> str:
        """Path below split/ of a long-tailed, balanced or few-shot list, such as `split1_D_i`."""
        return f"{self.name}_imbSub_with_subsets/{split}.npy"

    def shot_lists(self, shots: int) -> list[str]:
        """Paths below split/ of the five few-shot lists of BCL's probes, with `shots` images of each class."""
        return [self.split_list(f"{self.prefix}split{n}_test_{shots}shot") for n in range(1, 6)]

    def probe_lists(self, shots: int) -> list[str]:
        """Paths below split/ of the lists that a protocol on features trains on, one after another.

        Args:
            shots: the protocol's labelled images per class; 0 for the whole list. For each of SHOTS there are five
                lists, with as many images as the data set's `shots` has in its place; for other numbers there are none.
        """
        if not shots:
            return [self.train_list]
        return self.shot_lists(self.shots[SHOTS.index(shots)]) if shots in SHOTS else []

    def grouping_list(self, experiment: str) -> str:
        """The long-tailed list (D_i) of the split in an experiment's name; '' if the name has no split.

        D_b experiments are grouped by D_i too, as published.
        """
        match = re.search(rf"({self.prefix}split\d+(?:_pareto[\d.]+)?(?:_imb[\d.]+)?)_D_[ib]", experiment)
        return self.split_list(f"{match[1]}_D_i") if match else ""

    def open(self, root: str, download: bool | None = False, opening: Opening = Opening()) -> "Opened":  # noqa: B008
        """Its images; `root` is the folder of the data set."""
        from data.opened import OpenedArrays  # it imports torch, which tables do not need

        return OpenedArrays(self, root, download)
