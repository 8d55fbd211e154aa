"""Checks of every figure: axes are labelled, no panel is empty, the legend is complete, no texts overlap."""

from itertools import combinations

import numpy as np
import pytest

from utils import plotting


@pytest.fixture
def figures(monkeypatch):
    """File name -> figure, of all that utils.plotting.write_figure writes; each is checked first.

    A module that imported write_figure by name is patched by `watch(module)`; analysis.figures already is.
    """
    import analysis.figures

    original = plotting.write_figure

    class Figures(dict):
        def watch(self, *modules):
            for module in modules:
                monkeypatch.setattr(module, "write_figure", keep)

    written = Figures()

    def keep(figure, path):
        if not any(figure is other for other in written.values()):  # once for PNG and PDF
            check_figure(figure)
        written[path.name] = figure
        original(figure, path)

    written.watch(plotting, analysis.figures)
    return written


def check_figure(figure) -> None:
    """Fail unless a figure passes all checks of this file."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    panels = [a for a in figure.axes if a.axison]
    assert panels or any(a.images for a in figure.axes), "no panel"
    for axis in panels:
        assert axis.get_xlabel() or axis.images, "a panel without x label"
        # A shared y label is only on the leftmost panel of a row.
        row = [a for a in axis.get_shared_y_axes().get_siblings(axis) if _row(a) == _row(axis)]
        assert any(a.get_ylabel() for a in row) or axis.get_ylabel() or axis.images, "a panel without y label"
        assert _points(axis) or axis.images, f"an empty panel: {axis.get_title()!r}"
    _check_legends(figure, panels, renderer)
    box, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    inside = box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01
    assert inside, f"something is cut off: {box} of {width} x {height} inches"
    texts = [*figure.texts]
    for axis in panels:
        _apart(_tick_labels(axis.xaxis), renderer)
        _apart(_tick_labels(axis.yaxis), renderer)
        texts += [axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts]
    _apart(texts, renderer)


def _check_legends(figure, panels, renderer) -> None:
    """Fail if a legend covers a panel, lacks one of several series, or has a series that is not drawn."""
    from matplotlib.legend import Legend

    # Including legends added to an axis as further artists.
    legends = [legend for legend in figure.findobj(Legend) if legend.get_visible()]
    for legend in legends:
        box = legend.get_window_extent(renderer)
        for axis in panels:
            assert not box.overlaps(axis.get_tightbbox(renderer)), "the legend covers a panel"
    drawn = {label for axis in panels for label in axis.get_legend_handles_labels()[1]}
    listed = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert len(listed) == len(set(listed)), f"the legend repeats itself: {listed}"
    assert set(listed) == drawn or len(drawn) < 2 and not listed, f"the legend has {listed}, the panels {drawn}"


def _row(axis) -> range | None:
    place = axis.get_subplotspec()
    return place and place.rowspan


def _points(axis) -> int:
    """The number of visible finite points of lines, scatters and bars; filled areas do not count."""
    from matplotlib.collections import PathCollection

    lines = [np.column_stack(np.broadcast_arrays(*line.get_data())) for line in axis.lines if line.get_visible()]
    lines += [np.ma.filled(c.get_offsets(), np.nan) for c in axis.collections if isinstance(c, PathCollection)]
    bars = [bar for bars in axis.containers for bar in bars if hasattr(bar, "get_height") and bar.get_height()]
    lines += [np.array([(bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height()) for bar in bars])]
    (left, right), (low, high) = map(sorted, (axis.get_xlim(), axis.get_ylim()))
    visible = 0
    for x, y in (np.asarray(line, float).reshape(-1, 2).T for line in lines):
        visible += ((left <= x) & (x <= right) & (low <= y) & (y <= high)).sum()
    return int(visible)


def _tick_labels(axis) -> list:
    """The labels of major and minor ticks within the view, in order of position."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [tick.label1 for tick in sorted(ticks, key=lambda t: t.get_loc()) if low <= tick.get_loc() <= high]


def _apart(texts: list, renderer) -> None:
    """Fail if texts overlap."""
    visible = [text for text in texts if text is not None and text.get_visible() and text.get_text().strip()]
    boxes = [text.get_window_extent(renderer).padded(-0.5) for text in visible]
    for (a, box), (b, other_box) in combinations(zip(visible, boxes, strict=True), 2):
        assert not box.overlaps(other_box), f"texts overlap: {a.get_text()!r}, {b.get_text()!r}"
