"""Figures of the results."""

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.class_figures import of_one_size, plot_classes, plot_sizes
from analysis.curves import OF_GROUPS, plot_by_group, plot_curves
from analysis.published import Cells
from analysis.rows import Row
from data.groups import GROUPS
from methods import label_of, method_names
from probe.protocols import PROBES, PROTOCOLS
from utils.errors import InputError
from utils.plotting import COLUMN, FORMATS, Style, finish, new_figure, new_panels, styles, write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Methods with the six basic styles of utils/plotting.py, which differ in colour.
COLOURED = ("untrained", "simclr", "focal", "sdclr", "bcl-i", "bcl-d")
# Methods up to which panels of bars are side by side. Those of more are twice as wide and below one another.
SIDE_BY_SIDE = 8
Panels = dict[str, dict[str, Cells]]  # title -> method -> column -> (mean, std) in percent


def looks_of(more: Iterable[str] = ()) -> dict[str, Style]:
    """Style of each method by its label, the same in all figures; `more` labels get the styles after these."""
    return styles(list(dict.fromkeys(chain(map(label_of, (*COLOURED, *method_names())), more))))


def make_figures(
    panels: Panels, rows: dict[str, list[Row]], title: str, more: "Mapping[str, Figure | None] | None" = None
) -> "dict[str, Figure]":
    """All figures that there are results for, by the names of their files.

    Args:
        panels: those of the bars. rows: probe -> methods; where none has a result, there are only the bars. more: other
            figures by name.
    """
    rows = {probe: [row for row in methods if row.results] for probe, methods in rows.items()}
    rows = {probe: methods for probe, methods in rows.items() if methods}
    looks = looks_of(chain.from_iterable(panels.values()))
    figures: dict[str, Figure | None] = {"groups": plot_groups(panels, title, looks)} if panels else {}
    if rows:
        alike = {probe: found for probe, methods in rows.items() if (found := of_one_size(methods))}
        figures["classes"] = plot_classes(alike, title, looks) if alike else None
        figures["sizes"] = plot_sizes(alike, title, looks) if alike else None
        figures["curves"] = plot_curves(rows, title, looks)
        figures |= {f"{key}_by_group": plot_by_group(rows, key, title) for key in OF_GROUPS}
        figures["few_vs_full"] = plot_few_vs_full(rows, title, looks)
    figures |= more or {}
    return {name: figure for name, figure in figures.items() if figure}


def write_figures(figures: "Mapping[str, Figure]", folder: Path) -> list[Path]:
    """Write each figure as PNG and PDF into the folder; returns the paths.

    Raises:
        InputError: a file cannot be written.
    """
    if folder.suffix in FORMATS:
        raise InputError(f"{folder} must be a folder: several figures are written there")
    paths = {folder / f"{name}{suffix}": figure for name, figure in figures.items() for suffix in FORMATS}
    for path, figure in paths.items():
        write_figure(figure, path)
    return list(paths)


def plot_groups(panels: Panels, title: str, looks: dict[str, Style]) -> "Figure":
    """Bars of Many, Medium, Few and All with the standard deviation over splits, one panel per probe."""
    # BCL's table 1 has no All.
    has_all = any("All" in values for methods in panels.values() for values in methods.values())
    columns = (*GROUPS, "All") if has_all else GROUPS
    many = max(map(len, panels.values()), default=0) > SIDE_BY_SIDE
    figure = new_figure(len(panels), width=2 * COLUMN, sharey=True) if many else new_panels(len(panels), sharey=True)
    for axis, (probe, methods) in zip(figure.axes, panels.items(), strict=True):
        width = 0.8 / max(len(methods), 1)
        for i, (method, values) in enumerate(methods.items()):
            x = [j + (i - (len(methods) - 1) / 2) * width for j in range(len(columns))]
            # A group without a class has no mean, and no bar.
            cells = [values.get(column, (float("nan"), 0)) for column in columns]
            mean, std = zip(*((m, s or 0) for m, s in cells), strict=True)
            axis.bar(
                x, mean, width * 0.92, yerr=std if any(std) else None, capsize=2, color=looks[method].colour,
                hatch=looks[method].hatch, hatch_linewidth=0.5, edgecolor="black", linewidth=0.5, label=method,
            )  # fmt: skip
        axis.set_xticks(range(len(columns)), columns)
        axis.set_xlabel("class group")
        axis.set_title(probe, fontsize=8)
    figure.axes[0].set_ylim(bottom=0)
    finish(figure, title, "test accuracy (%)")
    return figure


def plot_few_vs_full(rows: dict[str, list[Row]], title: str, looks: dict[str, Style]) -> "Figure | None":
    """Accuracy of few-shot probes against probes on all labels: a small point per split, a large one for their mean.

    One panel per few-shot probe; None where no split has results of both.
    """
    panels = {}
    for protocol in PROTOCOLS.values():
        few = protocol.label
        for full in protocol.beside:
            if pairs := pairs_of(rows.get(full, []), rows.get(few, [])):
                panels[few, full] = pairs
                break
    if not panels:
        return None
    figure = new_panels(len(panels))
    for axis, ((few, full), methods) in zip(figure.axes, panels.items(), strict=True):
        for method, pairs in methods.items():
            if len(pairs) > 1:
                axis.scatter(*pairs.T, **looks[method].points(3.5))
            axis.scatter(*pairs.mean(0), **looks[method].points(6, method))
        axis.set(xlabel=f"{PROBES[full]} accuracy (%)", ylabel=f"{PROBES[few]} accuracy (%)")
    finish(figure, title)
    return figure


def pairs_of(full: list[Row], few: list[Row]) -> dict[str, np.ndarray]:
    """Method -> [splits, 2]: All in percent of both probes, for the splits that have results of both."""
    pairs, few_of_method = {}, {row.method: row.values for row in few}
    for row in full:
        few_values = few_of_method.get(row.method, {})
        if shared := [n for n in row.values if n in few_values]:
            pairs[row.method] = np.array([(row.values[n]["All"], few_values[n]["All"]) for n in shared])
    return pairs
