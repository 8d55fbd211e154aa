"""Many, Medium and Few: groups of classes by their number of training images, and accuracies over them."""

import numpy as np

GROUPS = ("Many", "Medium", "Few")

COLUMNS = (*GROUPS, "Std", "All")


def thirds(counts: list[int]) -> dict[str, list[int]]:
    """Classes of each group for the in-memory data sets, as published (SDCLR's exp_analyse.py).

    Of the classes sorted by their images in the long-tailed list, the lowest third (rounded down) is Few, the next as
    many are Medium, and the rest Many; so 4/3/3 of 10 classes and 34/33/33 of 100. Ties go by class number.
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


def group_of_each(labels: np.ndarray, groups: dict[str, list[int]]) -> np.ndarray:
    """The index in GROUPS, [N] int64, of the group of each image, from labels [N] and the classes of each group."""
    of_class = np.zeros(1 + max(map(max, filter(None, groups.values()))), np.int64)
    for number, name in enumerate(GROUPS):
        of_class[groups[name]] = number
    return of_class[labels]


def summarise(per_class: list[float], groups: dict[str, list[int]]) -> dict[str, float | None]:
    """Many, Medium, Few, Std, All of one evaluation, in percent.

    Std is the population standard deviation of the three group means; All is the mean over the classes
    (SDCLR's exp_analyse.py). A group without a class has no mean, and then there is no Std.
    """
    values = np.asarray(per_class, np.float64)
    means = {name: float(values[groups[name]].mean()) if groups[name] else None for name in GROUPS}
    spread = None if None in means.values() else float(np.std(list(means.values())))
    return {**means, "Std": spread, "All": float(values.mean())}
