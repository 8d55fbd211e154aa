"""The study of a small network, at a tiny size: digits in CIFAR-10's place, each step in this process."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import cifar10_study
from benchmarks.study.kept import steps_of
from data.sets.registry import data_set
from models.published import to_backbone
from run.checkpoint import read_checkpoint
from tests.benchmarks.studies import options_of, steps_here
from tests.conftest import PROJECT

OPTIONS = ["--data", "none", "--epochs", "1", "--batch_size", "64", "--linear_epochs", "1", "--few_shot_epochs", "1"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def study(call, tmp_path, monkeypatch):
    """Run the program on digits; `steps` has the command lines of the steps it ran."""
    monkeypatch.setattr(cifar10_study, "CIFAR", data_set("digits"))
    monkeypatch.setattr(cifar10_study, "RECIPE", PROJECT / "cmds/shell_scrips/digits-LT.sh")

    def run(*words: str):
        return call("benchmarks/cifar10_study.py", "--work", tmp_path / "work", "--out", tmp_path / "out", *words)

    run.steps = steps_here(call, monkeypatch)
    return run


@pytest.mark.slow
def test_from_recipe_to_table(study, tmp_path):
    done = study(*OPTIONS, "--runs", "untrained", "sdclr-0.5", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    steps = [options_of(step) for step in study.steps]
    untrained, sdclr = steps[0], steps[3]
    assert untrained["--epochs"] == "0" and sdclr["--epochs"] == "1" and sdclr["--prune_percent"] == "0.5"
    assert {step["--model"] for step in steps} == {"res20_s"} and len(steps) == 6
    for name in ("untrained", "sdclr-0.5"):
        folder = tmp_path / "out" / "split1" / name
        for probe, protocol in (("linear", "sdclr-linear"), ("few-shot", "sdclr-fewshot")):
            result = json.loads((folder / f"{probe}.json").read_text())
            assert result["protocol"] == protocol and str(tmp_path) not in json.dumps(result)
    # The encoder is the backbone of the dense branch.
    checkpoint = steps[4]["--checkpoint"]
    expected = to_backbone(read_checkpoint(checkpoint)["state_dict"], 0)
    encoder = load_file(tmp_path / "out/split1/sdclr-0.5/encoder.safetensors")
    assert encoder.keys() == expected.keys() and all(torch.equal(encoder[key], expected[key]) for key in encoder)
    text = (tmp_path / "out.txt").read_text()
    assert text in done.stdout and "sdclr-0.5" in text and "SDCLR's share" not in text
    study.steps.clear()
    assert study(*OPTIONS, "--runs", "untrained", "sdclr-0.5").returncode == 0 and not study.steps


def test_the_share_is_chosen_by_validation_alone():
    results = {(f"sdclr-{share}", 1): {"linear": {"best": {"val": val}, "groups": {"All": 100 - val}}}
               for share, val in (("0.2", 40.0), ("0.5", 42.0), ("0.9", 30.0))}  # fmt: skip
    assert cifar10_study.chosen_share(results) == "sdclr-0.5"
    del results["sdclr-0.9", 1]
    assert cifar10_study.chosen_share(results) == ""


@pytest.mark.slow
def test_long_tailed_and_balanced_lists():
    options = SimpleNamespace(epochs=3, data="x.npz", model="res20_s", batch_size=512, linear_epochs=1,
                              few_shot_epochs=1, work="w")  # fmt: skip
    for name in cifar10_study.RUNS:
        steps = steps_of(cifar10_study.recipe_of(name, 2, options))
        pretraining, *probes = (dict(zip(words, words[1:], strict=False)) for words in steps)
        kind = "D_b" if name == "simclr-D_b" else "D_i"
        assert pretraining["--trainSplit"] == f"cifar10_imbSub_with_subsets/split2_{kind}.npy"
        assert [probe["--trainSplit"].rpartition("/")[2] for probe in probes] == ["trainIdxList.npy", "split2_S_b.npy"]
