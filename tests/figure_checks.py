"""What every figure must have: labelled axes, nothing empty, a legend that covers nothing, text inside its bounds."""

import numpy as np
import pytest

from utils import plotting


@pytest.fixture
def figures(monkeypatch):
    """Path's name -> figure of all that is written through utils.plotting.write_figure, each checked as it is written.

    Import it into a test module to use it. A module that imported write_figure by name is patched by `watch(module)`.
    """
    found, original = {}, plotting.write_figure

    class Figures(dict):
        def watch(self, *modules):
            for module in modules:
                monkeypatch.setattr(module, "write_figure", keep)

    found = Figures()

    def keep(figure, path):
        check_figure(figure)
        found[path.name] = figure
        original(figure, path)

    monkeypatch.setattr(plotting, "write_figure", keep)
    return found


def check_figure(figure) -> None:
    """Fail unless the figure is whole: see above."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    panels = [a for a in figure.axes if a.axison]
    assert panels or any(a.images for a in figure.axes), "no panel"
    for axis in panels:
        assert axis.get_xlabel() or axis.images, "a panel without x label"
        shared = [a for a in axis.get_shared_y_axes().get_siblings(axis) if a.get_ylabel()]
        assert axis.get_ylabel() or shared or axis.images, "a panel without y label"
        assert _points(axis) or axis.images, f"an empty panel: {axis.get_title()!r}"
    legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
    for legend in legends:
        box = legend.get_window_extent(renderer)
        for axis in panels:
            assert not box.overlaps(axis.get_tightbbox(renderer)), "the legend covers a panel"
    box, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    inside = box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01
    assert inside, f"something is cut off: {box} of {width} x {height} inches"
    for axis in panels:
        _apart(axis.xaxis, renderer)
        _apart(axis.yaxis, renderer)


def _points(axis) -> int:
    """Finite data points of lines, scatters and bars."""
    lines = sum(np.isfinite(np.asarray(line.get_ydata(), float)).sum() for line in axis.lines)
    scatters = sum(np.isfinite(np.ma.filled(c.get_offsets(), np.nan)).all(1).sum() for c in axis.collections)
    bars = sum(np.isfinite(p.get_height()) for p in axis.patches if hasattr(p, "get_height"))
    return int(lines + scatters + bars)


def _apart(axis, renderer) -> None:
    """Fail if the labels of an axis's ticks lie on each other."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_visible()]
    boxes = [tick.label1.get_window_extent(renderer) for tick in ticks if tick.label1.get_text()]
    for a, b in zip(boxes, boxes[1:], strict=False):
        assert not a.padded(-0.5).overlaps(b.padded(-0.5)), f"labels of ticks overlap: {axis.get_label_text()}"
