"""Logs in the authors' format."""

from pathlib import Path

import numpy as np
import pytest

from analysis.read import read_log
from analysis.rows import Row, collect
from data.sets.memory import SPECS
from utils.errors import InputError

CIFAR10_COUNTS = [4500, 2697, 1617, 969, 581, 348, 208, 125, 75, 45]


PRETRAINED = {
    "cifar10": "res18_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_twolayerProj_epoch2000_{split}_newNT_s10",
    "cifar100": "res18_cifar100_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_o128_twolayerProj_epoch2000_{split}_newNT_s10",
    "digits": "res20_digits_sgd_epoch2000_{split}_newNT_s10",
}


FOLDER = {"cifar10": "checkpoints", "cifar100": "checkpoints_cifar100", "digits": "checkpoints_digits"}


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


def accuracies(classes: int, seed: int) -> list[float]:
    return np.round(np.random.RandomState(seed).uniform(5, 95, classes), 2).tolist()


def collect_all(name: str, root: Path, method: str = "simclr", probe: str = "linear", **changes) -> Row:
    options = {"splits": [1, 2, 3, 4, 5], "long_tailed": True, "contains": "", "data": "", **changes}
    return collect(SPECS[name], root, method, probe, **options)


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
