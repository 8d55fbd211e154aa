"""The benchmark programs at a tiny size: both sides of each row work, and table and file have the measurements."""

import importlib
import json

import pytest
import torch

import benchmarks.accuracy
import benchmarks.growth
import benchmarks.run
from benchmarks import contenders, start_up
from benchmarks.compare import Pair
from benchmarks.methods import Cost, Work
from data.groups import COLUMNS
from models import build_classifier
from run.compute import has_bf16

SMALL = {"pairs": 4, "images": 24, "train": 24, "val": 8, "model": "res20_s"}


class Here:
    """A contender in this process, with small sizes in place of those it is asked for."""

    made: list = []

    def __init__(self, module: str, function: str, **arguments) -> None:
        threads = torch.get_num_threads()
        make = getattr(importlib.import_module(module), function)
        asked = dict(arguments)
        arguments |= {name: value for name, value in SMALL.items() if name in arguments}
        if "pretraining" in function:
            arguments["model"] = "res20_s"
        self.work, self.value, self.peak = make(**arguments), None, 2**30
        torch.set_num_threads(threads)
        Here.made.append((function, asked))

    def step(self) -> float:
        self.value = self.work()
        return 0.5

    def close(self) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(benchmarks.run, "Contender", Here)
    monkeypatch.setattr(benchmarks.growth, "Contender", Here)
    monkeypatch.setattr(benchmarks.run, "matmul_peak", lambda *_: 1e12)
    monkeypatch.setattr(benchmarks.run, "operations", lambda method, pairs: 1e12)
    moclr = Cost(Work("moclr", 0, "MoCLR", 1.0), 0.5, 1.3, 1.33, 1)  # test_methods.py tests the others
    monkeypatch.setattr(benchmarks.run, "costs", lambda *_: [moclr])
    monkeypatch.setattr(start_up, "first_step", lambda: lambda: 3.0)
    monkeypatch.setattr(contenders, "jpegs", lambda f=contenders.jpegs: f()[:1])
    Here.made.clear()
    return Here.made


@pytest.mark.slow
def test_every_row_is_measured_and_written(here, call, tmp_path, monkeypatch):
    monkeypatch.setattr(contenders, "build_classifier", lambda _, classes: build_classifier("res20_s", classes))
    done = call("benchmarks/run.py", "--quick", "--out", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out.json").read_text())
    rows = {row["what"]: row for row in content["rows"]}
    precisions = ["bf16"] if has_bf16(torch.device("cpu")) else ["fp32"]
    for method in ("SimCLR", "SDCLR"):
        for precision in precisions:
            row = rows[f"{method} res18, 32 px, 128 pairs, step with data, {precision}"]
            # Half a second a step on both sides: 2e12 operations per second, with a peak of 1e12.
            assert (row["published"], row["ours"], row["ratio"]) == (256, 256, 1)
            assert row["share"] == (2 if precision == "bf16" else None)
    for word in (
        "augmentation",
        "JPEG",
        "mask, res18",
        "mask, res50",
        "512 pairs",
        "4,096",
        "probe",
        "memory",
        "MoCLR, res18",
        "rwSAM: densities",
        "first",
    ):
        assert any(word in name for name in rows), word
    for line in done.stdout.splitlines()[1:-1]:
        assert line.count("  ") >= 4
    sides = {name for name, _ in here}
    assert {name.removeprefix("published_") for name in sides if name.startswith("published_")} <= {
        name.removeprefix("our_") for name in sides
    }
    asked = [arguments for name, arguments in here if name == "published_pretraining"]
    assert [a["pairs"] for a in asked] == [128, 128] and [a["method"] for a in asked] == ["simclr", "sdclr"]


def test_growth_has_a_line_for_every_size(here, call, monkeypatch):
    def digits(command, env, **_):
        folder = command[command.index("--save-dir") + 1]
        rate = 100 if "--nproc_per_node=1" in command else 150
        target = benchmarks.growth.Path(folder) / "grow" / "metrics.jsonl"
        target.parent.mkdir()
        target.write_text("".join(json.dumps({"images_per_s": rate}) + "\n" for _ in range(2)))
        assert env["OMP_NUM_THREADS"] == "1"

    monkeypatch.setattr(benchmarks.growth.subprocess, "run", digits)
    monkeypatch.setattr(contenders, "our_classifier", lambda classes, f=contenders.our_classifier: f(classes, 50, 10))
    lines = call("benchmarks/growth.py", "--quick").stdout.splitlines()
    assert [line.split(":")[0].strip("| ") for line in lines[2:]] == (
        ["images"] * 2 + ["batch"] * 4 + ["pruning"] * 2 + ["classes"] * 2 + ["processes"] * 2
    )
    assert lines[2].endswith("| 1,000 | 500 ms | 1.00 GiB |")
    assert "100 images/s" in lines[-2] and "150 images/s" in lines[-1]


def test_operations_of_a_step():
    """res18 at 32 pixels: 0.557e9 multiplications per image in the forward pass, twice as many in the backward pass."""
    simclr = benchmarks.run.operations("simclr", 128)
    assert simclr == pytest.approx(256 * 3 * 2 * 0.557e9, rel=0.02)
    assert benchmarks.run.operations("sdclr", 128) == pytest.approx(simclr, rel=0.01)


def test_numbers_in_the_table():
    row = benchmarks.run.Row("a", "images/s", 15.44, 1234.5, 79.951, 0.7219)
    assert benchmarks.run.table([row]).splitlines()[1].split() == ["a", "images/s", "15.4", "1,234", "79.95", "0.72"]
    assert benchmarks.run.table([row._replace(published=None, ratio=None, share=None)]).split()[-4:] == [
        "-", "1,234", "-", "-",
    ]  # fmt: skip
    assert Pair._fields[:3] == ("theirs", "ours", "ratio")


def test_study_of_accuracy_compares_equal_seeds(tmp_path, monkeypatch, call):
    """The command lines of the scripts, and the table of their results."""
    asked = []

    def script(name, experiment, *words):
        words = list(map(str, words))
        asked.append((name, words))
        folder = benchmarks.accuracy.Path(words[words.index("--save-dir") + 1]) / experiment
        folder.mkdir(parents=True)
        (folder / "model_2.pt").touch()
        seed, fast = int(words[words.index("--seed") + 1]), "batched" in words
        groups = {column: 50.0 + seed + 2 * fast for column in COLUMNS}
        (folder / "results.json").write_text(json.dumps({"groups": groups}))

    monkeypatch.setattr(benchmarks.accuracy, "call", script)
    monkeypatch.setattr(benchmarks.accuracy, "thinned", lambda args: {"pretrain": "p.npy", "linear": "l.npy"})
    options = ["--data", "D", "--root", tmp_path, "--epochs", 2, "--out", tmp_path / "t.txt", "--methods", "sdclr"]
    done = call("benchmarks/accuracy.py", *options)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "t.txt").read_text().splitlines()
    assert lines[3].split() == ["fp32,", "Pillow", *["52.00", "±", "1.00"] * 5]
    assert lines[4].split() == ["bf16,", "batched", *["54.00", "±", "1.00"] * 5]
    assert lines[5].split() == ["difference", *["+2.00"] * 5]
    training = [words for name, words in asked if name == "train_simCLR.py"]
    assert len(training) == 6 and len(asked) == 18
    for slow, fast in zip(training[:3], training[3:], strict=True):
        different = {(a, b) for a, b in zip(slow, fast, strict=True) if a != b}
        assert {("fp32", "bf16"), ("pillow", "batched")} < different and len(different) == 3  # the third is the folder
    call("benchmarks/accuracy.py", *options)
    assert len(asked) == 18  # nothing is run again
