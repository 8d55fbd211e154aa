"""Accuracy per class, the Many / Medium / Few groups, and the spread between them."""

from typing import Any

import numpy as np

GROUPS = ("Many", "Medium", "Few")
COLUMNS = (*GROUPS, "Std", "All")


def count_hits(logits: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """[3, classes] int64 per class: images, those right at first guess, those right within the first five.

    Counts of parts of a test set add up to the counts of the whole.

    Args:
        logits: [N, classes]. labels: [N] int64. Ties go to the lower class.
    """
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :5] == labels[:, None]
    weights = (None, ranked[:, 0], ranked.any(1))
    return np.stack([np.bincount(labels, w, minlength=classes) for w in weights]).astype(np.int64)


def accuracy(hits: np.ndarray) -> dict[str, Any]:
    """Top-1, top-5 and accuracy per class from count_hits.

    Returns:
        {'top1', 'top5': percent; 'per_class': percentages, None for a class without an image; 'images': their number}.
    """
    images, first, five = hits.tolist()
    per_class = [100 * r / n if n else None for r, n in zip(first, images, strict=True)]
    total = max(sum(images), 1)
    share = {"top1": 100 * sum(first) / total, "top5": 100 * sum(five) / total}
    return {**share, "per_class": per_class, "images": sum(images)}


def thirds(counts: list[int]) -> dict[str, list[int]]:
    """Classes of each group for the in-memory data sets, as published (SDCLR's exp_analyse.py).

    Classes sorted by their images in the long-tailed list: the lowest third (rounded down) is Few, the next as many
    Medium, the rest Many; so 4/3/3 of 10 classes and 34/33/33 of 100. Ties go by class number.
    """
    order = np.argsort(counts, kind="stable").tolist()
    third = len(counts) // 3
    return {"Many": order[2 * third :], "Medium": order[third : 2 * third], "Few": order[:third]}


def thresholds(counts: list[int]) -> dict[str, list[int]]:
    """Classes of each group for ImageNet and Places, as published (SDCLR's exp_analyse.py).

    Many have more than 100 images in the long-tailed list, Medium 20 to 100, Few fewer than 20.
    """
    many = [c for c, n in enumerate(counts) if n > 100]
    few = [c for c, n in enumerate(counts) if n < 20]
    return {"Many": many, "Medium": [c for c, n in enumerate(counts) if 20 <= n <= 100], "Few": few}


def groups_of(counts: list[int], files: bool) -> dict[str, list[int]]:
    """Classes of each group from the images of each class: thresholds for data sets of image files, else thirds."""
    return (thresholds if files else thirds)(counts)


def summarise(per_class: list[float], groups: dict[str, list[int]]) -> dict[str, float | None]:
    """Many, Medium, Few, Std, All of one evaluation, in percent.

    Std is the population standard deviation of the three group means; All is the mean over the classes
    (SDCLR's exp_analyse.py). A group without a class has no mean, and then there is no Std.
    """
    values = np.asarray(per_class, np.float64)
    means = {name: float(values[groups[name]].mean()) if groups[name] else None for name in GROUPS}
    spread = None if None in means.values() else float(np.std(list(means.values())))
    return {**means, "Std": spread, "All": float(values.mean())}
