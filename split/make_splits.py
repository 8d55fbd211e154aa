"""Make the lists of a data set from its labels: train, validation, and for each split D_i, D_b and S_b.

    python -m split.make_splits --dataset digits
    python -m split.make_splits --dataset cifar10 --data DIR --imb_factor 50 --shape pareto
    python -m split.make_splits --dataset imagenet-100 --data DIR     # image files: see split/make_image_lists.py

The recipe is the one that the authors' lists follow: every split draws a class order and a shuffled list of each
class; D_i (long-tailed), D_b (balanced, as large) and S_b (few-shot) are prefixes of those lists. NumPy's legacy
generator is frozen, so a seed gives the same lists on every machine.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from data.sets.base import MemorySet, Opening
from data.sets.files import FileSet
from data.sets.folder import FolderSet
from data.sets.memory import load
from data.sets.registry import data_set
from split.counts import Shape
from split.draws import PUBLISHED, SPLITS, make_split, split_and_shape, tag_of
from split.flags import parse_make
from split.lists import read_list, write_lists
from split.make_folder_lists import make_folder_lists
from split.make_image_lists import make_image_lists, scan
from utils.errors import InputError, run_main
from utils.files import locked


def train_and_val(dataset: MemorySet, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labelled training and validation indices, balanced, disjoint, grouped by class (seed 0)."""
    rng = np.random.RandomState(0)
    shuffled = [rng.permutation(np.flatnonzero(labels == c)) for c in range(dataset.classes)]
    val = [s[: dataset.val_per_class] for s in shuffled]
    train = [s[dataset.val_per_class : dataset.val_per_class + dataset.train_per_class] for s in shuffled]
    return np.concatenate(train), np.concatenate(val)


def make_lists(
    dataset: MemorySet,
    labels: np.ndarray,
    splits: tuple[int, ...] = SPLITS,
    shape: Shape = PUBLISHED,
    val: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """All lists of a data set: path below split/ -> indices. Names have the shape and factor unless they are the usual.

    Args:
        val: validation indices that are in use already; then only the splits are made, without these images.
    """
    lists = {}
    if val is None:
        train, val = train_and_val(dataset, labels)
        lists = {dataset.train_list: train, dataset.val_list: val}
    if shape.imb_factor is None:
        shape = shape._replace(imb_factor=dataset.imb_factor)
    tag = tag_of(shape, dataset.imb_factor)
    for seed in splits:
        for name, indices in make_split(labels, dataset.few_shot, val, seed, shape).items():
            lists[dataset.split_list(f"{dataset.prefix}split{seed}{tag}_{name}")] = indices
    return lists


def make_shots(dataset: MemorySet, labels: np.ndarray, train: np.ndarray) -> dict[str, np.ndarray]:
    """BCL's few-shot lists, each drawn from the training list in use with the seed 100 * shots + its number.

    Returns:
        Path below split/ -> indices, grouped by class; five lists of each size in `dataset.shots`.

    Raises:
        InputError: a class has fewer images.
    """
    lists = {}
    for shots in dataset.shots:
        for number, name in enumerate(dataset.shot_lists(shots)):
            rng = np.random.RandomState(100 * shots + number)
            classes = [rng.permutation(train[labels[train] == c])[:shots] for c in range(dataset.classes)]
            if fewest := [c for c in classes if len(c) < shots]:
                raise InputError(f"a class has {len(fewest[0])} labelled images, {name} needs {shots} of each")
            lists[name] = np.concatenate(classes)
    return lists


def settings_of(dataset: MemorySet, relative: str) -> dict[str, Any]:
    """The settings of make_lists that the name of a split's list asks for; {} for the default ones, and for all other
    names. Spelling is not checked."""
    path = Path(relative)
    split = split_and_shape(path.stem.removeprefix(dataset.prefix))
    if not split or relative != dataset.split_list(path.stem) or not path.stem.startswith(dataset.prefix):
        return {}
    number, shape = split
    return {} if shape == PUBLISHED and number in SPLITS else {"splits": (number,), "shape": shape}


def in_memory_lists(
    dataset: MemorySet, labels: np.ndarray, splits: tuple[int, ...], shape: Shape, root: Path
) -> dict[str, np.ndarray]:
    """The lists of make_lists and make_shots, for the folder `root`."""
    # Lists of another shape are used with the lists that are here, so they may have none of their validation images.
    default = shape.name == "exp" and shape.imb_factor in (None, dataset.imb_factor)
    val = root / dataset.val_list
    in_use = None if default or not val.is_file() else read_list(val, dataset).ids
    lists = make_lists(dataset, labels, splits, shape, in_use)
    if dataset.train_list in lists:
        lists |= make_shots(dataset, labels, lists[dataset.train_list])
    return lists


def main() -> None:
    args = parse_make(__doc__)
    dataset = data_set(args.dataset)
    of_files = isinstance(dataset, FileSet)
    shape = Shape(args.shape or "exp", args.imb_factor, 6.0 if args.alpha is None else args.alpha)
    splits = tuple(args.splits or SPLITS)
    if isinstance(dataset, FolderSet):
        dataset = dataset.at(args.data, Opening(show=not args.quiet, skip_bad=False))
        lists = make_folder_lists(dataset, splits, shape, args.seed or 0)
    elif of_files:
        scale, seed = 1.0 if args.scale is None else args.scale, args.seed or 0
        lists = make_image_lists(dataset, scan(dataset, Path(args.data)), scale, seed)
    else:
        labels = load(dataset, args.data, train=True, download=args.download).labels
        lists = in_memory_lists(dataset, labels, splits, shape, args.out)
    with locked(args.out):
        written = write_lists(lists, args.out, args.overwrite)
    if args.quiet:
        print(f"{len(written)} lists made below {args.out}, {len(lists) - len(written)} unchanged")
        return
    for relative, listed in lists.items():
        images = listed.count(b"\n") if of_files else len(listed)
        print(f"{'made' if relative in written else 'unchanged'}  {args.out / relative}  {images} images")


if __name__ == "__main__":
    sys.exit(run_main(main))
