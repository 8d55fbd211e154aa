"""Experiments as the recipes and the authors leave them, for the tests of tables: names, logs, results."""

import json
from pathlib import Path

import numpy as np

from analysis.flags import Wanted
from analysis.rows import Row, collect
from data.sets.registry import data_set

COLUMNS = ("Many", "Medium", "Few", "Std", "All")


CIFAR10_COUNTS = [4500, 2697, 1617, 969, 581, 348, 208, 125, 75, 45]


def group_by_sorting(counts: list[int]) -> dict[str, set[int]]:
    """S:exp_analyse.py in plain Python: the lowest third Few, the next as many Medium, the rest Many."""
    third = len(counts) // 3
    ranked = sorted(range(len(counts)), key=lambda c: counts[c])
    return {"Few": set(ranked[:third]), "Medium": set(ranked[third : 2 * third]), "Many": set(ranked[2 * third :])}


PRETRAINED = {
    "cifar10": "res18_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_twolayerProj_epoch2000_{split}_newNT_s10",
    "cifar100": "res18_cifar100_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_o128_twolayerProj_epoch2000_{split}_newNT_s10",
    "digits": "res20_digits_sgd_epoch2000_{split}_newNT_s10",
}


FOLDER = {"cifar10": "checkpoints", "cifar100": "checkpoints_cifar100", "digits": "checkpoints_digits"}


SDCLR_SUFFIX = "_pruneP0.9DualBN"


def experiment(root: Path, name: str, n: int, probe: str = "linear", suffix: str = "", kind: str = "D_i") -> tuple:
    """Folders of an experiment's pre-training and probe, as METHODS, section 14, names them."""
    split_name = f"{data_set(name).prefix}split{n}"
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
    classes, rows = data_set(name).classes, {}
    for n in splits:
        per_class, counts = accuracies(classes, n), counts_of(classes, n)
        pretrained, probed = experiment(root, name, n, probe, suffix)
        write(pretrained / "log.txt", f"class distribution in training set is {counts}\nEpoch: [1][0/22]\tLoss 6.9\n")
        write(probed / "log.txt", authors_log(per_class))
        rows[n] = row_by_hand(per_class, counts)
    return rows


def collect_all(name: str, root: Path, method: str = "simclr", probe: str = "linear", **changes) -> Row:
    wanted = Wanted(root, **{"splits": (1, 2, 3, 4, 5), **changes})
    (row,) = collect(data_set(name), [method], probe, wanted).values()
    return row
