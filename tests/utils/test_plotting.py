"""What all figures have in common, and that the check of figures finds what it is for."""

import pytest

from tests.figure_checks import check_figure
from utils.errors import InputError
from utils.plotting import legend_below, new_figure, styles, write_figure


def whole():
    """A figure that is as it should be."""
    figure = new_figure(1, 2)
    for axis in figure.axes:
        axis.plot([1, 2], [3, 4], label="SimCLR")
        axis.set(xlabel="epoch", ylabel="loss")
    legend_below(figure)
    return figure


def empty(figure):
    figure.axes[1].lines[0].remove()


def unlabelled(figure):
    figure.axes[0].set_xlabel("")


def covered(figure):
    figure.axes[0].legend()


def cut(figure):
    figure.text(0.99, 0.5, "a long word at the edge")


def crowded(figure):
    figure.axes[0].set_xticks([1, 1.01, 1.02], ["a hundred", "a hundred", "a hundred"])


def beyond(figure):
    figure.axes[1].set_xlim(5, 6)


def shaded(figure):
    empty(figure)
    figure.axes[1].axvspan(1, 2)
    figure.axes[1].fill_between([1, 2], [3, 4])


def second_legend(figure):
    axis = figure.axes[0]
    first = axis.legend()
    axis.legend([], []).remove()
    axis.add_artist(first)


def unexplained(figure):
    figure.axes[0].plot([1, 2], [4, 3], label="SDCLR")


def colliding(figure):
    for axis, x in zip(figure.axes, (0.8, 0.2), strict=True):
        axis.set_title("a title that reaches into the panel beside it", fontsize=8, x=x)


def written_over(figure):
    figure.axes[0].text(1, 3, "Many")
    figure.axes[0].text(1, 3, "Few")


FLAWS = {
    empty: "an empty panel", beyond: "an empty panel", shaded: "an empty panel", unlabelled: "without x label",
    covered: "legend covers", second_legend: "legend covers", unexplained: "the legend has", cut: "cut off",
    crowded: "texts overlap", colliding: "texts overlap", written_over: "texts overlap",
}  # fmt: skip


def test_a_whole_figure_passes_and_is_written(tmp_path):
    figure = whole()
    check_figure(figure)
    for name in ("a.png", "b.pdf"):
        write_figure(figure, tmp_path / "new" / name)
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "new" / "b.pdf").read_bytes().startswith(b"%PDF")
    again = tmp_path / "again.pdf"
    write_figure(whole(), again)
    assert again.read_bytes() == (tmp_path / "new" / "b.pdf").read_bytes()


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_found(flaw):
    figure = whole()
    flaw(figure)
    with pytest.raises(AssertionError, match=FLAWS[flaw]):
        check_figure(figure)


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(InputError, match="must end in .png or .pdf"):
        write_figure(whole(), tmp_path / "a.svg")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the figure"):
        write_figure(whole(), tmp_path / "file" / "a.png")


def test_styles_differ_in_everything():
    found = styles(list("abcdef")).values()
    for kind in zip(*found, strict=True):
        assert len(set(map(str, kind))) == 6


def test_more_names_have_styles_of_their_own():
    found = list(styles([str(i) for i in range(37)]).values())
    assert len(set(found[:36])) == 36 and found[36] == found[0]
    assert len({(style.hatch, style.marker) for style in found[:36]}) == 6
