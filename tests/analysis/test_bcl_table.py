"""BCL's table 1 and its figure, from results of made-up experiments with the names that the recipes give."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from analysis.bcl_table import group_means
from analysis.rows import Row
from tests.conftest import PROJECT, one_line_error

METHODS = {"simclr": "SimCLR", "focal": "Focal", "dnc": "DnC", "sdclr": "SDCLR", "bcl-i": "BCL-I", "bcl-d": "BCL-D"}
TITLES = {"cifar100": "CIFAR-100-LT", "imagenet": "ImageNet-LT", "places": "Places-LT"}
GROUPS = ("Many", "Medium", "Few")
COLUMNS = (*GROUPS, "Std")
# METHODS, sections 2 and 9: classes of each group.
SIZES = {"cifar100": (34, 33, 33), "imagenet": (385, 479, 136), "places": (131, 163, 71), "digits": (4, 3, 3)}
SUFFIX = {"simclr": "", "focal": "_focal2", "dnc": "_dncK5", "sdclr": "_pruneP{}DualBN_head2", "bcl-i": "_bclK{}",
          "bcl-d": "_pruneP{}DualBN_head2_bclK2"}  # fmt: skip


def paper() -> dict[tuple[str, str], dict[str, str]]:
    """(data set, method) -> column -> the number as it is printed in BCL's table 1."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    with (PROJECT / "results" / "published_results.csv").open() as file:
        for row in csv.DictReader(file):
            if row["paper_table"] == "BCL-T1":
                assert row["std"] == ""
                found.setdefault((row["dataset"], row["method"]), {})[row["metric"]] = row["mean"]
    return found


def folder(root: Path, data: str, method: str, n: int = 1, probe: str = "bcl-100shot", **changes: str) -> Path:
    """The probe's folder; see tests/recipes/test_bcl_recipes.py, which runs the recipes for it."""
    decay = "1e-4" if method in ("sdclr", "bcl-d") else "5e-4"
    epochs, lr = changes.get("epochs", "2000"), changes.get("lr", "0.5")
    if data in ("cifar100", "digits"):
        pruned, k = (0.9 if data == "cifar100" else 0.5), 1
        model, batch = ("res18", 512) if data == "cifar100" else ("res20_s", 128)
        name = f"{model}_{data}_scheduling_sgd_temp0.2_wd{decay}_lr{lr}_b{batch}_o128_twolayerProj_epoch{epochs}_"
        name += f"{data}_split{n}_{changes.get('kind', 'D_i')}_newNT_s10"
    else:
        pruned, k = 0.1, 2
        split = changes.get("split", "ImageNet_LT_train" if data == "imagenet" else "Places_LT_train")
        name = f"{split}_res50_scheduling_sgd_lr{lr}_temp0.2_epoch{epochs}_batch256"
    name += SUFFIX[method].format(k if method == "bcl-i" else pruned)
    return root / f"checkpoints_{data}_tune" / f"{name}__{probe}"


def write(path: Path, data: str, means: tuple[float, float, float], seed: int = 0, **changes) -> None:
    """results.json whose classes, in disorder, have those means in the three groups."""
    rng, sizes = np.random.RandomState(seed), SIZES[data]
    if data in ("cifar100", "digits"):
        counts = [500 - i for i in range(sum(sizes))]
    else:
        # Around the borders: more than 100 images are Many, 20 to 100 Medium, fewer Few.
        counts = [101 + i % 900 for i in range(sizes[0])] + [20 + i % 81 for i in range(sizes[1])]
        counts += [1 + i % 19 for i in range(sizes[2])]
    accuracies: list[float] = []
    for mean, size in zip(means, sizes, strict=True):
        away = rng.uniform(0, min(mean, 100 - mean), size // 2)
        accuracies += [*(mean + away), *(mean - away), *[mean] * (size % 2)]
    order = rng.permutation(len(counts))
    content = {
        "protocol": path.name.split("__")[1], "departs": {}, "per_class": [accuracies[i] for i in order],
        "class_counts": [counts[i] for i in order], "lists": {"train1": {"path": "a", "sha1": "0", "source": "own"}},
    }  # fmt: skip
    path.mkdir(parents=True, exist_ok=True)
    (path / "results.json").write_text(json.dumps({**content, **changes}))


def read(printed: str) -> dict[str, dict[str, dict[str, str]]]:
    """Name of the row -> data set -> column -> cell; bars and cells stand below those of the two headings."""
    titles, columns, *lines = printed.split("(ddof 1), n splits\n\n")[1].split("\n")
    bars = [i for i, letter in enumerate(columns) if letter == "|"]
    words = [(m.start(), m.group()) for m in re.finditer(r"[^\s|]+", columns)]
    rows: dict[str, dict[str, dict[str, str]]] = {}
    for line in lines:
        if line.startswith("difference "):  # to the published row: tests/analysis/test_table.py
            continue
        if not re.match(r"[A-Z]|untrained", line):
            break
        assert [i for i, letter in enumerate(line) if letter == "|"] == bars
        row = rows.setdefault(line[: bars[0]].strip(), {})
        for bar, end in zip(bars, [*bars[1:], None], strict=True):
            inside = [(start, word) for start, word in words if start > bar and (end is None or start < end)]
            ends = [*(start for start, _ in inside[1:]), end]
            cells = {word: line[start:stop].strip() for (start, word), stop in zip(inside, ends, strict=True)}
            assert titles[bar] == "|" and line[bar + 1 : inside[0][0]].strip() == ""
            row[titles[bar + 1 : end].strip()] = cells
    return rows


def numbers(row: dict[str, str]) -> list[str]:
    return [row[column] for column in COLUMNS]


@pytest.fixture
def table(tmp_path, call):
    """Run exp_analyse.py --paper bcl, which must succeed; returns its rows and all that it printed."""

    def run(*words: object) -> tuple[dict, str]:
        done = call("exp_analyse.py", "--paper", "bcl", *words)
        assert (done.returncode, done.stderr) == (0, "")
        return read(done.stdout), done.stdout

    return run


def write_paper(root: Path) -> None:
    """An experiment of each of our methods with the paper's group means, and of five splits of CIFAR-100."""
    for (title, name), row in paper().items():
        (data,) = [d for d, t in TITLES.items() if t == title]
        for method in [m for m, label in METHODS.items() if label == name]:
            for n in range(1, 6) if data == "cifar100" else (1,):
                means = tuple(float(row[group]) for group in GROUPS)
                write(folder(root, data, method, n), data, means, n)


# ---- the numbers


def test_the_paper_has_eighteen_rows():
    rows = paper()
    assert {data for data, _ in rows} == set(TITLES.values())
    assert {name for _, name in rows} == {*METHODS.values()} and len(rows) == 18
    assert all(row.keys() == set(COLUMNS) for row in rows.values())


def check_std(row: dict[str, str], published: dict[str, str]) -> None:
    """METHODS, section 0, item 3: within 0.01 by ddof 1, and not by ddof 0."""
    assert [row[group] for group in GROUPS] == [published[group] for group in GROUPS]
    assert float(row["Std"]) == pytest.approx(float(published["Std"]), abs=0.0101)
    other = float(np.std([float(published[group]) for group in GROUPS]))
    assert other != pytest.approx(float(published["Std"]), abs=0.0101)
    assert f"{other:.2f}" != row["Std"]


def test_the_papers_std_comes_out_of_its_group_means(tmp_path, table):
    """Of all methods and data sets, through results of experiments."""
    write_paper(tmp_path)
    rows, printed = table()
    for data, title in TITLES.items():
        for name in METHODS.values():
            check_std(rows[name][title], paper()[title, name])
            assert rows[name][title]["n"] == ("5" if data == "cifar100" else "1")
            assert numbers(rows[f"{name} (published)"][title]) == numbers(paper()[title, name])
            assert rows[f"{name} (published)"][title]["n"] == ""
    assert "missing" not in printed
    assert printed.count("note: ") == 3 and "note: places: lists: own" in printed


def test_sixteen_of_the_papers_cells_come_out_exactly():
    exact = 0
    for row in paper().values():
        values = {1: {"Std": 0.0, "All": 0.0, **{group: float(row[group]) for group in GROUPS}}}
        exact += f"{group_means(Row('', values))['Std'][0]:.2f}" == row["Std"]
    assert exact == 16


def test_rows_are_methods_and_columns_the_groups_of_each_data_set(tmp_path, table):
    write_paper(tmp_path)
    rows, printed = table()
    pairs = [(name, f"{name} (published)") for name in METHODS.values()]
    assert list(rows) == [name for pair in pairs for name in pair]
    for row in rows.values():
        assert list(row) == list(TITLES.values())
        assert all(list(cells) == ["n", *COLUMNS] for cells in row.values())
    for title in TITLES.values():
        assert numbers(rows["DnC (published)"][title]) == numbers(paper()[title, "DnC"])
    assert len(re.findall("BCL's table 1, bcl-100shot", printed)) == 1
    assert all(line == line.rstrip() for line in printed.splitlines())


def test_splits_are_averaged_before_the_std(tmp_path, table):
    """Each split has a large spread; their mean has none."""
    turned = [(60.0, 50.0, 40.0), (40.0, 60.0, 50.0), (50.0, 40.0, 60.0), (55.0, 50.0, 45.0), (45.0, 50.0, 55.0)]
    for n, means in enumerate(turned, 1):
        write(folder(tmp_path, "cifar100", "bcl-d", n), "cifar100", means, n)
    rows, _ = table("--dataset", "cifar100")
    assert rows["BCL-D"]["CIFAR-100-LT"] == {"n": "5", "Many": "50.00", "Medium": "50.00", "Few": "50.00",
                                            "Std": "0.00"}  # fmt: skip
    some, _ = table("--dataset", "cifar100", "--splits", 1, 4)
    assert numbers(some["BCL-D"]["CIFAR-100-LT"]) == ["57.50", "50.00", "42.50", "7.50"]


def test_the_std_is_of_the_means_as_they_are_printed(tmp_path, table):
    """50.004, 50.006, 50.004 are printed as 50.00, 50.01, 50.00, whose deviation is 0.006 and not 0.001."""
    write(folder(tmp_path, "places", "simclr"), "places", (50.004, 50.006, 50.004))
    rows, _ = table("--dataset", "places")
    assert numbers(rows["SimCLR"]["Places-LT"]) == ["50.00", "50.01", "50.00", "0.01"]


def test_classes_are_grouped_by_their_images(tmp_path, table):
    """Borders of image files: 100 and 20 images are Medium, 101 Many, 19 Few."""
    counts = [101] * 131 + [100] * 100 + [20] * 63 + [19] * 71
    accuracies = [90] * 131 + [60] * 163 + [30] * 71
    write(folder(tmp_path, "places", "bcl-i"), "places", (0, 0, 0), class_counts=counts, per_class=accuracies)
    rows, _ = table("--dataset", "places")
    assert numbers(rows["BCL-I"]["Places-LT"]) == ["90.00", "60.00", "30.00", "30.00"]


def test_a_group_without_a_class_has_no_number_and_no_std(tmp_path, table):
    counts, accuracies = [50] * 300 + [5] * 65, [60] * 300 + [30] * 65
    write(folder(tmp_path, "places", "bcl-i"), "places", (0, 0, 0), class_counts=counts, per_class=accuracies)
    rows, _ = table("--dataset", "places")
    assert numbers(rows["BCL-I"]["Places-LT"]) == ["-", "60.00", "30.00", "-"]


# ---- what is there, and what is not


def test_missing_data_sets_and_splits_are_said(tmp_path, table):
    for n in (1, 3):
        write(folder(tmp_path, "cifar100", "simclr", n), "cifar100", (50, 40, 30), n)
    write(folder(tmp_path, "places", "bcl-i"), "places", (30, 35, 40))
    rows, printed = table()
    assert rows["SimCLR"]["CIFAR-100-LT"] == {"n": "2", "Many": "50.00", "Medium": "40.00", "Few": "30.00",
                                             "Std": "10.00"}  # fmt: skip
    assert rows["BCL-I"]["Places-LT"]["n"] == "1"
    for name, title in (("SimCLR", "Places-LT"), ("BCL-I", "CIFAR-100-LT"), ("BCL-D", "ImageNet-LT")):
        assert rows[name][title] == {"n": "0", **dict.fromkeys(COLUMNS, "-")}
    missing = [line for line in printed.splitlines() if line.startswith("missing: ")]
    assert [line for line in missing if "imagenet" in line] == [
        "missing: imagenet: no result below checkpoints_imagenet_tune"
    ]
    of_simclr = [line for line in missing if line.startswith("missing: cifar100, SimCLR")]
    assert [re.search(r"split (\d):", line)[1] for line in of_simclr] == ["2", "4", "5"]
    of_places = [line.split(", ")[1].split(":")[0] for line in missing if line.startswith("missing: places, ")]
    assert of_places == ["SimCLR", "Focal", "DnC", "SDCLR", "BCL-D"]
    # The numbers of the paper are there all the same.
    assert numbers(rows["BCL-D (published)"]["ImageNet-LT"]) == numbers(paper()["ImageNet-LT", "BCL-D"])


def test_a_probe_without_a_result_yet_is_missing(tmp_path, table):
    write(folder(tmp_path, "digits", "focal"), "digits", (50, 40, 30))
    folder(tmp_path, "digits", "focal", 2).mkdir(parents=True)
    rows, printed = table("--dataset", "digits", "--splits", 1, 2)
    assert rows["Focal"]["digits"]["n"] == "1"
    assert re.search("^missing: digits, Focal, split 2: no result in .*split2_D_i", printed, re.M)


def test_one_data_set_alone(tmp_path, table):
    """Digits have no published numbers; BCL's data sets do."""
    write_paper(tmp_path)
    write(folder(tmp_path, "digits", "bcl-i"), "digits", (80, 70, 60))
    rows, printed = table("--dataset", "digits")
    assert list(rows) == list(METHODS.values())
    assert all(list(row) == ["digits"] for row in rows.values())
    assert numbers(rows["BCL-I"]["digits"]) == ["80.00", "70.00", "60.00", "10.00"]
    assert "published" not in printed and "imagenet" not in printed
    alone, _ = table("--dataset", "places")
    assert all(list(row) == ["Places-LT"] for row in alone.values())
    assert numbers(alone["DnC (published)"]["Places-LT"]) == ["28.20", "28.07", "28.46", "0.20"]


def test_methods_that_are_asked_for(tmp_path, table):
    write_paper(tmp_path)
    write(folder(tmp_path, "cifar100", "simclr", epochs="0"), "cifar100", (12, 11, 10))
    rows, _ = table("--method", "bcl-d", "untrained", "simclr", "--splits", 1)
    assert list(rows) == ["BCL-D", "BCL-D (published)", "untrained", "SimCLR", "SimCLR (published)"]
    assert numbers(rows["untrained"]["CIFAR-100-LT"]) == ["12.00", "11.00", "10.00", "1.00"]


def test_other_probes_have_no_published_numbers(tmp_path, table, call):
    """The paper's table is of the 100-shot probe."""
    for probe, means in (("bcl-full", (80, 70, 60)), ("bcl-100shot", (50, 40, 30)), ("bcl-50shot", (40, 30, 26))):
        write(folder(tmp_path, "cifar100", "bcl-i", probe=probe), "cifar100", means)
    rows, printed = table("--probe", "bcl-50shot", "--dataset", "cifar100")
    assert numbers(rows["BCL-I"]["CIFAR-100-LT"]) == ["40.00", "30.00", "26.00", "7.21"]
    assert "published" not in printed
    done = call("exp_analyse.py", "--paper", "bcl", "--probe", "bcl-full", "bcl-100shot", "--dataset", "cifar100")
    full, few = done.stdout.split("BCL's table 1, bcl-100shot")
    assert re.search(r"^BCL-I[ |]+1 +80.00 +70.00 +60.00 +10.00$", full, re.M) and "published" not in full
    assert re.search(r"^BCL-I[ |]+1 +50.00 +40.00 +30.00 +10.00$", few, re.M) and "DnC (published)" in few


def test_only_bcls_own_experiments_are_in_its_table(tmp_path, table):
    """Balanced lists, SDCLR's list of ImageNet, and other probes have no part in it."""
    write(folder(tmp_path, "cifar100", "simclr", kind="D_b"), "cifar100", (1, 1, 1))
    write(folder(tmp_path, "imagenet", "simclr", split="imageNet_LT_exp_train"), "imagenet", (2, 2, 2))
    write(folder(tmp_path, "imagenet", "simclr", split="ImageNet_BL_train"), "imagenet", (2, 2, 2))
    write(folder(tmp_path, "places", "simclr", split="Places_BL_train"), "places", (3, 3, 3))
    write(folder(tmp_path, "places", "simclr", probe="bcl-50shot"), "places", (3, 3, 3))
    write(folder(tmp_path, "places", "simclr", split="Places_LT_train_mine"), "places", (3, 3, 3))
    rows, printed = table()
    for name in METHODS.values():
        assert all(cells == {"n": "0", **dict.fromkeys(COLUMNS, "-")} for cells in rows[name].values())
    for data in TITLES:
        assert f"missing: {data}: no result below checkpoints_{data}_tune" in printed


def test_a_result_of_another_probe_is_refused(tmp_path, call):
    for protocol in ("bcl-50shot", "bcl-full", "sdclr-fewshot", "custom"):
        write(folder(tmp_path, "places", "focal"), "places", (40, 30, 20), protocol=protocol)
        one_line_error(call("exp_analyse.py", "--paper", "bcl"), f"of protocol {protocol}, not bcl-100shot")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"per_class": []}'], ids=["half", "another thing", "without the numbers"]
)
def test_a_damaged_result_is_one_line(tmp_path, call, content):
    write(folder(tmp_path, "cifar100", "focal", 4), "cifar100", (40, 30, 20))
    file = folder(tmp_path, "cifar100", "focal", 4) / "results.json"
    file.write_text(content)
    one_line_error(call("exp_analyse.py", "--paper", "bcl"), file.name)


def test_several_settings_are_chosen_by_contains(tmp_path, table, call):
    write(folder(tmp_path, "cifar100", "bcl-d"), "cifar100", (50, 40, 30))
    write(folder(tmp_path, "cifar100", "bcl-d", lr="1.0"), "cifar100", (60, 50, 20))
    write(folder(tmp_path, "places", "bcl-d"), "places", (30, 20, 10))
    done = call("exp_analyse.py", "--paper", "bcl")
    one_line_error(done, "several settings of BCL-D", "lr0.5", "lr1.0", "--contains")
    rows, _ = table("--contains", "_lr0.5_")
    assert rows["BCL-D"]["CIFAR-100-LT"]["Many"] == "50.00" and rows["BCL-D"]["Places-LT"]["n"] == "1"
    rows, printed = table("--contains", "_lr1.0_")
    assert rows["BCL-D"]["CIFAR-100-LT"]["Many"] == "60.00" and rows["BCL-D"]["Places-LT"]["n"] == "0"
    assert "missing: places: no result" in printed
    write(folder(tmp_path, "cifar100", "focal", epochs="10"), "cifar100", (9, 8, 7))
    rows, _ = table("--contains", "_lr0.5_", "--epochs", 2000)
    assert rows["BCL-D"]["CIFAR-100-LT"]["n"] == "1" and rows["Focal"]["CIFAR-100-LT"]["n"] == "0"


def test_published_rows_alone(tmp_path, table, call):
    """In an empty folder, where nothing is made."""
    rows, printed = table()
    assert {name for name in rows if name.endswith("(published)")} == {f"{m} (published)" for m in METHODS.values()}
    for (title, name), numbers_ in paper().items():
        assert numbers(rows[f"{name} (published)"][title]) == numbers(numbers_)
    assert [line for line in printed.splitlines() if line.startswith("missing: ")] == [
        f"missing: {data}: no result below checkpoints_{data}_tune" for data in TITLES
    ]
    done = call("exp_analyse.py", "--paper", "bcl", "--dataset", "places", "--plot", "figures")
    assert (done.returncode, done.stderr) == (0, "") and "figure:" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_nothing_at_all_is_one_line(tmp_path, call):
    for words in (["--dataset", "digits"], ["--probe", "bcl-full"], ["--dataset", "imagenet100"],
                  ["--dataset", "digits", "--plot", "figure.png"]):  # fmt: skip
        done = call("exp_analyse.py", "--paper", "bcl", *words)
        one_line_error(done, "no result", str(tmp_path))
        assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--prune", "--fewShot"])
def test_flags_of_the_other_papers_tables_are_refused(tmp_path, call, flag):
    write_paper(tmp_path)
    for words in ([flag], [flag, "True"], ["--dataset", "places", flag]):
        done = call("exp_analyse.py", "--paper", "bcl", *words)
        one_line_error(done, flag)
        assert done.stdout == ""
    one_line_error(call("exp_analyse.py", "--paper", "mine"), "--paper")


@pytest.mark.parametrize("order", [("bcl-full", "bcl-100shot"), ("bcl-100shot", "bcl-full")])
def test_a_probe_without_a_result_does_not_hide_the_others(tmp_path, call, order):
    """SDCLR's tables print what there is, and end only where there is nothing at all."""
    write(folder(tmp_path, "digits", "bcl-i"), "digits", (80, 70, 60))
    done = call("exp_analyse.py", "--paper", "bcl", "--dataset", "digits", "--probe", *order)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^BCL-I[ |]+1 +80.00 +70.00 +60.00 +10.00$", done.stdout, re.M)


# ---- the figure


def check_panels(figures, folder: Path, panels: dict[str, list[str]]) -> None:
    """Its panels, title -> methods, each in its colour; what is true of every figure, the fixture has checked."""
    figure = figures["groups.png"]
    with Image.open(folder / "groups.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 300
    assert [axis.get_title() for axis in figure.axes] == list(panels)
    (legend,) = figure.legends
    everyone = list(dict.fromkeys(name for names in panels.values() for name in names))
    assert [text.get_text() for text in legend.get_texts()] == everyone
    looks = {}
    for axis, names in zip(figure.axes, panels.values(), strict=True):
        assert [text.get_text() for text in axis.get_xticklabels()] == list(GROUPS)
        assert [bars.get_label() for bars in axis.containers] == names and names
        for bars in axis.containers:
            looks.setdefault(bars.get_label(), set()).update((to_hex(b.get_facecolor()), b.get_hatch()) for b in bars)
    assert all(len(found) == 1 for found in looks.values())
    assert len(set.union(*looks.values())) == len(everyone)


def heights(figures, panel: int) -> dict[str, list[float]]:
    return {
        bars.get_label(): [bar.get_height() for bar in bars] for bars in figures["groups.png"].axes[panel].containers
    }


@pytest.mark.slow
def test_the_figure_has_a_panel_for_each_data_set(tmp_path, call, figures):
    write_paper(tmp_path)
    done = call("exp_analyse.py", "--paper", "bcl", "--plot", tmp_path / "new")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(figures) == ["groups.png", "groups.pdf"]
    everyone = list(METHODS.values())
    check_panels(figures, tmp_path / "new", {f"{t}, bcl-100shot": everyone for t in TITLES.values()})
    for panel, title in enumerate(TITLES.values()):
        for name, bars in heights(figures, panel).items():
            assert bars == pytest.approx([float(paper()[title, name][group]) for group in GROUPS])


def test_methods_of_the_second_panel_alone_are_in_the_legend(tmp_path, call, figures):
    """And a data set without a result has no panel."""
    write(folder(tmp_path, "cifar100", "focal"), "cifar100", (50, 40, 30))
    write(folder(tmp_path, "places", "simclr"), "places", (30, 35, 40))
    write(folder(tmp_path, "places", "bcl-d"), "places", (31, 36, 41))
    call("exp_analyse.py", "--paper", "bcl", "--plot", tmp_path / "new")
    panels = {"CIFAR-100-LT, bcl-100shot": ["Focal"], "Places-LT, bcl-100shot": ["SimCLR", "BCL-D"]}
    check_panels(figures, tmp_path / "new", panels)
    assert heights(figures, 1) == {"SimCLR": [30, 35, 40], "BCL-D": [31, 36, 41]}


def test_one_panel_holds_all_methods_and_their_legend(tmp_path, call, figures):
    for method in METHODS:
        write(folder(tmp_path, "digits", method), "digits", (80, 70, 60))
    write(folder(tmp_path, "digits", "simclr", epochs="0"), "digits", (30, 20, 10))
    words = ["--dataset", "digits", "--method", "untrained", *METHODS, "--plot", "new"]
    assert call("exp_analyse.py", "--paper", "bcl", *words).returncode == 0
    check_panels(figures, tmp_path / "new", {"digits, bcl-100shot": ["untrained", *METHODS.values()]})


def test_probes_have_panels_of_their_own(tmp_path, call, figures):
    for probe, method in (("bcl-full", "bcl-i"), ("bcl-100shot", "focal")):
        write(folder(tmp_path, "digits", method, probe=probe), "digits", (80, 70, 60))
    words = ["--dataset", "digits", "--probe", "bcl-100shot", "bcl-full", "--plot", "new"]
    assert call("exp_analyse.py", "--paper", "bcl", *words).returncode == 0
    panels = {"digits, bcl-100shot": ["Focal"], "digits, bcl-full": ["BCL-I"]}
    check_panels(figures, tmp_path / "new", panels)


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path, call):
    write(folder(tmp_path, "digits", "bcl-i"), "digits", (80, 70, 60))
    (tmp_path / "file").write_text("")
    for plot in ("a.png", "file"):
        done = call("exp_analyse.py", "--paper", "bcl", "--dataset", "digits", "--plot", plot)
        one_line_error(done, plot)


@pytest.mark.slow
def test_sdclrs_figure_has_no_empty_panel_either(tmp_path, call, figures):
    name = "res20_s_digits_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b128_o128_twolayerProj_epoch100_digits_split1_D_i_newNT"
    path = tmp_path / "checkpoints_digits_tune" / f"{name}_s10__f2layer4_d10d20_wd0_lr30_freezeBN"
    write(path, "digits", (80, 70, 60), protocol="sdclr-linear")
    words = ["--dataset", "digits", "--LT", "--probe", "linear", "fewShot", "--plot", "new"]
    assert call("exp_analyse.py", *words).returncode == 0
    assert all(axis.containers for axis in figures["groups.png"].axes)
