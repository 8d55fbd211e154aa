"""Make the lists of own images whose sub-folders are classes: train, val, test, and for each split D_i, D_b and S_b.

Test images are those of `test/`, or of `val/` if there is no `test/`; without either, a fifth of each class is drawn
with a seed. Validation images, if not in `val/`, are a tenth of each class drawn likewise. The others are the labelled
training images, from which splits are drawn as those of data sets in memory (split/draws.py).
"""

from collections import Counter
from collections.abc import Collection

import numpy as np

from data.sets.folder import FolderSet
from data.tree import Part
from split.counts import Shape
from split.draws import PUBLISHED, SPLITS, make_split, tag_of
from utils.errors import InputError

TEST, VAL = (5, 1000), (10, 50)  # (n, most): one in n images of a class, and at most `most` of a class
FEW = (0.01, 5)  # images per class of a few-shot list: share of the mean class size, and the smallest number


def make_folder_lists(
    dataset: FolderSet,
    splits: tuple[int, ...] = SPLITS,
    shape: Shape = PUBLISHED,
    seed: int = 0,
    in_use: Collection[str] = (),
) -> dict[str, bytes]:
    """All lists: path below split/ -> content, grouped by class.

    Args:
        dataset: with its tree. seed: of the draws of test and validation images. in_use: paths in validation and test
            lists that exist already; then only lists of splits are made, without these images.

    Raises:
        InputError: there are no classes, two have names that differ in case alone, or one has too few images.
    """
    part = dataset.tree.parts["train"]
    _check(dataset)
    if in_use:
        lists, taken = {}, set(in_use)
        held_out = np.array([i for i, path in enumerate(part.paths) if path in taken], np.int64)
    else:
        chosen = _train_val_test(dataset, seed)
        held_out = np.setdiff1d(np.arange(len(part)), chosen[dataset.train_list])
        lists = {name: text(part, ids) for name, ids in chosen.items()}
        for name, folder in ((dataset.val_list, "val"), (dataset.test_list, "test")):
            if other := dataset.tree.parts.get(folder):
                lists[name] = text(other, np.argsort(other.labels, kind="stable"))
    if shape.imb_factor is None:
        shape = shape._replace(imb_factor=dataset.imb_factor)
    sizes = np.bincount(np.delete(part.labels, held_out), minlength=dataset.classes)
    few = int(min(sizes.min(), max(FEW[1], round(FEW[0] * sizes.mean()))))
    for number in splits:
        for kind, ids in make_split(part.labels, few, held_out, number, shape).items():
            lists[f"split{number}{tag_of(shape, dataset.imb_factor)}_{kind}"] = text(part, ids)
    if not in_use:
        few_shot = make_split(part.labels, few, held_out, 2**32 - 1, shape)["S_b"]
        lists[dataset.few_shot] = text(part, few_shot)
    return {dataset.path(name): content for name, content in lists.items()}


def _train_val_test(dataset: FolderSet, seed: int) -> dict[str, np.ndarray]:
    """List -> ids of its images among those of train/, grouped by class: the training list, and the lists that have no
    folder of their own."""
    labels = dataset.tree.parts["train"].labels
    drawn = {part: rule for part, rule in (("test", TEST), ("val", VAL)) if part not in dataset.tree.parts}
    names = {"test": dataset.test_list, "val": dataset.val_list}
    rng = np.random.RandomState(seed)
    lists = {name: [] for name in [dataset.train_list, *(names[part] for part in drawn)]}
    for number, name in enumerate(dataset.tree.classes):
        ids = rng.permutation(np.flatnonzero(labels == number))
        if len(ids) <= len(drawn):
            raise InputError(f"class {name!r} has {len(ids)} image(s), and {len(drawn) + 1} are needed: one to train on"
                             f" and one for {' and '.join(drawn)}")  # fmt: skip
        for part, (one_in, most) in drawn.items():
            count = max(1, min(len(ids) // one_in, most))
            lists[names[part]].append(ids[:count])
            ids = ids[count:]
        lists[dataset.train_list].append(ids)
    return {name: np.concatenate(by_class) for name, by_class in lists.items()}


def _check(dataset: FolderSet) -> None:
    classes = dataset.tree.classes
    if not classes:
        raise InputError(f"there are no classes in {str(dataset.tree.root)!r} to make lists of: each image must lie in "
                         "a folder of its class")  # fmt: skip
    folded = Counter(name.casefold() for name in classes)
    if twice := [name for name in classes if folded[name.casefold()] > 1]:
        raise InputError(f"the classes {', '.join(map(repr, twice[:4]))} have names that differ in case alone: rename "
                         "one, or put their images together")  # fmt: skip


def text(part: Part, ids: np.ndarray) -> bytes:
    """The content of a list of these images: lines `<path> <label>`."""
    return "".join(f"{part.paths[i]} {part.labels[i]}\n" for i in ids.tolist()).encode()
