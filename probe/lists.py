"""The lists that a probe trains on, validates with and is grouped by."""

from data.images import ImageList
from data.opened import Opened
from data.sets.base import DataSet
from probe.flags import Settings
from probe.protocols import PROTOCOLS, for_set, of_last_epoch, on_features
from split.open import Lists
from utils.errors import InputError


def find_lists(
    settings: Settings, data: Opened, lists: Lists, train: str, val: str, group: str
) -> dict[str, ImageList | None]:
    """The checked lists: 'train', 'val', 'group' (None where none is named) and, of files, 'test'.

    'val' is None where the test images of a data set in memory validate, and is not there where a protocol needs no
    validation. Of protocols on features 'train1', ... in place of 'train' and 'val'. An evaluation alone of image files
    needs no 'train' and 'val'.

    Args:
        train, val, group: their names; val: '' for the data set's, or the word test. group: '' where nothing tells it.

    Raises:
        InputError: a list is bad, or training, validation and test share an image.
    """
    dataset = data.dataset

    def read(name: str, *apart: ImageList) -> ImageList:
        return lists.open(name, data, apart)

    found = {} if dataset.test_list is None else {"test": read(dataset.test_list)}
    test = tuple(found.values())
    found["group"] = read(group) if group else None
    if on_features(settings.protocol):
        # The published list of Places shares images with the validation list, which has no part in this.
        names = probe_lists(settings.protocol, dataset)
        return found | {f"train{i}": read(name, *test) for i, name in enumerate(names, 1)}
    if settings.test_only and test:
        return found
    if of_last_epoch(settings.protocol):
        return {"train": read(train, *test), **found}
    held_out = None if val == "test" and not test else read(val or dataset.val_list, *test)
    return {"train": read(train, *filter(None, [held_out]), *test), "val": held_out, **found}


def probe_lists(protocol: str, dataset: DataSet) -> list[str]:
    """Names of the lists that a protocol on features trains on; InputError where the data set has none."""
    names = dataset.probe_lists(PROTOCOLS[protocol].shots)
    if not names:
        others = [n for n in for_set(dataset) if (p := PROTOCOLS[n]).classifier and dataset.probe_lists(p.shots)]
        only = f", only for {', '.join(others)}" if others else ""
        raise InputError(f"{dataset.name} has no lists for protocol {protocol}{only}")
    return names


def origin(lists: dict[str, ImageList | None]) -> dict[str, dict[str, str] | None]:
    """File name, hash and source of each list."""
    return {
        k: {"path": v.path.name, "sha1": v.sha1, "source": v.source} if v is not None else None
        for k, v in lists.items()
    }
