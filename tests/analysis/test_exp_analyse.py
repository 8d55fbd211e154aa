"""exp_analyse.py: tables beside the published numbers, figures, errors."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis.published import published
from data.sets.registry import data_set
from tests.analysis.experiments import (
    COLUMNS,
    SDCLR_SUFFIX,
    accuracies,
    counts_of,
    experiment,
    result,
    row_by_hand,
    write,
    write_authors,
)
from tests.conftest import PROJECT, one_line_error, slow_but
from tests.figure_checks import check_figure

PAPER = PROJECT / "results" / "published_results.csv"


def paper_rows() -> dict[tuple[str, str, str], dict[str, tuple[str, str]]]:
    rows = {}
    with PAPER.open() as file:
        for r in csv.DictReader(file):
            rows.setdefault((r["paper_table"], r["dataset"], r["method"]), {})[r["metric"]] = r["mean"], r["std"]
    return rows


def cells(line: str, name: str) -> list[str]:
    """'SimCLR  5  78.18 ± 4.18  ...' -> ['5', '78.18 ± 4.18', ...]."""
    return re.split(r" {2,}", line[len(name) :].strip())


def printed_row(output: str, name: str) -> list[str]:
    (line,) = [line for line in output.splitlines() if re.match(rf"{re.escape(name)} {{2,}}\d", line)]
    return cells(line, name)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize(
    ("method", "label", "suffix", "flags"),
    [("simclr", "SimCLR", "", []), ("sdclr", "SDCLR", SDCLR_SUFFIX, ["--prune"])],
)
@pytest.mark.parametrize("probe", ["linear", "fewShot"])
def test_tables_beside_the_published_numbers(tmp_path, call, name, method, label, suffix, flags, probe):
    expected = write_authors(tmp_path, name, probe=probe, suffix=suffix)
    flags = [*flags, *(["--fewShot"] if probe == "fewShot" else [])]
    done = call("exp_analyse.py", "--dataset", name, "--LT", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    ours = printed_row(done.stdout, label)
    assert ours[0] == "5"
    for cell, column in zip(ours[1:], COLUMNS, strict=True):
        values = [row[column] for row in expected.values()]
        assert cell == f"{np.mean(values):.2f} ± {np.std(values):.2f}"
    table = "SDCLR-linear" if probe == "linear" else "SDCLR-fewshot"
    numbers = paper_rows()[table, f"{data_set(name).prefix.strip('_').upper() or 'CIFAR10'}-LT", label]
    theirs = printed_row(done.stdout, f"{label} (published)")
    assert theirs[1:] == [f"{numbers[c][0]} ± {numbers[c][1]}" for c in COLUMNS]
    assert "missing" not in done.stdout


def test_published_numbers_of_the_sdclr_paper():
    """METHODS, section 13."""
    numbers = published(data_set("cifar10"), "simclr", "linear")
    assert numbers == {
        "Many": (78.18, 4.18), "Medium": (76.23, 5.33), "Few": (71.37, 7.07), "Std": (5.13, 3.66), "All": (75.55, 0.66)
    }  # fmt: skip
    assert published(data_set("cifar100"), "sdclr", "fewShot")["All"] == (25.27, 0.83)
    for name in ("digits", "fashion_mnist"):
        assert published(data_set(name), "simclr", "linear") == {}
    assert published(data_set("cifar10"), "untrained", "linear") == {}


@pytest.mark.parametrize("probe", ["linear", "fewShot"])
def test_no_published_numbers_for_digits(tmp_path, call, probe):
    for n in (1, 2):
        _, probed = experiment(tmp_path, "digits", n, probe)
        protocol = "sdclr-linear" if probe == "linear" else "sdclr-fewshot"
        write(probed / "results.json", result(accuracies(10, n), counts_of(10, n), protocol=protocol))
    done = call("exp_analyse.py", "--dataset", "digits", "--LT", "--probe", probe)
    assert done.returncode == 0
    assert "published" not in done.stdout
    assert printed_row(done.stdout, "SimCLR")[0] == "2"
    assert done.stdout.count("missing: SimCLR, split") == 3
    assert "note: lists: generated" in done.stdout


def test_no_published_numbers_for_balanced_pretraining(tmp_path, call):
    """The paper's rows are of long-tailed pre-training."""
    _, probed = experiment(tmp_path, "cifar10", 1, kind="D_b")
    write(probed / "results.json", result(accuracies(10, 1), counts_of(10, 1)))
    done = call("exp_analyse.py", "--dataset", "cifar10")
    assert done.returncode == 0
    assert "published" not in done.stdout
    assert printed_row(done.stdout, "SimCLR")[0] == "1"
    assert "±" not in "".join(printed_row(done.stdout, "SimCLR"))


def test_default_data_set_is_cifar100(tmp_path, call):
    write_authors(tmp_path, "cifar100")
    done = call("exp_analyse.py", "--LT")
    assert printed_row(done.stdout, "SimCLR")[0] == "5"


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenet100"])
@pytest.mark.parametrize("probe", ["linear", "fewShot"])
def test_published_rows_where_there_is_no_result_of_ours(tmp_path, call, name, probe):
    words = ["--dataset", name, "--LT", "--method", "simclr", "focal", "sdclr", "--probe", probe]
    done = call("exp_analyse.py", *words, "--plot", "figures")
    assert (done.returncode, done.stderr) == (0, "")
    data = {"cifar10": "CIFAR10-LT", "cifar100": "CIFAR100-LT", "imagenet100": "ImageNet-100-LT"}[name]
    for label in ("SimCLR", "SDCLR"):
        numbers = paper_rows()["SDCLR-linear" if probe == "linear" else "SDCLR-fewshot", data, label]
        expected = [" ± ".join(filter(None, numbers[c])) for c in COLUMNS]
        assert printed_row(done.stdout, f"{label} (published)")[1:] == expected
        assert printed_row(done.stdout, label) == ["0", *["-"] * 5]
    assert done.stdout.count("missing: ") == (3 if name == "imagenet100" else 15)
    assert "Focal (published)" not in done.stdout and list(tmp_path.iterdir()) == []
    assert call("exp_analyse.py", *words, "--out", "out").returncode == 0
    rows = list(csv.DictReader((tmp_path / "out" / "tables.csv").read_text().splitlines()))
    assert {row["mean"] for row in rows} == {""} and {row["n"] for row in rows} == {"0"}


def test_nothing_to_show(tmp_path, call):
    """Neither a result nor a published number."""
    for words in (["--dataset", "digits", "--LT"], ["--dataset", "cifar10"], ["--dataset", "cifar10", "--LT", "--shape",
                  "imb50"], ["--dataset", "cifar10", "--LT", "--method", "bcl-i"]):  # fmt: skip
        done = call("exp_analyse.py", *words, "--out", "out")
        one_line_error(done, "no result", str(tmp_path))
        assert done.stdout == "" and not (tmp_path / "out").exists()


def test_errors_of_the_tables_are_one_line(tmp_path, call):
    _, probed = experiment(tmp_path, "cifar10", 1)
    write(probed / "results.json", "{")
    one_line_error(call("exp_analyse.py", "--dataset", "cifar10", "--LT"), "results.json")
    one_line_error(call("exp_analyse.py", "--dataset", "mnist"), "mnist")
    one_line_error(call("exp_analyse.py", "--LT", "perhaps"), "perhaps")


def write_two_methods(root: Path) -> None:
    for n in (1, 2, 3):
        for suffix, shift in (("", 0), (SDCLR_SUFFIX, 50)):
            for probe, protocol in (("linear", "sdclr-linear"), ("fewShot", "sdclr-fewshot")):
                _, probed = experiment(root, "digits", n, probe, suffix)
                per_class = accuracies(10, n + shift)
                write(probed / "results.json", result(per_class, counts_of(10, n), protocol=protocol))


@pytest.mark.slow
def test_several_methods_and_probes_and_figures(tmp_path, call, figures):
    write_two_methods(tmp_path)
    words = ["--dataset", "digits", "--LT", "--method", "simclr", "sdclr", "--probe", "linear", "fewShot"]
    done = call("exp_analyse.py", *words, "--splits", 1, 2, 3, "--plot", tmp_path / "new")
    assert (done.returncode, done.stderr) == (0, "")
    for name, shift in (("SimCLR", 0), ("SDCLR", 50)):
        lines = [line for line in done.stdout.splitlines() if re.match(rf"{name}  +3  ", line)]
        assert len(lines) == 2
        rows = [row_by_hand(accuracies(10, n + shift), counts_of(10, n)) for n in (1, 2, 3)]
        for line in lines:
            many = [row["Many"] for row in rows]
            assert cells(line, name)[1] == f"{np.mean(many):.2f} ± {np.std(many):.2f}"
    # No run has left a metrics.jsonl, so there are no curves.
    names = [f"{name}{suffix}" for name in ("groups", "classes", "sizes", "few_vs_full") for suffix in (".png", ".pdf")]
    assert list(figures) == names and sorted(names) == sorted(file.name for file in (tmp_path / "new").iterdir())
    assert re.findall("^figure: (.*)$", done.stdout, re.M) == [str(tmp_path / "new" / name) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("tailed", [["--LT"], []])
def test_balanced_lists_beside_long_tailed_ones(tmp_path, call, figures, tailed):
    """Of the methods that both were run with, in the groups of D_i; the same whichever the table is of."""
    write_two_methods(tmp_path)
    for n in (1, 2, 3):
        _, probed = experiment(tmp_path, "digits", n, kind="D_b")
        write(probed / "results.json", result(accuracies(10, n + 7), counts_of(10, n)))
    words = ["--dataset", "digits", "--method", "simclr", "sdclr", "--probe", "linear", "fewShot"]
    done = call("exp_analyse.py", *words, *tailed, "--splits", 1, 2, 3, "--plot", tmp_path / "new")
    assert (done.returncode, done.stderr) == (0, "")
    bars = [row_by_hand(accuracies(10, n + 7), counts_of(10, n))["Few"] for n in (1, 2, 3)]
    (axis,) = figures["balanced.png"].axes
    handles, names = axis.get_legend_handles_labels()
    assert axis.get_title() == "sdclr-linear" and names == ["SimCLR, balanced", "SimCLR, long-tailed"]
    assert [bar.get_height() for bar in handles[0]][2] == pytest.approx(np.mean(bars))
    check_figure(figures["balanced.png"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", slow_but("nonsense", ["module://matplotlib_inline.backend_inline", "qtagg", "nonsense"])
)
def test_figures_need_no_backend(tmp_path, backend):
    """A notebook sets one for all processes that it starts, whether it is installed for them or not."""
    write_two_methods(tmp_path)
    words = ["--dataset", "digits", "--LT", "--splits", "1", "--root", str(tmp_path), "--plot", str(tmp_path / "plots")]
    program = [sys.executable, str(PROJECT / "exp_analyse.py"), *words]
    done = subprocess.run(program, env={**os.environ, "MPLBACKEND": backend}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {p.suffix for p in (tmp_path / "plots").iterdir()} == {".png", ".pdf"}


def test_figures_have_no_settings_of_the_users(tmp_path):
    """Nor lines on standard error, of their mistakes or of a home folder that cannot be written."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nno setting\nfont.size: x\naxes.facecolor: red\n")
    (tmp_path / "file").write_text("")
    program = "from utils.errors import run_main\nfrom utils.plotting import new_figure\ndef main():\n"
    program += (
        "    axis = new_figure().axes[0]\n    print(axis.title.get_usetex(), axis.get_facecolor()[:3])\nrun_main(main)"
    )
    env = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "file"), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False (1.0, 1.0, 1.0)\n", "")


def test_figure_that_cannot_be_written(tmp_path, call):
    write_two_methods(tmp_path)
    (tmp_path / "file").write_text("")
    for plot in ("a.png", "a.pdf", "file", "file/new"):
        done = call("exp_analyse.py", "--dataset", "digits", "--LT", "--splits", 1, "--plot", tmp_path / plot)
        one_line_error(done, plot)
