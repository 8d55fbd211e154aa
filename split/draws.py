"""One split drawn from labels: D_i (long-tailed), D_b (balanced, as large), S_b (few-shot); names of shapes."""

import re

import numpy as np

from split.counts import Shape, class_counts
from utils.errors import InputError

SPLITS, PUBLISHED = (1, 2, 3, 4, 5), Shape()
_NAME = re.compile(r"split(\d+)(?:_pareto(\d+(?:\.\d+)?))?(?:_imb(\d+(?:\.\d+)?))?_(D_i|D_b|S_b)$")


def make_split(labels: np.ndarray, few: int, held_out: np.ndarray, seed: int, shape: Shape) -> dict[str, np.ndarray]:
    """D_i, D_b and S_b of one split, drawn from all images that are not held out.

    Args:
        labels: [N] in 0..classes-1, of all images. few: images per class of S_b. held_out: ids of images that are in
            none of the three, such as validation images. seed: number of the split.

    Returns:
        {'D_i': ..., 'D_b': ..., 'S_b': ...}, int64 indices grouped by class. For each class there is one shuffled list
        of images, of which all three have a prefix.

    Raises:
        InputError: the seed is not in 1..2^32 - 1, or class_counts refuses.
    """
    if not 1 <= seed < 2**32:
        raise InputError(f"there is no split{seed}: splits are numbered 1 to {2**32 - 1}")
    rng = np.random.RandomState(seed)
    pool, classes = np.setdiff1d(np.arange(len(labels)), held_out), int(labels.max()) + 1
    order = rng.permutation(classes)
    shuffled = [rng.permutation(pool[labels[pool] == c]) for c in range(classes)]
    head = min(len(s) for s in shuffled)
    sizes = np.empty(classes, np.int64)
    sizes[order] = class_counts(classes, head, shape.imb_factor, shape.name, shape.alpha)
    balanced = np.full(classes, sizes.sum() // classes)
    return {
        name: np.concatenate([s[:n] for s, n in zip(shuffled, take, strict=True)])
        for name, take in (("D_i", sizes), ("D_b", balanced), ("S_b", np.full(classes, few)))
    }


def tag_of(shape: Shape, usual: float) -> str:
    """The part of the names of a split's lists that gives its shape; '' for the exponential one with factor `usual`."""
    tag = f"_pareto{shape.alpha:g}" if shape.name == "pareto" else ""
    return f"{tag}_imb{shape.imb_factor:g}" if tag or shape.imb_factor != usual else ""


def split_and_shape(name: str) -> tuple[int, Shape] | None:
    """The number and the shape in the name of a split's list, without the data set's prefix; None for other names."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    number, alpha, factor, _ = match.groups()
    shape = Shape("pareto", alpha=float(alpha)) if alpha else PUBLISHED
    return int(number), shape._replace(imb_factor=float(factor) if factor else None)
