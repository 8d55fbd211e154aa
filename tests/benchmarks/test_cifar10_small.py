"""The study of ResNet-18 on a thinned list, at a tiny size: digits in CIFAR-10's place, each step in this process."""

import json

import numpy as np
import pytest

from benchmarks import cifar10_small
from benchmarks.study.figure import plot_bars, plot_losses
from benchmarks.study.table import loss_table, table
from data.sets.registry import data_set
from split.open import Lists
from tests.benchmarks.studies import options_of, steps_here
from tests.conftest import one_line_error
from utils.errors import InputError

DIGITS = data_set("digits")
OPTIONS = ["--data", "none", "--model", "res20_s", "--image_size", "8", "--thin", "2", "--batch_size", "64",
           "--epochs", "2", "--linear_epochs", "1", "--few_shot_epochs", "1", "--splits", "1"]  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def study(call, tmp_path, monkeypatch):
    """Run the program on digits; `steps` has the command lines of the steps it ran."""
    monkeypatch.setattr(cifar10_small, "CIFAR", DIGITS)

    def run(*words: str):
        return call("benchmarks/cifar10_small.py", "--work", tmp_path / "work", "--out", tmp_path / "out", *words)

    run.steps = steps_here(call, monkeypatch)
    return run


def test_thinning_keeps_every_class_or_says_so():
    ids, labels = np.array([9, 4, 8, 1, 5, 0]), np.array([0, 0, 0, 1, 1, 2])
    assert cifar10_small.thin(ids, labels, 1).tolist() == ids.tolist()
    with pytest.raises(InputError, match="class 2 has no image left of every 2th"):
        cifar10_small.thin(ids, labels, 2)
    assert cifar10_small.thin(ids[1:], labels[1:], 2).tolist() == [4, 1, 0]


@pytest.mark.slow
def test_from_lists_to_table(study, tmp_path):
    done = study(*OPTIONS, "--runs", "bcl-d")
    assert done.returncode == 0, done.stderr
    whole = Lists().open(DIGITS.split_list("digits_split1_D_i"), DIGITS.open(""))
    lists = {path.stem: np.load(path).tolist() for path in (tmp_path / "work/lists").iterdir()}
    assert lists["digits_split1_thin2_D_i"] == whole.ids[::2].tolist() and len(lists) == 2
    pretraining, linear, few = map(options_of, study.steps)
    assert pretraining["--trainSplit"] == linear["--groupSplit"] == few["--groupSplit"]
    assert pretraining["--rand_k"] == "2" and pretraining["--prune_dual_bn"] == "True"
    assert linear["--trainSplit"].endswith("trainIdxList_thin2.npy") and few["--trainSplit"].endswith("split1_S_b.npy")

    folder = tmp_path / "out/split1/bcl-d"
    record = json.loads((folder / "run.json").read_text())
    assert (record["name"], record["split"], record["epochs"], record["image_size"]) == ("bcl-d", 1, 2, 8)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(metrics) == 2 and all(line["loss_few"] > 0 for line in metrics)
    for probe, protocol in (("linear", "sdclr-linear"), ("few-shot", "sdclr-fewshot")):
        result = json.loads((folder / f"{probe}.json").read_text())
        assert result["protocol"] == protocol and result["departs"]["image_size"] == [8, 16]
        assert result["class_counts"] == np.bincount(whole.labels[::2], minlength=10).tolist()
        assert result["pretraining"]["list"]["name"] == "digits_split1_thin2_D_i.npy"
        assert str(tmp_path) not in json.dumps(result)
    assert {path.name for path in tmp_path.glob("*.png")} == {"out.png", "out_loss.png"}
    text = (tmp_path / "out.txt").read_text()
    assert text in done.stdout and f"{len(whole.ids[::2])} images" in text and "Loss of pre-training" in text

    study.steps.clear()
    assert study(*OPTIONS, "--runs", "bcl-d").returncode == 0 and study.steps == []
    assert study("--table").returncode == 0


def test_a_step_that_fails_and_a_study_without_results_are_one_line(study, tmp_path):
    one_line_error(study("--table"), "no result yet")
    one_line_error(study(*OPTIONS, "--runs", "simclr", "--model", "res99"), "simclr of split 1 ended with code 2")
    one_line_error(study("--runs", "simclr"), "--data is missing")


def record_of(name: str, split: int, value: float) -> dict:
    """The record of a run whose accuracies are all `value`."""
    groups = dict.fromkeys(("Many", "Medium", "Few", "Std", "All"), value)
    probe = {"groups": groups, "pretraining": {"precision": "bf16"}, "best": {"val": value}}
    metrics = [
        {"epoch": e, "loss_many": value + e, "loss_medium": 1.0, "loss_few": 2.0, "time": 12.0 * e}
        for e in range(1, 41)
    ]
    return {
        "name": name,
        "split": split,
        "minutes": 7,
        "seconds_per_epoch": 12,
        "linear": probe,
        "few-shot": probe,
        "metrics": metrics,
    }


def test_tables_are_means_over_splits_and_last_epochs():
    results = {("a", s): record_of("a", s, v) for s, v in ((1, 10.0), (2, 20.0))}
    _, linear, rest = table(results, ["a", "b"]).split(" probe\n\n")
    few_shot, costs = rest.split("\n\nhow they were run\n\n")
    row = ["a", "1,2", *["15.00", "±", "5.00"] * 5]
    assert linear.splitlines()[1].split() == few_shot.splitlines()[1].split() == row
    assert costs.splitlines()[1].split() == ["a", *["15.00", "±", "5.00"], "bf16", "7", "12"]
    of_one_split = table({("a", 1): results["a", 1]}, ["a"])
    assert of_one_split.count(" 10.00 ") >= 8 and "±" not in of_one_split
    head, many, medium, few = loss_table(results, ["a", "b"]).splitlines()
    assert " ".join(head.split()) == "run group epoch 1 epoch 10 epoch 20 epoch 30 epoch 40"
    assert many.split() == ["a", "Many", "16.000", "23.000", "33.000", "43.000", "53.000"]
    assert medium.split()[2:] == ["1.000"] * 5 and few.split()[:2] == ["a", "Few"]
    bars = plot_bars(results, ["a"], "title")
    heights = [patch.get_height() for patch in bars.axes[0].patches]
    assert heights == [15.0] * 4 and [axis.get_title() for axis in bars.axes] == ["linear", "few-shot"]
    many, *_ = plot_losses(results, ["a"], "title").axes
    (line,) = many.get_lines()
    # At epochs 1 to 3 and the last: the splits' mean is 15 + epoch, averaged over the five epochs up to there.
    assert line.get_ydata()[[0, 1, 2, 39]].tolist() == [16.0, 16.5, 17.0, 53.0]
    unlike = {("a", 1): results["a", 1]} | {(name, 1): results["a", 1] for name in ("dnc", "ts", "simclr+gh")}
    names = [line.get_label() for line in plot_losses(unlike, ["a", "dnc", "ts", "simclr+gh"], "title").axes[0].lines]
    assert names == ["a"]
    untrained = {("u", 1): {**record_of("u", 1, 1.0), "metrics": []}}
    assert loss_table(untrained, ["u"]) == "" and plot_losses(untrained, ["u"], "title") is None
    assert "u" in table(untrained, ["u"])


def test_of_one_split_each_row_has_both_probes():
    record = record_of("a", 1, 10.0)
    record |= {"few-shot": record["linear"] | {"groups": dict.fromkeys(("Many", "Medium", "Few", "Std", "All"), 7.5)}}
    titles, head, values, *_ = table({("a", 1): record}, ["a"]).splitlines()
    assert head.split() == ["run", "splits", *["Many", "Medium", "Few", "Std", "All"] * 2]
    assert values.split() == ["a", "1", *["10.00"] * 5, *["7.50"] * 5]
    places = [place for place in range(len(head)) if head.startswith("Many", place)]
    assert [titles.index(name) for name in ("linear probe", "few-shot probe")] == places
    assert [values.index("10.00"), values.index("7.50")] == places
