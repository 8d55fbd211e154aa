"""BCL's table 4: the published cells, ours beside them, and what does not belong into one row."""

import csv
import json
import re
from pathlib import Path

import pytest

from analysis.transfer_table import COLUMNS, SETS
from data.sets.registry import TRANSFER_SETS, data_set
from tests.analysis.pages import Page, cells_of
from tests.conftest import PROJECT, one_line_error

METHODS = ("SimCLR", "Focal", "DnC", "SDCLR", "BCL-I", "BCL-D")
LABELS = ["CUB", "Cars", "Aircrafts", "Dogs", "NABirds"]
TABLE = ["--paper", "bcl", "--table", 4]


def paper() -> dict[tuple[str, str, str], str]:
    """(method, column, metric) -> the number as printed."""
    with (PROJECT / "results" / "published_results.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["paper_table"] == "BCL-T4"]
    return {(r["method"], r["dataset"], r["metric"]): r["mean"] for r in rows}


def write(root: Path, method: str, name: str, top1: float, top5: float = 99.0, **changes) -> Path:
    """A result as `python -m probe` leaves it."""
    told, tag = changes.pop("told", {}), changes.pop("tag", "")
    settings = {"method": method, "epochs": 500, "dataset": "imagenet-LT", "temperature": 0.2, **told}
    pretraining = {"experiment": f"{method}_x{tag}", "method": method, "dataset": "imagenet", "epochs": 500,
                   "list": {"name": "ImageNet_LT_train"}, "split": 1, "settings": settings}  # fmt: skip
    protocol = changes.get("protocol", "bcl-transfer")
    probe = f"{method}{tag}-0a1b2c3d__{name}_{protocol}"
    result = {"experiment": probe, "protocol": protocol, "protocol_version": 1, "departs": {}, "dataset": name,
              "model": "res50", "precision": "fp32", "lists": {"train1": {"path": "train", "source": "published"}},
              "pretraining": pretraining, "per_class": [top1] * 4, "class_counts": None, "top1": top1, "top5": top5,
              **changes}  # fmt: skip
    folder = root / "checkpoints_transfer_tune" / probe
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(result))
    return folder


def rows(text: str) -> list[dict[str, list[str]]]:
    """Of each table, the words of its rows by heading."""
    tables = re.split(r"^BCL's table 4, .*$", text, flags=re.M)[1:]
    found = []
    for part in tables:
        lines = part.strip().split("\n\n")[0].splitlines()
        assert lines[0].split() == ["n", *LABELS, "All"]
        table, last = {}, ""
        for line in lines[1:]:
            heading, *words = re.split(r" {2,}", line.strip())
            heading = f"difference {last}" if heading == "difference" else heading
            table[heading], last = words, heading
        found.append(table)
    return found


def test_sets_and_columns():
    assert list(SETS) == list(TRANSFER_SETS) and list(SETS.values()) == LABELS
    assert (*LABELS, "All") == COLUMNS
    assert all(data_set(name).published_name == label for name, label in SETS.items())


def test_the_twelve_published_cells_of_all_are_unweighted_means():
    published = paper()
    for method in METHODS:
        for top in ("Top-1", "Top-5"):
            mean = sum(float(published[method, label, top]) for label in LABELS) / 5
            assert abs(mean - float(published[method, "All", top])) <= 0.01


def test_without_results_the_published_table_is_printed(call, tmp_path):
    done = call("exp_analyse.py", *TABLE)
    assert (done.returncode, done.stderr) == (0, "")
    published, (first, five) = paper(), rows(done.stdout)
    for method in METHODS:
        for top, table in (("Top-1", first), ("Top-5", five)):
            assert table[f"{method} (published)"] == [published[method, column, top] for column in (*LABELS, "All")]
            assert table[method] == ["0", *["-"] * 6]
    assert done.stdout.count("missing: no result of these methods below checkpoints_transfer_tune") == 1
    assert not list(tmp_path.iterdir())


def test_ours_beside_theirs(call, tmp_path):
    tops = {name: (20.0 + 7 * n, 50.0 + 7 * n) for n, name in enumerate(SETS)}
    for name, (top1, top5) in tops.items():
        write(tmp_path, "simclr", name, top1, top5)
    write(tmp_path, "focal", "dogs", 33.33, 66.66)
    write(tmp_path, "simclr", "cub", 1.0, protocol="sgd-transfer")
    done = call("exp_analyse.py", *TABLE, "--out", "out", "--report", "page")
    assert (done.returncode, done.stderr) == (0, "")
    first, five = rows(done.stdout)
    assert first["SimCLR"] == ["5", "20.00", "27.00", "34.00", "41.00", "48.00", "34.00"]
    assert five["SimCLR"] == ["5", "50.00", "57.00", "64.00", "71.00", "78.00", "64.00"]
    assert first["Focal"] == ["1", "-", "-", "-", "33.33", "-", "-"]
    published = paper()
    gap = [f"{round(ours - float(published['SimCLR', c, 'Top-1']), 2):+.2f}"
           for ours, c in zip([20, 27, 34, 41, 48, 34], (*LABELS, "All"), strict=True)]  # fmt: skip
    assert first["difference SimCLR (published)"] == gap
    assert "missing: Focal: no result of CUB, Cars, Aircrafts, NABirds" in done.stdout
    tables = json.loads((tmp_path / "out" / "tables.json").read_text())["tables"]
    assert [t["dataset"] for t in tables] == ["Fine-grained sets, Top-1", "Fine-grained sets, Top-5"]
    assert tables[0]["rows"][0]["columns"]["All"]["mean"] == pytest.approx(34)
    assert tables[0]["pretrained_on"] == "imagenet, ImageNet_LT_train"
    page = Page((tmp_path / "page" / "index.html").read_text()).root
    tops = [cells_of(table) for table in page.all("table")]
    assert [rows[1] for rows in tops] == [["SimCLR", *first["SimCLR"]], ["SimCLR", *five["SimCLR"]]]
    runs = [run.all("strong")[0].text for run in page.all("details") if run.all("h4") and not run.all("details")]
    assert runs == 2 * [*(f"SimCLR, {name}" for name in SETS), "Focal, dogs"]
    other = call("exp_analyse.py", *TABLE, "--probe", "sgd-transfer", "--method", "simclr")
    assert rows(other.stdout)[0]["SimCLR"] == ["1", "1.00", *["-"] * 5]


def test_encoders_of_others_are_left_out(call, tmp_path):
    write(tmp_path, "simclr", "cub", 10.0, pretraining=None)
    done = call("exp_analyse.py", *TABLE)
    assert done.returncode == 0 and rows(done.stdout)[0]["SimCLR"][0] == "0"


def test_what_does_not_belong_together_is_refused(call, tmp_path):
    write(tmp_path, "simclr", "cub", 10.0)
    other = write(tmp_path, "simclr", "cub", 11.0, tag="b")
    one_line_error(call("exp_analyse.py", *TABLE), "several pre-trainings or settings of SimCLR", "--contains")
    assert rows(call("exp_analyse.py", *TABLE, "--contains", "simclrb").stdout)[0]["SimCLR"][1] == "11.00"
    (other / "results.json").unlink()
    write(tmp_path, "simclr", "cars", 10.0, told={"temperature": 0.1})
    one_line_error(call("exp_analyse.py", *TABLE), "several pre-trainings or settings of SimCLR")


def test_results_that_depart_differently_do_not_share_a_table(call, tmp_path):
    write(tmp_path, "simclr", "cub", 10.0)
    write(tmp_path, "simclr", "cars", 10.0, departs={"select_wd": [True, False]})
    one_line_error(call("exp_analyse.py", *TABLE), "results that differ in departs", "--mix")
    done = call("exp_analyse.py", *TABLE, "--mix")
    assert done.returncode == 0 and "select_wd is True, not the protocol's False" in done.stdout


def test_a_damaged_result_is_told(call, tmp_path):
    write(tmp_path, "simclr", "cub", 10.0, top5=None)
    one_line_error(call("exp_analyse.py", *TABLE), "has no Top-1 and Top-5")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--table", 4], "--table 4 is of BCL's paper: add --paper bcl"),
        ([*TABLE, "--dataset", "cifar10"], "--dataset has no meaning for --table 4"),
        ([*TABLE, "--splits", 1], "--splits has no meaning for --table 4"),
        ([*TABLE, "--plot", "x"], "--plot has no meaning for --table 4"),
        ([*TABLE, "--probe", "linear"], "--probe linear is not of --table 4"),
        (["--paper", "bcl", "--probe", "bcl-transfer"], "--probe bcl-transfer is not of --table 1"),
        (["--paper", "bcl", "--table", 2], "--table"),
    ],
)
def test_options_that_do_not_go_together(call, tmp_path, options, words):
    one_line_error(call("exp_analyse.py", *options), words)
