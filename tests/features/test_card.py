"""The model card: what the checkpoint tells, 'unknown' for the rest, and no path."""

import re

import pytest
import torch

from features.card import UNKNOWN
from tests.conftest import one_line_error
from tests.probe.test_on_features import network

PRETRAINING = {
    "experiment": "name", "save_dir": "/home/user/checkpoints", "data": "/home/user/datasets", "dataset": "cifar",
    "trainSplit": "/home/user/split/split1_D_i.npy", "imagenetCustomSplit": "", "model": "res20_s", "epochs": 7,
    "method": "bcl-d", "temperature": 0.2, "precision": "bf16", "images": "ab" * 32,
}  # fmt: skip
HASH = "SHA-256 of the listed labels and images (or file names)"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def rows(call, tmp_path):
    """Export a checkpoint of these things; returns the rows of its model card, and the whole card."""

    def export(dual: bool = False, prefix: str = "module.", **content: object) -> tuple[dict[str, str], str]:
        name = "res10" if dual or not prefix else "res20_s"
        state = {f"{prefix}{k}": v for k, v in network(name, dual_bn=dual).state_dict().items()}
        if not prefix:  # another library's
            state = {k: v for k, v in state.items() if not k.startswith(("normalize.", "fc."))}
        torch.save({"state_dict": state, **content}, tmp_path / "model.pt")
        done = call("features/export.py", "--checkpoint", tmp_path / "model.pt", "--model", name, "--to",
                    "safetensors", "--out", tmp_path / "a_b.safetensors")  # fmt: skip
        assert done.returncode == 0, done.stderr
        text = (tmp_path / "a_b.safetensors.md").read_text()
        assert str(tmp_path) not in text and "/home" not in text
        table = text.split("|---|---|\n")[1].split("\n\n")[0].splitlines()
        cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table]
        assert all(len(cell) == 2 for cell in cells)
        return {name.strip(): value.strip() for name, value in cells}, text

    return export


def test_a_pretraining(rows):
    found, text = rows(epoch=7, config=PRETRAINING, provenance={"git": "0"})
    assert found["data set"] == "cifar10" and found["method"] == "bcl-d" and found["list of images"] == "split1_D_i.npy"
    assert found["pre-training epochs"] == "7" and found["precision of pre-training"] == "bf16"
    assert found[HASH] == "ab" * 32 and found["features"].startswith("64 numbers")
    assert found["architecture"].startswith("res20_s, CIFAR's stem") and found["weights"] == "float32"
    assert re.fullmatch("model.pt, SHA-256 [0-9a-f]{64}", found["checkpoint"]) and "torch" in found["made with"]
    assert "MIT" in text and "itself computes (x - mean) / std, with mean [0.485, 0.456, 0.406]" in text
    assert text.startswith("# a_b.safetensors\n") and "batch norms" not in found and UNKNOWN not in found.values()


@pytest.mark.slow
def test_what_differs_by_checkpoint(rows):
    assert rows(epoch=3, config=PRETRAINING)[0]["pre-training epochs"] == "3 of 7"
    found, _ = rows(epoch=0, config=PRETRAINING | {"epochs": 0, "method": "simclr"})
    assert found["method"] == "none" and found["pre-training epochs"] == "0" and found["began with"] == "random weights"
    found, text = rows(epoch=0, config=PRETRAINING | {"epochs": 0, "checkpoint": "/home/user/before.pt"})
    assert found["began with"] == "the weights of before.pt"
    own = {"dataset": "folder", "imagenetCustomSplit": "", "trainSplit": "", "data": "/home/user/holiday"}
    found, text = rows(epoch=7, config=PRETRAINING | own)
    assert found["data set"] == "folder (images of the user's own)" and found["list of images"] == "all"
    assert "holiday" not in text
    found, text = rows(dual=True)
    assert "dense branch" in found["batch norms"] and "Give the network (x - mean) / std" in text


TOLD = ("data set", "method", "list of images", HASH, "precision of pre-training")


@pytest.mark.parametrize(
    ("content", "epochs"),
    [
        ({}, UNKNOWN),
        ({"epoch": 2000}, "2000, as the checkpoint counts them"),  # as the authors'
        ({"epoch": True}, UNKNOWN),
        ({"epoch": 30, "best_prec1": 50.0}, UNKNOWN),  # of a probe
        ({"epoch": 30, "best_prec1": 50.0, "config": {"epochs": 30, "dataset": "cifar", "precision": "fp32"}}, UNKNOWN),
        ({"epoch": 2, "config": [1]}, "2, as the checkpoint counts them"),
    ],
)
def test_what_is_not_told_is_unknown(rows, content, epochs):
    """A probe's epochs, precision and lists are not those of the pre-training."""
    found, _ = rows(**content)
    assert {found[name] for name in TOLD} == {UNKNOWN} and found["pre-training epochs"] == epochs
    assert "checkpoint's format" not in found


def test_another_librarys(rows):
    found, text = rows(prefix="", epoch=199)
    assert found["checkpoint's format"] == "torchvision's or timm's (torchvision)"
    assert {found[name] for name in TOLD} == {UNKNOWN} and found["pre-training epochs"].startswith("199")
    assert "does not tell a licence of the weights" in text


def test_settings_of_a_stranger_stay_in_their_cells(rows):
    """They may have any type and any characters."""
    bad = {"method": "a | b\n# heading `code` \x1b[31m", "precision": ["bf16"], "images": torch.ones(2), "epochs": "x"}
    found, text = rows(epoch=4, config=PRETRAINING | bad | {"dataset": "x", "trainSplit": 5})
    assert found["method"] == r"a \| b # heading \`code\` \\x1b\[31m" and "\x1b" not in text
    assert {found[name] for name in ("data set", HASH, "precision of pre-training", "list of images")} == {UNKNOWN}
    assert found["pre-training epochs"] == "4" and "\n# heading" not in text


def test_epochs_of_any_type(rows):
    found, _ = rows(epoch=4, config=PRETRAINING | {"epochs": torch.ones(2)})
    assert found["pre-training epochs"] == "4" and found["method"] != "none"


def test_another_file_is_not_replaced_by_a_card(call, tmp_path):
    state = {f"module.{k}": v for k, v in network("res20_s").state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "model.pt")
    words = [
        "--checkpoint",
        tmp_path / "model.pt",
        "--model",
        "res20_s",
        "--to",
        "safetensors",
        "--out",
        "a.safetensors",
    ]
    (tmp_path / "a.safetensors.md").write_text("# My notes\n")
    one_line_error(call("features/export.py", *words), "a.safetensors.md", "is another file")
    assert (tmp_path / "a.safetensors.md").read_text() == "# My notes\n" and not (tmp_path / "a.safetensors").exists()
    (tmp_path / "a.safetensors.md").unlink()
    for _ in range(2):  # a card of its own is replaced
        assert call("features/export.py", *words).returncode == 0
