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
    """The checked lists: 'train', 'val', 'group' (None where none is named) and, for image files, 'test'.

    'val' is None where the probe validates on the test images of a data set in memory; it is left out where the
    protocol does not validate. Protocols on features have 'train1', ... in place of 'train' and 'val'. An evaluation
    alone of image files has neither.

    Args:
        train, val, group: names of the lists. val: '' for the data set's, or 'test'. group: '' for none.

    Raises:
        InputError: a list is bad, or training, validation and test share an image.
    """
    dataset = data.dataset

    def read(name: str, *disjoint: ImageList) -> ImageList:
        """The list of this name, which shares no image with the lists `disjoint`."""
        return lists.open(name, data, disjoint)

    checked = {} if dataset.test_list is None else {"test": read(dataset.test_list)}
    test = tuple(checked.values())
    checked["group"] = read(group) if group else None
    if on_features(settings.protocol):
        # The validation list is not read, as it is not used: the published list of Places shares images with it.
        names = probe_lists(settings.protocol, dataset)
        return checked | {f"train{i}": read(name, *test) for i, name in enumerate(names, 1)}
    if settings.test_only and test:
        return checked
    if of_last_epoch(settings.protocol):
        return {"train": read(train, *test), **checked}
    validation = None if val == "test" and not test else read(val or dataset.val_list, *test)
    return {"train": read(train, *filter(None, [validation]), *test), "val": validation, **checked}


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
        name: {"path": item.path.name, "sha1": item.sha1, "source": item.source} if item is not None else None
        for name, item in lists.items()
    }
