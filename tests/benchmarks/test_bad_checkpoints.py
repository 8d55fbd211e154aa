"""Checkpoints from strangers: they execute nothing, take no memory beyond their size, and are refused in one line."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from run.checkpoint import load_optimizer, read_checkpoint
from run.optim import build_optimizer
from tests.conftest import one_line_error
from tests.scripts.test_train_scripts import PROBE, S_B
from utils.errors import InputError


class Evil:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return Path.write_text, (Path("executed"), "x")


class LongText:
    """Becomes a NumPy text of 0.3 GB when it is unpickled; the length could be any."""

    def __reduce__(self) -> tuple:
        return np._core.multiarray.scalar, (np.dtype("S300000000"),)


def laughs() -> list:
    """2^40 words in 40 nested lists that each contain another one twice."""
    value = ["ha"]
    for _ in range(40):
        value = [value, value]
    return value


def endless() -> list:
    """A list that contains itself."""
    value = []
    value.append(value)
    return value


BAD_VALUES = {
    "laughs": {"epoch": laughs()},
    "endless": {"epoch": endless()},
    "long text": {"epoch": LongText()},
    "large number": {"epoch": 10**5000},
    "expanded": {"memory": torch.zeros(1).expand(10**6, 10**6)},
    "meta": {"memory": torch.zeros(10**9, device="meta")},
    "sparse": {"memory": torch.zeros(9, 9).to_sparse()},
    "evil": {"epoch": Evil()},
}


@pytest.mark.parametrize("name", BAD_VALUES)
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_checkpoints_that_expand_or_execute(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": {"a": torch.zeros(3)}, **BAD_VALUES[name]}
    if kind == "pickle":
        Path("odd.pt").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, "odd.pt", _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(
        InputError, match="odd.pt (is not a checkpoint that can be read|has (an object|a tensor|a number|more than))"
    ):
        read_checkpoint("odd.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["odd.pt"]


@pytest.mark.parametrize("value", [3, 2.5, np.float64(91.25), np.int64(7), np.float32(0.5), torch.tensor(3.0)])
def test_checkpoints_that_are_read(tmp_path, value):
    torch.save({"state_dict": {"a": torch.arange(3.0)}, "best_prec1": value}, tmp_path / "c.pt")
    content = read_checkpoint(tmp_path / "c.pt")
    assert content["best_prec1"] == value and type(content["best_prec1"]) is type(value)
    assert content["state_dict"]["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adam"])
@pytest.mark.parametrize("change", [{}, {"step": torch.tensor(1.0)}, {"momentum_buffer": "x"}, {"exp_avg": 3}, "x"])
def test_optimizers_that_lack_what_they_need(optimizer, change):
    weight = torch.nn.Parameter(torch.ones(3))
    made = build_optimizer(optimizer, [weight], 0.1, None)
    weight.grad = torch.ones(3)
    made.step()
    content = {"epoch": 1, "optim": made.state_dict()}
    load_optimizer(build_optimizer(optimizer, [weight], 0.1, None), content["optim"])
    content["optim"]["state"][0] = change
    if change:
        with pytest.raises(InputError, match="its optimizer is another one"):
            load_optimizer(build_optimizer(optimizer, [weight], 0.1, None), content["optim"])


# The settings of PyTorch 1.4; a scheduler adds the first rate, and the authors' LARS its number of epochs.
OLDER = {
    "sgd": {"lr": 3.0, "momentum": 0.5, "dampening": 0, "weight_decay": 0.1, "nesterov": False, "initial_lr": 3.0},
    "lars": {"lr": 3.0, "momentum": 0.5, "weight_decay": 0.1, "eta": 0.01, "max_epoch": 200},
    "adam": {"lr": 3.0, "betas": (0.5, 0.5), "eps": 1.0, "weight_decay": 0.1, "amsgrad": False},
}


@pytest.mark.parametrize("optimizer", OLDER)
@pytest.mark.parametrize("older", OLDER)
def test_optimizers_of_older_versions(optimizer, older):
    """They go on as today's: the next step, with the settings of the command line, is the same."""
    weights, steps = torch.tensor([0.5, -1.0, 2.0]), [torch.tensor([1.0, 2.0, -3.0]), torch.tensor([0.1, -0.4, 0.2])]
    moved = []
    for settings in ({}, OLDER[older]):
        weight = torch.nn.Parameter(weights.clone())
        rule = build_optimizer(older, [weight], 0.1, None)
        weight.grad = steps[0]
        rule.step()
        state = rule.state_dict()
        if settings:
            state["param_groups"] = [{**settings, "params": [0]}]
        rule = build_optimizer(optimizer, [weight], 0.2, 1e-3)
        expected = rule.state_dict()["param_groups"]
        if optimizer != older:
            with pytest.raises(InputError, match="its optimizer is another one"):
                load_optimizer(rule, state)
            continue
        load_optimizer(rule, state)
        assert rule.state_dict()["param_groups"] == expected
        weight.grad = steps[1]
        rule.step()
        moved.append(weight.detach())
    assert optimizer != older or torch.equal(*moved) and not torch.equal(moved[0], weights)


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"config": {"trainSplit": None}}, {"config": {"seed": torch.ones(2)}},
                                    {"config": {"checkpoint": {1}}}, {"lists": 3}, {"lists": {"train": {"a": {1}}}},
                                    {"lists": {"train": "x"}}])  # fmt: skip
def test_settings_in_a_best_model(call, tmp_path, change):
    base = ["run", *PROBE, "--trainSplit", S_B, "--epochs", "1"]
    assert call("train_cifar.py", *base).returncode == 0
    assert call("train_cifar.py", *base, "--test_only").returncode == 0
    (file,) = tmp_path.rglob("best_model.pt")
    content = torch.load(file, weights_only=True)
    if "config" in change:
        change = {"config": content["config"] | change["config"]}
    torch.save(content | change, file)
    one_line_error(call("train_cifar.py", *base, "--test_only"), "best_model.pt")


def test_a_compressed_checkpoint(tmp_path):
    """torch.load expands deflated members: a file can be a thousandth of the size that it takes in memory."""
    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(100_000)}}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    assert (tmp_path / "bomb.pt").stat().st_size < 5000
    assert torch.load(tmp_path / "bomb.pt", weights_only=True)
    with pytest.raises(InputError, match="cannot|can be read"):
        read_checkpoint(tmp_path / "bomb.pt")


def test_a_bad_best_model_is_refused_before_the_log_begins(call, tmp_path):
    folder = tmp_path / "checkpoints_tune" / "run"
    folder.mkdir(parents=True)
    (folder / "best_model.pt").write_bytes(b"x")
    one_line_error(call("train_cifar.py", "run", *PROBE, "--test_only"), "best_model.pt")
    assert [p.name for p in folder.iterdir()] == ["best_model.pt"]
