"""Make the lists of a tree of image files: long-tailed, balanced, validation, test, full and few-shot.

The tree has train/<class>/<image> and val/<class>/<image>. Counts are the published ones; which class has which count,
and which images are taken, is drawn with a seed. Every list is drawn independently of the others from the images that
are not validation images, as the authors' lists were (their overlaps are those of independent draws).
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
    """classes: in the order of their labels. train, val: for each class its images, sorted, as paths below `root`."""

    root: Path
    classes: list[str]
    train: list[list[str]]
    val: list[list[str]]
    published_classes: bool  # whether they are the 100 classes of ImageNet-100, in the published order


def scan(dataset: FileSet, root: Path, classes: list[str] | None = None) -> Tree:
    """Find the classes and images below `root`.

    Labels follow the sorted names of folders. For ImageNet-100 they follow the published order if all its classes are
    there; then there may be other folders, too.

    Args:
        classes: the folders in the order of the labels, if lists that are in use determine it.

    Raises:
        InputError: no train/ or val/, another number of classes, a class that is missing or empty in train/ or val/.
    """
    root = folder_of(root, ["train"]) or root
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise InputError(
                f"data folder {str(root)!r} has no folder {part}/: the right download is {dataset.download}"
            )
    in_train, in_val = class_folders(root / "train"), class_folders(root / "val")
    if not in_val and any(_is_image(entry.name) for entry in os.scandir(root / "val")):
        raise InputError(f"{root / 'val'} has images, but no folders of classes: sort them by `{SORT_VAL}`")
    published = imagenet_100()[0] if dataset.name == "imagenet-100" else []
    known = bool(published) and set(published) <= set(in_train)
    if not known and not classes and len(in_train) != dataset.classes:
        odd = _odd(in_train, in_val)
        raise InputError(
            f"{root / 'train'} has {len(in_train)} folders of classes, {dataset.name} has {dataset.classes}{odd}: "
            f"{dataset.download}"
        )
    classes = classes or (published if known else in_train)
    images = {part: [_images(root, part, name) for name in classes] for part in ("train", "val")}
    return Tree(root, classes, images["train"], images["val"], known)


def _odd(train: list[str], val: list[str]) -> str:
    """For a message, the folders that seem to be no classes: few are not named as ImageNet's, or only one part has
    them; '' if there are none."""
    others = [name for name in train if not re.fullmatch(r"n\d{8}", name)]  # not named as ImageNet's classes
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
    """By its name; without the files that macOS leaves beside images (._1.JPEG), and names that no list can hold."""
    return Path(file).suffix.lower() in IMAGES and not file.startswith(".") and file.isprintable() and "\\" not in file


def assign(counts: np.ndarray, pools: np.ndarray, rng: np.random.RandomState, scale: float = 1.0) -> np.ndarray:
    """Assign `counts` to classes at random, each to a class with at least as many images (`pools`): [K] by class.

    `scale` is the factor that the counts were multiplied by, for the message.

    Raises:
        InputError: there is no such assignment.
    """
    sizes, free = np.empty(len(pools), np.int64), rng.permutation(len(pools)).tolist()
    for count in sorted(counts.tolist(), reverse=True):
        # Largest first: a class with enough images for a count also has enough for every later one, so that no choice
        # makes a later count impossible.
        fitting = [c for c in free if pools[c] >= count]
        if not fitting:
            largest = max((int(pools[c]) for c in free), default=0)
            raise InputError(
                f"a class of {count} images is wanted and the largest that is left has {largest}: "
                # A little less, as the rounded scale must not ask for an image more than there is.
                f"take scale {0.995 * scale * largest / count:.3g} or less for a smaller set of the same shape"
            )
        free.remove(fitting[0])
        sizes[fitting[0]] = count
    return sizes


def long_tailed_counts(dataset: FileSet, name: str, tree: Tree) -> tuple[np.ndarray, bool]:
    """Images per class of the long-tailed list `name`, and whether they are in the order of the labels.

    As published, or by a law fitted to what is published; without published lists, by the data set's exponential law.
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
        scale: factor on all counts, in (0, 1], for a tree with fewer images; every class keeps at least one image.
        seed: of all draws. apart: images that must not be in the validation list, as other lists in use have them.

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
        """The generator of one draw, so that draws do not depend on one another."""
        return np.random.RandomState([seed, *draw])

    val = _draw(tree.train, everyone * scaled(dataset.val_per_class), rng(0), apart)
    lists[dataset.val_list] = val
    taken = frozenset(path for images in val for path in images)
    pool = [[path for path in images if path not in taken] for images in tree.train]
    lists[dataset.train_list], lists[dataset.test_list] = pool, tree.val
    lists[dataset.few_shot] = _draw(pool, everyone * scaled(dataset.few_per_class), rng(1))
    if dataset.hundred_shot:
        # The minimum is for small trees: no class of the real data sets has fewer than 100 images.
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
