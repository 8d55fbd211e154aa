"""Figures of the classes: accuracy by rank, from the most frequent class to the least, and by class size."""

from typing import TYPE_CHECKING

import numpy as np

from analysis.rows import Row
from data.groups import GROUPS
from probe.protocols import PROBES
from utils.plotting import Style, finish, new_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS, MOST_POINTS = 15, 30  # per method in a panel, about; with more classes, neighbours in rank are averaged


def of_one_size(rows: list[Row]) -> list[Row]:
    """The rows whose results all have as many classes as those of the first such row; others have other classes.

    Only own images, to which folders of classes may be added between two runs, have rows that are left out.
    """
    sizes = [{len(result["per_class"]) for result in row.results.values()} for row in rows]
    first = next((size for size in sizes if len(size) == 1), None)
    return [row for row, size in zip(rows, sizes, strict=True) if first and size == first]


def by_rank(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Class sizes in images and accuracies in percent, each [splits, classes], the most frequent class first.

    A class has another size in each split, so classes are averaged by rank. Ties are broken as in `thirds`.
    """
    ranked = []
    for result in row.results.values():
        order = np.argsort(result["class_counts"], kind="stable")[::-1]
        ranked.append(np.array([result["class_counts"], result["per_class"]], np.float64)[:, order])
    sizes, accuracies = np.stack(ranked, 1)
    return sizes, accuracies


def group_ranks(row: Row) -> dict[str, np.ndarray]:
    """Group -> ranks of its classes, 0 for the most frequent, the same in all splits; empty groups are left out."""
    result = next(iter(row.results.values()))
    groups = result["groups"]
    ends = np.cumsum([len(groups[name]) for name in GROUPS])
    if not ends[-1]:  # all classes have as many images
        return {"All": np.arange(len(result["per_class"]))}
    parts = np.split(np.arange(ends[-1]), ends[:-1])
    return {name: ranks for name, ranks in zip(GROUPS, parts, strict=True) if len(ranks)}


def bins(groups: dict[str, np.ndarray], most: int) -> tuple[list[np.ndarray], str]:
    """Ranks in about `most` parts of equal size, none with classes of two groups; a note for the axis label."""
    width = -(-sum(map(len, groups.values())) // most)  # rounded up
    parts = [part for ranks in groups.values() for part in np.array_split(ranks, max(1, round(len(ranks) / width)))]
    return parts, f"; means of about {width} classes" if width > 1 else ""


def plot_classes(rows: dict[str, list[Row]], title: str, looks: dict[str, Style]) -> "Figure":
    """Accuracy by rank of the class size: mean and standard deviation over the splits; one panel per probe."""
    figure = new_panels(len(rows), sharey=True)
    for axis, (probe, methods) in zip(figure.axes, rows.items(), strict=True):
        groups = group_ranks(methods[0])
        parts, note = bins(groups, MOST_BARS)
        width = min(map(len, parts))
        for i, row in enumerate(methods):
            means = np.stack([by_rank(row)[1][:, part].mean(1) for part in parts], 1)
            # Side by side, so that error bars do not hide each other.
            offset = width * (i - (len(methods) - 1) / 2) * 0.7 / len(methods)
            x = [part.mean() + 1 + offset for part in parts]
            std = means.std(0) if len(means) > 1 else None
            axis.errorbar(x, means.mean(0), std, elinewidth=0.6, **looks[row.method].line(row.method))
        shade(axis, groups)
        axis.set(xlabel=f"class, most frequent first{note}")
        axis.set_title(PROBES[probe], fontsize=8, pad=14)
    finish(figure, title, "test accuracy (%)")
    return figure


def shade(axis: "Axes", groups: dict[str, np.ndarray]) -> None:
    """Shade every other group grey, and write the groups' names above the panel."""
    classes = sum(map(len, groups.values()))
    for i, (name, ranks) in enumerate(groups.items()):
        if i % 2 == 0:
            axis.axvspan(ranks[0] + 0.5, ranks[-1] + 1.5, color="0.92", linewidth=0, zorder=0)
        # Centred on the group, but shifted so that the names of narrow groups do not overlap.
        middle = min(max((ranks.mean() + 0.5) / classes, 0.06 + 0.17 * i), 0.94 - 0.17 * (len(groups) - 1 - i))
        axis.text(middle, 1.01, name, fontsize=7, ha="center", va="bottom", transform=axis.transAxes)
    axis.set_xlim(0.5, classes + 0.5)
    axis.xaxis.get_major_locator().set_params(integer=True)


def plot_sizes(rows: dict[str, list[Row]], title: str, looks: dict[str, Style]) -> "Figure":
    """Accuracy against class size: small points of classes, and lines through the groups' means; a panel per probe."""
    from matplotlib.ticker import LogFormatter

    figure = new_panels(len(rows), sharey=True)
    for axis, (probe, methods) in zip(figure.axes, rows.items(), strict=True):
        groups = group_ranks(methods[0])
        parts, note = bins(groups, MOST_POINTS)
        for row in methods:
            sizes, accuracies = by_rank(row)
            x, y = ([values[:, part].mean() for part in parts] for values in (sizes, accuracies))
            axis.scatter(x, y, **looks[row.method].points(3.5))
            x, y = ([values[:, ranks].mean() for ranks in groups.values()] for values in (sizes, accuracies))
            axis.plot(x, y, **{**looks[row.method].line(row.method), "markersize": 5})
        axis.set(xlabel=f"class size (images{note})", xscale="log")
        # Plain numbers such as 100, not powers of ten; minor ticks have some where all sizes are within a decade.
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.5)))
        axis.set_title(PROBES[probe], fontsize=8)
    finish(figure, title, "test accuracy (%)")
    return figure
