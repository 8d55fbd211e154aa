"""The lists that a probe trains on, validates with and is grouped by."""

import argparse
from pathlib import Path
from typing import NamedTuple

from data.images import ImageList
from data.opened import Opened
from data.sets.base import DataSet
from probe.pretraining import pretraining_of, settings_in
from probe.protocols import PROTOCOLS, labelled_list, on_features
from split.open import Lists
from utils.errors import InputError


class ListNames(NamedTuple):
    """The lists of a probe by name; group: '' where nothing tells it. val: '' for the data set's, or the word test."""

    protocol: str
    train: str
    val: str
    group: str
    test_only: bool


def list_names(args: argparse.Namespace, dataset: DataSet) -> ListNames:
    """Those that a command line asks for; the grouping list is by its option, by the experiment's name, else by the
    list of its pre-training."""
    group = args.groupSplit or dataset.grouping_list(args.experiment) or _pretrained_on(args, dataset)
    return ListNames(args.protocol, labelled_list(vars(args), dataset), args.valiSplit, group, args.test_only)


def find_lists(names: ListNames, data: Opened, lists: Lists | None = None) -> dict[str, ImageList | None]:
    """The checked lists: 'train', 'val', 'group' (None where none is named) and, of files, 'test'.

    'val' is None where the test images of a data set in memory validate. Of protocols on features 'train1', ... in
    place of 'train' and 'val'. An evaluation alone of image files needs no 'train' and 'val'.

    Raises:
        InputError: a list is bad, or training, validation and test share an image.
    """
    dataset, lists = data.dataset, lists or Lists()

    def read(name: str, *apart: ImageList) -> ImageList:
        return lists.open(name, data, apart)

    found = {} if dataset.test_list is None else {"test": read(dataset.test_list)}
    test = tuple(found.values())
    found["group"] = read(names.group) if names.group else None
    if on_features(names.protocol):
        # The published list of Places shares images with the validation list, which has no part in this.
        return {
            **found,
            **{f"train{i}": read(n, *test) for i, n in enumerate(_probe_lists(names.protocol, dataset), 1)},
        }
    if names.test_only and test:
        return found
    val = None if names.val == "test" and not test else read(names.val or dataset.val_list, *test)
    return {"train": read(names.train, *filter(None, [val]), *test), "val": val, **found}


def _pretrained_on(args: argparse.Namespace, dataset: DataSet) -> str:
    """The long-tailed list of the split that the checkpoint was pre-trained on; '' where it does not tell."""
    settings = vars(args)
    if args.test_only:  # the training's
        settings, _ = settings_in(Path(args.save_dir) / args.experiment / "best_model.pt")
    told = pretraining_of(settings) or {}
    split = dataset.split_of(told["list"]["name"]) if told.get("dataset") == dataset.name else None
    return dataset.tailed_list(split) if split else ""


def _probe_lists(protocol: str, dataset: DataSet) -> list[str]:
    names = dataset.probe_lists(PROTOCOLS[protocol].shots)
    if not names:
        others = ", ".join(name for name, p in PROTOCOLS.items() if p.classifier and dataset.probe_lists(p.shots))
        raise InputError(f"{dataset.name} has no lists for protocol {protocol}, only for {others}")
    return names


def origin(lists: dict[str, ImageList | None]) -> dict[str, dict[str, str] | None]:
    """File name, hash and source of each list."""
    return {
        k: {"path": v.path.name, "sha1": v.sha1, "source": v.source} if v is not None else None
        for k, v in lists.items()
    }
