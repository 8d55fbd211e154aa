"""What reads results, and what is data, needs no torch, whose import takes seconds."""

import re
import subprocess
import sys

import pytest

from tests.analysis.experiments import write_authors
from tests.conftest import PROJECT

SLOW = {"torch", "torchvision", "cv2", "sklearn", "scipy", "matplotlib"}
LOADED = f"; print('loaded:', *sorted({SLOW} & sys.modules.keys()))"


def loaded(program: str) -> str:
    """Which of the slow libraries a program has imported at its end, and what it printed before."""
    command = [sys.executable, "-c", f"import sys; {program}{LOADED}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "data.sets.registry",
        "methods",
        "probe.protocols",
        "run.names",
        "split.open",
        "split.verify",
        "recipes.pretrained",
        "recipes.__main__",
        "recipes.reproduce.__main__",
    ],  # fmt: skip
)
def test_what_is_data(module):
    assert loaded(f"import {module}") == "loaded:\n"


def test_every_data_set():
    assert loaded("from data.sets.registry import data_sets; data_sets()") == "loaded:\n"


def test_a_report(tmp_path):
    """It draws, without torch."""
    write_authors(tmp_path, "cifar10")
    words = ["exp_analyse.py", "--dataset", "cifar10", "--root", str(tmp_path), "--report", str(tmp_path / "page")]
    told = loaded(f"sys.argv = {[*words, '--LT']}; import exp_analyse; exp_analyse.main()")
    assert told.endswith("loaded: matplotlib\n") and (tmp_path / "page" / "index.html").is_file()


@pytest.mark.parametrize("results", [True, False])
def test_a_table(tmp_path, results):
    """With the authors' logs and without any; it makes no list, and asks no server."""
    if results:
        write_authors(tmp_path, "cifar10")
    words = ["exp_analyse.py", "--dataset", "cifar10", "--LT", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    offline = "import socket; socket.socket.connect = socket.getaddrinfo = None"
    lists = {path: path.stat().st_mtime_ns for path in (PROJECT / "split").glob("*/*.*") if path.suffix != ".pyc"}
    program = f"{offline}; sys.argv = {words}; import exp_analyse; exp_analyse.main()"
    told = loaded(f"{program}; assert 'split.ensure' not in sys.modules")
    assert told.endswith("loaded:\n") and re.search(rf"^SimCLR +{5 if results else 0} ", told, re.M)
    after = {path: path.stat().st_mtime_ns for path in (PROJECT / "split").glob("*/*.*") if path.suffix != ".pyc"}
    assert lists == after


def test_the_parts_of_tables():
    assert loaded("import analysis.bcl_table, analysis.figures, analysis.write, analysis.report.page") == "loaded:\n"
