"""Crops drawn for whole batches, against torchvision's RandomResizedCrop."""

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision import transforms as T

from data.views.batches import ATTEMPTS, draw_boxes

LEAST = 1e-3  # p-value; all draws have fixed seeds


def uniform(n: int, numbers: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, numbers, generator=torch.Generator().manual_seed(seed))


def torchvision_boxes(n: int, height: int, width: int, lower: float, seed: int = 0) -> np.ndarray:
    image, draw = torch.empty(3, height, width), T.RandomResizedCrop.get_params
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return np.array([draw(image, [lower, 1.0], [3 / 4, 4 / 3]) for _ in range(n)])


@pytest.mark.parametrize(
    ("height", "width", "lower"),
    [
        (32, 32, 0.1),
        (28, 28, 0.1),
        (150, 224, 0.08),
        (8, 20, 0.08),
        (60, 20, 0.5),
        (1, 50, 0.08),
        (40, 3, 0.9),
        (2, 2, 1),
    ],
)
def test_boxes_are_those_of_torchvision(height, width, lower):
    n = 4000
    ours = draw_boxes(uniform(n, 2 * ATTEMPTS + 2, seed=1), height, width, lower)
    assert ours.dtype == torch.int64 and ours.shape == (n, 4)
    ours, theirs = ours.numpy(), torchvision_boxes(n, height, width, lower)
    for top, left, tall, wide in (ours.T, theirs.T):
        assert min(top.min(), left.min()) >= 0 and min(tall.min(), wide.min()) >= 1
        assert (top + tall).max() <= height and (left + wide).max() <= width
    statistics = [
        (lambda top, left, tall, wide: tall * wide),
        (lambda top, left, tall, wide: wide / tall),
        (lambda top, left, tall, wide: top),
        (lambda top, left, tall, wide: left),
        (lambda top, left, tall, wide: top + 0.5 * tall + 0.31 * left),
    ]
    for statistic in statistics:
        assert stats.ks_2samp(statistic(*ours.T), statistic(*theirs.T)).pvalue > LEAST
    # The commonest boxes as wholes: the middle that is taken where no crop fits is one of them.
    boxes, counts = np.unique(np.concatenate([ours, theirs]), axis=0, return_counts=True)
    common = boxes[counts.argsort()[::-1][:20]]
    table = np.array([[(side == box).all(1).sum() for box in common] for side in (ours, theirs)])
    table = np.c_[table, n - table.sum(1)]
    table = table[:, table.sum(0) > 10]
    assert table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > LEAST


def test_places_of_a_crop_are_uniform_and_reach_both_edges():
    u = uniform(20_000, 2 * ATTEMPTS + 2)
    u[:, : 2 * ATTEMPTS] = 0.5  # area 0.55 and ratio 1: 24 pixels of 32
    boxes = draw_boxes(u, 32, 32, 0.1)
    assert (boxes[:, 2:] == 24).all()
    places = np.bincount(boxes[:, 0] * 9 + boxes[:, 1], minlength=81)
    assert stats.chisquare(places).pvalue > LEAST
    u[:, -2:] = 1 - 2**-24  # the largest float32 that a uniform number can be
    assert (draw_boxes(u[:1], 32, 32, 0.1)[0, :2] == 8).all()
