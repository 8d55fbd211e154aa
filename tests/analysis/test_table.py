"""exp_analyse.py's paired differences, files, lines of splits, and what it refuses to put into one table."""

import csv
import itertools
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.bcl_table import group_means
from analysis.paired import compare
from analysis.read import check_alike, read_result
from analysis.rows import Row
from analysis.write import escaped
from data.groups import summarise, thirds
from tests.conftest import PROJECT, one_line_error
from utils.errors import InputError

COLUMNS = ("Many", "Medium", "Few", "Std", "All")
GROUPS = COLUMNS[:3]
COUNTS = [120, 86, 61, 44, 31, 22, 16, 11, 8, 6]
SUFFIX = {"simclr": "", "sdclr": "_pruneP0.5DualBN", "focal": "_focal2"}
LABEL = {"simclr": "SimCLR", "sdclr": "SDCLR", "focal": "Focal"}
quick = settings(database=None, deadline=None, max_examples=30)
numbers = st.lists(st.floats(0, 100).map(lambda x: round(x, 2)), min_size=2, max_size=6)


# ---- statistics


@quick
@given(ours=numbers, seed=st.integers(0, 2**31))
def test_the_t_test_is_scipys(ours, seed):
    theirs = np.random.default_rng(seed).uniform(0, 100, len(ours)).round(2).tolist()
    gaps = np.subtract(ours, theirs)
    found = compare(ours, theirs)
    assert found.n == len(ours) and found.difference == pytest.approx(gaps.mean(), abs=1e-9)
    if np.ptp(gaps) > 1e-9:
        expected = scipy.stats.ttest_rel(ours, theirs)
        assert found.p == pytest.approx(expected.pvalue)
        # The interval by its formula: mean ± t(0.975, n - 1) times the standard error.
        half = scipy.stats.t.ppf(0.975, len(ours) - 1) * scipy.stats.sem(gaps)
        assert (found.low, found.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half))
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_a_t_test_by_hand():
    """Gaps 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(2) = 3.4641; p from the closed form of two degrees."""
    found = compare([11.0, 22.0, 33.0], [10.0, 20.0, 30.0])
    t = 2 * 3**0.5
    assert found.p == pytest.approx(1 - t / (t * t + 2) ** 0.5)
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-5)


@quick
@given(ours=numbers, seed=st.integers(0, 2**31))
def test_the_sign_flip_test_is_the_count_of_all_flips(ours, seed):
    theirs = np.random.default_rng(seed).uniform(0, 100, len(ours)).round(2).tolist()
    gaps = np.round(np.subtract(ours, theirs), 9)
    means = [float(np.mean(gaps * signs)) for signs in itertools.product([1, -1], repeat=len(gaps))]
    expected = np.mean([abs(mean) >= abs(gaps.mean()) - 1e-9 for mean in means])
    found = compare(ours, theirs, "bootstrap")
    assert found.p == pytest.approx(expected)
    assert found.p >= 2 / 2 ** len(gaps) - 1e-12
    assert gaps.min() - 1e-9 <= found.low <= found.high <= gaps.max() + 1e-9


def test_the_bootstrap_interval_is_that_of_all_resamples():
    """3,125 ways to draw five of five; the interval of 9,999 draws comes near."""
    ours, theirs = [50.0, 52.5, 47.0, 51.0, 58.5], [49.0, 50.0, 48.5, 47.0, 50.5]
    gaps = np.subtract(ours, theirs)
    means = [np.mean(drawn) for drawn in itertools.product(gaps, repeat=5)]
    found = compare(ours, theirs, "bootstrap")
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.3)
    assert found == compare(ours, theirs, "bootstrap") != compare(ours, theirs, "bootstrap", seed=1)
    assert found.p == compare(ours, theirs, "bootstrap", seed=1).p


@pytest.mark.parametrize("test", ["t", "bootstrap"])
def test_too_few_pairs_and_equal_differences(test):
    """No number that is none, and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (0, 1):
            found = compare([50.0] * n, [40.0] * n, test)
            assert found[:5] == (n, None, None, None, None) and "needs 2 splits" in found.why
        for gap in (0.0, 0.1, -7.3):
            theirs = [40.1, 50.2, 63.3, 70.7, 1.9]
            found = compare([x + gap for x in theirs], theirs, test)
            assert found.difference == pytest.approx(gap)
            if test == "t":
                assert found.low is found.high is found.p is None and "all differences are equal" in found.why
            else:
                assert (found.low, found.high) == pytest.approx((gap, gap))
                assert found.p == pytest.approx(1 if gap == 0 else 2 / 32)


# ---- the papers' numbers


def paper_rows() -> dict[tuple[str, str, str], dict[str, float]]:
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    with (PROJECT / "results" / "published_results.csv").open() as file:
        for r in csv.DictReader(file):
            found.setdefault((r["paper_table"], r["dataset"], r["method"]), {})[r["metric"]] = float(r["mean"])
    return found


PAPER = paper_rows()
SIZES = {"CIFAR10-LT": (4, 3, 3), "CIFAR100-LT": (34, 33, 33), "ImageNet-100-LT": (39, 48, 13)}


@pytest.mark.parametrize("key", [key for key in PAPER if key[0].startswith("SDCLR")], ids="-".join)
def test_sdclrs_published_means_through_the_aggregation(key):
    """All of every row; Std of ImageNet-100, whose one split's Std is the row's (ddof 0)."""
    means, per_class, groups = PAPER[key], [], {}
    for name, size in zip(GROUPS, SIZES[key[1]], strict=True):
        groups[name] = list(range(len(per_class), len(per_class) + size))
        per_class += [means[name]] * size
    row = Row("SimCLR", values={1: summarise(per_class, groups)})
    found = row.mean_and_std()
    assert found["All"] == (pytest.approx(means["All"], abs=0.0101), None)
    if key[1] == "ImageNet-100-LT":
        assert found["Std"][0] == pytest.approx(means["Std"], abs=0.0101)


@pytest.mark.parametrize("key", [key for key in PAPER if key[0] == "BCL-T1"], ids="-".join)
def test_bcls_published_means_through_the_aggregation(key):
    means = PAPER[key]
    row = Row("BCL-I", values={1: {**{name: means[name] for name in GROUPS}, "Std": 0.0, "All": 0.0}})
    assert group_means(row)["Std"][0] == pytest.approx(means["Std"], abs=0.0101)


# ---- results of made-up experiments


def probe_of(root: Path, method: str, n: int, data: str = "digits", probe: str = "linear") -> Path:
    split = f"{'' if data == 'cifar10' else data + '_'}split{n}"
    tail = "f2layer4_x" if probe == "linear" else f"{split}_S_b_f2layer4_x"
    folder = f"checkpoints{'' if data == 'cifar10' else '_' + data}_tune"
    return root / folder / f"m_epoch100_{split}_D_i_newNT_s10{SUFFIX[method]}__{tail}"


def write(root: Path, method: str, n: int, data: str = "digits", per_class=None, **changes) -> Path:
    """results.json of a probe on a split, as the linear probe writes it; returns its path."""
    shift = 7 if method == "sdclr" else 0
    accuracies = np.random.RandomState(10 * n + shift).uniform(20, 90, 10).round(2).tolist()
    content = {
        "protocol": "sdclr-linear", "protocol_version": 1, "departs": {}, "dataset": data, "model": "res20_s",
        "per_class": per_class or accuracies, "class_counts": COUNTS, "top1": 55.5 + n, "top5": 97.25,
        "lists": {"train": {"path": "a", "sha1": "0", "source": "generated"}, "group": None}, "precision": "bf16",
    }  # fmt: skip
    path = probe_of(root, method, n, data) / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, **changes}))
    return path


def write_log(root: Path, method: str, n: int, text: str = "", data: str = "cifar10") -> Path:
    """A probe's log in the authors' format, and the pre-training's, which tells the class sizes."""
    probed = probe_of(root, method, n, data)
    pretrained = probed.parents[1] / probed.parent.name.removesuffix("_tune") / probed.name.split("__")[0]
    for folder in (probed, pretrained):
        folder.mkdir(parents=True, exist_ok=True)
    (pretrained / "log.txt").write_text(f"class distribution in training set is {COUNTS}\n")
    lines = "Epoch: 3 Each class acc is 1 1 1\nEach class acc is " + "50.00 " * 10
    (probed / "log.txt").write_text(f"{text}\n{lines}\nOn the best_model, test tacc is 51.25\n")
    return probed / "log.txt"


def values_of(path: Path) -> dict[str, float]:
    return summarise(json.loads(path.read_text())["per_class"], thirds(COUNTS))


@pytest.fixture
def tables(tmp_path, call):
    """Run exp_analyse.py, which must succeed; returns what it printed."""

    def run(*words: object, data: str = "digits") -> str:
        done = call("exp_analyse.py", "--dataset", data, "--LT", *words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


BOTH = ("--method", "simclr", "sdclr")


@pytest.mark.parametrize("test", ["t", "bootstrap"])
def test_the_difference_to_the_baseline_is_printed(tmp_path, tables, test):
    """Over the splits that both have: the fourth is SimCLR's alone."""
    simclr = [values_of(write(tmp_path, "simclr", n)) for n in (1, 2, 3, 4)][:3]
    sdclr = [values_of(write(tmp_path, "sdclr", n)) for n in (1, 2, 3)]
    printed = tables(*BOTH, "--test", test)
    (line,) = re.findall(r"^  SDCLR +3 +(\S.*)$", printed, re.M)
    cells = re.split(" {2,}", line)
    for cell, column in zip(cells, COLUMNS, strict=True):
        ours, theirs = [row[column] for row in sdclr], [row[column] for row in simclr]
        low, high = compare(ours, theirs, test)[2:4]
        p = scipy.stats.ttest_rel(ours, theirs).pvalue if test == "t" else compare(ours, theirs, test).p
        assert cell == f"{np.mean(ours) - np.mean(theirs):+.2f} [{low:.2f}, {high:.2f}] p {p:.3f}"
    assert "difference to SimCLR, paired over splits" in printed
    other = tables(*BOTH, "--baseline", "sdclr")
    assert "difference to SDCLR" in other and re.search(r"^  SimCLR +3 ", other, re.M)


def test_the_baseline_is_the_first_with_results_or_the_one_that_is_named(tmp_path, tables, call):
    for n in (1, 2):
        write(tmp_path, "sdclr", n)
        write(tmp_path, "focal", n)
    printed = tables("--method", "simclr", "sdclr", "focal")
    assert "difference to SDCLR" in printed and re.search(r"^  SimCLR +0 +- +- +- +- +-$", printed, re.M)
    assert "no test: SimCLR beside SDCLR: a test needs 2 splits in common, there is none" in printed
    assert re.search(r"^SimCLR +0 +- +- +- +- +-$", printed, re.M) and "missing: SimCLR, split 1" in printed
    assert "no test: SDCLR" not in tables("--prune")
    for words in (["--prune"], ["--method", "sdclr", "focal"]):
        done = call("exp_analyse.py", "--dataset", "digits", "--LT", *words, "--baseline", "simclr")
        one_line_error(done, "the baseline simclr")
    one_line_error(call("exp_analyse.py", "--test", "u"), "--test")


def test_equal_results_have_no_p(tmp_path, tables):
    for n in (1, 2, 3):
        for method in ("simclr", "sdclr"):
            write(tmp_path, method, n, per_class=[50.0 + n] * 10)
    printed = tables(*BOTH)
    assert re.search(r"^  SDCLR +3( +\+0\.00){5}$", printed, re.M)
    assert "no test: SDCLR beside SimCLR: all differences are equal" in printed and "nan" not in printed.lower()


def test_a_line_for_each_split(tmp_path, tables):
    path = write(tmp_path, "simclr", 1)
    write(tmp_path, "simclr", 2, top1=None, top5=None)
    assert "split 1 " not in tables()
    printed = tables("--splits", 1, 2, 3)
    expected = [f"{values_of(path)[c]:.2f}" for c in COLUMNS]
    lines = {n: re.search(rf"^  SimCLR, split {n} +(.*)$", printed, re.M)[1].split() for n in (1, 2, 3)}
    assert lines[1] == [*expected, "56.50", "97.25"]
    assert lines[2][-2:] == ["-", "-"] and lines[3] == ["missing"] * 7
    assert re.search(r"^ +Many +Medium +Few +Std +All +Top-1 +Top-5$", printed, re.M)


def test_what_logs_tell_of_top_1_and_top_5(tmp_path):
    found = read_result(write_log(tmp_path, "simclr", 1).parent, "sdclr-linear", 10)
    assert (found["top1"], found["top5"]) == (51.25, None)
    lines = [
        "On the best_model, test top5 tacc is 12.0",
        "acc per class is 0.5 0.25",
        "test: Accuracy: top1 (37.50%) top5 (80.1%)",
    ]
    (tmp_path / "log.txt").write_text("\n".join([*lines, "On the best_model, test top5 tacc is 80.1234"]))
    found = read_result(tmp_path, "sdclr-linear", 2)
    assert (found["top1"], found["top5"], found["per_class"]) == (37.5, 80.1, [50, 25])


def test_the_difference_to_the_published_numbers(tmp_path, tables):
    path = write(tmp_path, "simclr", 1, "cifar10")
    printed = tables(data="cifar10")
    (line,) = re.findall(r"^difference +(\S.*)$", printed, re.M)
    published = PAPER["SDCLR-linear", "CIFAR10-LT", "SimCLR"]
    assert line.split() == [f"{values_of(path)[c] - published[c]:+.2f}" for c in COLUMNS]


# ---- files


def parsed(folder: Path) -> tuple[list[dict], dict]:
    rows = list(csv.DictReader((folder / "tables.csv").read_text().splitlines()))
    return rows, json.loads((folder / "tables.json").read_text(), parse_constant=lambda word: pytest.fail(word))


def number(word: str) -> float | None:
    return float(word) if word else None


def check_files(folder: Path) -> None:
    """CSV and JSON hold the same numbers; Markdown's and LaTeX's rows have equally many cells; braces balance."""
    rows, content = parsed(folder)
    records = [(t, r, c) for t in content["tables"] for r in t["rows"] for c in t["columns"]]
    assert len(rows) == len(records)
    for row, (table, record, column) in zip(rows, records, strict=True):
        names = (table["dataset"], table["pretrained_on"], table["protocol"], record["method"], column)
        assert (row["data set"], row["pre-trained on"], row["protocol"], row["method"], row["column"]) == names
        cells = record["columns"][column]
        for name in list(row)[6:11] + list(row)[12:]:
            assert number(row[name]) == cells.get(name)
        assert row["n"] == ("" if record["n"] is None else str(len(record["splits"])))
    for block in re.findall(r"(?:^\|.*\n)+", (folder / "tables.md").read_text(), re.M):
        lines = block.splitlines()
        assert len({tuple(i for i, c in enumerate(line) if c == "|") for line in lines}) == 1 and len(lines) > 2
    text = (folder / "tables.tex").read_text()
    bare = re.sub(r"\\[{}&%#$_]", "", re.sub(r"^%.*$", "", text, flags=re.M))
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert not re.search(r"[%#_~^<>±](?![^$]*\$)", re.sub(r"\$[^$]*\$", "", bare))
    assert bare.count(r"\begin") == bare.count(r"\end") and text.startswith(r"% \usepackage{booktabs}")
    for rule, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", text, re.S):
        lines = [line for line in body.splitlines() if not line.endswith("rule")]
        assert all(len(re.findall(r"(?<!\\)&", line)) == len(rule) - 1 and line.endswith(r" \\") for line in lines)
        assert body.count(r"\toprule") == body.count(r"\midrule") == body.count(r"\bottomrule") == 1


def test_files_of_sdclrs_tables(tmp_path, tables):
    paths = {(m, n): write(tmp_path, m, n, "cifar10") for m in ("simclr", "sdclr") for n in (1, 2, 3)}
    words = [*BOTH, "focal", "--splits", 1, 2, 3, "--out", tmp_path / "a" / "b"]
    printed = tables(*words, "--probe", "linear", "fewShot", data="cifar10")
    folder = tmp_path / "a" / "b"
    names = {f"tables.{kind}" for kind in ("md", "csv", "tex", "json")}
    assert {path.name for path in folder.iterdir()} == names
    assert all(f"table: {folder / name}" in printed for name in names)
    check_files(folder)
    rows, content = parsed(folder)
    table = content["tables"][0]
    assert table["baseline"] == "SimCLR" and [row["method"] for row in table["rows"]] == ["SimCLR", "SDCLR", "Focal"]
    for method in ("simclr", "sdclr"):
        published = PAPER["SDCLR-linear", "CIFAR10-LT", LABEL[method]]
        for column in COLUMNS:
            own = [values_of(paths[method, n])[column] for n in (1, 2, 3)]
            base = [values_of(paths["simclr", n])[column] for n in (1, 2, 3)]
            (row,) = (r for r in rows[:15] if (r["method"], r["column"]) == (LABEL[method], column))
            assert (row["n"], row["protocol"], row["pre-trained on"]) == ("3", "sdclr-linear", "D_i")
            assert float(row["mean"]) == pytest.approx(np.mean(own), rel=1e-12)
            assert float(row["std"]) == pytest.approx(np.std(own), rel=1e-9)
            assert float(row["published mean"]) == published[column]
            assert float(row["difference to published"]) == pytest.approx(np.mean(own) - published[column])
            if method == "sdclr":
                assert float(row["p"]) == pytest.approx(scipy.stats.ttest_rel(own, base).pvalue)
                assert float(row["low"]) < float(row["paired difference"]) < float(row["high"])
    split = table["rows"][1]["splits"]["2"]
    record = json.loads(paths["sdclr", 2].read_text())
    assert (split["per_class"], split["top1"], split["class_counts"]) == (record["per_class"], 57.5, COUNTS)
    assert (tmp_path / split["file"]).resolve() == paths["sdclr", 2] and len(table["missing"]) == 3


def test_the_best_is_bold(tmp_path, tables):
    """The highest, of Std the lowest; what is printed alike is bold alike."""
    write(tmp_path, "simclr", 1, per_class=[60.001] * 4 + [40.0] * 3 + [20.0] * 3)
    write(tmp_path, "sdclr", 1, per_class=[60.0] * 4 + [50.0] * 3 + [10.0] * 3)
    tables(*BOTH, "--out", tmp_path / "out")
    text = (tmp_path / "out" / "tables.tex").read_text()
    rows = {name: re.search(rf"^{name} & 1 .*$", text, re.M)[0] for name in ("SimCLR", "SDCLR")}
    bold = {name: re.findall(r"\\textbf\{([\d.]+)\}", row) for name, row in rows.items()}
    # Std of 60, 40, 20 is 16.33, of 60, 50, 10 it is 21.60; All is 42 of both.
    assert bold == {"SimCLR": ["60.00", "20.00", "16.33", "42.00"], "SDCLR": ["60.00", "50.00", "42.00"]}
    tables("--out", tmp_path / "alone")
    assert "textbf" not in (tmp_path / "alone" / "tables.tex").read_text()


def test_latex_is_escaped():
    assert escaped("D_i & 5% of {x} #1 ~ ^ $ \\ a|b") == (
        r"D\_i \& 5\% of \{x\} \#1 \textasciitilde{} \textasciicircum{} \$ \textbackslash{} a$|$b"
    )
    assert escaped("-") == "--" and escaped("12.00 ± 1.50") == r"12.00 $\pm$ 1.50"
    assert escaped("+1.00 [-2.00, 4.00] p <0.001") == r"$+$1.00 [$-$2.00, 4.00] p $<$0.001"
    assert escaped("sdclr-linear, BCL-I") == "sdclr-linear, BCL-I"


def test_latex_fits_a_page(tmp_path, tables):
    for n in (1, 2, 3):
        write(tmp_path, "simclr", n)
        write(tmp_path, "sdclr", n)
    tables(*BOTH, "--out", tmp_path / "out")
    (line,) = re.findall(r"^SDCLR & 3 & .*shortstack.*$", (tmp_path / "out" / "tables.tex").read_text(), re.M)
    cell = r" & \\shortstack\{\$[+-]\$[\d.]+ \\\\ \{\}\[[^]]+\] \\\\ \{\}p [\d.]+\}"
    assert re.fullmatch(rf"SDCLR & 3({cell}){{5}} \\\\", line)


def test_files_of_bcls_table(tmp_path, call):
    for n in (1, 2, 3):
        for suffix, shift in (("", 0), ("_bclK1", 5 * n)):
            name = f"m_epoch9_cifar100_split{n}_D_i_newNT_s10{suffix}__bcl-100shot"
            path = tmp_path / "checkpoints_cifar100_tune" / name / "results.json"
            path.parent.mkdir(parents=True)
            content = {"protocol": "bcl-100shot", "departs": {}, "per_class": [50 + shift - c / 4 for c in range(100)],
                       "class_counts": list(range(200, 100, -1)), "lists": {}}  # fmt: skip
            path.write_text(json.dumps(content))
    done = call("exp_analyse.py", "--paper", "bcl", "--out", "out", "--splits", 1, 2, 3)
    assert (done.returncode, done.stderr) == (0, "")
    check_files(tmp_path / "out")
    rows, content = parsed(tmp_path / "out")
    assert [table["dataset"] for table in content["tables"]] == ["CIFAR-100-LT", "ImageNet-LT", "Places-LT"]
    found = {r["column"]: r for r in rows if (r["data set"], r["method"]) == ("CIFAR-100-LT", "BCL-I")}
    assert float(found["Many"]["paired difference"]) == pytest.approx(10)
    assert float(found["Many"]["p"]) == pytest.approx(scipy.stats.ttest_rel([5, 10, 15], [0, 0, 0]).pvalue)
    assert found["Std"]["p"] == "" and float(found["Std"]["published mean"]) == 2.24
    (alone,) = {r["n"] for r in rows if r["method"] == "DnC"}
    assert alone == "0"
    assert re.search(r"^difference +\| +-?\+?\d", done.stdout, re.M)
    assert re.search(r"^cifar100: difference to SimCLR", done.stdout, re.M)
    assert re.search(r"^  BCL-I +3( +\+10\.00 \[-2\.42, 22\.42\] p 0\.074){3}$", done.stdout, re.M)
    assert re.search(r"^  BCL-I, split 3 +\d.* +- +-$", done.stdout, re.M)


@pytest.mark.parametrize("out", ["file", "file/deeper"])
def test_a_folder_that_cannot_be_written(tmp_path, call, out):
    write(tmp_path, "simclr", 1)
    (tmp_path / "file").write_text("kept")
    one_line_error(call("exp_analyse.py", "--dataset", "digits", "--LT", "--out", out), out)
    assert (tmp_path / "file").read_text() == "kept"


# ---- what does not belong into one table

OTHER = {
    "protocol_version": 2, "departs": {"epochs": [2, 30]}, "precision": "fp32", "model": "res18", "dataset": "cifar10",
    "lists": {"train": {"path": "a", "sha1": "0", "source": "published"}},
    "pretraining": {"augment": "pillow", "precision": "fp32"},
}  # fmt: skip


@pytest.mark.parametrize("key", OTHER)
@pytest.mark.parametrize("where", ["splits", "methods"])
def test_results_of_another_kind_are_refused(tmp_path, call, tables, key, where):
    paths = [write(tmp_path, "simclr", 1)]
    method, n = ("simclr", 2) if where == "splits" else ("sdclr", 1)
    paths.append(write(tmp_path, method, n, **{key: OTHER[key]}))
    done = call("exp_analyse.py", "--dataset", "digits", "--LT", *BOTH)
    words = {"lists": ("generated", "published"), "departs": ("nothing", '{"epochs": [2, 30]}')}
    words["pretraining"] = ("not told", '{"augment": "pillow", "precision": "fp32"}')
    places = [str(path.relative_to(tmp_path)) for path in paths]
    one_line_error(done, key, *places, "--mix True", *words.get(key, (str(OTHER[key]),)))
    assert "mixed results" not in tables("--method", method, "--splits", n)
    printed = tables(*BOTH, "--mix", "True", "--out", tmp_path / "out")
    assert re.search(rf"^note: .*mixed results, {key}: ", printed, re.M)
    assert "mixed results" in (tmp_path / "out" / "tables.md").read_text()


def test_unlike_protocols_are_shown_where_it_is_told(tmp_path, call, tables):
    write(tmp_path, "simclr", 1, protocol="custom")
    one_line_error(call("exp_analyse.py", "--dataset", "digits", "--LT"), "protocol custom", "results.json")
    assert "protocol is custom, not sdclr-linear" in tables("--mix")


def test_logs_are_not_beside_results(tmp_path, call, tables):
    log, result = write_log(tmp_path, "simclr", 1), write(tmp_path, "sdclr", 1, "cifar10", precision="fp32")
    done = call("exp_analyse.py", "--dataset", "cifar10", "--LT", *BOTH)
    places = [str(path.relative_to(tmp_path)) for path in (log, result)]
    one_line_error(done, "authors' format", *places)
    assert "mixed results, record" in tables(*BOTH, "--mix", data="cifar10")
    write_log(tmp_path, "focal", 1)
    assert "mixed" not in tables("--method", "simclr", "focal", data="cifar10")


def test_results_from_before_precision_was_told_are_fp32(tmp_path):
    old = json.loads(write(tmp_path, "simclr", 1).read_text())
    del old["precision"], old["model"]
    (probe_of(tmp_path, "simclr", 1) / "results.json").write_text(json.dumps(old))
    kinds = {}
    for precision in ("fp32", "bf16"):
        write(tmp_path, "simclr", 2, precision=precision)
        kinds[precision] = [read_result(probe_of(tmp_path, "simclr", n), "sdclr-linear", 10) for n in (1, 2)]
        for found in kinds[precision]:
            found["kind"].pop("model")
    assert check_alike(kinds["fp32"], mix=False) == []
    with pytest.raises(InputError, match=r"precision: fp32 in .*, bf16 in"):
        check_alike(kinds["bf16"], mix=False)


# ---- bad input


def test_logs_of_another_protocol(tmp_path, call, tables):
    """Where a log repeats its command line, the labelled images tell the probe."""
    log = write_log(tmp_path, "simclr", 1, "Namespace(trainSplit='cifar10_imbSub_with_subsets/split1_S_b.npy', lr=30)")
    done = call("exp_analyse.py", "--dataset", "cifar10", "--LT")
    one_line_error(done, str(log.relative_to(tmp_path)), "sdclr-fewshot, not sdclr-linear")
    write_log(tmp_path, "simclr", 1, "Namespace(trainSplit='cifar10/trainIdxList.npy')")
    assert re.search(r"^SimCLR +1 +50\.00", tables(data="cifar10"), re.M)
    assert re.search(r"^SimCLR +0 +-", tables("--fewShot", data="cifar10"), re.M)


@pytest.mark.parametrize("value", [pytest.param(10**400, id="10**400"), 1e308, float("nan"), "x", [1], -1])
def test_an_accuracy_that_is_none(tmp_path, call, value):
    write(tmp_path, "simclr", 1, per_class=[value] * 10)
    one_line_error(call("exp_analyse.py", "--dataset", "digits", "--LT"), "results.json")


def test_what_is_named_twice_is_shown_once(tmp_path, tables):
    write(tmp_path, "simclr", 1)
    words = ["--method", "simclr", "simclr", "--probe", "linear", "linear", "--splits", 1, 2, 2, 1]
    printed = tables(*words, "--out", tmp_path / "out")
    assert [printed.count(what) for what in ("\ndigits, ", "missing: ", "SimCLR, split 1")] == [1, 1, 1]
    assert len(parsed(tmp_path / "out")[0]) == len(COLUMNS)


@pytest.mark.parametrize("top", ["x", 101, -1, [1], float("nan"), {}])
def test_a_top_1_that_is_none(tmp_path, call, top):
    write(tmp_path, "simclr", 1, top1=top)
    one_line_error(call("exp_analyse.py", "--dataset", "digits", "--LT"), "results.json")


def test_half_written_and_absent_results(tmp_path, call):
    path = write(tmp_path, "simclr", 1)
    whole = path.read_text()
    for end in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_text(whole[:end])
        one_line_error(call("exp_analyse.py", "--dataset", "digits", "--LT", "--out", "out"), "half-written")
    path.unlink()
    for words in ([], ["--paper", "bcl"]):
        done = call("exp_analyse.py", "--LT", "--dataset", "digits", *words, "--out", "out")
        one_line_error(done, "no result", str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_words_of_a_file_cannot_steer_the_terminal(tmp_path, tables):
    steer = "\x1b[2J\ud800\n"
    lists = {"train": {"path": "a", "sha1": "0", "source": steer}}
    write(tmp_path, "simclr", 1, lists=lists, departs={steer: [steer, 1]}, precision=steer)
    write(tmp_path, "simclr", 2, lists=lists, departs={steer: [steer, 1]}, precision={"a": steer})
    printed = tables("--mix", "--out", tmp_path / "out")
    assert "\x1b" not in printed and "lists: \\x1b[2J" in printed
    for path in (tmp_path / "out").iterdir():
        assert b"\x1b" not in path.read_bytes()
