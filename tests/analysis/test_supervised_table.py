"""BCL's table 3: the published numbers, ours beside them, groups, files; bad input."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.pages import Page, cells_of
from tests.conftest import PROJECT, one_line_error

STARTS = ("scratch", "CL", "Focal", "DnC", "SDCLR", "BCL-I", "BCL-D")
ROWS = ("CE", "cRT", "LA")
NAMES = {"untrained": "", "simclr": "", "sdclr": "_pruneP0.9DualBN_head2", "bcl-i": "_bclK1"}


def published() -> dict[tuple[str, str], list[str]]:
    """(data set, row) -> the seven numbers of the slides."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    with (PROJECT / "results" / "published_results.csv").open() as file:
        for row in csv.DictReader(file):
            if row["paper_table"].startswith("BCL-T3-"):
                key = row["dataset"], row["paper_table"].removeprefix("BCL-T3-")
                found.setdefault(key, {})[row["method"].removesuffix("-init")] = f"{float(row['mean']):.2f}"
    return {key: [numbers[start] for start in STARTS] for key, numbers in found.items()}


def words_of(text: str, row: str) -> list[list[str]]:
    """The cells of the lines that begin with `row`."""
    return [re.split(r"\s{2,}", line) for line in text.splitlines() if re.match(rf"{re.escape(row)}\s\s", line)]


def fabricate(root: Path, method: str, split: int, protocol: str, seed: int = 0) -> list[float]:
    """A result as train_cifar.py leaves it; returns the accuracies of the classes."""
    accuracies = np.random.RandomState([seed, split]).uniform(0, 100, 100).round(2).tolist()
    epochs = 0 if method == "untrained" else 9
    name = f"m_epoch{epochs}_cifar100_split{split}_D_i_newNT_s10{NAMES[method]}__{protocol}"
    folder = root / "checkpoints_cifar100_tune" / name
    folder.mkdir(parents=True)
    result = {"per_class": accuracies, "class_counts": list(range(100, 0, -1)), "lists": {}, "departs": {}}
    (folder / "results.json").write_text(json.dumps({**result, "protocol": protocol}))
    return accuracies


def test_published_numbers_are_there_without_any_of_ours(call):
    done = call("exp_analyse.py", "--paper", "bcl", "--table", "3")
    assert done.returncode == 0, done.stderr
    cells = published()
    assert len(cells) == 6
    for row in ROWS:
        ours, theirs = words_of(done.stdout, row), words_of(done.stdout, f"{row} (published)")
        assert [line[1:] for line in ours] == [["-"] * 7] * 2
        assert [line[1:] for line in theirs] == [cells["CIFAR-100-LT", row], cells["ImageNet-LT", row]]
    assert done.stdout.count("missing: ") == 6 and "post-hoc" not in done.stdout


def test_what_was_learned_on_another_splits_list_is_no_result_of_the_split(call, tmp_path):
    """Else results on one list would count as several splits, with their deviation and p-values."""
    for split, learned in ((1, 1), (2, 1), (3, 3)):
        fabricate(tmp_path, "simclr", split, "ce", seed=split)
        (path,) = tmp_path.glob(f"*/*split{split}_*/results.json")
        name = "cifar100_imbSub_with_subsets/cifar100_split{}_D_i.npy"
        told = {
            "experiment": "pre", "method": "simclr", "dataset": "cifar100", "list": {"name": name.format(split)},
            "epochs": 9, "settings": {"method": "simclr", "epochs": 9, "dataset": "cifar100"},
        }  # fmt: skip
        lists = {"train": {"path": name.format(learned).partition("/")[2], "source": "generated", "sha1": "0"}}
        content = json.loads(path.read_text()) | {"dataset": "cifar100", "lists": lists, "pretraining": told}
        path.write_text(json.dumps(content))
    words = ["--paper", "bcl", "--table", "3", "--dataset", "cifar100", "--method", "simclr", "--probe", "ce"]
    done = call("exp_analyse.py", *words, "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SimCLR, split 2: nothing of it" in done.stdout
    assert not any(f"SimCLR, split {split}: nothing" in done.stdout for split in (1, 3))


def test_ours_are_beside_them(call, tmp_path):
    known = {
        (method, n, protocol): fabricate(tmp_path, method, n, protocol, seed)
        for seed, method in enumerate(("untrained", "simclr", "bcl-i"))
        for n in (1, 2)
        for protocol in ("ce", "la")
    }
    words = ["--dataset", "cifar100", "--out", "tables", "--plot", "figures", "--report", "page"]
    done = call("exp_analyse.py", "--paper", "bcl", "--table", "3", *words)
    assert done.returncode == 0, done.stderr
    means = {m: [np.mean(known[m, n, "ce"]) for n in (1, 2)] for m in ("untrained", "simclr", "bcl-i")}
    (ours,) = words_of(done.stdout, "CE")
    wanted = {m: f"{np.mean(v):.2f} ± {np.std(v):.2f}" for m, v in means.items()}
    assert ours[1:] == [wanted["untrained"], wanted["simclr"], "-", "-", "-", wanted["bcl-i"], "-"]
    difference = words_of(done.stdout, "difference")[0]
    gap = np.mean(means["untrained"]) - 41.7
    assert difference[1] == f"{gap:+.2f}" and difference[3] == "-"
    # Classes in the order of their images: 34, 33 and 33 of them.
    (groups,) = words_of(done.stdout, "LA, random")
    values = np.mean([known["untrained", n, "la"] for n in (1, 2)], 0)
    many, medium, few = (round(float(part.mean()), 2) for part in (values[:34], values[34:67], values[67:]))
    assert groups[1] == "2" and groups[3:] == [
        f"{x:.2f}" for x in (many, medium, few, np.std([many, medium, few], ddof=1))
    ]
    assert "all are chosen here" in done.stdout
    tables = json.loads((tmp_path / "tables/tables.json").read_text())["tables"]
    assert [table["protocol"] for table in tables] == ["ce", "crt", "la"]
    first = next(row for row in tables[0]["rows"] if row["method"] == "untrained")
    assert first["columns"]["All"]["published mean"] == 41.7
    assert (tmp_path / "figures/groups.png").is_file()
    page = Page((tmp_path / "page" / "index.html").read_text()).root
    assert [heading.text.rpartition(", ")[2] for heading in page.all("h3")] == ["ce", "la"]  # no result of crt
    cells = cells_of(page.all("table")[0])
    assert {row[0]: row[2] for row in cells if row[1] == "2"}["SimCLR"] == wanted["simclr"]
    assert ["published", "", "41.70", *"----"] in cells


def test_post_hoc_adjustment_is_a_row_where_it_was_run(call, tmp_path):
    fabricate(tmp_path, "simclr", 1, "la-posthoc")
    done = call("exp_analyse.py", "--paper", "bcl", "--table", "3", "--dataset", "cifar100", "--splits", "1")
    assert done.returncode == 0, done.stderr
    assert len(words_of(done.stdout, "LA post-hoc")) == 1 and not words_of(done.stdout, "LA post-hoc (published)")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--table", "3"], ["--table 3 is of BCL's paper: add --paper bcl"]),
        (["--paper", "bcl", "--table", "3", "--probe", "linear"], ["--table 3 has --probe ce", "not linear"]),
        (["--paper", "bcl", "--table", "3", "--dataset", "digits"], ["no result to show"]),
        (["--paper", "bcl", "--table", "2"], ["--table"]),
    ],
)
def test_bad_options_are_one_line(call, options, words):
    one_line_error(call("exp_analyse.py", *options), *words)
