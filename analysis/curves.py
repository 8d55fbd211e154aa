"""Learning curves from metrics.jsonl of pre-trainings and probes."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.read import LARGEST
from analysis.rows import Row
from data.groups import GROUPS
from probe.protocols import PROBES
from utils.files import read_file
from utils.plotting import Style, finish, new_panels, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = dict[float, float]  # epoch -> value
# Values that metrics.jsonl has of each group -> their labels in figures. In SDCLR, an image's two projections are of
# the network and of its pruned self-competitor, and their distance is how far these disagree.
OF_GROUPS = {"loss": "loss", "alignment": "distance of the two projections", "score": "memorisation score"}


def read_curve(folder: Path, key: str) -> Curve:
    """The values of `key` in metrics.jsonl, by epoch; empty where the file is missing or has none.

    Half a line, as a killed run leaves it, is skipped; of an epoch that was run twice, the last value counts.
    """
    try:
        lines = read_file(folder / "metrics.jsonl", LARGEST).decode(errors="replace").splitlines()
    except OSError:
        return {}
    curve = {}
    for line in lines:
        try:
            record = json.loads(line)
            epoch, value = float(record["epoch"]), float(record[key])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        if math.isfinite(epoch) and math.isfinite(value):
            curve[epoch] = value
    return dict(sorted(curve.items()))


def curves_of(rows: list[Row], key: str, which: int) -> dict[str, list[Curve]]:
    """Method -> a curve for each split that has one; `which` is 0 for the pre-training, 1 for the probe."""
    folders: dict[str, set[Path]] = {}
    for row in rows:
        # A set, as several probes, each with a row, are of the same pre-training.
        folders.setdefault(row.method, set()).update(pair[which] for pair in row.folders.values())
    by_method = {m: [c for path in sorted(paths) if (c := read_curve(path, key))] for m, paths in folders.items()}
    return {method: curves for method, curves in by_method.items() if curves}


def plot_curves(rows: dict[str, list[Row]], title: str, looks: dict[str, Style]) -> "Figure | None":
    """Loss and kNN accuracy of the pre-trainings, validation accuracy of the probes; None where none is recorded.

    A line is the mean over the splits that have the epoch, its band reaches from the lowest to the highest value.
    """
    all_rows = [row for methods in rows.values() for row in methods]
    panels = {("pre-training", "loss"): curves_of(all_rows, "loss", 0)}
    panels["pre-training", "kNN accuracy (%)"] = curves_of(all_rows, "knn_all", 0)
    for probe, methods in rows.items():
        panels[PROBES[probe], "validation accuracy (%)"] = curves_of(methods, "val_top1", 1)
    panels = {names: curves for names, curves in panels.items() if curves}
    if not panels:
        return None
    figure = new_panels(len(panels))
    for axis, ((name, ylabel), curves) in zip(figure.axes, panels.items(), strict=True):
        draw_lines(axis, curves, looks)
        axis.set(xlabel="epoch", ylabel=ylabel)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_title(name, fontsize=8)
    finish(figure, title)
    return figure


def draw_lines(axis: "Axes", lines: dict[str, list[Curve]], looks: dict[str, Style]) -> None:
    """The mean of each line's curves at every epoch of any of them, in a band from the lowest to the highest value."""
    for i, (name, curves) in enumerate(lines.items()):
        epochs = sorted({epoch for curve in curves for epoch in curve})
        values = [[curve[epoch] for curve in curves if epoch in curve] for epoch in epochs]
        # Each line has its markers at other epochs, since lines often coincide.
        every = max(1, len(epochs) // 6)
        markers = (every * i // len(lines), every)
        axis.plot(epochs, [np.mean(v) for v in values], markevery=markers, **looks[name].line(name))
        if len(curves) > 1:
            low, high = zip(*((min(v), max(v)) for v in values), strict=True)
            axis.fill_between(epochs, low, high, color=looks[name].colour, alpha=0.15, linewidth=0)


def plot_by_group(rows: dict[str, list[Row]], key: str, title: str) -> "Figure | None":
    """One of OF_GROUPS by epoch: a panel per method, a line per group; None where it is not recorded."""
    all_rows = [row for methods in rows.values() for row in methods]
    panels: dict[str, dict[str, list[Curve]]] = {}
    for group in GROUPS:
        for method, curves in curves_of(all_rows, f"{key}_{group.lower()}", 0).items():
            panels.setdefault(method, {})[group] = curves
    if not panels:
        return None
    figure, looks = new_panels(len(panels), sharey=True), styles(list(GROUPS))
    for axis, (method, lines) in zip(figure.axes, panels.items(), strict=True):
        draw_lines(axis, lines, looks)
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_title(method, fontsize=8)
    finish(figure, title, OF_GROUPS[key])
    return figure
