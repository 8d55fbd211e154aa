"""What all figures have in common: size, styles that also differ in grey and for the colour-blind, PNG and PDF."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.4  # inches: the width of a paper's column
FORMATS = (".png", ".pdf")


class Style(NamedTuple):
    """How a series looks in every figure; hatch, marker and dashes distinguish it without colour."""

    colour: str
    hatch: str
    marker: str
    dashes: str | tuple

    def line(self, label: str = "") -> dict[str, Any]:
        """Keywords of axis.plot and axis.errorbar."""
        look = {"color": self.colour, "marker": self.marker, "linestyle": self.dashes, "label": label}
        return {**look, "linewidth": 1, "markersize": 3.5, "markeredgecolor": "black", "markeredgewidth": 0.3}

    def points(self, size: float, label: str = "") -> dict[str, Any]:
        """Keywords of axis.scatter; `size` in points, small points are paler."""
        look = {"color": self.colour, "marker": self.marker, "label": label, "edgecolor": "black"}
        return {**look, "s": size**2, "alpha": 1 if size > 4 else 0.7, "linewidth": 0.5 if size > 4 else 0}


# Okabe and Ito's colours, which colour-blind readers can distinguish.
STYLES = (
    Style("#999999", "", "o", "-"),
    Style("#56B4E9", "//", "s", "--"),
    Style("#E69F00", "--", "^", "-."),
    Style("#D55E00", "..", "D", ":"),
    Style("#009E73", "xx", "v", (0, (5, 1, 1, 1, 1, 1))),
    Style("#CC79A7", "\\\\", "P", (0, (7, 2))),
)


def styles(names: list[str]) -> dict[str, Style]:
    """A style for each name by its position: the six, then each colour with hatch, marker and dashes of another style.

    After 36 names the styles repeat.
    """
    by_name, n = {}, len(STYLES)
    for i, name in enumerate(names):
        by_name[name] = STYLES[(i + i // n) % n]._replace(colour=STYLES[i % n].colour)
    return by_name


def new_figure(
    rows: int = 1, columns: int = 1, width: float = COLUMN, height: float = 2.6, sharey: bool = False
) -> "Figure":
    """A figure of rows x columns panels, each `width` x `height` inches, with text of 8 points; `.axes` are the panels.

    It is not one of pyplot's, so that no window opens and it needs no closing.

    Args:
        sharey: the panels share their y axis, with label and numbers at the left.
    """
    from matplotlib import rc_context, rcdefaults
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rcdefaults()  # else a user's matplotlibrc changes figures, or has LaTeX typeset their text
    with rc_context({"font.size": 8}):
        figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
        FigureCanvasAgg(figure)
        for axis in figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat:
            axis.tick_params(which="both", labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
    return figure


def new_panels(count: int, sharey: bool = False) -> "Figure":
    """A figure of `count` panels, at most three in a row; four are two by two."""
    columns = 2 if count == 4 else min(count, 3)
    figure = new_figure(-(-count // columns), columns, sharey=sharey)
    for axis in figure.axes[count:]:
        axis.remove()
    return figure


def finish(figure: "Figure", title: str, ylabel: str = "") -> None:
    """Add the title, the legend below, and one y label for each row of panels."""
    for axis in figure.axes:
        if ylabel and axis.get_subplotspec().is_first_col():
            axis.set_ylabel(ylabel)
    figure.suptitle(title, fontsize=8)
    legend_below(figure, columns=round(3 * figure.get_figwidth() / COLUMN))


def legend_below(figure: "Figure", columns: int = 4) -> None:
    """One legend for all panels, below them, where it covers nothing; at most `columns` names in a row."""
    handles = {label: h for a in figure.axes for h, label in zip(*a.get_legend_handles_labels(), strict=True)}
    if handles:
        # Rows of about equal length: four names are two and two, not three and one.
        columns = -(-len(handles) // -(-len(handles) // columns))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=8
        )


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a figure to `path`, .png or .pdf.

    Raises:
        InputError: the name has another ending, or the file cannot be written.
    """
    from matplotlib import rc_context

    if path.suffix not in FORMATS:
        raise InputError(f"cannot write the figure {path}: its name must end in .png or .pdf")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"pdf.fonttype": 42}):  # TrueType, so that text can be selected
            # Without the date, the same results give the same file.
            figure.savefig(path, dpi=200, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the figure {path}: {error}") from error
