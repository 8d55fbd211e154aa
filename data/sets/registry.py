"""Data sets by name: one line each, and a data set's module is imported only if the data set is used."""

from collections.abc import Mapping
from typing import Any

from data.sets.base import DataSet
from utils.errors import InputError
from utils.files import load_object

# Name on every command line -> module and object.
DATA_SETS = {
    "cifar10": "data.sets.cifar:CIFAR10",
    "cifar100": "data.sets.cifar:CIFAR100",
    "fashion_mnist": "data.sets.fashion_mnist:FASHION_MNIST",
    "digits": "data.sets.digits:DIGITS",
    "imagenet-100": "data.sets.imagenet:IMAGENET_100",
    "imagenet": "data.sets.imagenet:IMAGENET",
    "places": "data.sets.places:PLACES",
    "folder": "data.sets.folder:FOLDER",
}

# The same for the sets that a frozen network is transferred to: they have no long-tailed lists, and none is for
# pre-training.
TRANSFER_SETS = {
    "cub": "data.sets.transfer:CUB",
    "cars": "data.sets.transfer:CARS",
    "aircraft": "data.sets.transfer:AIRCRAFT",
    "dogs": "data.sets.transfer:DOGS",
    "nabirds": "data.sets.transfer:NABIRDS",
}

# Other names in the papers' scripts: of CIFAR-10 in training, of ImageNet-100 in tables.
ALIASES = {"cifar": "cifar10", "imagenet100": "imagenet-100"}

# ImageNet's two names in pre-training: each stands for a list that is trained on unless the command line names one.
PRETRAINED_ON = {"imagenet-LT": ("imagenet", "ImageNet_LT_train"), "imagenet-FULL": ("imagenet", "ImageNet_train")}

OF_PRETRAINING = {"temperature", "epochs"}  # settings of pre-training; no probe has both

FULL_LIST = "trainIdxList.npy"  # the published default of pre-training, for any data set its labelled training list


def data_set(name: str) -> DataSet:
    """The data set of a name or an alias.

    Raises:
        InputError: unknown name.
    """
    name = ALIASES.get(name, name)
    known = DATA_SETS | TRANSFER_SETS
    if name not in known:
        raise InputError(f"unknown data set {name!r}; choose one of {', '.join([*ALIASES, *known])}")
    return load_object(known[name])


def data_sets(style: str | None = None) -> dict[str, DataSet]:
    """Name -> data set: all with long-tailed lists, or those of one style (DataSet.style)."""
    sets = {name: data_set(name) for name in DATA_SETS}
    return {name: dataset for name, dataset in sets.items() if style in (None, dataset.style)}


def pretraining_names() -> list[str]:
    """The names of data sets that pre-training takes."""
    split = {name for name, _ in PRETRAINED_ON.values()}
    return ["cifar", *(name for name in DATA_SETS if name not in split), *PRETRAINED_ON]


def pretraining_set(name: str) -> tuple[DataSet, str]:
    """The data set that a name stands for in pre-training, and the list that is trained on by default."""
    name, chosen = PRETRAINED_ON.get(name, (name, ""))
    dataset = data_set(name)
    return dataset, chosen or dataset.pretraining_list


def pretraining_name(dataset: DataSet) -> str:
    """The first name of a data set in pre-training, as in the papers' scripts: `cifar`, `imagenet-LT`."""
    meant = {name: PRETRAINED_ON.get(name, (ALIASES.get(name, name),))[0] for name in pretraining_names()}
    return next((name for name, known in meant.items() if known == dataset.name), dataset.name)


def trained_on(settings: Mapping[str, Any]) -> tuple[DataSet, str]:
    """The data set and the list of a pre-training run, by the settings in its checkpoint.

    Raises:
        InputError: its data set is unknown.
    """
    dataset, default = pretraining_set(str(settings.get("dataset")))
    given = settings.get(dataset.list_flag)
    return dataset, default if given in (None, "", FULL_LIST) else str(given)
