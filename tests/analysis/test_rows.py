"""Experiments found by the names that the recipes give, and their results over the splits."""

import json
import shutil

import numpy as np
import pytest

import split.lists
from analysis.read import read_result
from analysis.rows import Row
from data.sets.registry import data_set
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
    assert any("authors" in note for found in row.results.values() for note in found["notes"])
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
    assert row.results[1]["notes"] == {"lists: generated", "epochs is 2, not the protocol's 30"}


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


def test_unknown_class_sizes_are_an_error(tmp_path):
    """Neither a log of a pre-training nor a result has them; what to do is one line."""
    pretrained, probed = experiment(tmp_path, "cifar10", 1)
    write(probed / "log.txt", authors_log(accuracies(10, 1)))
    for text in (None, "Epoch: [1][0/22]\tLoss 6.9\n"):
        if text:
            write(pretrained / "log.txt", text)
        with pytest.raises(InputError, match="split1_D_i") as caught:
            collect_all("cifar10", tmp_path, splits=(1,))
        assert str(pretrained / "log.txt") in str(caught.value) and "--groupSplit" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_balanced_pretraining_is_grouped_by_the_long_tailed_list(tmp_path):
    """METHODS, section 2: D_b is judged in the groups of the same split's D_i, which another pre-training's log has."""
    pretrained, probed = experiment(tmp_path, "digits", 2, kind="D_b")
    write(pretrained / "log.txt", f"class distribution in training set is {[40] * 10}\n")
    write(probed / "log.txt", authors_log(accuracies(10, 6)))
    for n in (1, 2):
        tailed, _ = experiment(tmp_path, "digits", n, suffix=SDCLR_SUFFIX)
        with pytest.raises(InputError, match="digits_split2_D_i"):
            collect_all("digits", tmp_path, splits=(2,), LT=False)
        write(tailed / "log.txt", f"class distribution in training set is {counts_of(10, n)}\n")
    row = collect_all("digits", tmp_path, splits=(2,), LT=False)
    assert row.values[2] == pytest.approx(row_by_hand(accuracies(10, 6), counts_of(10, 2)))
    assert not collect_all("digits", tmp_path, splits=(2,)).values


def test_published_lists_of_image_files_have_the_class_sizes(tmp_path, monkeypatch):
    """Where no log has them; generated lists give a class another size, so they are not taken."""
    counts = [200 - i % 196 for i in range(365)]
    images = "".join(f"train/{c}/{i}.jpg {c}\n" for c, n in enumerate(counts) for i in range(n))
    file = write(tmp_path / "split" / data_set("places").path("Places_LT_train"), images)
    name = "Places_BL_train_res50_scheduling_sgd_lr0.5_temp0.2_epoch500_batch256__lr30_wd0_epoch30"
    per_class = accuracies(365, 1)
    log = "acc per class is " + " ".join(f"{a / 100:.4f}" for a in per_class)
    write(tmp_path / "checkpoints_places_tune" / name / "log.txt", f"{log}\nOn the best_model, test top5 tacc is 1\n")
    monkeypatch.setattr(split.lists, "ROOT", tmp_path / "split")
    for source in ("generated", "published"):
        monkeypatch.setattr(split.lists, "origin", lambda sha1, source=source: (source, "places"))
        if source == "published":
            values = collect_all("places", tmp_path, splits=(1,), LT=False).values[1]
            many = [a for a, n in zip(per_class, counts, strict=True) if n > 100]
            assert values["Many"] == pytest.approx(np.mean(many))
        else:
            with pytest.raises(InputError, match="split.fetch_published --dataset places"):
                collect_all("places", tmp_path, splits=(1,), LT=False)
    assert [p.name for p in (tmp_path / "split").rglob("*") if p.is_file()] == [file.name]


# ---- what results.json tells of the pre-training

SETTINGS = {
    "experiment": "mine", "dataset": "cifar", "epochs": 100, "lr": 0.5, "seed": 10, "prune": False, "focal": False,
    "bcl": False, "trainSplit": "cifar10_imbSub_with_subsets/split1_D_i.npy", "num_workers": 3,
}  # fmt: skip


def record(root, folder: str, n: int = 1, kind: str = "D_i", protocol: str = "sdclr-linear", epochs=100, **changes):
    """results.json of a probe in a folder of any name; returns the row that it amounts to."""
    name = f"cifar10_imbSub_with_subsets/split{n}_{kind}.npy"
    pretraining = {"experiment": f"of_{folder}", "method": None, "dataset": "cifar10", "list": {"name": name}}
    pretraining |= {"split": n, "epochs": epochs, "settings": {**SETTINGS, "trainSplit": name, "epochs": epochs}}
    pretraining["settings"] |= changes
    seed = n + 10 * len(folder)
    per_class, counts = accuracies(10, seed), counts_of(10, seed)
    text = result(per_class, counts, protocol=protocol, dataset="cifar10", pretraining=pretraining)
    write(root / "checkpoints_tune" / folder / "results.json", text)
    return row_by_hand(per_class, counts)


@pytest.mark.parametrize("probe", ["linear", "fewShot", "bcl-full", "bcl-100shot"])
def test_results_in_folders_of_any_name(tmp_path, probe):
    protocol = {"linear": "sdclr-linear", "fewShot": "sdclr-fewshot"}.get(probe, probe)
    expected = {n: record(tmp_path, f"mine {n}!", n, protocol=protocol, num_workers=n) for n in (1, 2, 4)}
    row = collect_all("cifar10", tmp_path, probe=probe)
    assert row.values.keys() == expected.keys() and len(row.missing) == 2
    for n, values in expected.items():
        assert row.values[n] == pytest.approx(values)
        assert row.folders[n] == (tmp_path / f"checkpoints/of_mine {n}!", tmp_path / f"checkpoints_tune/mine {n}!")
    for other in {"linear", "fewShot", "bcl-50shot"} - {probe}:
        assert not collect_all("cifar10", tmp_path, probe=other).values
    for changes in ({"LT": False}, {"shape": "imb50"}, {"epochs": 200}, {"contains": "yours"},
                    {"experiments": ["mine 1!"]}, {"splits": (3, 5)}):  # fmt: skip
        assert not collect_all("cifar10", tmp_path, probe=probe, **changes).values
    for changes in ({"epochs": 100}, {"contains": "mine 1"}, {"experiments": ["of_mine 1!"]}):
        assert 1 in collect_all("cifar10", tmp_path, probe=probe, **changes).values
    assert not collect_all("digits", tmp_path, probe=probe).values


FLAGS = {
    "simclr": {}, "focal": {"focal": True}, "sdclr": {"prune": True, "prune_percent": 0.9}, "bcl-i": {"bcl": True},
    "bcl-d": {"bcl": True, "prune": True}, "focal+bcl": {"focal": True, "bcl": True},
}  # fmt: skip


@pytest.mark.parametrize("how", ["flags", "name"])
def test_methods_by_their_settings(tmp_path, how):
    """Those of older checkpoints are flags; a composition has a row of its own."""
    for name, flags in FLAGS.items():
        record(tmp_path, name, **(flags if how == "flags" else {"method": name}))
    record(tmp_path, "nothing", epochs=0, method="simclr")
    for name in (*FLAGS, "untrained"):
        row = collect_all("cifar10", tmp_path, name)
        assert [folder.name for _, folder in row.folders.values()] == ["nothing" if name == "untrained" else name]
    assert collect_all("cifar10", tmp_path, "focal+bcl").method == "Focal+BCL"


def test_a_network_within_its_first_epoch_is_not_untrained(tmp_path):
    record(tmp_path, "mine")
    file = tmp_path / "checkpoints_tune" / "mine" / "results.json"
    content = json.loads(file.read_text())
    content["pretraining"]["epochs"] = 0
    file.write_text(json.dumps(content))
    assert collect_all("cifar10", tmp_path).values and not collect_all("cifar10", tmp_path, "untrained").values


def test_the_record_counts_and_not_the_name(tmp_path):
    """A published name of SimCLR on split 1 and its linear probe; the results are of SDCLR on split 2, few-shot."""
    _, probed = experiment(tmp_path, "cifar10", 1)
    record(tmp_path, probed.name, 2, protocol="sdclr-fewshot", prune=True)
    assert not collect_all("cifar10", tmp_path).values
    assert list(collect_all("cifar10", tmp_path, "sdclr", "fewShot").values) == [2]
    record(tmp_path, probed.name, 1, protocol="custom")
    with pytest.raises(InputError, match="protocol custom"):
        collect_all("cifar10", tmp_path)
    assert list(collect_all("cifar10", tmp_path, mix=True).values) == [1]


def test_balanced_lists_and_other_shapes(tmp_path):
    record(tmp_path, "a", kind="D_b")
    record(tmp_path, "b", trainSplit="x")
    folder = tmp_path / "checkpoints_tune" / "b" / "results.json"
    folder.write_text(folder.read_text().replace("split1_D_i", "split1_pareto6_imb50_D_i"))
    assert list(collect_all("cifar10", tmp_path, LT=False).values) == [1]
    assert list(collect_all("cifar10", tmp_path, shape="pareto6_imb50").values) == [1]
    assert not collect_all("cifar10", tmp_path).values


def test_several_settings_of_any_name_are_refused(tmp_path):
    """Two of a split, or other settings in two splits; what changes no result does not count."""
    record(tmp_path, "one", 1, epochs=2000)
    record(tmp_path, "two", 2, epochs=2000, num_workers=0)
    write_authors(tmp_path, "cifar10", splits=(3,))
    assert list(collect_all("cifar10", tmp_path).values) == [1, 2, 3]
    for changes in ({"n": 1}, {"n": 5, "lr": 0.1}, {"n": 5, "rand_floor": 3}, {"n": 5, "epochs": 50}):
        record(tmp_path, "three", **{"epochs": 2000, **changes})
        with pytest.raises(InputError, match="several settings of SimCLR were run: .*three.*--contains") as caught:
            collect_all("cifar10", tmp_path)
        assert "\n" not in str(caught.value)
        assert collect_all("cifar10", tmp_path, contains="three").values
    record(tmp_path, "three", 5, prune=True, prune_percent=0.9)
    record(tmp_path, "four", 4, prune=True, prune_percent=0.3)
    with pytest.raises(InputError, match="several settings of SDCLR"):
        collect_all("cifar10", tmp_path, "sdclr")


@pytest.mark.parametrize(("k", "strength", "floor"), [(1, 30.0, 10.0), (2, 30.0, 5.0), (2, 3.0, 3.0)])
def test_the_smallest_strength_by_default_is_none_in_older_records(tmp_path, k, strength, floor):
    boost = {"bcl": True, "rand_k": k, "rand_strength": strength}
    record(tmp_path, "older", 1, **boost, rand_floor=None)
    record(tmp_path, "newer", 2, **boost, rand_floor=floor)
    assert list(collect_all("cifar10", tmp_path, "bcl-i").values) == [1, 2]
    record(tmp_path, "other", 3, **boost, rand_floor=floor - 1)
    with pytest.raises(InputError, match="several settings of BCL-I"):
        collect_all("cifar10", tmp_path, "bcl-i")


@pytest.mark.parametrize("value", [None, [], "x", 7, {}, {"settings": {}}, {"settings": {"epochs": 3}}])
def test_records_that_tell_nothing_leave_it_to_the_name(tmp_path, value):
    """An older file, one of the authors' checkpoints, a damaged one."""
    _, probed = experiment(tmp_path, "cifar10", 1)
    for folder in (probed, probed.with_name("mine")):
        write(folder / "results.json", result(accuracies(10, 1), counts_of(10, 1), pretraining=value))
    assert [folder for _, folder in collect_all("cifar10", tmp_path).folders.values()] == [probed]


@pytest.mark.parametrize("settings", [{"method": "unknown"}, {"method": 7}, {"dataset": "x"}, {"epochs": "x"}])
def test_records_of_no_known_method_are_in_no_row(tmp_path, settings):
    record(tmp_path, "mine", **settings)
    found = collect_all("cifar10", tmp_path).values
    assert bool(found) == ("dataset" in settings)  # the data set is told beside the settings


ODD = [None, [], {}, "", "x", "\ud800\0", 0, -1, 10**400, 1e999, float("nan"), True, [[1]], {"a": {"name": 1}}]


WHERE = ["dataset", "protocol", "pretraining"]
KEYS = ("experiment", "dataset", "list", "list/name", "epochs", "settings", "settings/epochs", "settings/method",
        "settings/lr", "precision")  # fmt: skip
WHERE += [f"pretraining/{key}" for key in KEYS]


@pytest.mark.parametrize("where", WHERE)
def test_records_with_odd_values_are_read_or_refused(tmp_path, where):
    """Other people's files: a table of others is not in their way, and no traceback comes."""
    record(tmp_path, "mine")
    file = tmp_path / "checkpoints_tune" / "mine" / "results.json"
    whole = file.read_text()
    for value in ODD:
        content = json.loads(whole)
        *above, key = where.split("/")
        inner = content
        for name in above:
            inner = inner[name]
        inner[key] = value
        file.write_text(json.dumps(content))
        try:
            assert collect_all("cifar10", tmp_path).values.keys() <= {1}
        except InputError as error:
            assert "\n" not in str(error)


def test_other_settings_in_a_published_name_are_refused_beside_a_record(tmp_path):
    """Split 1 is recorded, split 2 is older: by its name it had another temperature, or other epochs."""
    _, one = experiment(tmp_path, "cifar10", 1)
    record(tmp_path, one.name, 1, epochs=2000)
    _, two = experiment(tmp_path, "cifar10", 2)
    for name in (two.name, two.name.replace("temp0.2", "temp0.5"), two.name.replace("epoch2000", "epoch1")):
        folder = two.with_name(name)
        write(folder / "results.json", result(accuracies(10, 1), counts_of(10, 1), dataset="cifar10"))
        if name == two.name:
            assert list(collect_all("cifar10", tmp_path).values) == [1, 2]
        else:
            with pytest.raises(InputError, match="several settings of SimCLR"):
                collect_all("cifar10", tmp_path)
        (folder / "results.json").unlink()
        folder.rmdir()


def test_the_usual_image_size_is_one_setting_however_it_was_recorded(tmp_path):
    for n, size in ((1, None), (2, 32)):
        record(tmp_path, f"mine{n}", n, image_size=size)
    assert list(collect_all("cifar10", tmp_path).values) == [1, 2]
    record(tmp_path, "mine3", 3, image_size=16)
    with pytest.raises(InputError, match="several settings of SimCLR"):
        collect_all("cifar10", tmp_path)


def test_a_few_shot_probe_on_another_splits_list_is_not_this_splits(tmp_path):
    for n, labelled in ((1, 2), (3, 3)):
        record(tmp_path, f"mine{n}", n, protocol="sdclr-fewshot")
        file = tmp_path / "checkpoints_tune" / f"mine{n}" / "results.json"
        told = json.loads(file.read_text())
        told["lists"]["train"]["path"] = f"split{labelled}_S_b.npy"
        file.write_text(json.dumps(told))
    assert list(collect_all("cifar10", tmp_path, probe="fewShot").values) == [3]


def test_a_copied_folder_does_not_count_beside_its_original(tmp_path):
    record(tmp_path, "mine", 1)
    file = tmp_path / "checkpoints_tune" / "mine" / "results.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "experiment": "mine"}))
    shutil.copytree(file.parent, file.parent.with_name("backup of mine"))
    (_, found), *others = collect_all("cifar10", tmp_path).folders.values()
    assert found == file.parent and not others
    shutil.rmtree(file.parent)
    assert list(collect_all("cifar10", tmp_path).values) == [1]  # the copy is all there is
