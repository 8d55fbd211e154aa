"""Find the list that a command line names; if it is missing, fetch or generate all lists of its kind."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data.images import ImageList
from data.sets.base import DataSet, MemorySet
from data.sets.files import FileSet
from data.sets.folder import ALL, FolderSet
from split.draws import PUBLISHED, SPLITS, split_and_shape
from split.fetch_published import fetch
from split.flags import FETCH, MAKE
from split.lists import (
    blob_sha1,
    class_folders,
    dataset_of,
    lists_here,
    origin,
    published_lists,
    read_list,
    read_path_list,
    write_lists,
)
from split.make_folder_lists import make_folder_lists
from split.make_image_lists import make_image_lists, scan
from split.make_splits import make_lists, make_shots, settings_of
from utils.errors import InputError
from utils.files import locked


def ensure_list(name: str, dataset: MemorySet, labels: np.ndarray, root: Path, *, fetching: bool = True) -> Path:
    """Path of the list `name`: a file, or a path below split/ as in the published commands.

    A missing list is fetched with its data set's other published lists; if there are none or they cannot be fetched,
    all are generated. Published and generated lists are never mixed.

    Args:
        name: such as `cifar10_imbSub_with_subsets/split1_D_i.npy`. labels: [N] of all training images.
        fetching: False: a missing list is generated without trying to fetch it, and not noted in generated.tsv.

    Raises:
        InputError: no list of that name can be made, or generating it would mix the two kinds.
    """
    for path in (root / name, Path(name)):
        if path.is_file():
            return path
    if name in (n for shots in dataset.shots for n in dataset.shot_lists(shots)):
        return _ensure_shots(name, dataset, labels, root, fetching)
    settings = settings_of(dataset, name)
    lists = make_lists(dataset, labels, **settings)
    if name not in lists:
        example = dataset.split_list(f"{dataset.prefix}split1_D_i")
        raise InputError(f"list {name} does not exist below {root}; a list of {dataset.name} is called {example}, say")
    if settings:
        # A list of another shape is used with the lists that are here, so it may have none of their validation images.
        val = read_list(ensure_list(dataset.val_list, dataset, labels, root, fetching=fetching), dataset)
        lists = make_lists(dataset, labels, val=val.ids, **settings)
    with _making(name, dataset, root):
        if (root / name).is_file():
            return root / name
        why = ""
        if fetching and dataset.fetchable and not settings:
            try:
                fetch(dataset, root)
                print(f"{name} was missing: fetched the published lists of {dataset.name}", flush=True)
                return root / name
            except InputError as error:
                why = f" ({error})"
        here = [] if settings else lists_here(dataset, root)
        if any(origin(blob_sha1(path.read_bytes()))[0] == "published" for path in here):
            raise _not_fetched(name, dataset, fetching)
        written = write_lists(lists, root, note=fetching)
        where = f" in {root}" if fetching else ""
        print(f"{name} was missing: generated {len(written)} lists of {dataset.name}{where}{why}", flush=True)
    return root / name


def _ensure_shots(name: str, dataset: MemorySet, labels: np.ndarray, root: Path, fetching: bool) -> Path:
    """As ensure_list, of BCL's few-shot lists. They are drawn from the training list: with a published one, published
    few-shot lists are fetched if there are any."""
    train = read_list(ensure_list(dataset.train_list, dataset, labels, root, fetching=fetching), dataset)
    with _making(name, dataset, root):
        if not (root / name).is_file():
            if fetching and train.source == "published" and name in _published_paths(dataset):
                fetch(dataset, root)
            else:
                write_lists(make_shots(dataset, labels, train.ids), root, note=fetching)
                where = f" in {root}" if fetching else ""
                print(f"{name} was missing: generated the few-shot lists of {dataset.name}{where}", flush=True)
    return root / name


@contextmanager
def _making(name: str, dataset: DataSet, root: Path) -> Iterator[None]:
    """A context in which a missing list may be written to the folder of lists, as its lock is held.

    Args:
        name: path of the list below `root`, the folder of lists.

    Raises:
        InputError: the folder cannot be written.
    """
    for folder in (root, (root / name).parent):
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            commands = " or ".join(f"`{command} {dataset.name}`" for command in (FETCH, MAKE)[not dataset.fetchable :])
            raise InputError(f"list {name} is missing, and {folder} cannot be written: run {commands} once, as a user "
                             "who can write there, or when the container's image is built")  # fmt: skip
    with locked(root):
        yield


def _not_fetched(name: str, dataset: DataSet, fetching: bool) -> InputError:
    """The error for a list that is missing beside published ones, as these must not be mixed with generated ones."""
    problem = f"{name} is missing beside published lists of {dataset.name}, and generated ones do not go with those"
    if not fetching and dataset.fetchable:
        problem += "; a run would fetch it, a check writes nothing"
    return InputError(f"{problem}: run `{FETCH} {dataset.name}`")


def ensure_path_list(name: str, dataset: FileSet, data: str, root: Path, *, fetching: bool = True) -> Path:
    """Path of a list of image files: a file, or the published name of a list (with or without .txt).

    A missing list is fetched with the other published lists of its data set. If the authors did not publish it, the
    lists without a published counterpart are generated, with the labels of the published ones; no generated validation
    image is in a published list. If the lists cannot be fetched, all are generated from the tree of images.

    Args:
        name: such as `imageNet_100_LT_train`. data: the data folder. fetching: as in ensure_list.

    Raises:
        InputError: no list of that name can be made, or generating it would mix the two kinds.
    """
    relative = dataset.path(name.removesuffix(".txt"))
    for path in (root / relative, root / name, Path(name)):
        if path.is_file():
            return path
    if relative not in map(dataset.path, dataset.names()):
        raise InputError(
            f"list {name} does not exist below {root}; those of {dataset.name} are {', '.join(dataset.names())}"
        )
    with _making(relative, dataset, root):
        if (root / relative).is_file():
            return root / relative
        here = [read_path_list(p, dataset, (), data) for p in lists_here(dataset, root)]
        why = _fetch_path_lists(relative, dataset, root, here) if fetching else ""
        if (root / relative).is_file():
            print(f"{relative} was missing: fetched the published lists of {dataset.name}", flush=True)
            return root / relative
        published = [item for item in here if item.source == "published"]
        training = [item for item in published if Path(item.path).stem != dataset.test_list]
        apart = frozenset(path for item in training for path in item.paths)
        if not fetching and published and relative in _published_paths(dataset):
            raise _not_fetched(relative, dataset, fetching)
        if not data:
            raise InputError(f"list {relative} is missing{why}: give the data folder to generate it, or fetch it")
        try:
            lists = make_image_lists(dataset, scan(dataset, Path(data), _classes(published, dataset)), apart=apart)
        except InputError as error:
            raise InputError(f"list {relative} is missing and cannot be generated: {error}{why}") from error
        wanted = {k: v for k, v in lists.items() if not published or k not in _published_paths(dataset)}
        written = write_lists(wanted, root, note=fetching)
        where = f" in {root}" if fetching else ""
        print(f"{relative} was missing: generated {len(written)} lists of {dataset.name}{where}{why}", flush=True)
    return root / relative


def ensure_folder_list(name: str, dataset: FolderSet, root: Path, *, fetching: bool = True) -> Path:
    """Path of a list of own images: a file, or the name of a list; missing ones are made.

    Args:
        name: such as `split1_D_i`. dataset: with its tree. fetching: as in ensure_list.

    Raises:
        InputError: no list of that name can be made, or the images have no classes.
    """
    name = name.removesuffix(".txt")
    for path in (root / dataset.path(name), Path(name), Path(f"{name}.txt")):
        if path.is_file():
            return path
    split = split_and_shape(name)
    known = (ALL, *dataset.names(), "split1_D_i", "split1_D_b", "split1_S_b", "split2_D_i")
    unknown = InputError(f"list {name} does not exist; those of own images are {', '.join(known)}, ...")
    if not split and name not in dataset.names():
        raise unknown
    held_out = [root / dataset.path(held) for held in (dataset.val_list, dataset.test_list)]
    with _making(dataset.path(name), dataset, root):
        here = [read_path_list(path, dataset) for path in held_out if path.is_file()]
        in_use = [path for item in here for path in item.paths] if split else []
        usual = not split or split[0] in SPLITS and split[1] == PUBLISHED
        splits, shape = (SPLITS, PUBLISHED) if usual else ((split[0],), split[1])
        lists = make_folder_lists(dataset, splits, shape, in_use=in_use)
        if dataset.path(name) not in lists:  # such as split01_D_i, which is split1_D_i
            raise unknown
        written = write_lists(lists, root, note=fetching)
        where = f" in {root / dataset.folder}" if fetching else ""
        print(f"{name} was missing: made {len(written)} lists of own images{where}", flush=True)
    return root / dataset.path(name)


def _classes(published: list[ImageList], dataset: FileSet) -> list[str]:
    """The classes' folders in the order of the labels of published lists; [] if these do not determine it."""
    folders: dict[int, set[str]] = {}
    for item in published:
        for label, names in class_folders(item).items():
            folders.setdefault(label, set()).update(names)
    ordered = [sorted(folders.get(label, ())) for label in range(dataset.classes)]
    return [names[0] for names in ordered] if all(len(names) == 1 for names in ordered) else []


def _published_paths(dataset: DataSet) -> set[str]:
    return {row["path"].removeprefix("split/") for row in published_lists() if dataset_of(row["path"]) == dataset.name}


def _fetch_path_lists(relative: str, dataset: FileSet, root: Path, here: list[ImageList]) -> str:
    """Fetch the published lists, unless generated ones are in use, and append them to `here`; returns why they could
    not be fetched, for a message."""
    sources = {item.source for item in here}
    # Refused only if all are generated, perhaps with other settings. Beside published ones they have the default
    # settings, so that making them again gives equal ones.
    if "generated" in sources and "published" not in sources:
        raise InputError(
            f"{root / relative} is missing beside generated lists: make all again, with the settings they were made "
            f"with, by `{MAKE} {dataset.name}`"
        )
    try:
        here += [read_path_list(root / fetched, dataset) for fetched in fetch(dataset, root)]
        return ""
    except InputError as error:
        if relative in _published_paths(dataset) and "published" in sources:
            raise
        return f" ({error})"
