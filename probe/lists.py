"""The lists that a probe trains on, validates with and is grouped by."""

import argparse

from data.images import ImageList
from data.opened import Opened
from data.sets.base import DataSet
from probe.protocols import FEATURE_PROTOCOLS, labelled_list
from split.open import Lists
from utils.errors import InputError


def find_lists(args: argparse.Namespace, data: Opened, lists: Lists | None = None) -> dict[str, ImageList | None]:
    """The checked lists: 'train', 'val', 'group' (None if the experiment's name tells none) and, of files, 'test'.

    'val' is None where the test images of a data set in memory validate. Of BCL's probes 'train1', ... in place of
    'train' and 'val'. An evaluation alone of image files needs no 'train' and 'val'.

    Raises:
        InputError: a list is bad, or training, validation and test share an image.
    """
    spec, lists = data.spec, lists or Lists()

    def read(name: str, *apart: ImageList) -> ImageList:
        return lists.open(name, data, apart)

    found = {} if spec.test_list is None else {"test": read(spec.test_list)}
    test = tuple(found.values())
    group = args.groupSplit or spec.grouping_list(args.experiment)
    found["group"] = read(group) if group else None
    if args.protocol in FEATURE_PROTOCOLS:
        # The published list of Places shares images with the validation list, which has no part in this.
        return {**found, **{f"train{i}": read(n, *test) for i, n in enumerate(_probe_lists(args.protocol, spec), 1)}}
    if args.test_only and test:
        return found
    val = None if args.valiSplit == "test" and not test else read(args.valiSplit or spec.val_list, *test)
    train = read(labelled_list(vars(args), spec), *filter(None, [val]), *test)
    return {"train": train, "val": val, **found}


def _probe_lists(protocol: str, spec: DataSet) -> list[str]:
    names = spec.probe_lists(protocol)
    if not names:
        others = ", ".join(p for p in FEATURE_PROTOCOLS if spec.probe_lists(p))
        raise InputError(f"{spec.name} has no lists for protocol {protocol}, only for {others}")
    return names
