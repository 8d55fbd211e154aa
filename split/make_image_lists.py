"""Make the lists of a tree of image files: long-tailed, balanced, validation, test, full and few-shot.

The tree has train/<class>/<image> and val/<class>/<image>. Counts are the published ones; which images,
and which class has how many, is drawn from a seed. Every list is drawn independently of the others from the
images that are not validation images, as the authors' lists were (their overlaps are those of independent draws).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.images import class_folders, folder_of
from data.sets.files import FileSet
from split.counts import IMAGENET_LT, PLACES_LT, class_counts, imagenet_100
from split.flags import SORT_VAL
from utils.errors import InputError

IMAGES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Tree:
    """classes in the order of their labels; their images, sorted, as paths below the data folder."""

    root: Path
    classes: list[str]
    train: list[list[str]]
    val: list[list[str]]
    published_classes: bool  # the 100 classes of ImageNet-100, in the published order


def scan(dataset: FileSet, root: Path, classes: list[str] | None = None) -> Tree:
    """Find the classes and images below `root`: labels follow the alphabet, but ImageNet-100's published classes, where
    they are all there, have the published order, and others may be there, too.

    Args:
        classes: the folders in the order of the labels, where lists that are here and stay say so.

    Raises:
        InputError: no train/ or val/, another number of classes, a class that is missing or empty in train/ or val/.
    """
    root = folder_of(root, ["train"]) or root
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise InputError(
                f"data folder {str(root)!r} has no folder {part}/: the right download is {dataset.download}"
            )
    there, validated = class_folders(root / "train"), class_folders(root / "val")
    if not validated and any(_is_image(entry.name) for entry in os.scandir(root / "val")):
        raise InputError(f"{root / 'val'} has images, but no folders of classes: sort them by `{SORT_VAL}`")
    published = imagenet_100()[0] if dataset.name == "imagenet-100" else []
    known = bool(published) and set(published) <= set(there)
    if not known and not classes and len(there) != dataset.classes:
        odd = _odd(there, validated)
        raise InputError(
            f"{root / 'train'} has {len(there)} folders of classes, {dataset.name} has {dataset.classes}{odd}: "
            f"{dataset.download}"
        )
    classes = classes or (published if known else there)
    images = {part: [_images(root, part, name) for name in classes] for part in ("train", "val")}
    return Tree(root, classes, images["train"], images["val"], known)


def _odd(train: list[str], val: list[str]) -> str:
    """The folders that are no classes, by their names or as only one part has them, in words; '' where none is odd."""
    others = [name for name in train if not re.fullmatch(r"n\d{8}", name)]  # than ImageNet's, by their names
    odd = others if 0 < 2 * len(others) < len(train) else sorted(set(train) ^ set(val))
    more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
    return f", and odd ones are {', '.join(odd[:5])}{more}" if odd else ""


def _images(root: Path, part: str, name: str) -> list[str]:
    try:
        files = [entry.name for entry in os.scandir(root / part / name) if entry.is_file()]
    except OSError as error:
        raise InputError(f"class {name} cannot be read below {root / part}: {error}") from error
    images = [f"{part}/{name}/{file}" for file in sorted(files) if _is_image(file)]
    if not images:
        raise InputError(f"class {name} has no image below {root / part}: get the download again")
    return images


def _is_image(file: str) -> bool:
    """By its name; not what macOS leaves beside an image (._1.JPEG), nor a name that no list can hold."""
    return Path(file).suffix.lower() in IMAGES and not file.startswith(".") and file.isprintable() and "\\" not in file


def assign(counts: np.ndarray, pools: np.ndarray, rng: np.random.RandomState, scale: float = 1.0) -> np.ndarray:
    """Deal `counts` to classes at random, each to one that has as many images: [K] in the order of the classes.

    `scale` is what the counts were multiplied by, for the message.

    Raises:
        InputError: there is no such assignment.
    """
    sizes, free = np.empty(len(pools), np.int64), rng.permutation(len(pools)).tolist()
    for count in sorted(counts.tolist(), reverse=True):
        # The classes that can bear a large count can bear every smaller one: largest first never blocks another.
        fitting = [c for c in free if pools[c] >= count]
        if not fitting:
            largest = max((int(pools[c]) for c in free), default=0)
            raise InputError(
                f"a class of {count} images is wanted and the largest that is left has {largest}: "
                # A little less, lest the rounded figure asks for an image more than there is.
                f"take scale {0.995 * scale * largest / count:.3g} or less for a smaller set of the same shape"
            )
        free.remove(fitting[0])
        sizes[fitting[0]] = count
    return sizes


def long_tailed_counts(dataset: FileSet, name: str, tree: Tree) -> tuple[np.ndarray, bool]:
    """Images per class of the long-tailed list `name`, and whether they are in the order of the labels.

    Published, or fitted to what is published; of a data set without published lists, the exponential law of its own.
    """
    if dataset.name == "imagenet-100":
        return imagenet_100()[1], tree.published_classes
    if dataset.name == "places":
        return PLACES_LT.counts(dataset.classes), False
    if dataset.name == "imagenet" and "exp" not in name:
        return IMAGENET_LT.counts(dataset.classes), False
    return class_counts(dataset.classes, dataset.head, dataset.imb_factor), False


def make_image_lists(
    dataset: FileSet, tree: Tree, scale: float = 1.0, seed: int = 0, apart: frozenset[str] = frozenset()
) -> dict[str, bytes]:
    """All lists of a data set.

    Args:
        scale: factor on all counts, in (0, 1], for a tree with fewer images; every class keeps one image at least.
        seed: of all draws. apart: images that validation must not have (of lists that are here and stay).

    Returns:
        Path below split/ -> content of the list, grouped by class 0..K-1.

    Raises:
        InputError: a class has too few images, or scale or seed is out of range.
    """
    if not 0 < scale <= 1 or not 0 <= seed < 2**31:
        raise InputError(f"scale must be in (0, 1] and seed from 0 to 2^31 - 1, not {scale} and {seed}")

    def scaled(counts: np.ndarray | int) -> np.ndarray:
        return np.maximum(np.round(np.asarray(counts) * scale), 1).astype(np.int64)

    everyone, lists = np.ones(dataset.classes, np.int64), {}

    def rng(*draw: int) -> np.random.RandomState:
        """A stream for each draw, another one for every seed."""
        return np.random.RandomState([seed, *draw])

    val = _draw(tree.train, everyone * scaled(dataset.val_per_class), rng(0), apart)
    lists[dataset.val_list] = val
    taken = frozenset(path for images in val for path in images)
    pool = [[path for path in images if path not in taken] for images in tree.train]
    lists[dataset.train_list], lists[dataset.test_list] = pool, tree.val
    lists[dataset.few_shot] = _draw(pool, everyone * scaled(dataset.few_per_class), rng(1))
    if dataset.hundred_shot:
        # No class of the real data sets is smaller.
        shots = np.minimum(everyone * scaled(100), [len(images) for images in pool])
        lists[dataset.hundred_shot] = _draw(pool, shots, rng(3))
    for number, (tailed, balanced) in enumerate(dataset.long_tailed):
        counts, in_order = long_tailed_counts(dataset, tailed, tree)
        counts = scaled(counts)
        if not in_order:
            counts = assign(counts, np.array([len(p) for p in pool]), rng(2, number, 0), scale)
        lists[tailed] = _draw(pool, counts, rng(2, number, 1))
        lists[balanced] = _draw(pool, everyone * (counts.sum() // dataset.classes), rng(2, number, 2))
    return {dataset.path(name): _text(images) for name, images in lists.items()}


def _draw(
    pool: list[list[str]], counts: np.ndarray, rng: np.random.RandomState, apart: frozenset[str] = frozenset()
) -> list[list[str]]:
    drawn = []
    for images, count in zip(pool, counts.tolist(), strict=True):
        order = [images[i] for i in rng.permutation(len(images)) if images[i] not in apart]
        if len(order) < count:
            where = images[0].rsplit("/", 1)[0] if images else "a class"
            raise InputError(
                f"{where} has {len(order)} images to draw from, {count} are wanted: take a smaller scale, or the "
                "whole download"
            )
        drawn.append(order[:count])
    return drawn


def _text(images: list[list[str]]) -> bytes:
    return "".join(f"{path} {label}\n" for label, paths in enumerate(images) for path in paths).encode()
