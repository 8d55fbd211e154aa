"""Learning curves from the metrics.jsonl of pre-trainings and probes."""

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
# What metrics.jsonl tells of each group -> what a figure calls it. An image's two projections are, in SDCLR, of the
# network and of its pruned self-competitor: their distance is how far these disagree.
OF_GROUPS = {"loss": "loss", "alignment": "distance of the two projections", "score": "memorisation score"}


def read_curve(folder: Path, key: str) -> Curve:
    """The values of `key` in metrics.jsonl, by epoch; empty where the file is missing or of no use.

    Half a line, which a killed run leaves, is skipped; of an epoch that was run twice, the last value counts.
    """
    try:
        lines = read_file(folder / "metrics.jsonl", LARGEST).decode(errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        try:
            record = json.loads(line)
            epoch, value = float(record["epoch"]), float(record[key])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        if math.isfinite(epoch) and math.isfinite(value):
            found[epoch] = value
    return dict(sorted(found.items()))


def curves_of(rows: list[Row], key: str, which: int) -> dict[str, list[Curve]]:
    """Method -> a curve for each split that has one; `which` is 0 for the pre-training, 1 for the probe."""
    folders: dict[str, set[Path]] = {}
    for row in rows:
        # One pre-training has several probes.
        folders.setdefault(row.method, set()).update(pair[which] for pair in row.folders.values())
    found = {m: [c for path in sorted(paths) if (c := read_curve(path, key))] for m, paths in folders.items()}
    return {method: curves for method, curves in found.items() if curves}


def plot_curves(rows: dict[str, list[Row]], title: str, looks: dict[str, Style]) -> "Figure | None":
    """Loss and kNN accuracy of the pre-trainings, validation accuracy of the probes; None without a record.

    Lines are the mean over the splits that have the epoch, bands reach from the lowest to the highest.
    """
    everything = [row for found in rows.values() for row in found]
    panels = {("pre-training", "loss"): curves_of(everything, "loss", 0)}
    panels["pre-training", "kNN accuracy (%)"] = curves_of(everything, "knn_all", 0)
    for probe, found in rows.items():
        panels[PROBES[probe], "validation accuracy (%)"] = curves_of(found, "val_top1", 1)
    panels = {names: methods for names, methods in panels.items() if methods}
    if not panels:
        return None
    figure = new_panels(len(panels))
    for axis, ((name, what), methods) in zip(figure.axes, panels.items(), strict=True):
        draw_lines(axis, methods, looks)
        axis.set(xlabel="epoch", ylabel=what)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_title(name, fontsize=8)
    finish(figure, title)
    return figure


def draw_lines(axis: "Axes", lines: dict[str, list[Curve]], looks: dict[str, Style]) -> None:
    """The mean of each line's curves, at the epochs that one of them has, in a band from the lowest to the highest."""
    for i, (name, curves) in enumerate(lines.items()):
        epochs = sorted({epoch for curve in curves for epoch in curve})
        at = [[curve[epoch] for curve in curves if epoch in curve] for epoch in epochs]
        # Markers at other places for each line: they often coincide.
        every = max(1, len(epochs) // 6)
        where = (every * i // len(lines), every)
        axis.plot(epochs, [np.mean(v) for v in at], markevery=where, **looks[name].line(name))
        if len(curves) > 1:
            low, high = zip(*((min(v), max(v)) for v in at), strict=True)
            axis.fill_between(epochs, low, high, color=looks[name].colour, alpha=0.15, linewidth=0)


def plot_by_group(rows: dict[str, list[Row]], key: str, title: str) -> "Figure | None":
    """One of OF_GROUPS by epoch: a panel a method, a line each of Many, Medium and Few; None without a record."""
    everything = [row for found in rows.values() for row in found]
    panels: dict[str, dict[str, list[Curve]]] = {}
    for group in GROUPS:
        for method, curves in curves_of(everything, f"{key}_{group.lower()}", 0).items():
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
