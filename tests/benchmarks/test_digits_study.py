"""The study of all methods on digits, at a tiny size, each step in this process."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import digits_study
from benchmarks.study.kept import steps_of
from benchmarks.study.table import differences
from methods import ORDER
from tests.benchmarks.studies import options_of, steps_here
from tests.conftest import one_line_error

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def study(call, tmp_path, monkeypatch):
    """Run the program with probes of one epoch; `steps` has the command lines of the steps it ran."""
    recipe_of = digits_study.recipe_of
    short = ["--linear_epochs", "1", "--few_shot_epochs", "1"]
    monkeypatch.setattr(digits_study, "recipe_of", lambda *args: [*recipe_of(*args), *short])

    def run(*words: str):
        paths = ["--work", tmp_path / "work", "--out", tmp_path / "out", "--jobs", "1", "--epochs", "1"]
        return call("benchmarks/digits_study.py", *paths, *words)

    run.steps = steps_here(call, monkeypatch)
    return run


@pytest.mark.slow
def test_from_recipe_to_table(study, tmp_path):
    done = study("--splits", "1", "2", "--runs", "simclr", "bcl-d", "simclr-imb10")
    assert done.returncode == 0, done.stderr
    trained = [step for step in map(options_of, study.steps) if "--trainSplit" in step and "--monitor" in step]
    lists = [step["--trainSplit"].rpartition("/")[2] for step in trained]
    usual = [f"digits_split{split}_D_i.npy" for split in (1, 2)]
    assert lists == [usual[0]] * 2 + ["digits_split1_imb10_D_i.npy"] + [usual[1]] * 2
    folder = tmp_path / "out/split2/bcl-d"
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"loss_few", "alignment_few", "score_few"} <= metrics[0].keys()
    for probe, protocol in (("linear", "sdclr-linear"), ("few-shot", "sdclr-fewshot")):
        result = json.loads((folder / f"{probe}.json").read_text())
        assert result["protocol"] == protocol and str(tmp_path) not in json.dumps(result)
    text = (tmp_path / "out.txt").read_text()
    assert text in done.stdout and "fp32" in text and text.count("\nbcl-d ") == 5 and "imb10" not in text
    figures = {path.name for path in tmp_path.glob("*.png")}
    assert figures == {"out.png", "out_loss.png", "out_alignment.png", "out_score.png"}
    study.steps.clear()
    done = study("--splits", "2", "--runs", "simclr-D_b")
    assert done.returncode == 0, done.stderr
    assert options_of(study.steps[0])["--trainSplit"].endswith("digits_split2_D_b.npy")
    linear = json.loads((tmp_path / "out/split2/simclr-D_b/linear.json").read_text())
    assert "D_i" in linear["lists"]["group"]["path"]  # so Few are the same classes on both lists
    assert done.stdout.count("\nsimclr-D_b  ") == 4 and (tmp_path / "out_balanced.png").exists()
    study.steps.clear()
    assert study("--splits", "2", "--runs", "bcl-d", "simclr-imb10").returncode == 0 and not study.steps


def test_differences_are_paired_over_the_splits_that_both_have():
    def record_of(split: int, value: float) -> dict:
        return {"split": split, "linear": {"groups": dict.fromkeys(("Many", "Medium", "Few", "Std", "All"), value)}}

    runs = {
        "simclr": [record_of(1, 50.0), record_of(2, 60.0), record_of(3, 70.0)],
        "x": [record_of(3, 73.0), record_of(2, 61.0)],
    }
    runs["y"] = []
    head, row = differences(runs, "linear", "simclr").splitlines()
    assert head.split() == ["run", "splits", "Many", "Medium", "Few", "Std", "All"]
    # Differences 3 and 1: mean 2, standard error 1; with one degree of freedom, t is 12.706 and p 0.295.
    half = 12.7062  # the interval is the mean ± this
    assert row.startswith("x    2       +2.00") and f"[{2 - half:.2f}, {2 + half:.2f}] p 0.295" in row
    assert np.isclose(2 - half, -10.7062)


@pytest.mark.slow
def test_every_run_is_a_recipe():
    options = SimpleNamespace(epochs=3, model="res20_s", precision="fp32", work="w")
    for name in (*ORDER, digits_study.BALANCED, *digits_study.ONCE):
        pretraining, *probes = steps_of(digits_study.recipe_of(name, 3, options))
        assert ("D_b" in " ".join(pretraining)) == (name == digits_study.BALANCED)
        assert len(probes) == 2 and ("-imb" in name) == bool(re.search(r"_imb\d", " ".join(pretraining)))
        epochs = pretraining[pretraining.index("--epochs") + 1]
        assert epochs == ("0" if name == "untrained" else "3")


def test_results_of_other_settings_share_no_table(study, tmp_path):
    for name, epochs in (("untrained", 0), ("focal", 7)):
        record = {"name": name, "split": 1, "model": "res20_s", "epochs": epochs, "batch_size": 128}
        (tmp_path / "out/split1" / name).mkdir(parents=True)
        (tmp_path / "out/split1" / name / "run.json").write_text(json.dumps(record))
    one_line_error(study("--runs", "simclr"), "has focal of split 1 with epochs 7, not 1", "another folder")
    assert not study.steps


def test_mistakes_are_one_line(study, call):
    one_line_error(study("--table"), "no result yet")
    one_line_error(call("benchmarks/digits_study.py", "--runs", "simclr"), "--work is missing")
    one_line_error(study("--runs", "sdclr-imb7"), "sdclr-imb7")
