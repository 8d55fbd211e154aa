"""Optimizers: LARS against a loop, weight decay as published."""

import math

import numpy as np
import pytest
import torch

from run.optim import LARS, build_optimizer
from utils.errors import InputError


def lars_loop(start, gradients, rates, momentum: float, decay: float, eta: float) -> list[np.ndarray]:
    """The update written out in float64, number by number where it is a norm."""
    weights = [w.astype(np.float64).copy() for w in start]
    velocity = [np.zeros_like(w) for w in weights]
    for step, lr in zip(gradients, rates, strict=True):
        for k, gradient in enumerate(step):
            if gradient is None:
                continue
            scale = 1.0
            w_norm = math.sqrt(sum(x * x for x in weights[k].ravel().tolist()))
            g_norm = math.sqrt(sum(x * x for x in gradient.astype(np.float64).ravel().tolist()))
            if w_norm > 0 and g_norm > 0:
                scale = eta * w_norm / (g_norm + decay * w_norm)
            update = gradient + decay * weights[k]
            velocity[k] = momentum * velocity[k] + lr * scale * update
            weights[k] = weights[k] - velocity[k]
    return weights


@pytest.mark.parametrize("decay", [0.0, 1e-6, 0.1])
def test_lars_against_a_loop(decay):
    """Matrix, kernel, bias, a weight that is zero, one without a gradient; the rate changes on the way."""
    rng = np.random.RandomState(4)
    start = [rng.standard_normal(s) for s in ((4, 3), (2, 3, 3, 3), (5,), (3, 2), (2, 2), (3, 3))]
    start[3][:] = 0
    rates = [0.5, 5.0, 5.0, 0.01]
    steps = [[rng.standard_normal(w.shape) for w in start] for _ in rates]
    for i, step in enumerate(steps):
        step[4] = None
        step[5] = np.zeros((3, 3)) if i % 2 else step[5]
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in start]
    optimizer = LARS(parameters, 1.0, momentum=0.9, weight_decay=decay, eta=0.001)
    for i, (step, lr) in enumerate(zip(steps, rates, strict=True)):
        if i == 2:  # resumed: another optimiser goes on from the state
            state = optimizer.state_dict()
            optimizer = LARS(parameters, 1.0)
            optimizer.load_state_dict(state)
        optimizer.param_groups[0]["lr"] = lr
        for p, g in zip(parameters, step, strict=True):
            p.grad = None if g is None else torch.from_numpy(g.copy())
        optimizer.step()
    for p, expected in zip(parameters, lars_loop(start, steps, rates, 0.9, decay, 0.001), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "kind", "decay"), [("sgd", torch.optim.SGD, 1e-4), ("adam", torch.optim.Adam, 0), ("lars", LARS, 1e-6)]
)
def test_weight_decay_as_published(name, kind, decay):
    """METHODS, sections 1 and 14: SGD's on all parameters, batch norm and biases included."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    for asked, expected in ((None, decay), (0.0, 0.0), (5e-4, 5e-4)):
        optimizer = build_optimizer(name, model.parameters(), 0.3, asked)
        assert type(optimizer) is kind
        assert {group["weight_decay"] for group in optimizer.param_groups} == {expected}
        assert {group["lr"] for group in optimizer.param_groups} == {0.3}
        held = [p for group in optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in held} == {id(p) for p in model.parameters()}
        if name != "adam":
            assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
        if name == "sgd":
            assert not any(group["nesterov"] or group["dampening"] for group in optimizer.param_groups)
        if name == "lars":
            assert {group["eta"] for group in optimizer.param_groups} == {0.001}


def test_sgd_decays_batch_norm_and_biases():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    torch.nn.init.ones_(model[0].bias)
    optimizer = build_optimizer("sgd", model.parameters(), 1.0)
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, b in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), b * (1 - 1e-4))


@pytest.mark.parametrize("wrong", [("rmsprop", 0.1, None), ("sgd", -0.1, None), ("adam", 0.1, -1e-4)])
def test_wrong_optimisers(wrong):
    name, lr, decay = wrong
    with pytest.raises(InputError):
        build_optimizer(name, [torch.nn.Parameter(torch.zeros(1))], lr, decay)
