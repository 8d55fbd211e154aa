"""What a data set answers about itself: its classes, lists and groups, and what the papers' scripts do with its kind.

A data set is one object. Its images are in memory (MemorySet) or files that lists name (data/sets/files.py); who uses
it need not ask which, since both answer the same questions. Nothing here, and no data set's own file, imports torch.
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
    """Which list of pre-training one is: of split `number`, long-tailed or balanced; shape: '' as published."""

    number: int
    long_tailed: bool
    shape: str


class Opening(NamedTuple):
    """How the images of a data set are opened. Only the user's own images (data/sets/folder.py) read it.

    kept: the folder of the run, where and beside which what was found is kept; None for none. cache: 'memory' or
    'disk', where images are decoded to once, 'none', or 'auto', by how many and how large they are. size: of views in
    pixels, 0 for the usual one. show: bars on a terminal. skip_bad: images whose names no list can hold are left out;
    off, they are an error.
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

    style: ClassVar[str]  # 'cifar' or 'imagenet': which of the papers' two families of scripts, and which stem, it has
    engines: ClassVar[tuple[str, ...]]  # values of --augment that it can have, the default first
    default_model: ClassVar[str]
    smallest_crop: ClassVar[float]  # of a pre-training view, share of the area
    save_every: ClassVar[int]  # epochs between a pre-training's model.pt
    list_flag: ClassVar[str]  # the published flag, of pre-training, that names its list
    at_once: ClassVar[int]  # images that a probe's frozen backbone takes together; 0: those of one step
    prune_percent: ClassVar[float]  # published with SDCLR
    default_folder = ""  # of the data, in recipes
    few_shot_name = ""  # the few-shot list where all lists of pre-training have the same
    splits: ClassVar[tuple[int, ...]]  # published splits by number
    labels_in_lists: ClassVar[bool]  # whether lists name labels, too, so that one alone tells the classes' sizes
    groups: ClassVar[Callable[[list[int]], dict[str, list[int]]]]  # images per class -> classes of Many, Medium, Few
    bcl_shape = ""  # shape of the lists of BCL's table 1, '' for the usual one
    own = False  # the user's own images, without published lists, settings and results
    transfer = False  # a set that a frozen network is transferred to, whose lists come with it (data/sets/transfer.py)
    best: ClassVar[str]  # the validation score that chooses a probe's best epoch, 'top1' or 'top5'

    name: str
    classes: int
    recipe: str = field(default="", kw_only=True)  # its script in cmds/shell_scrips; '': `python -m recipes` alone
    published_name: str = field(default="", kw_only=True)  # the papers'

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classes in their order, where the images tell them; () where classes are numbers."""
        return ()

    @property
    def checkpoints(self) -> str:
        """Name of the folder that the recipes keep its pre-trainings in; that of probes ends in _tune."""
        return "checkpoints" + ("" if self.name == "cifar10" else f"_{self.name.removesuffix('-100')}")

    def tailed_list(self, split: Split) -> str:
        """The long-tailed list of a split, whose class sizes make Many, Medium, Few."""
        return self.split_list(self.list_of(split._replace(long_tailed=True)))

    def path(self, name: str) -> str:
        """Path below split/ of the list `name`; lists of images in memory are called by it."""
        return name

    def stem(self, size: int) -> str:
        """'cifar' or 'imagenet', the stem of a network for views of so many pixels."""
        return self.style

    @property
    def pretraining_list(self) -> str:
        """What pre-training trains on unless the command line says otherwise."""
        return self.probe_list

    def called(self, root: str) -> "DataSet":
        """The data set with the names of lists and checkpoints of own images at `root`, which are not read."""
        return self

    def at(self, root: str, opening: Opening = Opening()) -> "DataSet":  # noqa: B008 - it is immutable
        """The data set with all that its images tell: own ones' classes and size."""
        return self


@dataclass(frozen=True)
class MemorySet(DataSet):
    """A data set whose images fit in memory, and the recipe of its lists (counts are images per class)."""

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
    flip: bool  # a mirrored image is still of its class
    val_per_class: int
    train_per_class: int
    few_shot: int
    imb_factor: int
    prefix: str  # of the list names, as published
    read: Callable[..., tuple[np.ndarray, np.ndarray]]  # of data set, folder, train, download: see data/sets/memory.py
    needs_folder: bool = True
    fetchable: bool = False  # the authors published lists
    shots: tuple[int, int] = SHOTS  # labelled images per class of BCL's few-shot probes

    test_list = None  # the test images are all that `read` gives

    @property
    def train_list(self) -> str:
        """Published path of the labelled training list, below split/."""
        return f"{self.name}/{self.prefix}trainIdxList.npy"

    @property
    def val_list(self) -> str:
        """Published path of the validation list, below split/."""
        return f"{self.name}/{self.prefix}valIdxList.npy"

    probe_list = train_list  # what is trained on unless the command line says otherwise

    def split_name(self, split: int, long_tailed: bool, shape: str) -> str:
        """What names a split in an experiment: `cifar100_split1`; shape: as in names of lists, '' as published."""
        return f"{self.prefix}split{split}" + (f"_{shape}" if shape else "")

    def split_of(self, name: str) -> Split | None:
        """The split that a list is of, by its name or path; None where it is no list of one."""
        found = re.fullmatch(rf"{self.prefix}split(\d{{1,9}})(?:_(.+))?_D_([ib])", PurePath(name).stem)
        return Split(int(found[1]), found[3] == "i", found[2] or "") if found else None

    def list_of(self, split: Split) -> str:
        """Name of the list of a split in experiments and recipes: `cifar100_split1_D_i`."""
        kind = self.list_kind(split.long_tailed, split.shape)
        return f"{self.split_name(split.number, split.long_tailed, split.shape)}_{kind}"

    @property
    def default_folder(self) -> str:
        """Where the recipes look for the data."""
        return "datasets" if self.needs_folder else ""

    def list_kind(self, long_tailed: bool, shape: str) -> str:
        """What tables call the lists of pre-training."""
        return "D_i" if long_tailed else "D_b"

    def is_tailed(self, experiment: str) -> bool:
        """Whether an experiment of this name was pre-trained on a long-tailed list."""
        return "_D_i_" in experiment

    def is_few_shot(self, name: str) -> bool:
        """Whether a list is a few-shot list of SDCLR's paper (S_b), by its name."""
        return PurePath(name).stem.endswith("_S_b")

    def few_shot_list(self, split: Split) -> str:
        """Path of the few-shot list that goes with a split."""
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
            shots: labelled images of each class of the protocol, 0 for all, the whole list; of the others there are
                five lists, of fewer images where `shots` of the data set says so; none of another number.
        """
        if not shots:
            return [self.train_list]
        return self.shot_lists(self.shots[SHOTS.index(shots)]) if shots in SHOTS else []

    def grouping_list(self, experiment: str) -> str:
        """The long-tailed list (D_i) of the split in an experiment's name; '' where it names none.

        D_b experiments are grouped by D_i too, as published.
        """
        match = re.search(rf"({self.prefix}split\d+(?:_pareto[\d.]+)?(?:_imb[\d.]+)?)_D_[ib]", experiment)
        return self.split_list(f"{match.group(1)}_D_i") if match else ""

    def open(self, root: str, download: bool | None = False, opening: Opening = Opening()) -> "Opened":  # noqa: B008
        """Its images; `root` is the folder of the data set."""
        from data.opened import OpenedArrays  # torch, which a table does without

        return OpenedArrays(self, root, download)
