"""--wandb: what is logged to Weights & Biases, to a stand-in of the package and, where it is installed, to itself."""

import json
import sys
import types

import numpy as np
import pytest
import torch

from run.folder import Run
from run.wandb_board import WandbBoard
from tests.conftest import interrupted_after, one_line_error
from tests.pretrain.test_monitor import SMALL, metrics
from tests.scripts.test_train_scripts import same, weights

pytestmark = pytest.mark.usefixtures("one_thread")


class Error(Exception):
    pass


class Begun:
    """A run of the stand-in: keeps what it is told."""

    def __init__(self, **how):
        self.how, self.logged, self.ended = how, [], None

    def log(self, numbers, step):
        self.logged.append((step, numbers))

    def finish(self, exit_code):
        self.ended = exit_code


@pytest.fixture
def runs(monkeypatch):
    """The runs that were begun, of a package that takes what wandb 0.31 takes."""
    found = []

    def init(*, project, name, id, dir, resume, config, settings):
        json.dumps(config)  # wandb keeps it as JSON
        found.append(Begun(project=project, name=name, id=id, dir=dir, resume=resume, config=config, **settings))
        return found[-1]

    def settings(*, console, silent):
        return {"console": console, "silent": silent}

    module = types.SimpleNamespace(init=init, Settings=settings, Error=Error, Histogram=np.asarray, Image=np.asarray)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return found


def test_the_numbers_of_metrics_jsonl(call, runs, tmp_path):
    options = [*SMALL, "--epochs", "2", "--tensorboard", "False"]
    assert call("train_simCLR.py", "plain", *options).returncode == 0 and not runs
    assert call("train_simCLR.py", "run", *options, "--wandb", "tails", "--bcl").returncode == 0
    (run,) = runs
    assert run.how["project"] == "tails" and run.how["name"] == "run" and run.how["config"]["lr"] == 0.1
    assert run.ended == 0
    folder = tmp_path / "checkpoints/run"
    for line in metrics(folder):
        numbers = {k: v for k, v in line.items() if k not in ("epoch", "time") and isinstance(v, int | float)}
        logged = {k: v for step, told in run.logged if step == line["epoch"] for k, v in told.items()}
        assert numbers and numbers.items() <= logged.items()
    views = next(told["views"] for _, told in run.logged if "views" in told)
    assert views.dtype == np.uint8 and views.shape[2] == 4 and 3.5 < views.shape[0] / views.shape[1] < 4.5  # 8 x 2
    assert any("score" in told for _, told in run.logged)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_as_the_same_one_with_the_same_weights(call, runs, tmp_path):
    options = [*SMALL, "--epochs", "3"]
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    with interrupted_after(Run, 1):
        call("train_simCLR.py", "run", *options, "--wandb", "tails")
    done = call("train_simCLR.py", "run", *options, "--wandb", "tails", "--resume")
    assert done.returncode == 0, done.stderr
    assert same(*(weights(tmp_path / "checkpoints" / name) for name in ("whole", "run")))
    before, after = runs
    assert before.how["id"] == after.how["id"]
    assert call("train_simCLR.py", "run", *options, "--wandb", "tails", "--overwrite").returncode == 0
    assert runs[-1].how["id"] != before.how["id"]


def test_what_fails_is_told_in_one_line(call, runs, monkeypatch):
    def refuse(**_):
        raise Error("api_key not configured\n(no-tty)")

    sys.modules["wandb"].init = refuse
    told = call("train_simCLR.py", "run", *SMALL, "--epochs", "1", "--wandb", "tails")
    one_line_error(told, "api_key not configured (no-tty)", "WANDB_MODE=offline")
    monkeypatch.setitem(sys.modules, "wandb", None)
    one_line_error(call("train_simCLR.py", "run", *SMALL, "--epochs", "1", "--wandb", "tails"), "pip install wandb")


def test_a_failed_run_ends_as_one(runs, tmp_path):
    with pytest.raises(RuntimeError), WandbBoard(tmp_path, "tails", {}):
        raise RuntimeError
    assert runs[0].ended == 1


def test_the_package_itself_offline(monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with WandbBoard(tmp_path, "tails", {"lr": 0.5}, quiet=True) as board:
        board.metrics(1, loss=2.0, of="text")
        board.histogram("score", torch.randn(50), 1)
        board.views(torch.rand(9, 2, 3, 8, 8), 1)
    (kept,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert b"loss" in kept.read_bytes()
    assert len(list((tmp_path / "wandb").glob("offline-run-*/files/media/images/*.png"))) == 1
