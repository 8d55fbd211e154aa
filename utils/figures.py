"""Figures of the results."""

from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import InputError
from utils.metrics import GROUPS
from utils.plotting import FORMATS, legend_below, new_figure, styles, write_figure
from utils.tables import METHODS, Cells, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panels = dict[str, dict[str, Cells]]  # title -> method -> column -> (mean, std) in percent


def write_figures(panels: Panels, rows: dict[str, list[Row]], folder: Path, title: str) -> list[Path]:
    """All figures of the results, each as PNG and PDF; returns their paths.

    Args:
        panels: of the bars. rows: probe -> methods with a result; without any, bars are all. folder: to write to.

    Raises:
        InputError: a file cannot be written.
    """
    if folder.suffix in FORMATS:
        raise InputError(f"--plot {folder} must be a folder: several figures are written there")
    paths = [folder / f"groups{suffix}" for suffix in FORMATS]
    figure = plot_groups(panels, title)
    for path in paths:
        write_figure(figure, path)
    return paths


def plot_groups(panels: Panels, title: str) -> "Figure":
    """Bars of Many, Medium, Few and All with the standard deviation over splits, one panel per probe."""
    everyone = list(dict.fromkeys(method for methods in panels.values() for method in methods))
    looks = styles(list(dict.fromkeys([*METHODS.values(), *everyone])))
    # BCL's table has no All.
    has_all = any("All" in values for methods in panels.values() for values in methods.values())
    columns = (*GROUPS, "All") if has_all else GROUPS
    figure = new_figure(1, len(panels), sharey=True)
    for axis, (probe, methods) in zip(figure.axes, panels.items(), strict=True):
        width = 0.8 / max(len(methods), 1)
        for i, (method, values) in enumerate(methods.items()):
            x = [j + (i - (len(methods) - 1) / 2) * width for j in range(len(columns))]
            # A group without a class has no bar.
            mean, std = zip(*((m, s or 0) for m, s in (values.get(c, (float("nan"), 0)) for c in columns)), strict=True)
            axis.bar(
                x, mean, width * 0.92, yerr=std if any(std) else None, capsize=2, color=looks[method].colour,
                hatch=looks[method].hatch, edgecolor="black", linewidth=0.5, label=method,
            )  # fmt: skip
        axis.set_xticks(range(len(columns)), columns)
        axis.set(xlabel="class group", ylim=(0, 100))
        axis.set_title(probe, fontsize=8)
    figure.axes[0].set_ylabel("test accuracy (%)")
    figure.suptitle(title, fontsize=8)
    legend_below(figure, columns=3 * len(panels))
    return figure
