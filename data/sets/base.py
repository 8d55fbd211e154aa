"""What describes a data set: the names and sizes of its lists."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spec:
    """A data set and the recipe of its lists (counts are images per class)."""

    name: str
    classes: int
    train_images: int
    size: int  # pixels, height and width
    flip: bool  # a mirrored image is still of its class
    val_per_class: int
    train_per_class: int
    few_shot: int
    imb_factor: int
    prefix: str  # of the list names, as published
    fetchable: bool = False  # the authors published lists
    shots: tuple[int, int] = (100, 50)  # labelled images per class of BCL's few-shot probes

    @property
    def train_list(self) -> str:
        """Published path of the labelled training list, below split/."""
        return f"{self.name}/{self.prefix}trainIdxList.npy"

    @property
    def val_list(self) -> str:
        """Published path of the validation list, below split/."""
        return f"{self.name}/{self.prefix}valIdxList.npy"

    def split_list(self, split: str) -> str:
        """Path below split/ of a long-tailed, balanced or few-shot list, such as `split1_D_i`."""
        return f"{self.name}_imbSub_with_subsets/{split}.npy"

    def shot_lists(self, shots: int) -> list[str]:
        """Paths below split/ of the five few-shot lists of BCL's probes, with `shots` images of each class."""
        return [self.split_list(f"{self.prefix}split{n}_test_{shots}shot") for n in range(1, 6)]

    def probe_lists(self, protocol: str) -> list[str]:
        """Paths below split/ of the training lists of one of BCL's probes: the whole one, or five few-shot ones."""
        return [self.train_list] if protocol == "bcl-full" else self.shot_lists(self.shots[protocol == "bcl-50shot"])


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
    download: str  # the right download, in words
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
