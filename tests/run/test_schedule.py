"""Learning rates: the published ones, and closed-form functions of the step."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from run.schedule import pretrain_lr, probe_lr

quick = settings(database=None, deadline=None, max_examples=60)


def published_pretraining(total: int, warmup: int, lr: float) -> list[float]:
    """LambdaLR moved before each update, with the warm-up and cosine as S:train_simCLR.py writes them."""

    def cosine_annealing(step: int, lr_max: float, lr_min: float) -> float:
        if step < warmup:
            return lr_max * step / warmup
        return lr_min + (lr_max - lr_min) * 0.5 * (1 + np.cos((step - warmup) / (total - warmup) * np.pi))

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_annealing(step, 1, 1e-6 / lr))
    used = []
    for _ in range(total):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about this very order
            scheduler.step()
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return used


@pytest.mark.parametrize(("epochs", "steps", "lr"), [(40, 22, 0.5), (25, 20, 0.5), (11, 3, 5.0), (30, 1, 0.1)])
def test_pretraining_rates_are_the_published_ones(epochs, steps, lr):
    """Warm-up of 10 epochs, as for CIFAR."""
    total, warmup = epochs * steps, 10 * steps
    ours = [pretrain_lr(step, total, warmup, lr) for step in range(total)]
    assert ours == pytest.approx(published_pretraining(total, warmup, lr), rel=1e-9)


@quick
@given(warmup=st.integers(1, 500), rest=st.integers(1, 3000), lr=st.floats(1e-4, 10))
def test_pretraining_rate_rises_then_falls(warmup, rest, lr):
    total = warmup + rest
    rates = [pretrain_lr(step, total, warmup, lr) for step in range(total)]
    assert rates[0] == pytest.approx(lr / warmup, rel=1e-12)
    assert rates[warmup - 1] == pytest.approx(lr, rel=1e-12)
    assert rates[-1] == 1e-6
    assert np.argmax(rates) == warmup - 1
    assert (np.diff(rates[:warmup]) > 0).all()
    assert (np.diff(rates[warmup - 1 :]) < 0).all()
    # Continuous: a cosine's step is at most pi/2 of the mean one.
    assert rates[warmup - 1] - rates[warmup] <= (lr - 1e-6) * math.pi / 2 / rest * (1 + 1e-9)


@quick
@given(total=st.integers(1, 100), extra=st.integers(0, 100), lr=st.floats(0, 10))
def test_short_runs_only_rise_and_constant_is_constant(total, extra, lr):
    warmup = total + extra
    for step in range(total):
        assert pretrain_lr(step, total, warmup, lr) == pytest.approx(lr * (step + 1) / warmup, rel=1e-12)
        assert pretrain_lr(step, total, warmup, lr, "constant") == lr


def test_pretraining_without_warmup_ends_at_the_smallest_rate():
    rates = [pretrain_lr(step, 10, 0, 0.5) for step in range(10)]
    assert rates == pytest.approx(
        [1e-6 + (0.5 - 1e-6) * (1 + math.cos(math.pi * n / 10)) / 2 for n in range(1, 11)], rel=1e-12
    )


def moved_at_epoch_start(scheduler_of, epochs: int, lr: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    scheduler, used = scheduler_of(optimizer), []
    for _ in range(epochs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return used


@pytest.mark.parametrize(
    ("epochs", "milestones", "lr"),
    [(30, [10, 20], 30), (100, [40, 60], 30), (100, [75, 90, 95], 0.1), (5, [1], 1), (9, [], 2), (12, [6, 6, 3], 1)],
)
def test_probe_rates_are_those_of_multisteplr(epochs, milestones, lr):
    expected = moved_at_epoch_start(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones), epochs, lr)
    assert [probe_lr(e, lr, milestones) for e in range(1, epochs + 1)] == pytest.approx(expected, rel=1e-9)


def test_published_probe_rates():
    """METHODS, section 10a: nine epochs at 30, not ten."""
    linear = [probe_lr(e, 30, [10, 20]) for e in range(1, 31)]
    assert linear == pytest.approx([30] * 9 + [3] * 10 + [0.3] * 11, rel=1e-12)
    few_shot = [probe_lr(e, 30, [40, 60]) for e in range(1, 101)]
    assert few_shot == pytest.approx([30] * 39 + [3] * 20 + [0.3] * 41, rel=1e-12)
