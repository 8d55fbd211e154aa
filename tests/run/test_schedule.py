"""Learning rates: the published ones, and closed-form functions of the step."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from run.schedule import Stage, pretrain_lr, probe_lr, supervised_lr, two_stage_lr

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


# ---- two stages


@pytest.mark.parametrize(("epochs", "first", "lr"), [(1000, Stage(500, 0.3), 0.5), (500, Stage(400, 0.1), 0.5),
                                                     (40, Stage(11, 0.2), 1.0), (30, Stage(3, 0.1), 0.2)])  # fmt: skip
def test_rates_of_two_stages_are_torchs_cosines_from_epoch_to_epoch(epochs, first, lr):
    """Of CIFAR and ImageNet (METHODS, section 8), and of stages that are shorter than the warm-up."""
    ours = [two_stage_lr(epoch, epochs, 10, lr, first) for epoch in range(1, epochs + 1)]
    assert ours[:9] == pytest.approx([lr * epoch / 10 for epoch in range(1, 10)])

    def cosine(high: float, low: float, length: int) -> list[float]:
        """Torch's, of its steps 0, 1, ... length."""
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], high)
        scheduler, found = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length, low), []
        for _ in range(length + 1):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step(), scheduler.step()
        return found

    if first.epochs > 10:
        assert ours[9 : first.epochs] == pytest.approx(cosine(lr, first.lr, first.epochs - 10), rel=1e-6)
    start = max(10, first.epochs)
    second = cosine(first.lr, 1e-6, epochs - first.epochs)[start - first.epochs :]
    assert ours[start - 1 :] == pytest.approx(second, rel=1e-6)
    assert ours[-1] == pytest.approx(1e-6)


def test_published_rates_of_two_stages():
    rates = [two_stage_lr(epoch, 1000, 10, 0.5, Stage(500, 0.3)) for epoch in (1, 10, 255, 500, 750, 1000)]
    assert rates == pytest.approx([0.05, 0.5, 0.4, 0.3, 0.1500005, 1e-6], rel=1e-9)


@quick
@given(epochs=st.integers(1, 60), share=st.floats(0, 1), lr=st.floats(0, 10), left=st.floats(0, 1))
def test_rates_of_two_stages_stay_between_their_ends(epochs, share, lr, left):
    """Also where a phase of a method is shorter than its first stage."""
    first = Stage(int(share * 70), left * lr)
    rates = [two_stage_lr(epoch, epochs, 10, lr, first) for epoch in range(1, epochs + 1)]
    assert all(0 <= rate <= max(lr, 1e-6) * (1 + 1e-12) for rate in rates)


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


@pytest.mark.parametrize(("total", "warmup"), [(40, 8), (40, 0), (7, 7), (1, 0)])
def test_supervised_learning_warms_up_and_ends_near_0(total, warmup):
    """PyTorch's own schedulers, one after the other, moved after each update."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, total - warmup))
    found = [supervised_lr(step, total, warmup, 0.1) for step in range(total)]
    wanted = [0.1 * (step + 1) / warmup for step in range(warmup)]
    for _ in range(warmup, total):
        wanted.append(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert min(found) > 0 and max(found) == 0.1
