"""Views made for whole batches: torchvision's distributions, and each view a function of seed, epoch and sample."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_sample_images
from torchvision import transforms as T

from data.loader import AugmentedImages, BatchedLoader, EpochSampler, view_loader
from data.views import batch_ops, batches
from data.views.batches import PretrainViews, ShiftedViews
from data.views.boost import Boost
from data.views.published import pretrain_transform, probe_transform

CPU = torch.device("cpu")
LEAST = 1e-3  # p-value; all draws have fixed seeds
ATTEMPTS = 10  # of torchvision's RandomResizedCrop


def uniform(n: int, numbers: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, numbers, generator=torch.Generator().manual_seed(seed))


def noise(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (n, size, size, 3)).astype(np.uint8)


def dataset(images: np.ndarray, transform, seed: int = 7, views: int = 2) -> AugmentedImages:
    return AugmentedImages(images, np.arange(len(images), dtype=np.int64) % 5, transform, seed, views)


def boosted(size: int = 16) -> PretrainViews:
    """All that a view may take part in."""
    return PretrainViews(size, True, 1.0, 0.1, boost=Boost(2, 30.0, 5.0))


def views_of(data: AugmentedImages, batch: int, epochs=(1,), processes: int = 1) -> dict[tuple[int, int], torch.Tensor]:
    """(epoch, sample id) -> views, of all processes."""
    found = {}
    for rank in range(processes):
        sampler = EpochSampler(data, processes, rank, shuffle=True, seed=4)
        loader = view_loader(data, sampler, batch, 0, CPU)
        for epoch in epochs:
            sampler.set_epoch(epoch)
            for views, ids, labels, bad, lost in loader:
                assert (bad, lost) == ([], 0)
                for view, i, label in zip(views, ids.tolist(), labels.tolist(), strict=True):
                    assert label == i % 5
                    assert torch.equal(found.setdefault((epoch, i), view), view)  # padding repeats samples
    return found


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---- what reaches the operations


@pytest.fixture
def seen(monkeypatch):
    """Stubs in place of the operations; their parameters by name."""
    seen = {}

    def crop_resize(images, boxes, flips, size):
        seen.update(boxes=boxes, flips=flips)
        return torch.zeros(len(images), 3, 1, 1)

    def jitter(images, apply, factors, order):
        seen.update(jitter=apply, factors=factors, order=order)
        return images

    def apply_where(images, mask, operation):
        seen[operation.__name__] = mask

    for stub in (crop_resize, jitter, apply_where):
        monkeypatch.setattr(batch_ops, stub.__name__, stub)
    return seen


def draw(transform: PretrainViews, n: int) -> None:
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8).expand(n, -1, -1, -1)
    transform(images, uniform(n, sum(transform.numbers), seed=3), torch.zeros(n), torch.zeros(n))


@pytest.mark.parametrize("strength", [0.0, 1.0, 5.0])
def test_parameters_are_drawn_as_torchvision_draws_them(seen, strength):
    n, s = 20_000, strength
    draw(PretrainViews(32, True, strength, 0.1), n)
    reference = T.ColorJitter(0.4 * s, 0.4 * s, 0.4 * s, 0.1 * s)
    ranges = (reference.brightness, reference.contrast, reference.saturation, reference.hue)
    for k, limits in enumerate(ranges):
        ours = seen["factors"][:, k].numpy()
        if limits is None:  # left out: 1 changes nothing, nor does a hue of 0
            assert (ours == (0 if k == 3 else 1)).all()
        else:
            low, high = limits
            assert ours.min() >= low - 1e-6 and ours.max() <= high + 1e-6
            assert stats.kstest(ours, "uniform", (low, high - low)).pvalue > LEAST
    orders = (seen["order"] * torch.tensor([64, 16, 4, 1])).sum(1)
    _, counts = orders.unique(return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > LEAST
    # All chances together: each at its rate, and independent of each other.
    chances = {"flips": 0.5, "jitter": 0.8, "grey": 0.2}
    cells = sum(seen[name].long() << bit for bit, name in enumerate(chances))
    expected = [
        n * math.prod(p if cell >> bit & 1 else 1 - p for bit, p in enumerate(chances.values())) for cell in range(8)
    ]
    assert stats.chisquare(np.bincount(cells, minlength=8), expected).pvalue > LEAST
    # Numbers of different parts do not depend on each other.
    parts = np.stack([seen["boxes"][:, 0], seen["order"][:, 0], *seen["factors"].T])
    parts = parts[parts.std(1) > 0]
    assert np.abs(np.corrcoef(parts) - np.eye(len(parts))).max() < 5 / math.sqrt(n)


def test_without_flip_there_is_none(seen):
    draw(PretrainViews(32, False), 500)
    assert not seen["flips"].any()


# ---- a view is a function of seed, epoch and sample


@pytest.mark.parametrize("make", [boosted, lambda: ShiftedViews(16, True)], ids=["pretraining", "probe"])
def test_batches_processes_order_and_resuming_change_no_bit(make):
    data = dataset(noise(23, 16), make())
    data.set_scores(torch.linspace(0, 1, 23))
    before, epochs = torch.get_rng_state(), (1, 2, 5)
    expected = views_of(data, 8, epochs)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(expected) == 3 * 23
    for batch in (1, 5, 23, 64):
        assert same(views_of(data, batch, epochs), expected)
    for processes in (2, 3):
        assert same(views_of(data, 4, epochs, processes), expected)
    resumed = views_of(data, 8, (5,))
    assert same(resumed, {key: views for key, views in expected.items() if key[0] == 5})
    backwards = BatchedLoader(data, [(2, i) for i in reversed(range(23))], 6, CPU)
    found = {(2, int(i)): view for views, ids, *_ in backwards for view, i in zip(views, ids, strict=True)}
    assert same(found, {key: views for key, views in expected.items() if key[0] == 2})


def test_seed_epoch_sample_and_view_each_change_the_draw():
    images = np.repeat(noise(1, 32), 6, axis=0)  # what differs is the draw
    found = [views_of(dataset(images, PretrainViews(32, True), seed), 6, (1, 2)) for seed in (7, 8)]
    views = [view for side in found for pair in side.values() for view in pair]
    assert len(views) == 2 * 2 * 6 * 2
    assert all(not torch.equal(views[a], views[b]) for a in range(len(views)) for b in range(a))


def test_with_all_chances_off_the_view_is_the_image():
    images = torch.from_numpy(noise(9, 32)).permute(0, 3, 1, 2)
    transform = PretrainViews(32, True, 1.0, 1.0)
    u = torch.full((9, sum(transform.numbers)), 0.9)
    u[:, : 2 * ATTEMPTS] = 0.5  # ratio 1, and lower = 1: the whole image
    assert torch.equal(transform(images, u, torch.zeros(9), torch.zeros(9)), images.float() / 255)
    u[:, 2 * ATTEMPTS + 2] = 0
    assert torch.equal(transform(images, u, torch.zeros(9), torch.zeros(9)), images.flip(3).float() / 255)


def test_score_0_is_unboosted_and_score_1_is_not():
    images = torch.from_numpy(noise(40, 16)).permute(0, 3, 1, 2)
    plain, boost = PretrainViews(16, True), PretrainViews(16, True, boost=Boost(1, 30.0, 10.0))
    u = uniform(40, sum(boost.numbers))
    expected = plain(images, u[:, : sum(plain.numbers)], torch.zeros(40), torch.zeros(40))
    assert torch.equal(boost(images, u, torch.zeros(40), torch.rand(40)), expected)
    changed = (boost(images, u, torch.ones(40), torch.rand(40)) != expected).flatten(1).any(1)
    assert changed.sum() > 25  # identity and the like leave some as they are


@pytest.mark.parametrize("k", [1, 2])
def test_both_views_share_the_strength_for_two_operations_and_have_it_full_for_one(k, monkeypatch):
    data = dataset(noise(500, 8), PretrainViews(8, True, boost=Boost(k, 30.0, 5.0)))
    scores, calls = torch.linspace(0, 1, 500), []
    monkeypatch.setattr(batches, "boost_batch", lambda _, views, *parameters: calls.append(parameters) or views)
    data.set_scores(scores)
    order = [int(i) for _, ids, *_ in view_loader(data, EpochSampler(data, 1, 0), 64, 0, CPU) for i in ids]
    found, u, numbers = (torch.cat(parts) for parts in zip(*calls, strict=True))
    assert torch.equal(found, scores[order].repeat_interleave(2))
    assert numbers.shape == (1000, k, 4)
    assert len(numbers.unique()) > 3900 * k  # the operations are each view's own
    if k == 1:
        assert (u == 1).all()
    else:
        assert torch.equal(u[0::2], u[1::2])
        assert stats.kstest(u[0::2].numpy(), "uniform").pvalue > LEAST


@pytest.mark.slow
def test_statistics_of_pixels_are_distributed_as_pillows():
    """Mean, spread, colour and grain of each view of a photograph's part."""
    image = load_sample_images().images[1][200:232, 250:282]
    n, how = 2500, (32, True, 1.0, 0.1)
    images = np.repeat(image[None], n, axis=0)
    ours = torch.cat([views[:, 0] for views, *_ in loader_of(dataset(images, PretrainViews(*how), 1, 1), 100)])
    theirs = torch.cat([views[:, 0] for views, *_ in loader_of(dataset(images, pretrain_transform(*how), 2, 1), 100)])
    statistics = [
        lambda x: x.mean((1, 2, 3)),
        lambda x: x.std((1, 2, 3)),
        lambda x: (x[:, 0] - x[:, 2]).mean((1, 2)),
        lambda x: x.diff(dim=3).abs().mean((1, 2, 3)),
    ]
    for statistic in statistics:
        assert stats.ks_2samp(statistic(ours).numpy(), statistic(theirs).numpy()).pvalue > LEAST


def loader_of(data: AugmentedImages, batch: int):
    return view_loader(data, EpochSampler(data, 1, 0), batch, 0, CPU)


# ---- the probe's views


@pytest.mark.parametrize("size", [7, 8, 28, 32])
@pytest.mark.parametrize("flip", [False, True])
def test_shifted_views_are_crops_of_the_image_in_black(size, flip):
    images, u, pad = noise(50, size), uniform(50, 3), size // 8
    found = ShiftedViews(size, flip)(torch.from_numpy(images).permute(0, 3, 1, 2), u)
    assert found.dtype == torch.float32
    for image, (down, across, mirror), view in zip(images, u.tolist(), found, strict=True):
        ground = np.zeros((size + 2 * pad, size + 2 * pad, 3), np.uint8)
        ground[pad : pad + size, pad : pad + size] = image
        y, x = int(down * (2 * pad + 1)), int(across * (2 * pad + 1))
        crop = ground[y : y + size, x : x + size]
        crop = crop[:, ::-1] if flip and mirror < 0.5 else crop
        np.testing.assert_array_equal(view.permute(1, 2, 0).numpy(), crop.astype(np.float32) / 255)


@pytest.mark.slow
def test_shifts_and_flips_are_as_common_as_torchvisions():
    """All 81 shifts, each mirrored or not, told from the pixels of a view."""
    image = np.dstack(np.broadcast_arrays(np.arange(32)[:, None], np.arange(32), 0)).astype(np.uint8) + 40
    images, tables = np.repeat(image[None], 12_000, axis=0), []
    for transform in (ShiftedViews(32, True), probe_transform(32, True)):
        views = torch.cat([views[:, 0] for views, *_ in loader_of(dataset(images, transform, 3, 1), 500)]) * 255
        views = views.round().long()
        left, right = views[:, 1, 16, 15], views[:, 1, 16, 16]
        cell = (views[:, 0, 16, 15] - 40 - 12) * 9 + torch.minimum(left, right) - 40 - 11
        tables.append(np.bincount(2 * cell + (left > right), minlength=162))
    assert all(len(table) == 162 for table in tables)
    assert stats.chisquare(tables[0]).pvalue > LEAST
    assert stats.chi2_contingency(np.array(tables)).pvalue > LEAST


# ---- the loader


def test_memory_mapped_images_give_the_same(tmp_path):
    images = noise(11, 16)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert same(views_of(dataset(mapped, boosted()), 4), views_of(dataset(images, boosted()), 4))


def test_batches_cover_the_share_and_the_last_one_is_short():
    data = dataset(noise(11, 8), PretrainViews(8, True))
    loader = loader_of(data, 4)
    assert isinstance(loader, BatchedLoader)
    batches = list(loader)
    assert [len(batch.index) for batch in batches] == [4, 4, 3]
    assert len(loader) == 3
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(11))
    assert all(batch.views.shape[1:] == (2, 3, 8, 8) for batch in batches)
    assert [batch.views.dtype for batch in batches] == [torch.float32] * 3
    assert list(BatchedLoader(data, [], 4, CPU)) == []
    assert len(BatchedLoader(data, [], 4, CPU)) == 0
