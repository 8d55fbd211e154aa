"""Augmented views: reproducible sample by sample, and distributed as published."""

import math
import os
import random
import re

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DistributedSampler, TensorDataset
from torchvision import transforms as T

from data.loader import AugmentedImages, EpochSampler, make_loader
from data.opened import to_batch
from data.sets.memory import load
from data.sets.registry import data_set, data_sets
from data.views.published import pretrain_transform, probe_transform
from tests.conftest import quick_first

CPU = torch.device("cpu")
quick = settings(database=None, deadline=None, max_examples=40)


def noise(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (n, size, size, 3)).astype(np.uint8)


def dataset(n: int = 12, size: int = 8, seed: int = 7, views: int = 2, transform=None) -> AugmentedImages:
    transform = transform or pretrain_transform(size, True)
    return AugmentedImages(noise(n, size), np.arange(n, dtype=np.int64) % 5, transform, seed, views)


def draw(transform, image: np.ndarray, times: int) -> torch.Tensor:
    """`times` views of one image, [times, 3, H, W], the same on every run."""
    data = AugmentedImages(image[None], np.zeros(1, np.int64), transform, 0, 1)
    return torch.cat([data[epoch, 0][0] for epoch in range(times)])


def is_grey(views: torch.Tensor) -> torch.Tensor:
    return (views == views[:, :1]).flatten(1).all(1)


# ---- a view is a function of seed, epoch and sample id


@quick
@given(
    keys=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 11)), min_size=1, max_size=12),
    seed=st.integers(0, 2**31),
    disturb=st.integers(0, 2**31),
)
def test_order_repetition_and_other_draws_change_nothing(keys, seed, disturb):
    data = dataset(seed=seed)
    expected = {key: data[key][0] for key in sorted(set(keys))}
    torch.manual_seed(disturb)
    again = dataset(seed=seed)
    for key in keys:
        torch.rand(disturb % 5)
        views, index, label, _ = again[key]
        assert torch.equal(views, expected[key])
        assert (index, int(label)) == (key[1], key[1] % 5)


@quick
@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 3000), index=st.integers(0, 11))
def test_seed_epoch_and_sample_each_change_the_draw(seed, epoch, index):
    """One image in all places, and crops of 32 pixels: what differs is the draw."""
    images = np.repeat(noise(1, 32), 13, axis=0)
    views = []
    for s, e, i in ((seed, epoch, index), (seed + 1, epoch, index), (seed, epoch + 1, index), (seed, epoch, index + 1)):
        data = AugmentedImages(images, np.zeros(13, np.int64), pretrain_transform(32, True), s, 2)
        views += list(data[e, i][0])
    assert all(not torch.equal(views[a], views[b]) for a in range(8) for b in range(a))


@pytest.mark.parametrize("size", [16, 28, 32])
@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("make", [pretrain_transform, probe_transform])
def test_shapes_and_range(size, views, make):
    data = dataset(4, size, views=views, transform=make(size, True))
    assert len(data) == 4
    for epoch in range(5):
        for i in range(4):
            stack = data[epoch, i][0]
            assert stack.shape == (views, 3, size, size)
            assert stack.dtype == torch.float32
            assert stack.min() >= 0
            assert stack.max() <= 1
            assert all(not torch.equal(stack[a], stack[b]) for a in range(views) for b in range(a))


def test_global_random_states_are_left_alone():
    data = dataset()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    for epoch in range(3):
        for i in range(12):
            data[epoch, i]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), before[1], strict=True))
    assert random.getstate() == before[2]


def test_global_random_state_is_left_alone_by_a_transform_that_fails():
    def fail(image):
        torch.rand(3)
        raise OSError("cannot decode")

    before = torch.get_rng_state()
    with pytest.raises(OSError, match="cannot decode"):
        dataset(transform=fail)[0, 0]
    assert torch.equal(torch.get_rng_state(), before)


def test_images_are_left_alone():
    data = dataset()
    before = data.images.images.copy()
    for i in range(12):
        data[0, i]
    assert np.array_equal(data.images.images, before)


def epochs_of(workers: int, epochs: tuple[int, ...], rank: int = 0, world: int = 1) -> list[list[tuple]]:
    """What a loader yields: per epoch, (id, label, views) of every sample in its order."""
    data = dataset(23)
    sampler = EpochSampler(data, world, rank, shuffle=True, seed=4)
    loader = make_loader(data, sampler, 5, workers, CPU)
    seen = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        seen.append([sample for views, ids, labels, *_ in loader for sample in zip(ids, labels, views, strict=True)])
    return seen


def equal(ours: list[tuple], theirs: list[tuple]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(torch.equal(a, b) for mine, other in pairs for a, b in zip(mine, other, strict=True))


def test_number_of_workers_changes_nothing():
    expected = epochs_of(0, (1, 2, 3))
    assert not equal(expected[0], expected[1])
    for workers in (1, 2):
        torch.manual_seed(workers)
        torch.rand(workers)
        assert all(equal(*pair) for pair in zip(epochs_of(workers, (1, 2, 3)), expected, strict=True))


def test_a_resumed_run_sees_what_an_undisturbed_one_sees():
    assert equal(epochs_of(2, (3,))[0], epochs_of(0, (1, 2, 3))[2])


def test_two_processes_see_what_one_sees():
    """Every sample's views, whichever rank has it; only the padding repeats one."""
    (alone,) = epochs_of(0, (6,))
    shared = [sample for rank in (0, 1) for sample in epochs_of(0, (6,), rank, 2)[0]]
    views = {int(i): v for i, _, v in alone}
    assert len(views) == 23
    assert len(shared) == 24
    assert {int(i) for i, _, _ in shared} == set(views)
    assert all(torch.equal(v, views[int(i)]) for i, _, v in shared)


# ---- sampler and loader


@quick
@given(
    n=st.integers(1, 200), world=st.integers(1, 9), seed=st.integers(0, 2**31), epoch=st.integers(0, 3000)
)  # fmt: skip
def test_sampler_is_torchs_with_the_epoch(n, world, seed, epoch):
    items, everything = TensorDataset(torch.zeros(n)), []
    for rank in range(world):
        ours = EpochSampler(items, world, rank, shuffle=True, seed=seed)
        theirs = DistributedSampler(items, world, rank, shuffle=True, seed=seed)
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        keys = list(ours)
        assert keys == [(epoch, i) for i in theirs]
        assert len(keys) == len(ours) == math.ceil(n / world)
        everything += [i for _, i in keys]
    assert set(everything) == set(range(n))
    assert len(everything) - n < world


@pytest.mark.parametrize(("images", "steps", "last"), [(9754, 20, 26), (11165, 22, 413), (9700, 19, 484)])
def test_last_batch_is_kept(images, steps, last):
    """Steps per epoch of the published lists (METHODS, sections 0 and 1)."""
    labels = np.zeros(images, np.int64)
    data = AugmentedImages(np.zeros((images, 1, 1, 3), np.uint8), labels, lambda image: torch.zeros(3, 1, 1), 0, 1)
    loader = make_loader(data, EpochSampler(data, 1, 0, shuffle=True, seed=0), 512, 0, CPU)
    assert len(loader) == steps
    assert [len(ids) for _, ids, *_ in loader] == [512] * (steps - 1) + [last]


@pytest.mark.parametrize("asked", [0, 1, 1000])
def test_at_most_one_worker_per_core(asked):
    data = dataset()
    loader = make_loader(data, EpochSampler(data, 1, 0), 4, asked, CPU)
    assert loader.num_workers == min(asked, len(os.sched_getaffinity(0)))


@quick
@given(n=st.integers(1, 4), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_to_batch_is_totensor(n, height, width, seed):
    images = np.random.RandomState(seed).randint(0, 256, (n, height, width, 3)).astype(np.uint8)
    expected = torch.stack([T.ToTensor()(Image.fromarray(image)) for image in images])
    batch = to_batch(images)
    assert batch.dtype == torch.float32
    assert torch.equal(batch, expected)


# ---- the published augmentations


def test_pretraining_pipeline_is_the_published_one():
    """METHODS, section 1: composed here again, and drawn from the same random numbers."""
    published = T.Compose(
        [
            T.RandomResizedCrop(32, scale=(0.1, 1.0), interpolation=T.InterpolationMode.BICUBIC),
            T.RandomHorizontalFlip(0.5),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            T.RandomGrayscale(0.2),
            T.ToTensor(),
        ]
    )
    image, ours = Image.fromarray(noise(1, 32)[0]), pretrain_transform(32, True)
    for seed in range(60):
        torch.manual_seed(seed)
        expected = published(image)
        torch.manual_seed(seed)
        assert torch.equal(ours(image), expected)


def test_probe_pipeline_is_the_published_one():
    published = T.Compose([T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(0.5), T.ToTensor()])
    image, ours = Image.fromarray(noise(1, 32)[0]), probe_transform(32, True)
    for seed in range(60):
        torch.manual_seed(seed)
        expected = published(image)
        torch.manual_seed(seed)
        assert torch.equal(ours(image), expected)


def test_settings_of_the_jitter_and_the_crop():
    transform = pretrain_transform(32, True, strength=0.5, resize_lower=0.3)
    text = re.sub(r"\s+", " ", repr(transform.pixels))
    assert "scale=(0.3, 1.0)" in text
    assert "brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(-0.05, 0.05)" in text


def likely(hits: int, trials: int, share: float) -> bool:
    """Within four standard deviations of a binomial."""
    return abs(hits - trials * share) < 4 * math.sqrt(trials * share * (1 - share))


def test_rates_of_grey_and_jitter():
    """A flat image, so that crops and flips do not show: unchanged, jittered, or grey."""
    image = np.full((8, 8, 3), (180, 90, 40), np.uint8)
    views = draw(pretrain_transform(8, True), image, 2000)
    grey = is_grey(views)
    assert likely(int(grey.sum()), 2000, 0.2)
    coloured = views[~grey]
    unchanged = (coloured == to_batch(image[None])).flatten(1).all(1)
    assert likely(int(unchanged.sum()), len(coloured), 0.2)


def test_brightness_is_uniform():
    """Of a flat grey image, contrast, saturation and hue move nothing."""
    level = 180
    views = draw(pretrain_transform(8, True), np.full((8, 8, 3), level, np.uint8), 1000)
    assert is_grey(views).all()
    factor = (views.mean((1, 2, 3)) * 255 / level).numpy()
    jittered = factor[np.abs(factor - 1) > 1e-6]
    assert scipy.stats.kstest(jittered, scipy.stats.uniform(0.6, 0.8).cdf).pvalue > 0.001
    assert 0.59 < jittered.min() < 0.62
    assert 1.38 < jittered.max() < 1.41


def test_no_jitter_at_strength_0():
    image = np.full((8, 8, 3), (180, 90, 40), np.uint8)
    views = draw(pretrain_transform(8, True, strength=0.0), image, 200)
    assert torch.equal(views[~is_grey(views)], to_batch(image[None]).expand(int((~is_grey(views)).sum()), -1, -1, -1))


def sides(views: torch.Tensor) -> torch.Tensor:
    """Brightness of the left half less that of the right."""
    half = views.shape[-1] // 2
    return views[..., :half].mean((1, 2, 3)) - views[..., half:].mean((1, 2, 3))


@pytest.mark.parametrize("make", [pretrain_transform, probe_transform])
@pytest.mark.parametrize("name", list(data_sets("cifar")))
def test_mirrored_only_where_the_class_survives_it(name, make):
    """The image grows darker from left to right: only a mirror turns that round."""
    dataset = data_set(name)
    ramp = np.linspace(255, 60, dataset.size).astype(np.uint8)
    image = np.repeat(np.broadcast_to(ramp, (dataset.size, dataset.size))[..., None], 3, axis=2)
    # The probe's crop pads with black, which a shift moves in from one side: look at the middle.
    margin = dataset.size // 4
    views = draw(make(dataset.size, dataset.flip), image, 400)[..., margin:-margin]
    mirrored = int((sides(views) < 0).sum())
    if name == "digits":
        assert mirrored == 0
    else:
        assert likely(mirrored, 400, 0.5)


def test_digits_are_never_mirrored_and_do_tell_left_from_right():
    """A real digit: some view of it is nearer to the mirror image only if it was mirrored."""
    assert not data_set("digits").flip
    image = load(data_set("digits"), "", train=True).images[2]
    plain, mirror = to_batch(image[None]), to_batch(np.ascontiguousarray(image[None, :, ::-1]))
    whole = pretrain_transform(16, data_set("digits").flip, strength=0.0, resize_lower=1.0)
    views = draw(whole, image, 100)
    assert ((views - plain).square().mean((1, 2, 3)) < (views - mirror).square().mean((1, 2, 3))).all()


@pytest.mark.parametrize("lower", quick_first([0.1, 0.5]))
def test_share_of_the_area_that_is_cropped(lower):
    """Red tells x and green tells y, so a view's slopes tell the crop's width and height.

    The oracle draws area and aspect as Inception's crop is defined, and drops crops that do not fit.
    """
    size, out, times = 256, 32, 1200
    image = np.zeros((size, size, 3), np.uint8)
    image[..., 0] = np.arange(size)[None, :]
    image[..., 1] = np.arange(size)[:, None]
    views = draw(pretrain_transform(out, True, strength=0.0, resize_lower=lower), image, times)
    views = views[~is_grey(views)] * 255
    far, near = out - 6, 5
    scale = out / (far - near)
    width = (views[:, 0, :, far].mean(1) - views[:, 0, :, near].mean(1)).abs() * scale
    height = (views[:, 1, far].mean(1) - views[:, 1, near].mean(1)).abs() * scale
    area, aspect = (width * height / size**2).numpy(), (width / height).numpy()
    rng = np.random.RandomState(1)
    drawn = rng.uniform(lower, 1, 40_000)
    ratio = np.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3), 40_000))
    fits = (np.sqrt(drawn * ratio) <= 1) & (np.sqrt(drawn / ratio) <= 1)
    assert scipy.stats.ks_2samp(area, drawn[fits]).pvalue > 0.001
    assert scipy.stats.ks_2samp(aspect, ratio[fits]).pvalue > 0.001
    assert lower * 0.9 < area.min() < lower * 1.15
    assert 0.9 < area.max() < 1.03
    assert scipy.stats.ks_2samp(area, rng.uniform(0.3, 1, 40_000)).pvalue < 0.001


@pytest.mark.parametrize(("size", "shift"), [(32, 4), (28, 3), (16, 2)])
def test_probe_shifts_by_an_eighth_each_way(size, shift):
    image = np.zeros((size, size, 3), np.uint8)
    image[size // 2, size // 2] = 255
    views = draw(probe_transform(size, False), image, 900)
    places = [divmod(int(view[0].argmax()), size) for view in views]
    span = range(size // 2 - shift, size // 2 + shift + 1)
    assert {p for p, _ in places} == set(span)
    assert {p for _, p in places} == set(span)
    for axis in (0, 1):
        counts = np.bincount([p[axis] for p in places], minlength=size)[span.start : span.stop]
        assert scipy.stats.chisquare(counts).pvalue > 0.001
    assert (views.flatten(1).sum(1) == 3).all()
