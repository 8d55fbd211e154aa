"""Checkpoints as other people's programs leave them: wrappers' prefixes, what is not there, what else is there."""

import itertools
import os
import pathlib

import numpy as np
import pytest
import torch
import torchvision

from models import build_classifier
from models.published import from_published, load_state, to_backbone
from models.resnet import IMAGENET_MEAN, IMAGENET_STD, build_backbone
from run.checkpoint import read_checkpoint
from tests.scripts.test_train_scripts import PROBE, S_B
from utils.errors import InputError

WRAPPERS = [prefix for n in range(4) for prefix in itertools.product(["module.", "_orig_mod."], repeat=n)]


@pytest.mark.parametrize("prefix", WRAPPERS, ids="".join)
def test_wrappers_prefixes_in_any_order_and_number(prefix):
    state = build_classifier("res20_s", 10).state_dict()
    wrapped = {"".join(prefix) + name: value for name, value in state.items()}
    assert from_published(wrapped).keys() == state.keys()
    bcls = {"".join(prefix) + "backbone." + "".join(prefix) + name: value for name, value in state.items()}
    assert from_published(bcls).keys() == state.keys()


@pytest.mark.slow
def test_a_compiled_and_distributed_network_is_loaded():
    """What the wrappers themselves write is the oracle, also where a part of a network is compiled."""
    network, other = build_classifier("res20_s", 10), build_classifier("res20_s", 10)
    wrapped = torch.nn.DataParallel(torch.compile(network))
    load_state(other, from_published(wrapped.state_dict()), "FILE")
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )
    network.layer1 = torch.compile(network.layer1)
    load_state(other, from_published(network.state_dict()), "FILE")


def test_two_tensors_of_one_name_are_refused():
    one = torch.ones(1)
    with pytest.raises(InputError, match="two tensors for fc.weight"):
        from_published({"module.fc.weight": one, "_orig_mod.fc.weight": one})


def test_batch_norms_without_counts():
    network, other = build_classifier("res20_s", 10), build_classifier("res20_s", 10)
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(state) < len(network.state_dict())
    assert load_state(other, state, "FILE") == ""
    assert torch.equal(other.bn1.weight, network.bn1.weight)


def test_torchvisions_weights_are_read_with_imagenets_mean_and_deviation():
    theirs = torchvision.models.resnet18(weights=None).eval()
    ours = build_backbone("res18", "imagenet").eval()
    missing = load_state(ours, to_backbone(theirs.state_dict()), "FILE", head=False)
    assert "without normalize.mean" in missing and "ImageNet" in missing
    images, theirs.fc = torch.rand(2, 3, 64, 64), torch.nn.Identity()
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        torch.testing.assert_close(ours.features(images), theirs((images - mean) / std), rtol=1e-4, atol=1e-5)


def test_the_log_says_what_is_missing(call, tmp_path):
    state = {k: v for k, v in build_backbone("res20_s", "cifar").state_dict().items() if "normalize" not in k}
    torch.save({"state_dict": state}, tmp_path / "plain.pt")
    words = [*PROBE, "--epochs", "1", "--trainSplit", S_B, "--checkpoint", tmp_path / "plain.pt", "--cvt_state_dict"]
    done = call("train_cifar.py", "x", *words)
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.rglob("log.txt")
    assert "plain.pt, epoch None, without normalize.mean and normalize.std: ImageNet's are taken" in log.read_text()


def beside(tmp_path, value) -> pathlib.Path:
    torch.save({"state_dict": {"a": torch.ones(2)}, "x": value}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.mark.parametrize("kind", "?bhilqBHILQefdFD")
def test_numpys_numbers_of_any_kind_are_read(tmp_path, kind):
    value = np.ones((), np.dtype(kind))[()]
    found = read_checkpoint(beside(tmp_path, {"best": [value]}))["x"]["best"][0]
    assert found == value and found.dtype == value.dtype


class Program:
    def __reduce__(self):
        return os.system, ("true",)


REFUSED = {
    "array": (np.zeros(3), "a NumPy array"),
    "path": (pathlib.Path("a"), "a path"),
    "history": (list(range(100_001)), "more than 100,000 values"),
    "nested history": ([[i] for i in range(60_000)], "more than 100,000 values"),
    "huge number": (1 << 70, "a number of more than 64 bits"),
    "program": (Program(), "posix.system"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_called_by_its_name(tmp_path, name):
    value, word = REFUSED[name]
    with pytest.raises(InputError, match=r"torch\.save\(\{'state_dict': model\.state_dict\(\)\}, FILE\)") as error:
        read_checkpoint(beside(tmp_path, value))
    assert word in str(error.value) and "get it again" not in str(error.value)


def test_the_advice_helps(tmp_path, call):
    """A file that was refused, saved again as the line says, is read."""
    network = build_classifier("res20_s", 10)
    torch.save({"state_dict": network.state_dict(), "history": np.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(InputError):
        read_checkpoint(tmp_path / "a.pt")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "a.pt")
    load_state(build_classifier("res20_s", 10), from_published(read_checkpoint(tmp_path / "a.pt")["state_dict"]), "a")
