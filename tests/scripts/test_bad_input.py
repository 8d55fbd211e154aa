"""A user's mistakes: one line that says what to do, exit code 2, nothing left behind."""

import shutil
import time

import numpy as np
import pytest
import torch

from models import build_classifier, build_encoder
from run.checkpoint import write_checkpoint
from tests.conftest import one_line_error
from tests.scripts.test_train_scripts import D_I, PRETRAIN, PROBE, S_B
from utils.errors import WAIT_FOR_MAIN

PRETRAIN_MISTAKES = {
    "unknown option": (["--nonsense", "1"], "--nonsense"),
    "wrong kind": (["--epochs", "many"], "--epochs"),
    "negative": (["--epochs", "-1"], "--epochs"),
    "not finite": (["--lr", "nan"], "--lr"),
    "empty batch": (["--batch_size", "0"], "--batch_size"),
    "model": (["--model", "res9"], "res9"),
    "data set": (["--dataset", "mnist"], "mnist"),
    "no data": (["--dataset", "cifar", "--data", "nowhere"], "--download"),
    "no data named": (["--dataset", "fashion_mnist"], "--data"),
    "no such list": (["--trainSplit", "digits_imbSub_with_subsets/none.npy"], "none.npy"),
    "list of another set": (["--trainSplit", "cifar10_imbSub_with_subsets/split1_D_i.npy"], "split1_D_i.npy"),
    "all pruned": (["--prune", "--prune_percent", "1"], "prune_percent must"),
    "negative pruning": (["--prune", "--prune_percent", "-0.5"], "prune_percent must"),
    "random beyond": (["--prune", "--prune_percent", "0.5", "--random_prune_percent", "0.6"], "random_prune_percent"),
    "dual without prune": (["--prune_dual_bn"], "--prune_dual_bn needs --prune"),
    "head": (["--head_layers", "4"], "head_layers must"),
    "temperature": (["--temperature", "0"], "temperature must"),
    "no temperature": (["--temperature", "nan"], "temperature must"),
    "seed": (["--seed", "99999999999999999999"], "--seed"),
    "jitter": (["--strength", "6"], "--strength"),
    "pruning without --prune": (["--prune_percent", "1.5"], "prune_percent must"),
    "a batch of one": (["--prune", "--batch_size", "101"], "batch_size 101"),
    "crop": (["--resizeLower", "1.5"], "--resizeLower"),
    "flag": (["--prune", "True", "--prune_dual_bn", "Maybe"], "Maybe"),
    "no checkpoint": (["--checkpoint", "none.pt"], "none.pt"),
}


@pytest.mark.parametrize("name", PRETRAIN_MISTAKES)
def test_pretraining_mistakes(call, tmp_path, name):
    options, word = PRETRAIN_MISTAKES[name]
    base = ["run"] if "--dataset" in options else ["run", *PRETRAIN]
    one_line_error(call("train_simCLR.py", *base, *options), word)
    assert not list(tmp_path.iterdir())


LISTS = {
    "out of range": np.array([0, 1397]),
    "negative": np.array([-1, 3]),
    "twice": np.array([5, 5]),
    "floats": np.array([0.5, 1.0]),
    "table": np.zeros((2, 2), int),
    "empty": np.array([], int),
    "objects": np.array([{}], object),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("script", ["train_simCLR.py", "train_cifar.py"])
def test_bad_lists(call, tmp_path, name, script):
    file = tmp_path / "list.npy"
    np.save(file, LISTS[name], allow_pickle=True)
    base = PRETRAIN if "simCLR" in script else PROBE
    one_line_error(call(script, "run", *base, "--trainSplit", file), "list.npy")
    assert [p.name for p in tmp_path.iterdir()] == ["list.npy"]


def test_list_that_holds_validation_images(call, tmp_path, project_copy):
    call("train_simCLR.py", "first", *PRETRAIN, "--epochs", 0)
    done = call("train_simCLR.py", "run", *PRETRAIN, "--trainSplit", "digits/digits_valIdxList.npy")
    one_line_error(done, "digits_valIdxList.npy", "shares 140 images")
    done = call("train_cifar.py", "run", *PROBE, "--trainSplit", D_I, "--valiSplit", D_I)
    one_line_error(done, "shares 405 images")


def checkpoints(folder):
    encoder = build_encoder("res20_s", 16, 2)
    good = {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in encoder.state_dict().items()}, "optim": {}}
    write_checkpoint(folder / "good.pt", good)
    (folder / "truncated.pt").write_bytes((folder / "good.pt").read_bytes()[:50_000])
    (folder / "text.pt").write_text("not a checkpoint")
    write_checkpoint(folder / "other.pt", {"state_dict": build_encoder("res32_s", 16, 2).state_dict()})
    torch.save({"weights": 1}, folder / "empty.pt")
    probe = {"state_dict": build_classifier("res20_s", 10).state_dict()}
    write_checkpoint(folder / "probe.pt", probe)
    dual = build_encoder("res20_s", 16, 3, prune=True, dual_bn=True)
    write_checkpoint(folder / "dual.pt", {"state_dict": dual.state_dict()})


@pytest.mark.parametrize("file", ["truncated.pt", "text.pt", "other.pt", "empty.pt", "probe.pt", "dual.pt", "none.pt"])
def test_bad_checkpoints(call, tmp_path, file):
    checkpoints(tmp_path)
    before = {p.name for p in tmp_path.iterdir()}
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN, "--checkpoint", file), file)
    if file != "probe.pt":
        options = ["--checkpoint", file, "--cvt_state_dict"]
        words = ["bnNameCnt"] if file == "dual.pt" else [file]
        one_line_error(call("train_cifar.py", "run", *PROBE, *options), *words)
    assert {p.name for p in tmp_path.iterdir()} == before


def test_contradictions_around_checkpoints(call, tmp_path):
    checkpoints(tmp_path)
    one_line_error(call("train_cifar.py", "run", *PROBE, "--checkpoint", "good.pt"), "--cvt_state_dict")
    options = ["--checkpoint", "good.pt", "--cvt_state_dict"]
    one_line_error(call("train_cifar.py", "run", *PROBE, *options, "--bnNameCnt", "0"), "bnNameCnt 0 has no meaning")
    one_line_error(call("train_cifar.py", "run", *PROBE, "--test_only"), "best_model.pt")
    one_line_error(call("train_cifar.py", "run", *PROBE, "--prune", "--prune_percent", "1"), "prune_percent must")
    done = call("train_simCLR.py", "run", *PRETRAIN, "--checkpoint", "good.pt", "--resume", "True")
    one_line_error(done, "good.pt", "optimizer")


def test_batch_that_the_processes_cannot_share(call, tmp_path, monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN), "256 images", "3 processes")
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setenv("RANK", "1")
    done = call("train_simCLR.py", "run", *PRETRAIN)
    assert (done.returncode, done.stderr) == (2, "")
    assert waited == [WAIT_FOR_MAIN]  # else a launcher may end the main one before it has told why
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("value", ["", "abc", "-1"])
def test_a_launchers_number_that_is_none(call, tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN), f"{name}='{value}'")
    one_line_error(call("train_cifar.py", "run", *PROBE), f"{name}='{value}'")
    assert not list(tmp_path.iterdir())


def test_tables_without_results(call, tmp_path):
    one_line_error(call("exp_analyse.py", "--dataset", "digits", "--LT"), "no result")
    one_line_error(call("exp_analyse.py", "--dataset", "imagenet21k"), "imagenet21k")


def test_a_mistake_from_the_shell_has_no_traceback(script):
    one_line_error(script("train_simCLR.py", "run", "--dataset", "cifar", "--data", "nowhere"), "nowhere")


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """Where the first test that needs a run of a script leaves its folders, by the script's name."""
    return tmp_path_factory.mktemp("trained")


@pytest.mark.parametrize("change", [{"epoch": "x"}, {"epoch": -5}, {"optim": 3}, {"optim": {}}, {"best_prec1": "x"}])
@pytest.mark.parametrize("script", ["train_simCLR.py", "train_cifar.py"])
def test_odd_checkpoints_are_not_resumed(call, tmp_path, trained_once, script, change):
    base = [*PRETRAIN, "--epochs", "2"] if "simCLR" in script else [*PROBE, "--epochs", "2", "--trainSplit", S_B]
    if not (trained_once / script).exists():
        assert call(script, "run", *base).returncode == 0
        shutil.copytree(tmp_path, trained_once / script)
    shutil.copytree(trained_once / script, tmp_path, dirs_exist_ok=True)
    (file,) = tmp_path.rglob("model.pt")
    (file.parent / "model_2.pt").unlink(missing_ok=True)  # it would be the newest whole one
    content = torch.load(file, weights_only=True)
    if not change.keys() <= content.keys():
        return
    write_checkpoint(file, {**content, **change})
    one_line_error(call(script, "run", *base, "--resume"), "cannot resume", "model.pt")


@pytest.mark.slow
def test_resume_with_another_optimizer(call, tmp_path):
    assert call("train_simCLR.py", "run", *PRETRAIN, "--epochs", "2").returncode == 0
    for other in ("lars", "adam"):
        one_line_error(call("train_simCLR.py", "run", *PRETRAIN, "--resume", "--optimizer", other), "optimizer")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "complex", "whole", "sparse"])
def test_weights_that_are_no_weights(call, tmp_path, value):
    checkpoints(tmp_path)
    content = torch.load(tmp_path / "good.pt", weights_only=True)
    weight = content["state_dict"]["module.conv1.weight"]
    kinds = {"complex": weight.to(torch.complex64), "whole": weight.to(torch.int8), "sparse": weight.to_sparse()}
    new = kinds[value] if value in kinds else torch.full_like(weight, value)
    torch.save({**content, "state_dict": {**content["state_dict"], "module.conv1.weight": new}}, tmp_path / "odd.pt")
    done = call("train_simCLR.py", "run", *PRETRAIN, "--checkpoint", "odd.pt")
    one_line_error(done, "odd.pt", *([] if value == "sparse" else ["conv1.weight"]))


def test_places_that_cannot_be_written(call, tmp_path):
    (tmp_path / "file").write_text("")
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN, "--save-dir", "file"), "file")
    one_line_error(call("train_cifar.py", "run", *PROBE, "--save-dir", "file"), "file")
    one_line_error(call("train_simCLR.py", "", *PRETRAIN), "name")


@pytest.mark.parametrize("word", ["--batch_size=--", "--dataset=--", "--bcl=--", "--data=--"])
def test_two_dashes_are_no_value(call, word):
    """argparse drops them, and would let the option have none."""
    one_line_error(call("train_simCLR.py", "run", "--dataset", "digits", word), word.split("=")[0], "expected")
