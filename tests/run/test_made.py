"""How a result was made, without the folders, users and hosts of the machine."""

import getpass
import json
import socket
from pathlib import Path

import pytest

from probe.pretraining import pretraining_of
from run.checkpoint import read_checkpoint
from run.made import command, how_made, short_path, short_text
from tests.conftest import PROJECT
from tests.scripts.test_train_scripts import D_I, PRETRAIN, PROBE, S_B


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The folder that a command is given in; the user's home is beside it."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "kim"))
    return here


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{project}/train_cifar.py", "run", "--data", "photos"], "python train_cifar.py run --data photos"),
        (["{project}/probe/__main__.py", "--data=~/a/b c"], "python -m probe '--data=…/b c'"),
        (["train_cifar.py", "--checkpoint", "{here}/a/model.pt"], "python train_cifar.py --checkpoint a/model.pt"),
        (["train_cifar.py", "--data={home}", "--lr", "1/2"], "python train_cifar.py --data=~ --lr 1/2"),
        (["x.py", "--data", "/home/kim", "--data=/Users/kim/"], "python x.py --data ~ --data=~"),
        (["x.py", "--data", "../../kim/photos", "/"], "python x.py --data …/photos ~"),
        (["/opt/other tool.py", "-w", "--", "a b"], "python '…/other tool.py' -w -- 'a b'"),
    ],
)
def test_a_command(place, words, told):
    where = {"project": PROJECT, "here": place, "home": Path.home()}
    found = command([word.format(**where) for word in words])
    assert found == told


def test_a_sentence(place):
    missing = f"SimCLR, split 1: nothing of it below {place}/out/checkpoints_tune and {place}/out"
    assert short_text(missing, [place / "out"]) == "SimCLR, split 1: nothing of it below checkpoints_tune and …/out"
    assert short_text("see /home/kim/a/list.txt, or '~/b/c'") == "see …/list.txt, or '…/c'"
    for plain in ("Many/Medium/Few, 3/3, 1 / 2, a/b.npy, and/or", "lists: own", "https://example.org/a/b", "</div>"):
        assert short_text(plain) == plain
    assert short_path("/data/images/") == "…/images"


def test_what_a_run_tells(call, tmp_path, one_thread):
    """Of both runs in results.json; the pre-training's is that of its checkpoint."""
    assert call("train_simCLR.py", "run", *PRETRAIN, "--epochs", 1).returncode == 0
    checkpoint = tmp_path / "checkpoints/run/model.pt"
    probe = ["p_digits_split1_D_i", *PROBE, "--trainSplit", S_B, "--epochs", 1, "--cvt_state_dict"]
    assert call("train_cifar.py", *probe, "--checkpoint", checkpoint).returncode == 0
    result = json.loads((tmp_path / "checkpoints_tune/p_digits_split1_D_i/results.json").read_bytes())
    ours, theirs = result["provenance"], result["pretraining"]["provenance"]
    assert ours["command"].startswith("python train_cifar.py p_digits_split1_D_i --dataset digits ")
    assert ours["command"].endswith(" --checkpoint checkpoints/run/model.pt")
    assert theirs["command"].startswith("python train_simCLR.py run --dataset digits ") and D_I in theirs["command"]
    assert theirs == read_checkpoint(checkpoint)["provenance"]
    for told in (ours, theirs):
        assert told.keys() == {"git", "python", "torch", "torchvision", "machine", "command"}
        assert told["machine"].count(" cores, ") == 1
    words = json.dumps([ours, theirs])
    private = {str(tmp_path), str(PROJECT), socket.gethostname()} | ({getpass.getuser()} - {"root"})
    assert not [name for name in private if name in words]
    assert result["class_names"] is None


def test_a_checkpoint_that_tells_nothing_or_nonsense(tmp_path):
    import torch

    settings = {"experiment": "x", "dataset": "digits", "trainSplit": D_I, "epochs": 1, "temperature": 0.2}
    for told, kept in ((None, {}), ([1], {}), ({"git": "a", 1: "b", "torch": 2, "x": ["y"]}, {"git": "a"})):
        content = {"state_dict": {"a": torch.zeros(1)}, "config": settings, "epoch": 1, "provenance": told}
        torch.save(content, tmp_path / "model.pt")
        found = pretraining_of({"checkpoint": str(tmp_path / "model.pt"), "cvt_state_dict": True})
        assert found["provenance"] == kept


def test_the_machine_is_told_in_words():
    from benchmarks.compare import machine

    words = how_made()["machine"]
    name, _, rest = words.rpartition(" cores, ")[0].rpartition(", ")
    assert name and rest.isdecimal() and machine().endswith(f"-{rest}-cores")
