"""`python -m benchmarks.gpu`: its measurements work on a CPU at a tiny size; without a GPU it is one line of error."""

import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import benchmarks.gpu.__main__ as program
from benchmarks.gpu import rows
from benchmarks.gpu.measure import Clock, best_product
from benchmarks.gpu.report import report, table
from benchmarks.gpu.rows import Bench, Row, Side
from benchmarks.gpu.settings import TINY
from tests.conftest import PROJECT, one_line_error

GPU = "benchmarks/gpu/__main__.py"
CPU = torch.device("cpu")
TESTS = {"code": 0, "summary": "9 passed in 3.00s", "seconds": 3.0}
CONTENT = {
    "card": "Card",
    "libraries": {"torch": "2"},
    "git": "abc",
    "tests": TESTS,
    "best_tflops": 700.0,
    "seconds": 9.0,
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """A garbage collection takes a second each time with all the modules that the tests have imported."""
    monkeypatch.setattr(gc, "collect", lambda generation=2: 0)


def test_without_a_gpu_it_is_one_line(call, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    one_line_error(call(GPU), "there is no GPU")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    if not torch.cuda.is_available():
        one_line_error(call(GPU), "CUDA_VISIBLE_DEVICES=3 names 1 GPU(s), of which this machine has 0")


def test_make_gpu_takes_the_python_it_is_given(tmp_path):
    """Nothing is installed, and a Python without PyTorch is one line of error."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *torch*) exit "$LACKS";; esac\necho "$@"\n')
    python.chmod(0o755)
    command = ["make", "-s", "gpu", f"PYTHON={python}"]
    for lacks, code, stdout, stderr in (
        ("0", 0, "-m benchmarks.gpu\n", ""),
        ("1", 2, "", f"error: {python} has no PyTorch"),
    ):
        environment = {"PATH": "/usr/bin:/bin", "LACKS": lacks}
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (code, stdout) and done.stderr.startswith(stderr), done


def check_files(call, tmp_path, *words: object) -> tuple[dict, list[str]]:
    """Run the program at a tiny size; what it writes, as JSON and as lines."""
    done = call(GPU, "--device", "cpu", "--quick", *words, "--out", tmp_path / "g.json", "--text", tmp_path / "g.txt")
    assert done.returncode == 0, done.stderr
    content, text = json.loads((tmp_path / "g.json").read_text()), (tmp_path / "g.txt").read_text()
    assert done.stdout.startswith(text) and content["quick"] and content["tests"] is None
    assert content["best_tflops"] > 0 and all(row["what"] in text for row in content["rows"])
    return content, text.splitlines()


def test_nt_xent_is_measured_and_written(call, tmp_path):
    content, lines = check_files(call, tmp_path, "--only", "losses")
    assert [row["what"] for row in content["rows"]] == ["NT-Xent, 8 pairs", "NT-Xent, 16 pairs"]
    for row in content["rows"]:
        assert row["unit"] == "ms" and row["ratio"] == pytest.approx(row["published"] / row["ours"])
    assert lines[1] == "tests: not run" and "TFLOP/s" in lines[2]


@pytest.mark.slow
def test_every_row_is_measured_and_written(call, tmp_path):
    content, _ = check_files(call, tmp_path)
    measured = {row["what"]: row for row in content["rows"]}
    for method in ("SimCLR", "SDCLR", "BCL-D"):
        for variant in ("fp32", "tf32", "bf16", "bf16 + compile"):
            row = measured[f"{method}, res20_s, 16 px, 8 pairs, {variant}"]
            (published, ours), *_ = row["seconds"]
            assert row["published"] == pytest.approx(16 / published) and row["ours"] == pytest.approx(16 / ours)
            assert row["ratio"] == pytest.approx(published / ours) and row["share"] > 0
            assert row["note"] == "" and row["our_bytes"] > 0
    for boosted in ("", ", boosted"):
        assert measured[f"two views, 16 px{boosted}, batches of 8"]["ratio"] > 0
    assert len(measured) == 12 + 2 + 2


class Work:
    """A side that runs out of memory after a number of turns."""

    def __init__(self, turns: int = 99) -> None:
        self.turns, self.closed = turns, 0

    def turn(self) -> None:
        self.turns -= 1
        if self.turns < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_side_without_memory_has_a_note(turns):
    work = Work(turns)
    side = Side("ours", lambda: work, CPU)
    side.take(), side.take()
    side.close(side.note)
    assert (side.note, side.seconds, work.closed) == ("no memory", [], 1)


def test_a_side_that_fails_has_a_note():
    def fails() -> None:
        raise RuntimeError("no compiler\nfound")

    work = Work()
    work.turn = fails
    side = Side("ours", lambda: work, CPU)
    assert (side.note, work.closed) == ("RuntimeError: no compiler found", 1)


def test_a_side_that_cannot_be_made_has_a_note():
    side = Side("ours", lambda: Work(0).turn(), CPU)
    side.take()
    assert side.note == "no memory"


def test_what_there_is_no_time_for_is_named(monkeypatch):
    """Compiled rows are left out first, since all others are more important."""
    monkeypatch.setattr(rows, "Published", lambda *_: Work())
    monkeypatch.setattr(rows, "Ours", lambda *_: Work())
    monkeypatch.setattr(rows, "operations", lambda *_: 1e9)
    # Three groups of four rows; each group needs 5 s for itself and 5 s for each of the groups after it.
    for seconds, left_out in ((540, 0), (12, 1), (7, 2), (5, 3), (4, 12)):
        all_rows = list(rows.pretraining(Bench(TINY, CPU, SimpleNamespace(left=seconds), 1e12)))
        assert len(all_rows) == 12
        notes = [row.note for row in all_rows]
        assert notes.count("left out: no time") == left_out and notes.count("") == 12 - left_out
        assert all(row.ours is None for row in all_rows if row.note)
        assert left_out == 12 or all(row.what.endswith("compile") for row in all_rows if row.note)


def test_the_table_says_what_is_not_there():
    all_rows = [Row("a", "ms", None, 1234.5, None, None, None, 3 * 2**30, "published: no memory"),
            Row("b", "images/s", 2.0, 4.0, 2.0, 0.5, 2**30, 2**29)]  # fmt: skip
    lines = table(all_rows).splitlines()
    assert " ".join(lines[1].split()) == "a ms - 1,234 - - - 3.00 published: no memory"
    assert " ".join(lines[2].split()) == "b images/s 2 4 2.00 0.50 1.00 0.50"
    text = report(CONTENT, all_rows).splitlines()
    assert text[0] == "Card, torch 2, revision abc" and text[1] == "tests: 9 passed in 3.00s"
    assert text[2] == "best bfloat16 product: 700 TFLOP/s; all in 9 s"


def test_the_best_product_is_timed(monkeypatch):
    monkeypatch.setattr("benchmarks.gpu.measure.seconds_of", lambda work, device: 0.5)
    assert best_product(CPU, (8, 16), repeats=10) == 10 * 2 * 16**3 / 0.5


PASSED = "41 passed, 2 skipped, 80 deselected in 61.02s (0:01:01)"
OUTCOMES = [
    (0, f"...\n\n==== {PASSED} ====\n", PASSED),
    (1, "F\n1 failed, 3 passed in 2.00s\n", "1 failed, 3 passed in 2.00s"),
    (4, "ERROR: no such file\n", "none ran"),
]


@pytest.mark.parametrize(("code", "output", "summary"), OUTCOMES)
def test_the_tests_are_run_and_summarised(monkeypatch, code, output, summary):
    asked = []

    def finished(command, seconds):
        asked.append((command, seconds))
        return code, output

    monkeypatch.setattr(program, "run_in_time", finished)
    tested = program.tests(Clock(9))
    assert (tested["code"], tested["summary"]) == (code, summary)
    ((command, seconds),) = asked
    assert command[1:6] == ["-m", "pytest", "tests/gpu", "-m", "gpu"] and seconds < 9 * 60 / 2


def test_tests_that_are_not_over_in_time(monkeypatch):
    monkeypatch.setattr(program, "run_in_time", lambda command, seconds: (None, "...."))
    tested = program.tests(Clock(9))
    assert tested["code"] == 1 and tested["summary"] == "not over after 243 s" and tested["output"] == "...."


@pytest.mark.slow
def test_nothing_that_was_started_outlives_the_time():
    starts = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    code, output = program.run_in_time([sys.executable, "-c", starts], 10)
    assert code is None
    stat = Path(f"/proc/{int(output)}/stat")
    deadline = time.monotonic() + 10
    while (alive := stat.exists() and stat.read_text().split()[2] != "Z") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive
    assert program.run_in_time([sys.executable, "-c", "raise SystemExit(3)"], 60) == (3, "")


def test_failed_tests_are_exit_code_1_after_the_table(call, monkeypatch, tmp_path):
    monkeypatch.setattr(program, "device_of", lambda name: torch.device("cuda", 0))
    failed = {**TESTS, "code": 1, "summary": "1 failed in 1.0s", "output": "E"}
    monkeypatch.setattr(program, "tests", lambda clock: failed)
    monkeypatch.setattr(program, "best_product", lambda *_: 1e12)
    monkeypatch.setattr(program, "measured", lambda *_: iter([Row("a", "ms", 1.0, 2.0)]))
    monkeypatch.setattr(program, "card", lambda device: "Card")
    monkeypatch.setattr(program, "file_name", lambda device: "card")
    monkeypatch.setattr(program, "libraries", lambda device: {})
    done = call(GPU, "--out", tmp_path / "g.json", "--text", tmp_path / "g.txt")
    assert done.returncode == 1 and "tests: 1 failed in 1.0s" in (tmp_path / "g.txt").read_text()
    assert json.loads((tmp_path / "g.json").read_text())["tests"]["code"] == 1


def test_what_was_measured_before_an_error_is_written(call, monkeypatch, tmp_path):
    """Also while the next row is measured: the machine may be taken away."""
    files = {"--out": tmp_path / "g.json", "--text": tmp_path / "g.txt"}

    def fails(bench):
        yield Row("first", "ms", 1.0, 2.0)
        assert json.loads(files["--out"].read_text())["rows"][0]["what"] == "first"
        raise RuntimeError("DataLoader worker is killed by signal: Bus error")

    monkeypatch.setattr(
        program, "PARTS", {"losses": fails, "augmentation": lambda bench: iter([Row("last", "", 1, 1)])}
    )
    done = call(GPU, "--device", "cpu", "--quick", *(word for pair in files.items() for word in pair))
    assert done.returncode == 0, done.stderr
    rows = json.loads(files["--out"].read_text())["rows"]
    assert [row["what"] for row in rows] == ["first", "losses, the rest", "last"]
    assert "Bus error" in rows[1]["note"] and "Bus error" in files["--text"].read_text()
