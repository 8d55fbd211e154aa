"""Print what every list is, and whether it passes its checks.

    python -m split.verify                                  # every list below split/
    python -m split.verify --dataset cifar100 --data DIR    # with class counts, which need the labels
    python -m split.verify --dataset imagenet-100 --data DIR    # and that every image of the lists is there

For each list: size, class counts (largest first), imbalance factor, hash (git blob id), source, and its overlap with
the other lists of its data set. A list with an index out of range or twice in it, of another data set, or that shares
an image with the validation list fails, and the exit code is 2.
"""

import os
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from data.groups import thresholds
from data.images import ImageList, folder_of
from data.sets.base import MemorySet
from data.sets.files import FileSet
from data.sets.memory import load
from data.sets.registry import DATA_SETS, data_set, data_sets
from split.flags import GIVE_LABELS, parse_verify
from split.lists import class_folders, lists_here, read_list, read_npy, read_path_list
from utils.errors import InputError, run_main

_SPLIT = re.compile(r"split\d+(?=_)")


def labels_of(dataset: MemorySet, data: str, file: str) -> np.ndarray | None:
    """Training labels [N] from a .npy file, or from the data set; None if neither is here.

    Raises:
        InputError: the file is not the data set's labels.
    """
    if file:
        labels, _ = read_npy(Path(file))
        fits = labels.shape == (dataset.train_images,) and np.issubdtype(labels.dtype, np.integer)
        if not fits or labels.min() < 0 or labels.max() >= dataset.classes:
            raise InputError(f"{file} does not hold {dataset.train_images} labels of {dataset.name}")
        return labels.astype(np.int64)
    try:
        return load(dataset, data, train=True).labels
    except InputError:
        return None


def describe(item: ImageList, root: Path, classes: int, others: list[ImageList]) -> None:
    """Print a description of a list below `root`; `others` are the lists that it is compared with."""
    print(item.path.relative_to(root))
    print(f"  size {len(item)}  source {item.source}  hash {item.sha1}")
    if item.labels is None:
        print(f"  class counts unknown: {GIVE_LABELS}")
    else:
        counts = sorted(Counter(item.labels.tolist()).values(), reverse=True)
        text = f"{counts[0]} in each of {len(counts)}" if counts[0] == counts[-1] else " ".join(map(str, counts))
        missing = f" ({classes - len(counts)} classes without an image)" if len(counts) < classes else ""
        print(f"  class counts {text}{missing}")
        print(f"  imbalance factor {counts[0] / counts[-1]:.4g}")
    if item.ids is None:
        groups = thresholds(np.bincount(item.labels, minlength=classes).tolist()).values()
        print("  classes with more than 100 / 20 to 100 / fewer than 20 images", *map(len, groups))
        shared = [f"{o.path.stem} {o.paths.shared(item.paths)}" for o in others]
    else:
        common = [(other, len(np.intersect1d(item.ids, other.ids))) for other in others]
        shared = [f"{o.path.stem} {n}{' (contained)' if n == len(item) else ''}" for o, n in common]
    print("  images shared with", ", ".join(shared) or "no other list")


def related(item: ImageList, lists: list[ImageList]) -> list[ImageList]:
    """The lists with which an overlap is of interest: train, validation, and those of the same split."""

    def split_in(path: Path) -> str | None:
        match = _SPLIT.search(path.stem)
        return match.group() if match else None

    wanted = (None, split_in(item.path))
    return [other for other in lists if other is not item and split_in(other.path) in wanted]


def verify(dataset: MemorySet, root: Path, labels: np.ndarray | None, show: bool = True) -> tuple[int, list[str]]:
    """Check all lists of a data set below `root` and print them; returns how many there are, and the failures."""
    lists, failures = [], []
    val_path, paths = root / dataset.val_list, lists_here(dataset, root)
    for path in paths:
        try:
            against = val_path if path != val_path and val_path.is_file() else None
            lists.append(read_list(path, dataset, (read_list(against, dataset),) if against else (), labels))
        except InputError as error:
            failures.append(str(error))
    if show:
        for item in lists:
            describe(item, root, 0 if labels is None else len(np.unique(labels)), related(item, lists))
    return len(paths), failures


def verify_paths(dataset: FileSet, root: Path, data: str, show: bool = True) -> tuple[int, list[str], list[str]]:
    """As verify, for lists of image files; with `data`, that their images exist, too.

    Returns:
        The number of lists; the failures; and, if no image of any list exists, messages on that apart from them: the
        folder may be that of another data set.
    """
    lists, failures, folders = [], [], {}
    if dataset.own:  # images of an .npz file have no files to look for
        data = "" if dataset.tree.pixels else str(dataset.tree.root)
    # No other list may share an image with the validation or test list, so these two are read first.
    apart = [path for name in (dataset.test_list, dataset.val_list) if (path := root / dataset.path(name)).is_file()]
    validated = root / dataset.path(dataset.val_list)
    paths = sorted(lists_here(dataset, root), key=lambda p: (p not in apart, p))
    for path in paths:
        try:
            # BCL's few-shot probe has no validation, so its list may overlap the validation list (Places: 128 images).
            free = validated if dataset.hundred_shot and path.stem == dataset.hundred_shot else None
            item = read_path_list(path, dataset, tuple(o for o in lists if o.path in apart and o.path != free), data)
            # A class of the user's own images may have several folders.
            for label, names in () if dataset.own else class_folders(item).items():
                if len(names) > 1:
                    raise InputError(f"list {path} has label {label} for {' and '.join(sorted(names))}")
                if names != (known := folders.setdefault(label, names)):
                    raise InputError(f"list {path} has label {label} for {min(names)}, other lists for {min(known)}")
            lists.append(item)
        except InputError as error:
            failures.append(str(error))
    lacking, absent = [], 0
    for item in lists:
        if show:
            describe(item, root, dataset.classes, [other for other in lists if other is not item])
        if data and (gone := missing_files(item, folder_of(data, item.paths[:100]) or Path(data))):
            absent += len(gone)
            lacking.append(f"{len(gone)} of {len(item.paths)} images of {item.path.name} are missing, {gone[0]} first")
    if lacking:
        lacking[-1] += f"; {_right_download(dataset, data)}"
    if absent == sum(len(item.paths) for item in lists):
        return len(paths), failures, lacking
    return len(paths), failures + lacking, []


def _right_download(dataset: FileSet, data: str) -> str:
    return f"{data} is not the data folder of {dataset.name}, or not complete; the right download: {dataset.download}"


def missing_files(item: ImageList, data: Path) -> list[str]:
    """The paths of a list that are no files below `data`; each folder is listed once, not looked at for each file."""
    files: dict[str, set[str]] = {}
    gone = []
    for path in item.paths:
        folder, _, name = path.rpartition("/")
        if folder not in files:
            try:
                files[folder] = {entry.name for entry in os.scandir(data / folder) if entry.is_file()}
            except OSError:
                files[folder] = set()
        if name not in files[folder]:
            gone.append(path)
    return gone


def main() -> None:
    args = parse_verify(__doc__)
    in_memory = data_sets("cifar")
    total, failures, elsewhere, recognised = 0, [], {}, False
    for name in args.dataset or [name for name in DATA_SETS if not data_set(name).own]:
        dataset = data_set(name).at(args.data)
        if name in in_memory:
            labels = labels_of(dataset, args.data, args.labels)
            count, failed = verify(dataset, args.root, labels, not args.quiet)
            recognised |= labels is not None and dataset.needs_folder
        else:
            count, failed, elsewhere[name] = verify_paths(dataset, args.root, args.data, not args.quiet)
            recognised |= count > 0 and not elsewhere[name]
        total, failures = total + count, failures + failed
    for name, lacking in elsewhere.items():
        if lacking and recognised and not args.dataset:
            # `data` is the folder of another data set, so it is no failure that this one's images are not in it.
            print(f"note: {_right_download(data_set(name), args.data)}")
        else:
            failures += lacking
    if failures:
        raise InputError(f"{len(failures)} of {total} lists fail: " + "; ".join(failures))
    if not total:
        raise InputError(f"there are no lists below {args.root}: make them with `python -m split.make_splits`")
    print(f"{total} lists, all in order")


if __name__ == "__main__":
    sys.exit(run_main(main))
