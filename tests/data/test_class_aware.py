"""Class-aware sampling: counts of each class, cycles of each class's images, processes, epochs, resuming."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.class_aware import EACH, ClassAwareSampler, class_aware_order
from data.loader import AugmentedImages, view_loader
from data.samplers import EpochSampler
from data.views.batches import ShiftedViews
from data.views.published import probe_transform

CPU = torch.device("cpu")
LABELS = np.repeat([0, 1, 2, 5], [37, 11, 3, 1])  # of a list; classes 3 and 4 have no image


def order(draws: int, seed: int = 0) -> np.ndarray:
    return class_aware_order(torch.from_numpy(LABELS), draws, seed, 5).numpy()


class Images(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.labels)


def sampler(replicas: int = 1, rank: int = 0) -> ClassAwareSampler:
    return ClassAwareSampler(Images(labels=LABELS), replicas, rank, seed=7)


def drawn(of: ClassAwareSampler, epoch: int, skip: int = 0) -> list[int]:
    of.set_epoch(epoch, skip)
    found = list(of)
    assert {e for e, *_ in found} <= {epoch}
    return [i for _, i, _ in found]


@pytest.mark.parametrize("rounds", [1, 2, 7, 40])
def test_whole_rounds_have_each_class_equally_often_exactly(rounds):
    found = np.bincount(LABELS[order(rounds * 4 * EACH)])
    assert found.tolist() == [rounds * EACH] * 3 + [0, 0, rounds * EACH]


def test_a_round_has_each_class_once_so_many_images_in_a_row():
    blocks = LABELS[order(12 * 4 * EACH)].reshape(12, 4, EACH)
    assert (blocks == blocks[..., :1]).all()
    assert (np.sort(blocks[..., 0], 1) == [0, 1, 2, 5]).all()
    assert len({tuple(block[:, 0]) for block in blocks}) > 3  # the classes' order is drawn for each round


def test_a_class_has_all_of_its_images_before_one_comes_again():
    found = order(20 * 4 * EACH)
    for c in (0, 1, 2, 5):
        own, images = found[LABELS[found] == c], (c == LABELS).sum()
        cycles = [own[i : i + images] for i in range(0, len(own), images)]
        assert all(len(set(cycle)) == len(cycle) for cycle in cycles)
        assert all(set(cycle) == set(np.flatnonzero(c == LABELS)) for cycle in cycles[:-1])


def test_a_part_of_a_round_has_no_class_more_than_that_round():
    counts = np.bincount(LABELS[order(52)], minlength=6)[[0, 1, 2, 5]]
    assert counts.sum() == 52 and counts.max() - counts.min() <= EACH


def test_all_places_are_equally_likely():
    """The images of a class, and the classes at the beginning of an epoch, over many seeds."""
    first = np.array([order(EACH, seed)[0] for seed in range(3000)])
    shares = np.bincount(LABELS[first], minlength=6)[[0, 1, 2, 5]] / 3000
    np.testing.assert_allclose(shares, 0.25, atol=0.04)  # five standard deviations
    of_two = np.bincount(first[LABELS[first] == 2] - 48)
    np.testing.assert_allclose(of_two / of_two.sum(), 1 / 3, atol=0.09)


@pytest.mark.parametrize("replicas", [2, 4])
def test_processes_share_the_order_of_one(replicas):
    whole = drawn(sampler(), 3)
    parts = [drawn(sampler(replicas, rank), 3) for rank in range(replicas)]
    assert len(whole) == len(LABELS) and {len(part) for part in parts} == {len(LABELS) // replicas}
    assert np.stack(parts, 1).flatten().tolist() == whole


def test_epochs_differ_and_a_resumed_one_goes_on():
    of = sampler()
    first, second = drawn(of, 1), drawn(of, 2)
    assert first != second and drawn(of, 1) == first
    assert drawn(sampler(), 2, skip=20) == second[20:]


def test_fewer_draws_are_the_beginning_of_more():
    """So processes whose share is filled up train on what one process does."""
    assert all(np.array_equal(order(draws), order(200)[:draws]) for draws in range(1, 200))


def views_of(data: AugmentedImages, of: EpochSampler, skip: int = 0, batch: int = 8, workers: int = 0) -> list[tuple]:
    """(sample id, view) of each draw of epoch 3, in order."""
    loader = view_loader(data, of, batch, workers, CPU)
    of.set_epoch(3, skip)
    return [(int(i), view) for views, ids, *_ in loader for i, view in zip(ids, views, strict=True)]


def alike(a: list[tuple], b: list[tuple]) -> bool:
    return len(a) == len(b) and all(i == j and torch.equal(x, y) for (i, x), (j, y) in zip(a, b, strict=True))


@pytest.mark.parametrize("make", [ShiftedViews, probe_transform], ids=["batched", "pillow"])
def test_each_draw_of_an_image_has_a_view_of_its_own(make):
    """The first one is that of any other sampler; processes, batches and resuming change none."""
    noise = np.random.RandomState(0).randint(0, 256, (len(LABELS), 16, 16, 3)).astype(np.uint8)
    data = AugmentedImages(noise, LABELS, make(16, True), 7)
    found, seen = views_of(data, sampler()), {}
    for i, view in found:
        seen.setdefault(i, []).append(view)
    drawn = seen[len(LABELS) - 1]  # the only image of its class
    assert len(drawn) >= 12 and len({view.numpy().tobytes() for view in drawn}) > 9  # of 50 shifts and flips
    once = dict(views_of(data, EpochSampler(data, 1, 0, shuffle=True, seed=1)))
    assert all(torch.equal(views[0], once[i]) for i, views in seen.items())
    assert alike(views_of(data, sampler(), batch=5), found) and alike(views_of(data, sampler(), skip=9), found[9:])
    parts = [views_of(data, sampler(2, rank)) for rank in range(2)]
    assert alike([key for pair in zip(*parts, strict=True) for key in pair], found)


@pytest.mark.slow
def test_workers_change_no_view():
    noise = np.random.RandomState(0).randint(0, 256, (len(LABELS), 16, 16, 3)).astype(np.uint8)
    data = AugmentedImages(noise, LABELS, probe_transform(16, True), 7)
    assert alike(views_of(data, sampler(), workers=2), views_of(data, sampler()))


def test_a_key_counts_the_earlier_draws_of_its_image():
    of = sampler()
    of.set_epoch(3)
    counted = Counter()
    for _, i, earlier in of:
        assert earlier == counted[i]
        counted[i] += 1
