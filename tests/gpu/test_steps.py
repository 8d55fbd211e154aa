"""A step of each method is that of the processor, up to what the precision rounds; nothing in it waits."""

from functools import cache

import pytest
import torch
from torch import nn

from benchmarks.methods import EPOCHS, works
from methods import method_names
from pretrain.epoch import step
from tests.gpu.places import (
    CPU,
    Found,
    Place,
    batch_on,
    needs_gpu,
    nothing_waits,
    precisions,
    slow_on_cpu,
    step_on,
    training_on,
)
from tests.reference import relative_error

METHODS = [name for name in dict.fromkeys((*method_names(), "simclr+gh")) if name != "untrained"]

# Largest relative differences of the mean loss and of the gradient. In double precision nearly all digits agree. In
# lower ones, rounding decides on which side of a ReLU a value falls, so that the gradient is off by about the root of
# what a number is rounded by: tests/run/test_compute.py says why.
BOUNDS = {
    "fp64": (1e-9, 1e-6),
    "fp32": (1e-3, 0.1),
    "bf16": (6 * 2**-8, 12 * 2**-4),
    "fp16": (6 * 2**-11, 12 * 2**-5.5),
}
OF_TWO = 2  # rwSAM's gradient has the errors of two: its own, and those of the climb to where it is taken
each_method = pytest.mark.parametrize("method", METHODS)


@cache
def reference(method: str, phase: int, precision: str) -> Found:
    """On the processor; of lower precisions in float32."""
    place = Place(CPU, "fp64" if precision == "fp64" else "fp32", "contiguous_format")
    return step_on(place, method, phase)


def compare(device: torch.device, method: str, precision: str) -> None:
    for work in works(method):
        ours = step_on(Place(device, precision), method, work.phase)
        theirs, (of_loss, of_gradient) = reference(method, work.phase, precision), BOUNDS[precision]
        assert ours.losses.isfinite().all() and ours.gradient.isfinite().all(), work
        assert float(ours.losses.mean()) == pytest.approx(float(theirs.losses.mean()), rel=of_loss), work
        of_gradient *= OF_TWO if method == "rwsam" else 1
        assert relative_error(ours.gradient, theirs.gradient) < of_gradient, work
        assert ours.training.method.projections.device.type == device.type


@pytest.mark.parametrize("precision", ["fp64", "bf16"])
def test_a_step_of_bcl_d_is_that_of_the_processor(device, precision):
    """The method with most parts: two branches, and a memory of losses."""
    compare(device, "bcl-d", precision)


@precisions("fp64 fp32 bf16", "fp64 fp32 bf16 fp16")
@each_method
def test_a_step_of_each_method_is_that_of_the_processor(device, method, precision):
    compare(device, method, precision)


def test_another_loss_is_no_rounding():
    """The bounds tell a wrong step: that of another method, whose network begins with the same weights."""
    one, other = reference("simclr", 0, "fp32"), reference("focal", 0, "fp32")
    apart = abs(float(one.losses.mean() / other.losses.mean()) - 1)
    assert apart > max(of_loss for of_loss, _ in BOUNDS.values())


@pytest.mark.parametrize("method", ["simclr", "sdclr"])
def test_channels_last_is_the_same_step(device, method):
    found = [step_on(Place(device, "fp64", name), method) for name in ("channels_last", "contiguous_format")]
    for made, name in zip(found, ("channels_last", "contiguous_format"), strict=True):
        convolutions = [
            m for m in made.training.method.modules() if isinstance(m, nn.Conv2d) and m.kernel_size > (1, 1)
        ]
        assert len(convolutions) == 19
        for conv in convolutions:
            for t in (conv.weight, conv.weight.grad, made.training.optimizer.state[conv.weight]["momentum_buffer"]):
                assert t.is_contiguous(memory_format=getattr(torch, name))
    assert relative_error(found[0].losses, found[1].losses) < 1e-9
    assert relative_error(found[0].gradient, found[1].gradient) < 1e-6
    assert relative_error(found[0].weights, found[1].weights) < 1e-9


@slow_on_cpu
def test_weights_and_statistics_stay_float32(device):
    for precision in ("bf16", "fp16"):
        made = step_on(Place(device, precision), "sdclr").training
        assert {t.dtype for t in made.method.state_dict().values()} <= {torch.float32, torch.int64, torch.bool}
        states = [v for entries in made.optimizer.state.values() for v in entries.values()]
        assert states and {v.dtype for v in states} == {torch.float32}
        assert {v.device.type for v in states} == {device.type}
        assert all(group["fused"] for group in made.optimizer.param_groups)


@precisions("fp32", "fp32 bf16 fp16")
@each_method
def test_nothing_waits_within_a_step(device, method, precision):
    """But DnC's experts and distillation: which networks have a part in the batch is for the host to know."""
    for work in works(method)[: 1 if method == "dnc" else None]:
        training, batch = training_on(Place(device, precision), method, work.phase), batch_on(device)
        for number in range(4):
            training.method.start_step(EPOCHS - 0.5)
            if number < 2:  # kernels are loaded
                step(training, batch, measure=True)
                continue
            with nothing_waits(device):
                found = step(training, batch, measure=number == 3)
        assert found.losses.isfinite().all() and found.norm.isfinite()


@pytest.mark.parametrize("unused", [pytest.param(None, marks=needs_gpu)])
def test_what_waits_is_an_error(unused):
    """Else the test above would prove nothing."""
    with nothing_waits(torch.device("cuda")), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(1, device="cuda").item()
