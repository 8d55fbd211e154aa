"""Experiments found by the names that the recipes give, and their results over the splits."""

import json
from functools import partial

import numpy as np
import pytest

import analysis.rows
import split.flags
import split.lists
from analysis.read import read_result
from analysis.rows import Row
from data.sets.memory import load
from data.sets.registry import data_set
from split.ensure import ensure_list
from tests.analysis.experiments import (
    CIFAR10_COUNTS,
    SDCLR_SUFFIX,
    accuracies,
    authors_log,
    collect_all,
    counts_of,
    experiment,
    result,
    row_by_hand,
    write,
    write_authors,
)
from utils.errors import InputError


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("probe", ["linear", "fewShot"])
@pytest.mark.parametrize(("method", "suffix"), [("simclr", ""), ("sdclr", SDCLR_SUFFIX)])
def test_authors_logs_are_tabulated(tmp_path, name, probe, method, suffix):
    expected = write_authors(tmp_path, name, probe=probe, suffix=suffix)
    row = collect_all(name, tmp_path, method, probe)
    assert row.missing == []
    assert row.values.keys() == expected.keys()
    for n, values in expected.items():
        assert row.values[n] == pytest.approx(values)
    for column, (mean, deviation) in row.mean_and_std().items():
        column_values = [values[column] for values in expected.values()]
        assert mean == pytest.approx(np.mean(column_values))
        assert deviation == pytest.approx(np.std(column_values, ddof=0))
    assert any("authors" in note for note in row.notes)
    for other_method, other_probe in (("sdclr" if method == "simclr" else "simclr", probe), ("untrained", probe)):
        other = collect_all(name, tmp_path, other_method, other_probe)
        assert not other.values
        assert len(other.missing) == 5


def test_random_pruning_is_sdclr(tmp_path):
    write_authors(tmp_path, "cifar100", suffix="_pruneP0.9DualBNRandomP0.1")
    assert len(collect_all("cifar100", tmp_path, "sdclr").values) == 5
    assert not collect_all("cifar100", tmp_path, "simclr").values


def test_untrained_networks_are_a_method_of_their_own(tmp_path):
    _, probed = experiment(tmp_path, "cifar10", 1)
    probed = probed.with_name(probed.name.replace("epoch2000", "epoch0"))
    write(probed / "results.json", result(accuracies(10, 1), counts_of(10, 1)))
    assert list(collect_all("cifar10", tmp_path, "untrained").values) == [1]
    assert not collect_all("cifar10", tmp_path, "simclr").values


def test_splits_are_told_apart(tmp_path):
    """`split1` is also how `split10` begins."""
    for n in (1, 10):
        _, probed = experiment(tmp_path, "cifar10", n)
        write(probed / "results.json", result([float(n)] * 10, counts_of(10, n)))
    row = collect_all("cifar10", tmp_path, splits=[1, 10, 2])
    assert {n: values["All"] for n, values in row.values.items()} == {1: 1.0, 10: 10.0}
    assert len(row.missing) == 1


def test_missing_experiments_are_named(tmp_path):
    write_authors(tmp_path, "cifar10", splits=(1, 3))
    _, probed = experiment(tmp_path, "cifar10", 4)
    write(probed / "log.txt", authors_log(accuracies(10, 4), finished=False))
    row = collect_all("cifar10", tmp_path)
    assert list(row.values) == [1, 3]
    assert len(row.missing) == 3
    for n, line in zip((2, 4, 5), row.missing, strict=True):
        assert f"split {n}" in line
        assert "SimCLR" in line
        assert str(tmp_path / "checkpoints_tune") in line
    assert str(probed) in row.missing[1]


def test_deviation_of_one_split_is_not_a_number(tmp_path):
    write_authors(tmp_path, "cifar10", splits=(2,))
    assert {deviation for _, deviation in collect_all("cifar10", tmp_path).mean_and_std().values()} == {None}
    assert Row("SimCLR").mean_and_std() == {}


def test_several_settings_are_refused(tmp_path):
    write_authors(tmp_path, "cifar10")
    _, probed = experiment(tmp_path, "cifar10", 3)
    other = probed.with_name(probed.name.replace("lr0.5", "lr1.0"))
    write(other / "log.txt", authors_log(accuracies(10, 9)))
    with pytest.raises(InputError, match="--contains") as caught:
        collect_all("cifar10", tmp_path)
    assert "lr1.0" in str(caught.value)
    assert "lr0.5" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(collect_all("cifar10", tmp_path, contains="lr0.5").values) == 5


def test_results_are_preferred_to_logs(tmp_path):
    """results.json brings its own class sizes, and says how the run departs from the protocol."""
    write_authors(tmp_path, "cifar10", splits=(1,))
    _, probed = experiment(tmp_path, "cifar10", 1)
    per_class, counts = accuracies(10, 77), counts_of(10, 78)
    write(probed / "results.json", result(per_class, counts, departs={"epochs": [2, 30]}))
    row = collect_all("cifar10", tmp_path, splits=[1])
    assert row.values[1] == pytest.approx(row_by_hand(per_class, counts))
    assert row.notes == {"lists: generated", "epochs is 2, not the protocol's 30"}


def test_another_protocol_is_refused(tmp_path):
    _, probed = experiment(tmp_path, "cifar10", 1)
    for protocol in ("sdclr-fewshot", "bcl-100shot", "custom"):
        file = write(probed / "results.json", result(accuracies(10, 1), counts_of(10, 1), protocol=protocol))
        with pytest.raises(InputError, match=protocol) as caught:
            collect_all("cifar10", tmp_path)
        assert str(file) in str(caught.value)
        assert read_result(probed, protocol, 10)["per_class"] == accuracies(10, 1)


GOOD = json.loads(result(accuracies(10, 1), CIFAR10_COUNTS))


DAMAGED = {
    "half": json.dumps(GOOD)[:-40],
    "empty": "",
    "not an object": "[1, 2]",
    "a number": "7",
    "nothing": "null",
    "no protocol": json.dumps({k: v for k, v in GOOD.items() if k != "protocol"}),
    "no accuracies": json.dumps({k: v for k, v in GOOD.items() if k != "per_class"}),
    "no lists": json.dumps({k: v for k, v in GOOD.items() if k != "lists"}),
    "lists are a list": json.dumps({**GOOD, "lists": []}),
    "accuracies are words": json.dumps({**GOOD, "per_class": ["a"] * 10}),
    "accuracies are a number": json.dumps({**GOOD, "per_class": 3}),
    "an accuracy too few": json.dumps({**GOOD, "per_class": GOOD["per_class"][:9]}),
    "no accuracy": json.dumps({**GOOD, "per_class": []}),
    "a class size too many": json.dumps({**GOOD, "class_counts": [*CIFAR10_COUNTS, 1]}),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_results_are_refused(tmp_path, kind):
    _, probed = experiment(tmp_path, "cifar10", 1)
    file = write(probed / "results.json", DAMAGED[kind])
    with pytest.raises(InputError) as caught:
        collect_all("cifar10", tmp_path)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_results_that_are_not_text_are_refused(tmp_path):
    _, probed = experiment(tmp_path, "cifar10", 1)
    write(probed / "results.json", "").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match=r"results\.json"):
        collect_all("cifar10", tmp_path)


@pytest.mark.parametrize(
    "style", [str, lambda counts: str(np.array(counts)), lambda counts: str([float(c) for c in counts])]
)
def test_styles_of_the_class_distribution(tmp_path, style):
    """A list, NumPy's rows over several lines, floats."""
    counts = counts_of(100, 5)
    pretrained, probed = experiment(tmp_path, "cifar100", 1)
    write(pretrained / "log.txt", f"first line\nclass distribution in training set is {style(counts)}\nlast line\n")
    write(probed / "log.txt", authors_log(accuracies(100, 1)))
    row = collect_all("cifar100", tmp_path, splits=[1])
    assert row.values[1] == pytest.approx(row_by_hand(accuracies(100, 1), counts))


def test_unknown_class_sizes_are_an_error(tmp_path, monkeypatch):
    """Neither the pre-training's log nor the data set is here."""
    monkeypatch.chdir(tmp_path)
    _, probed = experiment(tmp_path, "cifar10", 1)
    write(probed / "log.txt", authors_log(accuracies(10, 1)))
    with pytest.raises(InputError, match="--data") as caught:
        collect_all("cifar10", tmp_path)
    assert "split1" in str(caught.value)


def test_balanced_pretraining_is_grouped_by_the_long_tailed_list(tmp_path, monkeypatch):
    """METHODS, section 2: D_b is judged in the groups of the same split's D_i."""
    for module in (split.lists, split.flags):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(analysis.rows, "ensure_list", partial(ensure_list, root=tmp_path / "lists"))
    pretrained, probed = experiment(tmp_path, "digits", 2, kind="D_b")
    write(pretrained / "log.txt", f"class distribution in training set is {[40] * 10}\n")
    write(probed / "log.txt", authors_log(accuracies(10, 6)))
    row = collect_all("digits", tmp_path, splits=[2], long_tailed=False)
    D_i = np.load(tmp_path / "lists" / "digits_imbSub_with_subsets" / "digits_split2_D_i.npy")
    counts = [int((load(data_set("digits"), "", train=True).labels[D_i] == c).sum()) for c in range(10)]
    assert row.values[2] == pytest.approx(row_by_hand(accuracies(10, 6), counts))
    assert not collect_all("digits", tmp_path, splits=[2], long_tailed=True).values
