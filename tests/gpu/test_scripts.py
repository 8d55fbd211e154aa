"""The scripts on a device: resumed to the bit, checkpoints that change devices, compiled, and what ends in one line."""

import json
import shutil

import pytest
import torch
from torch import nn

from methods.simclr import SimCLR
from run.checkpoint import read_checkpoint
from run.watch import LAG
from tests.gpu.places import on_processor, precisions, slow_on_cpu
from tests.reference import relative_error
from tests.run.test_resume import equal
from tests.scripts.test_train_scripts import PRETRAIN, PROBE, S_B, SDCLR, same, weights

STEPS = 3  # an epoch's: 50 images in batches of 20
SMALL = [*PRETRAIN, "--trainSplit", S_B, "--batch_size", 20, "--lr", 0.01, "--precision", "fp32", "--epochs", 3]
BCL_D = [*SDCLR, "--bcl", "--rand_k", 2, "--momentum_loss_beta", 0.5]
METHODS = {"simclr": [], "bcl-d": BCL_D, "moclr": ["--method", "moclr"]}

pytestmark = pytest.mark.usefixtures("one_thread")


@precisions("fp32 bf16", "fp32 bf16 fp16")
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_is_the_undisturbed_one(call, tmp_path, interrupted, device, method, precision):
    """To the bit, with deterministic operations."""
    options = [*SMALL, *METHODS[method], "--precision", precision, "--deterministic", "True"]
    done = call("train_simCLR.py", "whole", *options)
    assert done.returncode == 0, done.stderr
    assert f"on {device.type}, precision {precision}" in done.stdout
    interrupted(STEPS + 1, 1)
    for code in (143, 143, 0):
        done = call("train_simCLR.py", "parts", *options, "--resume")
        assert done.returncode == code, done.stderr
    folder = tmp_path / "checkpoints"
    assert equal(folder / "whole", folder / "parts")


def check_error(done, *words: str) -> None:
    """A run ended with exit code 2 and one line that holds the words, whatever the machine's packages are warned of."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    assert all(word in lines[0] for word in words), lines[0]


def losses(folder) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("method", ["bcl-d"])
def test_a_checkpoint_goes_from_the_processor_to_the_device_and_back(
    call, tmp_path, interrupted, device, method, monkeypatch
):
    options, folder = [*SMALL, *METHODS[method]], tmp_path / "checkpoints"
    with monkeypatch.context() as patch:
        on_processor(patch)
        assert call("train_simCLR.py", "whole", *options).returncode == 0
    # Epoch 1 and a step on the processor, to the middle of epoch 3 on the device, the rest on the processor.
    interrupted(STEPS + 1, STEPS + 1)
    for place, code in (("cpu", 143), (device.type, 143), ("cpu", 0)):
        with monkeypatch.context() as patch:
            if place == "cpu":
                on_processor(patch)
            done = call("train_simCLR.py", "parts", *options, "--resume")
        assert done.returncode == code, done.stderr
        assert f"on {place}, precision fp32" in done.stdout
    one, other = (read_checkpoint(folder / name / "model.pt") for name in ("whole", "parts"))
    if device.type == "cpu":
        assert same(one["state_dict"], other["state_dict"])
    for name, value in one["state_dict"].items():
        if value.is_floating_point() and value.ndim > 1:
            assert relative_error(other["state_dict"][name], value) < 0.01, name
    assert all(t.device.type == "cpu" for t in other["state_dict"].values())
    for name, value in one["memory"].items():
        torch.testing.assert_close(other["memory"][name], value, rtol=0.05, atol=0.05)
    assert losses(folder / "parts") == pytest.approx(losses(folder / "whole"), rel=0.02)


@slow_on_cpu
def test_a_probe_of_a_checkpoint_of_another_device(call, tmp_path, device, monkeypatch):
    """Pre-trained on the device, probed on the processor and on the device: the same accuracy, but for an image or two
    of the 360 test images."""
    assert call("train_simCLR.py", "pre", *SMALL, "--epochs", 1).returncode == 0
    found = []
    for name, place in (("one", device.type), ("other", "cpu")):
        with monkeypatch.context() as patch:
            if place == "cpu":
                on_processor(patch)
            words = ["--checkpoint", tmp_path / "checkpoints/pre/model.pt", "--cvt_state_dict", "--trainSplit", S_B]
            done = call("train_cifar.py", name, *PROBE, *words, "--epochs", 1, "--lr", 0.1, "--precision", "fp32")
        assert done.returncode == 0, done.stderr
        found.append(json.loads((tmp_path / f"checkpoints_tune/{name}/results.json").read_text())["top1"])
    assert found[0] == pytest.approx(found[1], abs=1.5)


@slow_on_cpu
@pytest.mark.parametrize("method", ["simclr", "bcl-d"])
def test_a_compiled_network_trains_alike(call, tmp_path, device, method, monkeypatch):
    """On the processor without code generation, which takes minutes: the network is traced and run as it was traced."""
    if device.type == "cpu":
        original = nn.Module.compile
        monkeypatch.setattr(nn.Module, "compile", lambda module: original(module, backend="aot_eager"))
    options = [*SMALL, *METHODS[method], "--epochs", 1]
    for name, more in (("plain", []), ("compiled", ["--compile", "True"])):
        done = call("train_simCLR.py", name, *options, *more)
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "checkpoints"
    assert losses(folder / "compiled") == pytest.approx(losses(folder / "plain"), rel=0.01)
    assert weights(folder / "compiled").keys() == weights(folder / "plain").keys()
    shutil.rmtree(folder)


def test_a_loss_that_is_not_finite_is_one_line(call, device, monkeypatch):
    """On a GPU long before it is printed, on a CPU at the end of the epoch."""
    original, calls = SimCLR.forward, []

    def forward(self, views, index):
        calls.append(1)
        return original(self, views, index) * (float("nan") if len(calls) > 1 else 1)

    monkeypatch.setattr(SimCLR, "forward", forward)
    done = call("train_simCLR.py", "run", *SMALL, "--batch_size", 2, "--print_freq", 1000)
    check_error(done, "the loss is nan in epoch 1, step 1", "sample ids", "lower the learning rate")
    assert len(calls) == (25 if device.type == "cpu" else 2 + LAG)


def test_no_memory_left_is_one_line(call, device, monkeypatch):
    if device.type == "cpu":  # whose allocator would take what others need
        error = torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 MiB.\nGPU 0 has a total capacity ..."
        )
        monkeypatch.setattr("run.compute.Compute.on_device", lambda *_: (_ for _ in ()).throw(error))
        check_error(call("train_simCLR.py", "run", *SMALL), "not enough memory", "Tried to allocate")
        return
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-9, device)
    try:
        check_error(call("train_simCLR.py", "run", *SMALL), "not enough memory", "Tried to allocate")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert call("train_simCLR.py", "run", *SMALL, "--epochs", 1).returncode == 0  # and the next run goes on
