"""Losses that are not finite are noticed some steps later, whatever is printed when; and batches are made one ahead."""

import math

import pytest
import torch
from torch import nn
from tqdm import tqdm

import pretrain.epoch
from data.loader import one_ahead
from pretrain.epoch import Schedule, Training, one_epoch
from run.bad_images import BadImages
from run.meters import Meters
from run.optim import sgd
from run.reporter import Reporter
from run.watch import LAG, Watch
from tests.run.test_compute import ALONE, LR, QUIET, Stub, batches, compute
from utils.errors import InputError


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_noticed_so_many_steps_later(wrong):
    watch, fine = Watch(ALONE, always=True), torch.ones(3)
    assert not any(watch.not_finite(fine) for _ in range(2 * LAG))
    assert not watch.not_finite(torch.tensor([1.0, wrong, 2.0]))
    assert [watch.not_finite(fine) for _ in range(LAG + 1)] == [False] * (LAG - 1) + [True, False]


def test_a_cpu_notes_nothing():
    watch = Watch(ALONE)
    assert not any(watch.not_finite(torch.tensor([math.nan])) for _ in range(2 * LAG))


@pytest.mark.parametrize("step", [1, 3])
def test_an_epoch_ends_soon_after_and_names_the_step(monkeypatch, step):
    monkeypatch.setattr(pretrain.epoch, "Watch", lambda world: Watch(world, always=True))
    model, steps = Stub([1.0] * step + [math.nan] * 100), []
    start = model.forward
    model.forward = lambda views, index: steps.append(1) or start(views, index)
    loader = batches([2] * 50)
    training = Training(model, loader, sgd(model.parameters(), 0.1, 0.9, 0.0), Schedule(9, LR, "constant"), compute(),
                        ALONE)  # fmt: skip
    reporter = Reporter(QUIET, tqdm(disable=True), BadImages("error", QUIET), 50)
    with pytest.raises(InputError, match=rf"the loss is nan in epoch 1, step {step}, lr .*, sample ids 0, 1: "):
        one_epoch(training, 1, Meters(len(loader)), reporter)
    assert len(steps) == step + LAG + 1
    assert isinstance(model.weight, nn.Parameter)


@pytest.mark.parametrize("items", [0, 1, 2, 7])
def test_one_ahead(items):
    asked, handed = [], []

    def source():
        for i in range(items):
            asked.append(i)
            yield i

    for i in one_ahead(source()):
        assert asked == list(range(min(i + 2, items)))
        handed.append(i)
    assert handed == list(range(items))
