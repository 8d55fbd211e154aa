"""The figures of the results: numbers, order, what is drawn of damaged records, and that each is whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex

from analysis.class_figures import plot_classes, plot_sizes
from analysis.curves import OF_GROUPS, plot_by_group, plot_curves, read_curve
from analysis.figures import COLOURED, looks_of, make_figures, plot_few_vs_full, plot_groups, write_figures
from analysis.rows import Row
from data.groups import summarise, thirds, thresholds
from methods import label_of
from probe.protocols import PROBES
from tests.figure_checks import check_figure
from utils.errors import InputError
from utils.plotting import write_figure

LOOKS = looks_of()
SIZES = [120, 86, 61, 44, 31, 22, 16, 11, 8, 8]


def accuracy(method: int, split: int, rank: int) -> float:
    """Of a made-up class; no two are the same."""
    return 90 - 0.05 * rank - 7.1 * method - 3.3 * split + (rank * 7 + split * 3) % 5


def made(root: Path, methods=2, splits=(1, 2), probes=("linear", "fewShot"), sizes=SIZES, data="digits") -> dict:
    """Rows of make_figures; each split has the classes in another order."""
    rows: dict[str, list[Row]] = {}
    for p, probe in enumerate(probes):
        for m, name in enumerate([label_of(name) for name in COLOURED][-methods:]):
            row = Row(name)
            for n in splits:
                order = np.random.RandomState(n).permutation(len(sizes))
                # Classes of one size: the one with the higher number comes first, as in `thirds`.
                order[-2:] = sorted(order[-2:], reverse=True)
                counts, per_class = [0] * len(sizes), [0.0] * len(sizes)
                for rank, c in enumerate(order):
                    counts[c], per_class[c] = sizes[rank], accuracy(m, n, rank) - 10 * p
                groups = (thirds if data == "digits" else thresholds)(counts)
                row.results[n] = {"per_class": per_class, "class_counts": counts, "groups": groups}
                row.values[n] = summarise(per_class, groups)
                folder = f"checkpoints_{data}"
                row.folders[n] = root / folder / f"{name}{n}", root / f"{folder}_tune" / f"{name}{n}__{probe}"
            rows.setdefault(probe, []).append(row)
    return rows


def record(rows: dict[str, list[Row]]) -> None:
    """metrics.jsonl of all runs: the loss of split n in epoch e is n / e."""
    for found in rows.values():
        for row in found:
            for n, (pretrained, probed) in row.folders.items():
                write(pretrained, *({"epoch": e, "loss": n / e} for e in range(1, 21)))
                write(pretrained, *({"epoch": e, "knn_all": 10 * n + e} for e in (10, 20)))
                write(probed, *({"epoch": e, "loss": 1 / e, "val_top1": 50 + n * e} for e in range(1, 6)))


def write(folder: Path, *lines: dict | str) -> None:
    """Append to the folder's metrics.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)


def panels_of(rows: dict[str, list[Row]]) -> dict:
    return {PROBES[probe]: {row.method: row.mean_and_std() for row in found} for probe, found in rows.items()}


def lines_of(axis) -> dict[str, tuple[list, list]]:
    """Name -> x and y of the lines that the legend knows."""
    handles, names = axis.get_legend_handles_labels()
    lines = [handle if hasattr(handle, "get_data") else handle.lines[0] for handle in handles]
    return {name: tuple(map(list, line.get_data())) for name, line in zip(names, lines, strict=True)}


# ---- all of them


@pytest.mark.slow
def test_all_are_written_and_the_same_again(tmp_path, figures):
    rows = made(tmp_path)
    record(rows)
    paths = write_figures(make_figures(panels_of(rows), rows, "digits"), tmp_path / "new")
    names = ["groups", "classes", "sizes", "curves", "few_vs_full"]
    assert paths == [tmp_path / "new" / f"{name}{suffix}" for name in names for suffix in (".png", ".pdf")]
    assert list(figures) == [path.name for path in paths]
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF")
    for plot, name in ((plot_curves, "curves"), (plot_few_vs_full, "few_vs_full")):
        figure = plot(rows, "digits", LOOKS)
        check_figure(figure)  # as `figures` does, since drawing moves things by parts of a pixel
        for path in (tmp_path / f"{name}.png", tmp_path / f"{name}.pdf"):
            write_figure(figure, path)
            assert path.read_bytes() == (tmp_path / "new" / path.name).read_bytes()
    # SDCLR's colour is its own in all of them, whoever stands beside it.
    for name in ("classes", "sizes", "curves"):
        first = figures[f"{name}.png"].axes[0].get_legend_handles_labels()
        for handle, method in zip(*first, strict=True):
            line = handle if hasattr(handle, "get_color") else handle.lines[0]
            assert to_hex(line.get_color()).upper() == LOOKS[method].colour


@pytest.mark.parametrize(
    ("methods", "splits", "probes", "sizes", "data"),
    [
        (1, [3], ["linear"], SIZES, "digits"),
        (6, [1, 2], ["linear", "fewShot"], [int(450 * 0.954**i) for i in range(100)], "digits"),
        (1, [1], ["linear", "fewShot", "bcl-full"], [500 - i for i in range(10)], "digits"),
        (5, [1], ["linear", "fewShot"], [300] * 20 + [30] * 50 + [5] * 930, "imagenet"),
    ],
    ids=["one of all", "all methods", "sizes within a decade", "narrow groups"],
)
def test_each_is_whole(tmp_path, methods, splits, probes, sizes, data):
    rows = made(tmp_path, methods, splits, probes, sizes, data)
    record(rows)
    for plot in (plot_classes, plot_sizes, plot_curves, plot_few_vs_full):
        figure = plot(rows, "a title", LOOKS)
        assert (figure is None) == (plot is plot_few_vs_full and len(probes) == 1)
        if figure:
            check_figure(figure)


@pytest.mark.slow
def test_what_has_no_data_is_not_written(tmp_path):
    rows = made(tmp_path, 1, [1], ["fewShot"])
    for some, names in ((rows, {"groups", "classes", "sizes"}), ({"linear": []}, {"groups"})):
        paths = write_figures(make_figures(panels_of(rows), some, "digits"), tmp_path / str(len(names)))
        assert {path.stem for path in paths} == names and all(path.is_file() for path in paths)
    for name in ("a.png", "a.pdf"):
        with pytest.raises(InputError, match="must be a folder"):
            write_figures(make_figures(panels_of(rows), rows, "digits"), tmp_path / name)


# ---- classes and their sizes


def test_classes_stand_in_the_order_of_their_size(tmp_path):
    figure = plot_classes(made(tmp_path, splits=(1, 2, 4)), "digits", LOOKS)
    assert [axis.get_title() for axis in figure.axes] == ["sdclr-linear", "sdclr-fewshot"]
    for p, axis in enumerate(figure.axes):
        for m, (x, y) in enumerate(lines_of(axis).values()):
            assert [round(at) for at in x] == list(range(1, 11))
            values = [[accuracy(m, n, rank) - 10 * p for n in (1, 2, 4)] for rank in range(10)]
            assert y == pytest.approx([sum(v) / 3 for v in values])
            bars = axis.containers[m].lines[2][0].get_segments()
            assert [(top - low) / 2 for (_, low), (_, top) in bars] == pytest.approx([np.std(v) for v in values])
        # 4 / 3 / 3 classes.
        assert [(span.get_x(), span.get_width()) for span in axis.patches] == [(0.5, 4), (7.5, 3)]
        assert [text.get_text() for text in axis.texts] == ["Many", "Medium", "Few"]
        assert [text.get_position()[0] for text in axis.texts] == pytest.approx([0.2, 0.55, 0.85])


def test_one_split_has_no_error_bars(tmp_path):
    (axis,) = plot_classes(made(tmp_path, 1, [1], ["linear"]), "digits", LOOKS).axes
    assert axis.containers[0].lines[2] == ()
    assert lines_of(axis)["BCL-D"][0] == list(range(1, 11))


def test_many_classes_are_averaged_within_their_groups(tmp_path):
    """34, 33 and 33 classes in five parts each, the longer ones first."""
    rows = made(tmp_path, 1, [1, 2], ["linear"], [500 - i for i in range(100)])
    (axis,) = plot_classes(rows, "cifar100", LOOKS).axes
    ends = np.cumsum([0, 7, 7, 7, 7, 6, 7, 7, 7, 6, 6, 7, 7, 7, 6, 6])
    parts = [range(a, b) for a, b in zip(ends, ends[1:], strict=False)]
    x, y = lines_of(axis)["BCL-D"]
    assert x == pytest.approx([np.mean([rank + 1 for rank in part]) for part in parts])
    assert y == pytest.approx([np.mean([accuracy(0, n, r) for n in (1, 2) for r in part]) for part in parts])
    assert axis.get_xlabel() == "class, most frequent first; means of about 7 classes"


def test_image_files_are_grouped_by_their_thresholds(tmp_path):
    """101 images are Many, 100 and 20 Medium, 19 Few; a group without a class is not there."""
    for sizes, shades, names in (
        ([400, 101, 100, 20, 19, 5], [(0.5, 2), (4.5, 2)], ["Many", "Medium", "Few"]),
        ([50, 40, 30, 6, 5, 5], [(0.5, 3)], ["Medium", "Few"]),
    ):
        rows = made(tmp_path, 1, [1], ["linear"], sizes, "places")
        (axis,) = plot_classes(rows, "places", LOOKS).axes
        assert [(span.get_x(), span.get_width()) for span in axis.patches] == shades
        assert [text.get_text() for text in axis.texts] == names
        (axis,) = plot_sizes(rows, "places", LOOKS).axes
        assert lines_of(axis)["BCL-D"][1] == pytest.approx([rows["linear"][0].values[1][name] for name in names])


def test_accuracy_against_class_size(tmp_path):
    rows = made(tmp_path)
    for p, axis in enumerate(plot_sizes(rows, "digits", LOOKS).axes):
        assert axis.get_xscale() == "log"
        for m, (x, y) in enumerate(lines_of(axis).values()):
            groups = (range(0, 4), range(4, 7), range(7, 10))
            assert x == pytest.approx([np.mean([SIZES[r] for r in ranks]) for ranks in groups])
            means = [np.mean([accuracy(m, n, r) - 10 * p for n in (1, 2) for r in ranks]) for ranks in groups]
            assert y == pytest.approx(means)
            table = list(rows.values())[p][m].mean_and_std()
            assert y == pytest.approx([table[group][0] for group in ("Many", "Medium", "Few")])
            points = [(SIZES[r], np.mean([accuracy(m, n, r) - 10 * p for n in (1, 2)])) for r in range(10)]
            assert np.asarray(axis.collections[m].get_offsets()) == pytest.approx(np.array(points))


# ---- curves


def test_curves_are_means_over_the_splits(tmp_path):
    rows = made(tmp_path, splits=(1, 2, 5))
    record(rows)
    figure = plot_curves(rows, "digits", LOOKS)
    loss, knn, linear, few = figure.axes
    assert [axis.get_ylabel() for axis in figure.axes[:2]] == ["loss", "kNN accuracy (%)"]
    assert [axis.get_title() for axis in (linear, few)] == ["sdclr-linear", "sdclr-fewshot"]
    epochs = list(range(1, 21))
    for axis, x, at in (
        (loss, epochs, lambda n, e: n / e),
        (knn, [10, 20], lambda n, e: 10 * n + e),
        (linear, epochs[:5], lambda n, e: 50 + n * e),
    ):
        for band, curve in zip(axis.collections, lines_of(axis).values(), strict=True):
            assert curve[0] == x and curve[1] == pytest.approx([sum(at(n, e) for n in (1, 2, 5)) / 3 for e in x])
            corners = band.get_paths()[0].vertices
            for e in x:
                of_epoch = corners[corners[:, 0] == e][:, 1]
                assert (of_epoch.min(), of_epoch.max()) == pytest.approx((at(1, e), at(5, e)))


def test_damaged_records_are_skipped(tmp_path):
    write(tmp_path, "", "[1]", "{", '"epoch"', "[" * 99_999, {"epoch": 1}, {"loss": 9}, {"epoch": "x", "loss": 9})
    write(tmp_path, {"epoch": 9, "loss": float("nan")}, {"epoch": 9, "loss": None}, {"epoch": 9, "loss": 10**400})
    write(tmp_path, {"epoch": 2, "loss": 5}, {"epoch": 1, "loss": 6}, {"epoch": 2, "loss": 3}, '{"epoch": 3, "lo')
    assert read_curve(tmp_path, "loss") == {1: 6, 2: 3}
    assert list(read_curve(tmp_path, "loss")) == [1, 2]
    for name in ("none", "folder"):
        assert read_curve(tmp_path / name, "loss") == {}
        (tmp_path / "folder" / "metrics.jsonl").mkdir(parents=True, exist_ok=True)
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\x00" * 50)
    assert read_curve(tmp_path, "loss") == {}


def test_a_split_without_a_record_is_left_out(tmp_path):
    """And so are a method and a panel without any; where one run is shorter, the others go on."""
    rows = made(tmp_path, 2, (1, 2, 3))
    assert plot_curves(rows, "digits", LOOKS) is None
    folders = rows["linear"][1].folders
    write(folders[1][0], {"epoch": 1, "loss": 4}, {"epoch": 2, "loss": 2})
    write(folders[2][0], {"epoch": 1, "loss": 6})
    write(folders[3][0], "nonsense")
    (axis,) = plot_curves(rows, "digits", LOOKS).axes
    assert lines_of(axis) == {"BCL-D": ([1, 2], [5, 2])}


@pytest.mark.parametrize("key", OF_GROUPS)
def test_what_is_told_of_the_groups(tmp_path, key):
    """A panel a method, a line a group: the mean over the splits, at the epochs that have it."""
    rows = made(tmp_path, 2, (1, 2))
    for m, row in enumerate(rows["linear"]):
        for n, (folder, _) in row.folders.items():
            of_groups = {f"{key}_{group}": 10 * m + n + i for i, group in enumerate(("many", "medium", "few"))}
            write(folder, {"epoch": 1, "loss": 4}, {"epoch": 2, **of_groups}, {"epoch": 4, **of_groups})
    figure = plot_by_group(rows, key, "digits")
    assert figure.axes[0].get_ylabel() == OF_GROUPS[key] and len(figure.axes) == 2
    for m, axis in enumerate(figure.axes):
        assert axis.get_title() == rows["linear"][m].method
        expected = {group: ([2, 4], [10 * m + 1.5 + i] * 2) for i, group in enumerate(("Many", "Medium", "Few"))}
        assert lines_of(axis) == expected
    assert plot_by_group(rows, next(k for k in OF_GROUPS if k != key), "digits") is None


# ---- few-shot against full-shot


def test_few_shot_against_full_shot(tmp_path):
    """Points of the splits that both probes have, and their mean."""
    rows = made(tmp_path, 2, (1, 2, 3))
    for name in ("values", "results", "folders"):
        del getattr(rows["linear"][0], name)[1]
        del getattr(rows["fewShot"][0], name)[3]
    (axis,) = plot_few_vs_full(rows, "digits", LOOKS).axes
    mean, *splits = (np.asarray(c.get_offsets()) for c in axis.collections)
    of_split = [
        [(full := np.mean([accuracy(m, n, rank) for rank in range(10)]), full - 10) for n in common]
        for m, common in enumerate([[2], [1, 2, 3]])
    ]
    assert mean == pytest.approx(np.array(of_split[0]))
    assert splits[0] == pytest.approx(np.array(of_split[1]))
    assert splits[1] == pytest.approx(np.mean(of_split[1], 0, keepdims=True))
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("sdclr-linear accuracy (%)", "sdclr-fewshot accuracy (%)")


@pytest.mark.parametrize(
    ("probes", "pairs"),
    [
        (["linear"], []),
        (["fewShot", "bcl-50shot"], []),
        (["bcl-full", "fewShot"], ["bcl-full sdclr-fewshot"]),
        (["linear", "bcl-full", "bcl-50shot", "fewShot"], ["sdclr-linear sdclr-fewshot", "bcl-full bcl-50shot"]),
    ],
)
def test_the_full_shot_probe_is_of_the_same_paper_where_there_is_one(tmp_path, probes, pairs):
    figure = plot_few_vs_full(made(tmp_path, 1, [1], probes), "digits", LOOKS)
    labels = [(axis.get_xlabel(), axis.get_ylabel()) for axis in figure.axes] if figure else []
    assert labels == [(f"{full} accuracy (%)", f"{few} accuracy (%)") for full, few in map(str.split, pairs)]


@pytest.mark.parametrize(("methods", "columns"), [(8, 2), (9, 1), (14, 1)])
def test_bars_are_wide_enough_however_many_methods_there_are(methods, columns):
    names = list(looks_of(f"another {i}" for i in range(20)))[:methods]
    cells = {
        name: {group: (50.0 + i, 2.0) for group in ("Many", "Medium", "Few", "All")} for i, name in enumerate(names)
    }
    figure = plot_groups({"linear": cells, "few-shot": cells}, "a title", looks_of(names))
    check_figure(figure)
    assert figure.axes[0].get_gridspec().ncols == columns
    figure.canvas.draw()
    narrowest = min(patch.get_window_extent().width for axis in figure.axes for patch in axis.patches)
    assert narrowest > 4 * figure.dpi / 72  # points
