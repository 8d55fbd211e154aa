"""Checkpoints within an epoch, of the version before methods and runs had parts, are taken up equal to the bit.

`older/*.pt.xz` were written by revision 5b4f185 on digits after step 1 (the probe's: 2) of epoch 2, and hold what that
revision went on with: 'checkpoint', and 'next_ids', the sample ids of the batch that it took next. Weights and momenta
were rounded to a mantissa of three bits, so that the files are small.
"""

import io
import lzma
import sys
from pathlib import Path

import pytest
import torch

import pretrain.epoch
import pretrain.flags
import pretrain.setup
import probe.epoch
import probe.flags
import probe.setup
from data.sets.registry import data_set
from pretrain.files import memory_of
from run.bad_images import BadImages
from run.log import Log
from run.randomness import generator_states
from tests.run.test_resume import flat
from tests.scripts.test_train_scripts import same

pytestmark = pytest.mark.usefixtures("one_thread")

S_B = "digits_imbSub_with_subsets/digits_split1_S_b.npy"
COMMON = ["--dataset", "digits", "--model", "res20_s", "--num_workers", "0", "--trainSplit", S_B, "--epochs", "3"]
COMMON += ["--precision", "fp32", "--resume"]
PRE = [*COMMON, "--optimizer", "sgd", "--lr", "0.1", "--temperature", "0.2", "--output_ch", "16", "--batch_size", "20"]
PRUNED = ["--prune", "True", "--prune_percent", "0.9", "--prune_dual_bn", "True"]
METHODS = {
    "simclr": [],
    "sdclr": [*PRUNED, "--random_prune_percent", "0.3"],
    "bcl-d": [*PRUNED, "--bcl", "--rand_k", "2", "--momentum_loss_beta", "0.5"],
}
PROBE = [
    *COMMON,
    "--fixto",
    "layer4",
    "--fixbn",
    "--wd",
    "0",
    "--lr",
    "0.5",
    "--batch-size",
    "20",
    "--decreasing_lr",
    "2",
]


class Taken(Exception):
    """Ends a script after it has taken its first batch."""


@pytest.fixture
def next_ids(monkeypatch):
    """Sample ids of the batches that the scripts take; the first one ends them."""
    found = []

    def take(loader, *_):
        found.append(next(iter(loader)).index.tolist())
        raise Taken

    monkeypatch.setattr(pretrain.epoch, "on_device", take)
    monkeypatch.setattr(probe.epoch, "on_device", take)
    return found


def older(name: str, folder: Path) -> tuple[dict, list[int]]:
    """A checkpoint and the ids that come next; it is placed in the folder of its experiment."""
    kept = torch.load(io.BytesIO(lzma.decompress((Path(__file__).parent / "older" / f"{name}.pt.xz").read_bytes())))
    (folder / name).mkdir(parents=True)
    torch.save(kept["checkpoint"], folder / name / "model.pt")
    return kept["checkpoint"], kept["next_ids"]


@pytest.mark.parametrize("name", METHODS)
def test_pretraining(call, tmp_path, monkeypatch, next_ids, name):
    content, expected = older(name, tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_simCLR.py", name, *PRE, *METHODS[name]])
    found = pretrain.setup.set_up(pretrain.flags.parse(""))
    assert found.start == 1
    assert same(flat(generator_states(found.world.device)), flat(content["random"][0]))
    weights = {f"module.{k}": v for k, v in found.method.encoder.state_dict().items()}
    assert same(weights, content["state_dict"])
    assert same(flat(found.optimizer.optimizer.state_dict()["state"]), flat(content["optim"]["state"]))
    assert same(memory_of(found.method), content.get("memory", {}))

    meters, within = found.begin_epoch(2, BadImages("error", Log(None))), content["within"]
    assert meters.state_dict() == within["meters"] and meters.done == 1
    state = dict(within["epoch_state"])
    if "bcl.score" in state:
        assert torch.equal(found.data.images.scores, state.pop("bcl.score"))
    assert same(found.method.masks(), state)

    with pytest.raises(Taken):
        call("train_simCLR.py", name, *PRE, *METHODS[name])
    assert next_ids == [expected]


def test_probe(call, tmp_path, monkeypatch, next_ids):
    content, expected = older("probe", tmp_path / "checkpoints_tune")
    monkeypatch.chdir(tmp_path)
    torch.save({**content, "best_prec1": content["best_prec1"]}, tmp_path / "checkpoints_tune/probe/best_model.pt")
    monkeypatch.setattr(sys, "argv", ["train_cifar.py", "probe", *PROBE])
    found = probe.setup.set_up(probe.flags.parse_cifar(""), data_set("digits"))
    assert (found.done, found.best.score) == (1, content["best_prec1"])
    assert same(flat(generator_states(found.world.device)), flat(content["random"][0]))
    assert same(found.model.state_dict(), content["state_dict"])
    assert same(flat(found.optimizer.state_dict()["state"]), flat(content["optim"]["state"]))
    assert found.run.begin_epoch(lambda: 3).state_dict() == content["within"]["meters"]

    with pytest.raises(Taken):
        call("train_cifar.py", "probe", *PROBE)
    assert next_ids == [expected]
