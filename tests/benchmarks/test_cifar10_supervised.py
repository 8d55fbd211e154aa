"""Supervised learning from pre-trained encoders, at a tiny size: digits in CIFAR-10's place, steps in this process."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import cifar10_supervised
from data.sets.registry import data_set
from models.resnet import build_backbone
from tests.benchmarks.studies import options_of, steps_here
from tests.conftest import one_line_error

PROTOCOLS = ["ce", "crt", "la", "la-posthoc"]
OPTIONS = ["--data", "none", "--epochs", "2", "--crt_epochs", "1", "--runs", "random", "bcl-i", "--jobs", "1"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def encoder(tmp_path) -> dict[str, torch.Tensor]:
    """The weights of an encoder of bcl-i on split 1, which is where the study would keep it."""
    torch.manual_seed(0)
    network = build_backbone("res20_s")
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("fc")}
    path = tmp_path / "encoders/split1/bcl-i/encoder.safetensors"
    path.parent.mkdir(parents=True)
    save_file(state, path)
    return state


@pytest.fixture
def study(call, tmp_path, monkeypatch):
    """Run the program on digits; `steps` has the command lines of the steps it ran."""
    monkeypatch.setattr(cifar10_supervised, "CIFAR", data_set("digits"))

    def run(*words: str):
        paths = {"work": tmp_path / "work", "out": tmp_path / "out", "encoders": tmp_path / "encoders"}
        return call("benchmarks/cifar10_supervised.py", *(f"--{k}={v}" for k, v in paths.items()), *words)

    run.steps = steps_here(call, monkeypatch)
    return run


@pytest.mark.slow
def test_from_encoders_to_table(study, encoder, tmp_path):
    done = study(*OPTIONS)
    assert done.returncode == 0, done.stderr
    given = list(map(options_of, study.steps))
    assert [words["--protocol"] for words in given] == PROTOCOLS * 2
    assert [words.get("--epochs") for words in given] == ["2", "1", "2", None] * 2
    assert {words["--trainSplit"] for words in given} == {"digits_imbSub_with_subsets/digits_split1_D_i.npy"}
    assert ["--checkpoint" in words for words in given] == [False] * 4 + [True, False, True, False]

    for run in ("random", "bcl-i"):
        folder = tmp_path / "out/split1" / run
        assert {path.name for path in folder.iterdir()} == {"run.json", *(f"{name}.json" for name in PROTOCOLS)}
        for protocol in PROTOCOLS:
            result = json.loads((folder / f"{protocol}.json").read_text())
            assert result["protocol"] == protocol and str(tmp_path) not in json.dumps(result)
    text = (tmp_path / "out.txt").read_text()
    assert text in done.stdout and text.count("\nbcl-i ") == text.count("\nrandom ") == len(PROTOCOLS)
    study.steps.clear()
    assert study(*OPTIONS).returncode == 0 and not study.steps


@pytest.mark.slow
def test_the_encoder_is_what_training_begins_with(study, call, encoder, tmp_path):
    """With a learning rate that changes nothing, the trained network is the encoder."""
    run, options = cifar10_supervised, SimpleNamespace(encoders=tmp_path / "encoders", work=tmp_path / "work", data="",
                                                       model="res20_s", epochs=1, crt_epochs=1)  # fmt: skip
    (words, *_) = run.commands_of("bcl-i", 1, options)
    done = call(words[1], *words[2:], "--lr", "1e-30")
    assert done.returncode == 0, done.stderr
    state = torch.load(next((tmp_path / "work").rglob("best_model.pt")), weights_only=False)["state_dict"]
    weights = {k: v for k, v in encoder.items() if v.ndim == 4}
    assert len(weights) == 19
    for key, value in weights.items():
        (trained,) = (v for k, v in state.items() if k.removeprefix("module.").removeprefix("backbone.") == key)
        torch.testing.assert_close(trained, value, rtol=1e-4, atol=1e-7)


def test_a_missing_encoder_is_one_line(study, tmp_path):
    done = study("--data", "none", "--runs", "simclr", "focal")
    one_line_error(done, "no encoder of split 1 of simclr, focal")
    assert not study.steps and not (tmp_path / "out").exists()
