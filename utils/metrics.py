"""Accuracy per class, the Many / Medium / Few groups, and the spread between them."""

from typing import Any

import numpy as np

GROUPS = ("Many", "Medium", "Few")
COLUMNS = (*GROUPS, "Std", "All")


def accuracy(logits: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, Any]:
    """Top-1, top-5 and accuracy per class.

    Args:
        logits: [N, classes]. labels: [N] int64.

    Returns:
        {'top1', 'top5': percent; 'per_class': classes percentages, None for a class without an image}.
    """
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :5] == labels[:, None]
    hit = ranked[:, 0]
    count = np.bincount(labels, minlength=classes)
    right = np.bincount(labels, hit, minlength=classes)
    per_class = [100 * r / n if n else None for r, n in zip(right.tolist(), count.tolist(), strict=True)]
    return {"top1": 100 * float(hit.mean()), "top5": 100 * float(ranked.any(1).mean()), "per_class": per_class}


def thirds(counts: list[int]) -> dict[str, list[int]]:
    """Classes of each group for the in-memory data sets, as published (SDCLR's exp_analyse.py).

    Classes sorted by their images in the long-tailed list: the lowest third (rounded down) is Few, the next as many
    Medium, the rest Many; so 4/3/3 of 10 classes and 34/33/33 of 100. Ties go by class number.
    """
    order = np.argsort(counts, kind="stable").tolist()
    third = len(counts) // 3
    return {"Many": order[2 * third :], "Medium": order[third : 2 * third], "Few": order[:third]}


def summarise(per_class: list[float], groups: dict[str, list[int]]) -> dict[str, float]:
    """Many, Medium, Few, Std, All of one evaluation, in percent.

    Std is the population standard deviation of the three group means; All is the mean over the classes
    (SDCLR's exp_analyse.py).
    """
    values = np.asarray(per_class, np.float64)
    means = {name: float(values[groups[name]].mean()) for name in GROUPS}
    return {**means, "Std": float(np.std(list(means.values()))), "All": float(values.mean())}
