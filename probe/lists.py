"""The lists that a probe trains on, validates with and is grouped by."""

import argparse
import re

from data.images import ImageList, ImageSet
from data.sets.base import ListSpec, Spec
from probe.protocols import DEFAULT_LIST, FEATURE_PROTOCOLS
from split.open import Lists
from utils.errors import InputError


def find_lists(args: argparse.Namespace, data: ImageSet, lists: Lists | None = None) -> dict[str, ImageList | None]:
    """The checked lists: 'train', 'val' (None for the test set), 'group' (None if no split is named).

    Of BCL's probes 'train1', ... in place of 'train' and 'val'.

    Raises:
        InputError: a list is bad, or training and validation share an image.
    """
    spec, lists = data.spec, lists or Lists()

    def read(name: str, *apart: ImageList) -> ImageList:
        return lists.open(name, spec, data.labels, apart)

    group = args.groupSplit or long_tailed_list(args.experiment, spec)
    groups = {"group": read(group) if group else None}
    if args.protocol in FEATURE_PROTOCOLS:
        return {**groups, **{f"train{i}": read(name) for i, name in enumerate(_probe_lists(args.protocol, spec), 1)}}
    val = None if args.valiSplit == "test" else read(args.valiSplit or spec.val_list)
    train = spec.train_list if args.trainSplit == DEFAULT_LIST else args.trainSplit
    train = read(train) if val is None else read(train, val)
    return {"train": train, "val": val, **groups}


def _probe_lists(protocol: str, spec: Spec | ListSpec) -> list[str]:
    names = spec.probe_lists(protocol)
    if not names:
        others = ", ".join(p for p in FEATURE_PROTOCOLS if spec.probe_lists(p))
        raise InputError(f"{spec.name} has no lists for protocol {protocol}, only for {others}")
    return names


def long_tailed_list(experiment: str, spec: Spec) -> str:
    """Path below split/ of the D_i list of the split in an experiment's name; '' where it names none.

    D_b experiments are grouped by D_i too, as published.
    """
    match = re.search(rf"({spec.prefix}split\d+(?:_pareto[\d.]+)?(?:_imb[\d.]+)?)_D_[ib]", experiment)
    return spec.split_list(f"{match.group(1)}_D_i") if match else ""


def find_path_lists(
    args: argparse.Namespace, spec: ListSpec, lists: Lists | None = None
) -> dict[str, ImageList | None]:
    """The checked lists of image files: 'train', 'val', 'test', 'group' (None if the experiment's name has none).

    An evaluation alone needs no 'train' and 'val'. Of BCL's probes 'train1', ... in place of both.

    Raises:
        InputError: a list is bad, or training, validation and test share an image.
    """
    lists = lists or Lists()

    def read(name: str, *apart: ImageList) -> ImageList:
        return lists.open(name, spec, args.data, apart)

    test = read(spec.test)
    group = args.groupSplit or spec.grouping_list(args.experiment)
    groups = {"test": test, "group": read(group) if group else None}
    if args.protocol in FEATURE_PROTOCOLS:
        # The published list of Places shares images with the validation list, which has no part in this.
        return {**groups, **{f"train{i}": read(n, test) for i, n in enumerate(_probe_lists(args.protocol, spec), 1)}}
    if args.test_only:
        return groups
    val = read(args.valiSplit or spec.val, test)
    train = read(spec.train if args.fullset else args.customSplit or spec.default, val, test)
    return {"train": train, "val": val, **groups}
