"""Data sets by name."""

from data.sets.base import ListSpec, Spec
from data.sets.files import LIST_SPECS
from data.sets.memory import SPECS
from utils.errors import InputError


def spec_of(dataset: str) -> Spec:
    """The data set's Spec; `cifar` is the published name of CIFAR-10 in pre-training.

    Raises:
        InputError: unknown name.
    """
    name = "cifar10" if dataset == "cifar" else dataset
    if name not in SPECS:
        raise InputError(f"unknown data set {dataset!r}; choose one of cifar, {', '.join(SPECS)}")
    return SPECS[name]


def find_spec(dataset: str) -> Spec | ListSpec:
    """The data set of exp_analyse.py's --dataset, which calls ImageNet-100 imagenet100.

    Raises:
        InputError: unknown name.
    """
    name = "imagenet-100" if dataset == "imagenet100" else dataset
    return LIST_SPECS[name] if name in LIST_SPECS else spec_of(name)
