"""The figure of balanced lists beside long-tailed ones: what it compares, and that it stops nothing else."""

from pathlib import Path

import pytest

from analysis.flags import Wanted
from analysis.sdclr_table import draw, make_tables
from tests.analysis.experiments import (
    COLUMNS,
    SDCLR_SUFFIX,
    accuracies,
    counts_of,
    experiment,
    result,
    row_by_hand,
    write,
)

# Changes to the balanced results beside those of the long-tailed lists -> why there is no figure of both.
UNLIKE = {
    "model": ({"model": "res20_s"}, "results that differ in model"),
    "precision": ({"precision": "fp16"}, "results that differ in precision"),
    "settings": ({}, "several settings of SimCLR"),
    "damage": ({"departs": 7}, "is damaged"),
}
NOTE = "note: no figure of balanced lists beside long-tailed ones: "


def write_both_lists(root: Path, balanced=(1, 2), second: str = "", **changes) -> None:
    """SimCLR on D_i of splits 1 and 2, and on D_b of `balanced`; second: the end of a second name for these."""
    for n in (1, 2):
        _, probed = experiment(root, "digits", n)
        write(probed / "results.json", result(accuracies(10, n), counts_of(10, n), model="res18"))
    for n in balanced:
        _, probed = experiment(root, "digits", n, kind="D_b")
        for folder in {probed, probed.with_name(probed.name + second)}:
            told = {"model": "res18", **changes}
            write(folder / "results.json", result(accuracies(10, n + 7), counts_of(10, n), **told))


def drawn(root: Path, methods: tuple[str, ...] = ("simclr",), **changes) -> dict:
    wanted = {"LT": True, "splits": [1, 2], **changes}
    return draw(make_tables(Wanted(root, "digits", method=list(methods), probe=["linear"], **wanted)))


@pytest.mark.parametrize("key", UNLIKE)
def test_balanced_results_that_do_not_fit_are_in_no_figure(tmp_path, capsys, key):
    changes, why = UNLIKE[key]
    write_both_lists(tmp_path, second="_s2" if key == "settings" else "", **changes)
    found = drawn(tmp_path)
    assert "groups" in found and "balanced" not in found
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(NOTE) and why in line


@pytest.mark.slow
def test_tables_figures_and_report_are_there_without_it(tmp_path, call):
    """Why it is not is said once, and in the report."""
    write_both_lists(tmp_path, second="_s2")
    done = call("exp_analyse.py", "--dataset", "digits", "--LT", "--splits", 1, 2, "--plot", "new", "--report", "page")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.count(NOTE) == 1
    names = {path.stem for path in (tmp_path / "new").iterdir()}
    assert "classes" in names and "balanced" not in names
    assert "no figure of balanced lists" in (tmp_path / "page" / "index.html").read_text()


def test_balanced_results_that_differ_are_in_a_figure_where_it_is_told(tmp_path, capsys):
    write_both_lists(tmp_path, model="res20_s")
    assert "balanced" in drawn(tmp_path, mix=True)
    assert capsys.readouterr().out == "note: balanced beside long-tailed lists: mixed results, model: res18; res20_s\n"


@pytest.mark.parametrize("tailed", [True, False])
def test_both_lists_are_compared_over_the_splits_that_both_have(tmp_path, capsys, tailed):
    """D_i has splits 1 and 2, D_b only 2; SDCLR has no split of both, so its results do not matter."""
    write_both_lists(tmp_path, balanced=(2,))
    for n, kind in ((1, "D_b"), (2, "D_i")):
        _, probed = experiment(tmp_path, "digits", n, suffix=SDCLR_SUFFIX, kind=kind)
        write(probed / "results.json", result(accuracies(10, n), counts_of(10, n), model="res18"))
    found = drawn(tmp_path, ("simclr", "sdclr"), LT=tailed)
    handles, names = found["balanced"].axes[0].get_legend_handles_labels()
    assert names == ["SimCLR, balanced", "SimCLR, long-tailed"] and capsys.readouterr().out == ""
    for bars, seed in zip(handles, (9, 2), strict=True):
        row = row_by_hand(accuracies(10, seed), counts_of(10, 2))
        assert [bar.get_height() for bar in bars] == pytest.approx([row[c] for c in (*COLUMNS[:3], "All")])


def test_methods_without_a_result_of_both_lists_are_in_no_figures_way(tmp_path, capsys):
    """SDCLR was run twice on D_b, and never on D_i."""
    write_both_lists(tmp_path)
    for end in ("", "_s2"):
        _, probed = experiment(tmp_path, "digits", 1, suffix=SDCLR_SUFFIX, kind="D_b")
        write(probed.with_name(probed.name + end) / "results.json", result(accuracies(10, 1), counts_of(10, 1)))
    assert "balanced" in drawn(tmp_path, ("simclr", "sdclr")) and capsys.readouterr().out == ""
