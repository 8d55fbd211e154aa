"""What the tests on a GPU share: their marks, and the step of a method on a device, in a precision.

    python -m pytest tests/gpu -m gpu

Without a GPU the same tests run on the processor, against itself in another memory format or another precision: that
shows that they can pass, and fail.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch

from benchmarks.methods import EPOCHS, built, in_training
from data.loader import Batch
from pretrain.epoch import Schedule, Training, step
from run.compute import Compute
from run.flags import Precision
from run.optim import build_optimizer
from utils.distributed import World

CPU = torch.device("cpu")
GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
IMAGES, PAIRS, SIDE, RATE = 128, 16, 16, 1e-4  # images of the list and of a step, pixels of a side, learning rate

# The marks of a test, or of a case of one, that needs a GPU.
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="needs a GPU")]
slow_on_cpu = pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=needs_gpu)], indirect=True
)


def precisions(on_cpu: str, on_gpu: str) -> pytest.MarkDecorator:
    """The cases of a test that takes `device` and `precision`, names with blanks between; slow on the processor, on
    which fp16 takes minutes."""
    cases = [pytest.param("cpu", name, marks=pytest.mark.slow) for name in on_cpu.split()]
    cases += [pytest.param("cuda", name, marks=needs_gpu) for name in on_gpu.split()]
    return pytest.mark.parametrize(("device", "precision"), cases, indirect=["device"])


def on_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scripts that the test calls compute on the processor."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@contextmanager
def nothing_waits(device: torch.device) -> Iterator[None]:
    """Inside, whatever has the host wait for the GPU is an error."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Place(NamedTuple):
    """Where and how a step is computed; precision: fp64, fp32, bf16 or fp16."""

    device: torch.device
    precision: str
    memory_format: str = "channels_last"


class Found(NamedTuple):
    """What a step has found and left, in float64 on the CPU: losses [n], all gradients and all weights in a row."""

    losses: torch.Tensor
    gradient: torch.Tensor
    weights: torch.Tensor
    training: Training


def batch_on(device: torch.device, dtype: torch.dtype = torch.float32) -> Batch:
    """The same views of the same images on each device."""
    views = torch.rand(PAIRS, 2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)).to(dtype)
    index = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(4))[:PAIRS]
    return Batch(views.to(device), index.to(device), torch.zeros_like(index).to(device), [], 0)


def training_on(place: Place, method: str, phase: int = 0) -> Training:
    """A method in the last epoch of a phase, and what its steps are made with; there is no loader."""
    double = place.precision == "fp64"
    how = Precision("fp32" if double else place.precision, place.memory_format, tf32=False, deterministic=False)
    compute = Compute(how, place.device)
    if place.precision == "fp16":  # else the first steps are skipped until the scale is small enough
        compute.scaler = torch.amp.GradScaler(place.device.type, 2.0**8)
    learner = in_training(built(method, IMAGES, "res20_s"), IMAGES, phase)
    learner = compute.on_device(learner.double() if double else learner).train()
    optimizer = build_optimizer("sgd", [p for p in learner.parameters() if p.requires_grad], RATE)
    return Training(learner, [], optimizer, Schedule(EPOCHS, RATE, "constant"), compute, World(0, 1, place.device))


def step_on(place: Place, method: str, phase: int = 0) -> Found:
    """A first step: from the second on, an untrained network blows up the rounding of the first."""
    training = training_on(place, method, phase)
    training.method.start_step(EPOCHS - 0.5)
    found = step(training, batch_on(place.device, torch.float64 if place.precision == "fp64" else torch.float32))
    trained = [p for group in training.optimizer.param_groups for p in group["params"]]
    gradient = torch.cat([p.grad.double().cpu().flatten() for p in trained if p.grad is not None])
    weights = torch.cat([p.detach().double().cpu().flatten() for p in trained])
    return Found(found.losses.double().cpu(), gradient, weights, training)
