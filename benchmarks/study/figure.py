"""Figures of a study's results."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.curves import plot_by_group
from analysis.figures import plot_groups
from analysis.rows import Row
from benchmarks.study.kept import PROBES, Results
from benchmarks.study.table import LAST, curve_of, runs_of
from data.groups import COLUMNS, GROUPS
from utils.plotting import finish, new_panels, styles, write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Runs that are not among the curves of losses: theirs changes with the epoch, by phase, temperature or second term.
CHANGING_LOSSES = ("dnc", "ts", "simclr+gh")


def write_figures(results: Results, names: Iterable[str], beside: Path, title: str) -> list[Path]:
    """Write the bars of both probes as `beside`.png and, if any run recorded it, the loss of each group as
    `beside`_loss.png; returns their paths."""
    names = [name for name in names if runs_of(results, name)]
    figures = {"": plot_bars(results, names, title), "_loss": plot_losses(results, names, title)}
    paths = {beside.with_name(f"{beside.name}{tail}.png"): figure for tail, figure in figures.items() if figure}
    for path, figure in paths.items():
        write_figure(figure, path)
    return list(paths)


def write_monitored(results: Results, shown: dict[str, tuple[str, ...]], folder: Path, title: str) -> None:
    """Write what pre-trainings with `--monitor groups` recorded, by epoch and group: `folder`_KEY.png, a panel a run.

    A key that no run recorded has no figure.

    Args:
        shown: a key of analysis.curves.OF_GROUPS -> names of runs.
        folder: of the results, with splitN/RUN/metrics.jsonl.
    """
    for key, names in shown.items():
        rows = [Row(name) for name in names]
        for row in rows:
            splits = [split for name, split in results if name == row.method]
            row.folders = {n: (folder / f"split{n}" / row.method,) * 2 for n in splits}
        if figure := plot_by_group({"": rows}, key, title):
            write_figure(figure, folder.with_name(f"{folder.name}_{key}.png"))


def plot_bars(results: Results, names: list[str], title: str) -> "Figure":
    """Test accuracy of Many, Medium, Few and All, a panel a probe: mean and standard deviation over the splits."""
    panels = {}
    for probe in PROBES:
        panels[probe] = {}
        for name in names:
            values = {c: [record[probe]["groups"][c] for record in runs_of(results, name)] for c in COLUMNS}
            panels[probe][name] = {c: (np.mean(v), np.std(v) if len(v) > 1 else None) for c, v in values.items()}
    return plot_groups(panels, title, styles(names))


def plot_losses(results: Results, names: list[str], title: str) -> "Figure | None":
    """The loss of pre-training by epoch, a panel a group: mean over splits and over the LAST epochs up to each.

    None if no run recorded the loss of the groups. CHANGING_LOSSES are left out.
    """
    alike = [name for name in names if name not in CHANGING_LOSSES]
    curves = {name: [c for record in runs_of(results, name) if (c := curve_of(record["metrics"]))] for name in alike}
    curves = {name: of_splits for name, of_splits in curves.items() if of_splits}
    if not curves:
        return None
    figure, looks = new_panels(len(GROUPS), sharey=True), styles(names)
    for place, (axis, group) in enumerate(zip(figure.axes, GROUPS, strict=True)):
        for name, of_splits in curves.items():
            epochs = sorted(set.intersection(*map(set, of_splits)))
            losses = np.array([[curve[epoch][place] for epoch in epochs] for curve in of_splits]).mean(0)
            smooth = [losses[max(0, end - LAST) : end].mean() for end in range(1, len(epochs) + 1)]
            axis.plot(epochs, smooth, **looks[name].line(name) | {"markevery": max(1, len(epochs) // 8)})
        axis.set_title(group, fontsize=8)
        axis.set_xlabel("epoch")
    finish(figure, title, "loss of pre-training (nats)")
    return figure
