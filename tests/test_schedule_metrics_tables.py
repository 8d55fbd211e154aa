"""Learning rates, optimisers, metrics, and the tables that are made of results and logs."""

import csv
import json
import math
import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score

import split.lists
import split.make_splits
import utils.tables
from data.datasets import SPECS, load, spec_of
from split.ensure import ensure_list
from tests.conftest import PROJECT, one_line_error
from utils.errors import InputError
from utils.metrics import accuracy, count_hits, summarise, thirds
from utils.optim import LARS, build_optimizer
from utils.read_results import read_log, read_result
from utils.schedule import pretrain_lr, probe_lr
from utils.tables import Row, collect, published

quick = settings(database=None, deadline=None, max_examples=60)
COLUMNS = ("Many", "Medium", "Few", "Std", "All")
CIFAR10_COUNTS = [4500, 2697, 1617, 969, 581, 348, 208, 125, 75, 45]


# ---- schedules


def published_pretraining(total: int, warmup: int, lr: float) -> list[float]:
    """LambdaLR moved before each update, with the warm-up and cosine as S:train_simCLR.py writes them."""

    def cosine_annealing(step: int, lr_max: float, lr_min: float) -> float:
        if step < warmup:
            return lr_max * step / warmup
        return lr_min + (lr_max - lr_min) * 0.5 * (1 + np.cos((step - warmup) / (total - warmup) * np.pi))

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_annealing(step, 1, 1e-6 / lr))
    used = []
    for _ in range(total):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about this very order
            scheduler.step()
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return used


@pytest.mark.parametrize(("epochs", "steps", "lr"), [(40, 22, 0.5), (25, 20, 0.5), (11, 3, 5.0), (30, 1, 0.1)])
def test_pretraining_rates_are_the_published_ones(epochs, steps, lr):
    """Warm-up of 10 epochs, as for CIFAR."""
    total, warmup = epochs * steps, 10 * steps
    ours = [pretrain_lr(step, total, warmup, lr) for step in range(total)]
    assert ours == pytest.approx(published_pretraining(total, warmup, lr), rel=1e-9)


@quick
@given(warmup=st.integers(1, 500), rest=st.integers(1, 3000), lr=st.floats(1e-4, 10))
def test_pretraining_rate_rises_then_falls(warmup, rest, lr):
    total = warmup + rest
    rates = [pretrain_lr(step, total, warmup, lr) for step in range(total)]
    assert rates[0] == pytest.approx(lr / warmup, rel=1e-12)
    assert rates[warmup - 1] == pytest.approx(lr, rel=1e-12)
    assert rates[-1] == 1e-6
    assert np.argmax(rates) == warmup - 1
    assert (np.diff(rates[:warmup]) > 0).all()
    assert (np.diff(rates[warmup - 1 :]) < 0).all()
    # Continuous: a cosine's step is at most pi/2 of the mean one.
    assert rates[warmup - 1] - rates[warmup] <= (lr - 1e-6) * math.pi / 2 / rest * (1 + 1e-9)


@quick
@given(total=st.integers(1, 100), extra=st.integers(0, 100), lr=st.floats(0, 10))
def test_short_runs_only_rise_and_constant_is_constant(total, extra, lr):
    warmup = total + extra
    for step in range(total):
        assert pretrain_lr(step, total, warmup, lr) == pytest.approx(lr * (step + 1) / warmup, rel=1e-12)
        assert pretrain_lr(step, total, warmup, lr, "constant") == lr


def test_pretraining_without_warmup_ends_at_the_smallest_rate():
    rates = [pretrain_lr(step, 10, 0, 0.5) for step in range(10)]
    assert rates == pytest.approx(
        [1e-6 + (0.5 - 1e-6) * (1 + math.cos(math.pi * n / 10)) / 2 for n in range(1, 11)], rel=1e-12
    )


def moved_at_epoch_start(scheduler_of, epochs: int, lr: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    scheduler, used = scheduler_of(optimizer), []
    for _ in range(epochs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return used


@pytest.mark.parametrize(
    ("epochs", "milestones", "lr"),
    [(30, [10, 20], 30), (100, [40, 60], 30), (100, [75, 90, 95], 0.1), (5, [1], 1), (9, [], 2), (12, [6, 6, 3], 1)],
)
def test_probe_rates_are_those_of_multisteplr(epochs, milestones, lr):
    expected = moved_at_epoch_start(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones), epochs, lr)
    assert [probe_lr(e, lr, milestones) for e in range(1, epochs + 1)] == pytest.approx(expected, rel=1e-9)


def test_published_probe_rates():
    """METHODS, section 10a: nine epochs at 30, not ten."""
    linear = [probe_lr(e, 30, [10, 20]) for e in range(1, 31)]
    assert linear == pytest.approx([30] * 9 + [3] * 10 + [0.3] * 11, rel=1e-12)
    few_shot = [probe_lr(e, 30, [40, 60]) for e in range(1, 101)]
    assert few_shot == pytest.approx([30] * 39 + [3] * 20 + [0.3] * 41, rel=1e-12)


# ---- optimisers


def lars_loop(start, gradients, rates, momentum: float, decay: float, eta: float) -> list[np.ndarray]:
    """The update written out in float64, number by number where it is a norm."""
    weights = [w.astype(np.float64).copy() for w in start]
    velocity = [np.zeros_like(w) for w in weights]
    for step, lr in zip(gradients, rates, strict=True):
        for k, gradient in enumerate(step):
            if gradient is None:
                continue
            scale = 1.0
            w_norm = math.sqrt(sum(x * x for x in weights[k].ravel().tolist()))
            g_norm = math.sqrt(sum(x * x for x in gradient.astype(np.float64).ravel().tolist()))
            if w_norm > 0 and g_norm > 0:
                scale = eta * w_norm / (g_norm + decay * w_norm)
            update = gradient + decay * weights[k]
            velocity[k] = momentum * velocity[k] + lr * scale * update
            weights[k] = weights[k] - velocity[k]
    return weights


@pytest.mark.parametrize("decay", [0.0, 1e-6, 0.1])
def test_lars_against_a_loop(decay):
    """Matrix, kernel, bias, a weight that is zero, one without a gradient; the rate changes on the way."""
    rng = np.random.RandomState(4)
    start = [rng.standard_normal(s) for s in ((4, 3), (2, 3, 3, 3), (5,), (3, 2), (2, 2), (3, 3))]
    start[3][:] = 0
    rates = [0.5, 5.0, 5.0, 0.01]
    steps = [[rng.standard_normal(w.shape) for w in start] for _ in rates]
    for i, step in enumerate(steps):
        step[4] = None
        step[5] = np.zeros((3, 3)) if i % 2 else step[5]
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in start]
    optimizer = LARS(parameters, 1.0, momentum=0.9, weight_decay=decay, eta=0.001)
    for i, (step, lr) in enumerate(zip(steps, rates, strict=True)):
        if i == 2:  # resumed: another optimiser goes on from the state
            state = optimizer.state_dict()
            optimizer = LARS(parameters, 1.0)
            optimizer.load_state_dict(state)
        optimizer.param_groups[0]["lr"] = lr
        for p, g in zip(parameters, step, strict=True):
            p.grad = None if g is None else torch.from_numpy(g.copy())
        optimizer.step()
    for p, expected in zip(parameters, lars_loop(start, steps, rates, 0.9, decay, 0.001), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "kind", "decay"), [("sgd", torch.optim.SGD, 1e-4), ("adam", torch.optim.Adam, 0), ("lars", LARS, 1e-6)]
)
def test_weight_decay_as_published(name, kind, decay):
    """METHODS, sections 1 and 14: SGD's on all parameters, batch norm and biases included."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    for asked, expected in ((None, decay), (0.0, 0.0), (5e-4, 5e-4)):
        optimizer = build_optimizer(name, model.parameters(), 0.3, asked)
        assert type(optimizer) is kind
        assert {group["weight_decay"] for group in optimizer.param_groups} == {expected}
        assert {group["lr"] for group in optimizer.param_groups} == {0.3}
        held = [p for group in optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in held} == {id(p) for p in model.parameters()}
        if name != "adam":
            assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
        if name == "sgd":
            assert not any(group["nesterov"] or group["dampening"] for group in optimizer.param_groups)
        if name == "lars":
            assert {group["eta"] for group in optimizer.param_groups} == {0.001}


def test_sgd_decays_batch_norm_and_biases():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    torch.nn.init.ones_(model[0].bias)
    optimizer = build_optimizer("sgd", model.parameters(), 1.0)
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, b in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), b * (1 - 1e-4))


@pytest.mark.parametrize("wrong", [("rmsprop", 0.1, None), ("sgd", -0.1, None), ("adam", 0.1, -1e-4)])
def test_wrong_optimisers(wrong):
    name, lr, decay = wrong
    with pytest.raises(InputError):
        build_optimizer(name, [torch.nn.Parameter(torch.zeros(1))], lr, decay)


# ---- metrics


@quick
@given(n=st.integers(1, 60), classes=st.integers(6, 20), seed=st.integers(0, 2**31))
def test_accuracy_against_sklearn_and_a_loop(n, classes, seed):
    rng = np.random.RandomState(seed)
    logits, labels = rng.standard_normal((n, classes)), rng.randint(0, classes, n)
    scores = accuracy(count_hits(logits, labels, classes))
    every = list(range(classes))
    predicted = logits.argmax(1)
    assert scores["top1"] == pytest.approx(100 * accuracy_score(labels, predicted))
    assert scores["top5"] == pytest.approx(100 * top_k_accuracy_score(labels, logits, k=5, labels=every))
    recall = recall_score(labels, predicted, labels=every, average=None, zero_division=0)
    assert len(scores["per_class"]) == classes
    for c in every:
        if c in labels:
            assert scores["per_class"][c] == pytest.approx(100 * recall[c])
        else:
            assert scores["per_class"][c] is None
    top5 = 0
    for row, label in zip(logits, labels, strict=True):
        top5 += sum(other > row[label] for other in row) < 5
    assert scores["top5"] == pytest.approx(100 * top5 / n)


def test_accuracy_of_few_classes():
    logits = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0], [1.0, 0.0, 2.0], [9.0, 0.0, 1.0]])
    scores = accuracy(count_hits(logits, np.array([0, 1, 0, 1]), 3))
    assert scores == {"top1": 50.0, "top5": 100.0, "per_class": [50.0, 50.0, None], "images": 4}


def group_by_sorting(counts: list[int]) -> dict[str, set[int]]:
    """S:exp_analyse.py in plain Python: the lowest third Few, the next as many Medium, the rest Many."""
    third = len(counts) // 3
    ranked = sorted(range(len(counts)), key=lambda c: counts[c])
    return {"Few": set(ranked[:third]), "Medium": set(ranked[third : 2 * third]), "Many": set(ranked[2 * third :])}


@pytest.mark.parametrize(("classes", "sizes"), [(10, (4, 3, 3)), (100, (34, 33, 33)), (9, (3, 3, 3)), (11, (5, 3, 3))])
def test_sizes_of_the_thirds(classes, sizes):
    counts = np.random.RandomState(1).permutation(classes * 7)[:classes].tolist()
    groups = thirds(counts)
    assert tuple(len(groups[g]) for g in ("Many", "Medium", "Few")) == sizes
    assert {g: set(c) for g, c in groups.items()} == group_by_sorting(counts)


@quick
@given(counts=st.lists(st.integers(0, 50), min_size=3, max_size=120))
def test_thirds_are_a_partition_in_order(counts):
    groups = thirds(counts)
    assert sorted(sum(groups.values(), [])) == list(range(len(counts)))
    few, medium, many = ([counts[c] for c in groups[g]] for g in ("Few", "Medium", "Many"))
    assert max(few) <= min(medium)
    assert max(medium) <= min(many)
    assert {g: set(c) for g, c in groups.items()} == group_by_sorting(counts)


def test_groups_of_the_published_counts():
    """METHODS, section 9: images of each group, whatever the class order."""
    order = np.random.RandomState(2).permutation(10)
    counts = np.array(CIFAR10_COUNTS)[order]
    groups = thirds(counts.tolist())
    assert [int(counts[groups[g]].sum()) for g in ("Many", "Medium", "Few")] == [9783, 1137, 245]


@quick
@given(per_class=st.lists(st.floats(0, 100), min_size=10, max_size=10), seed=st.integers(0, 2**31))
def test_summary_against_numpy(per_class, seed):
    counts = np.random.RandomState(seed).permutation(CIFAR10_COUNTS).tolist()
    groups = group_by_sorting(counts)
    means = {g: float(np.mean([per_class[c] for c in groups[g]])) for g in ("Many", "Medium", "Few")}
    middle = sum(means.values()) / 3
    deviation = math.sqrt(sum((m - middle) ** 2 for m in means.values()) / 3)  # population: ddof 0
    expected = {**means, "Std": deviation, "All": sum(per_class) / 10}
    assert summarise(per_class, thirds(counts)) == pytest.approx(expected, abs=1e-9)


PAPER = PROJECT / "results" / "published_results.csv"
SIZES = {"CIFAR10-LT": (4, 3, 3), "CIFAR100-LT": (34, 33, 33), "ImageNet-100-LT": (39, 48, 13)}


def paper_rows() -> dict[tuple[str, str, str], dict[str, tuple[str, str]]]:
    rows = {}
    with PAPER.open() as file:
        for r in csv.DictReader(file):
            rows.setdefault((r["paper_table"], r["dataset"], r["method"]), {})[r["metric"]] = r["mean"], r["std"]
    return rows


SDCLR_ROWS = [key for key in paper_rows() if key[0].startswith("SDCLR")]


@pytest.mark.parametrize("key", SDCLR_ROWS, ids="-".join)
def test_all_is_the_mean_over_classes_in_the_papers_rows(key):
    """METHODS, section 0, item 4: All is the group means weighted by the classes of each group."""
    means = {metric: float(mean) for metric, (mean, _) in paper_rows()[key].items()}
    sizes, per_class, groups = SIZES[key[1]], [], {}
    for name, size in zip(("Many", "Medium", "Few"), sizes, strict=True):
        groups[name] = list(range(len(per_class), len(per_class) + size))
        per_class += [means[name]] * size
    ours = summarise(per_class, groups)
    assert ours["All"] == pytest.approx(means["All"], abs=0.0101)  # two roundings to 0.01
    if key[1] == "ImageNet-100-LT":  # one split, so that the row's Std is that of its means
        assert ours["Std"] == pytest.approx(means["Std"], abs=0.0101)
        assert float(np.std([means[g] for g in groups], ddof=1)) != pytest.approx(means["Std"], abs=0.5)


def test_there_are_twelve_rows_of_the_paper():
    assert len(SDCLR_ROWS) == 12


# ---- tables: experiments as the published recipes name them

PRETRAINED = {
    "cifar10": "res18_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_twolayerProj_epoch2000_{split}_newNT_s10",
    "cifar100": "res18_cifar100_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_o128_twolayerProj_epoch2000_{split}_newNT_s10",
    "digits": "res20_digits_sgd_epoch2000_{split}_newNT_s10",
}
FOLDER = {"cifar10": "checkpoints", "cifar100": "checkpoints_cifar100", "digits": "checkpoints_digits"}
SDCLR_SUFFIX = "_pruneP0.9DualBN"


def experiment(root: Path, name: str, n: int, probe: str = "linear", suffix: str = "", kind: str = "D_i") -> tuple:
    """Folders of an experiment's pre-training and probe, as METHODS, section 14, names them."""
    split_name = f"{SPECS[name].prefix}split{n}"
    pretrained = PRETRAINED[name].format(split=f"{split_name}_{kind}") + suffix
    tail = "__f2layer4_d10d20_wd0_lr30_freezeBN"
    if probe == "fewShot":
        tail = f"__{split_name}_S_b_f2layer4_d40d60_wd0_lr30_freezeBN"
    return root / FOLDER[name] / pretrained, root / f"{FOLDER[name]}_tune" / (pretrained + tail)


def authors_log(per_class, finished: bool = True) -> str:
    """A probe's log.txt: validations during training, then the best model's test."""
    junk = "".join(f"{11.11 * ((c + 1) % 7):.2f} " for c in range(len(per_class)))
    lines = ["Train Epoch: 1 [0/352]\tLoss: 2.302585\tlr: 30"]
    lines += [f"Epoch: {e} Each class acc is {junk}" for e in (1, 2, 3)]
    if finished:
        lines += ["Each class acc is " + "".join(f"{a:.2f} " for a in per_class)]
        lines += [f"On the best_model, test tacc is {np.mean(per_class):.2f}"]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def result(per_class, counts, **changes) -> str:
    content = {
        "protocol": "sdclr-linear",
        "protocol_version": 1,
        "departs": {},
        "per_class": list(per_class),
        "class_counts": counts,
        "lists": {
            "train": {"path": "a.npy", "sha1": "0", "source": "generated"},
            "val": {"path": "b.npy", "sha1": "1", "source": "generated"},
            "group": None,
        },
    }
    return json.dumps({**content, **changes})


def accuracies(classes: int, seed: int) -> list[float]:
    return np.round(np.random.RandomState(seed).uniform(5, 95, classes), 2).tolist()


def counts_of(classes: int, seed: int) -> list[int]:
    ladder = CIFAR10_COUNTS if classes == 10 else [450 - 4 * i for i in range(100)]
    return np.random.RandomState(100 + seed).permutation(ladder).tolist()


def row_by_hand(per_class: list[float], counts: list[int]) -> dict[str, float]:
    groups = group_by_sorting(counts)
    means = [sum(per_class[c] for c in groups[g]) / len(groups[g]) for g in ("Many", "Medium", "Few")]
    return dict(zip(COLUMNS, [*means, float(np.std(means)), sum(per_class) / len(per_class)], strict=True))


def write_authors(root: Path, name: str, splits=(1, 2, 3, 4, 5), probe: str = "linear", suffix: str = "") -> dict:
    """Logs in the authors' format, of pre-training and probe; returns split -> the row they amount to."""
    classes, rows = SPECS[name].classes, {}
    for n in splits:
        per_class, counts = accuracies(classes, n), counts_of(classes, n)
        pretrained, probed = experiment(root, name, n, probe, suffix)
        write(pretrained / "log.txt", f"class distribution in training set is {counts}\nEpoch: [1][0/22]\tLoss 6.9\n")
        write(probed / "log.txt", authors_log(per_class))
        rows[n] = row_by_hand(per_class, counts)
    return rows


def collect_all(name: str, root: Path, method: str = "simclr", probe: str = "linear", **changes) -> Row:
    options = {"splits": [1, 2, 3, 4, 5], "long_tailed": True, "contains": "", "data": "", **changes}
    return collect(SPECS[name], root, method, probe, **options)


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


# ---- logs in the authors' format


def test_read_log(tmp_path):
    per_class = accuracies(10, 3)
    assert read_log(write(tmp_path / "a.txt", authors_log(per_class)), 10) == per_class
    assert read_log(write(tmp_path / "b.txt", authors_log(per_class, finished=False)), 10) is None
    assert read_log(write(tmp_path / "c.txt", ""), 10) is None
    assert read_log(tmp_path / "none.txt", 10) is None
    validations = authors_log(per_class, finished=False) + "On the best_model, test tacc is 50.00\n"
    assert read_log(write(tmp_path / "d.txt", validations), 10) is None  # never a validation's line for the test's


def test_doubled_evaluations(tmp_path):
    """A test that is run again appends: the last one counts, whole and not doubled."""
    first, second = accuracies(10, 1), accuracies(10, 2)
    again = "Each class acc is " + "".join(f"{a:.2f} " for a in second) + "\nOn the best_model, test tacc is 50.00\n"
    assert read_log(write(tmp_path / "a.txt", authors_log(first) + again), 10) == second
    assert read_log(write(tmp_path / "b.txt", authors_log(first) + again * 3), 10) == second
    cut = again[: len("Each class acc is 12.34 56")]
    assert read_log(write(tmp_path / "c.txt", authors_log(first) + cut), 10) == first
    retrained = authors_log(accuracies(10, 5), finished=False)
    assert read_log(write(tmp_path / "d.txt", authors_log(first) + retrained), 10) == first


def test_log_with_times_and_odd_bytes(tmp_path):
    per_class = accuracies(10, 3)
    lines = [f"2021-03-04 05:06:07,890 {line}" for line in authors_log(per_class).splitlines()]
    path = tmp_path / "log.txt"
    path.write_bytes(b"\xff\xfe\n" + "\r\n".join(lines).encode())
    assert read_log(path, 10) == per_class


@pytest.mark.parametrize("text", ["12.00 abc 7.00", "12.00 13.0", ""])
def test_logs_with_other_than_one_number_per_class_are_refused(tmp_path, text):
    pretrained, probed = experiment(tmp_path, "cifar10", 1)
    write(pretrained / "log.txt", f"class distribution in training set is {CIFAR10_COUNTS}\n")
    write(probed / "log.txt", f"Each class acc is {text}\nOn the best_model, test tacc is 50.00\n")
    with pytest.raises(InputError, match=r"log\.txt"):
        collect_all("cifar10", tmp_path, splits=[1])


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
    for module in (split.lists, split.make_splits):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(utils.tables, "ensure_list", partial(ensure_list, root=tmp_path / "lists"))
    pretrained, probed = experiment(tmp_path, "digits", 2, kind="D_b")
    write(pretrained / "log.txt", f"class distribution in training set is {[40] * 10}\n")
    write(probed / "log.txt", authors_log(accuracies(10, 6)))
    row = collect_all("digits", tmp_path, splits=[2], long_tailed=False)
    D_i = np.load(tmp_path / "lists" / "digits_imbSub_with_subsets" / "digits_split2_D_i.npy")
    counts = [int((load(spec_of("digits"), "", train=True).labels[D_i] == c).sum()) for c in range(10)]
    assert row.values[2] == pytest.approx(row_by_hand(accuracies(10, 6), counts))
    assert not collect_all("digits", tmp_path, splits=[2], long_tailed=True).values


# ---- exp_analyse.py


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
    numbers = paper_rows()[table, f"{SPECS[name].prefix.strip('_').upper() or 'CIFAR10'}-LT", label]
    theirs = printed_row(done.stdout, f"{label} (published)")
    assert theirs[1:] == [f"{numbers[c][0]} ± {numbers[c][1]}" for c in COLUMNS]
    assert "missing" not in done.stdout


def test_published_numbers_of_the_sdclr_paper():
    """METHODS, section 13."""
    numbers = published(SPECS["cifar10"], "simclr", "linear")
    assert numbers == {
        "Many": (78.18, 4.18), "Medium": (76.23, 5.33), "Few": (71.37, 7.07), "Std": (5.13, 3.66), "All": (75.55, 0.66)
    }  # fmt: skip
    assert published(SPECS["cifar100"], "sdclr", "fewShot")["All"] == (25.27, 0.83)
    for name in ("digits", "fashion_mnist"):
        assert published(SPECS[name], "simclr", "linear") == {}
    assert published(SPECS["cifar10"], "untrained", "linear") == {}


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


def test_nothing_to_show(tmp_path, call):
    one_line_error(call("exp_analyse.py", "--dataset", "cifar10", "--LT"), str(tmp_path))


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


def test_figure_that_cannot_be_written(tmp_path, call):
    write_two_methods(tmp_path)
    (tmp_path / "file").write_text("")
    for plot in ("a.png", "a.pdf", "file", "file/new"):
        done = call("exp_analyse.py", "--dataset", "digits", "--LT", "--splits", 1, "--plot", tmp_path / plot)
        one_line_error(done, plot)
