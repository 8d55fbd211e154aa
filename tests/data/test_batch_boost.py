"""RandAugment on batches: equal to data/views/boost.py, image for image, with the same random numbers."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from data.views.batch_boost import BATCH_OPERATIONS, affine, boost_batch
from data.views.boost import FULL, OPERATIONS, Boost

SIDE = 32
NEAREST = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
DRAWING = (*NEAREST, "Cutout")
each_operation = pytest.mark.parametrize("name", OPERATIONS)


def _patches(n: int) -> np.ndarray:
    """[n, 32, 32, 3] uint8 from random places of both photographs; the last two of few levels and of one."""
    random, photographs, patches = np.random.RandomState(0), load_sample_images().images, []
    for i in range(n):
        y, x = (random.randint(pixels - SIDE) for pixels in photographs[i % 2].shape[:2])
        patches.append(photographs[i % 2][y : y + SIDE, x : x + SIDE])
    patches[-2] = np.where(patches[-2] > 128, 200, 100).astype(np.uint8)
    patches[-1] = np.full((SIDE, SIDE, 3), (9, 0, 255), np.uint8)
    return np.stack(patches)


PATCHES = _patches(40)
LARGE = np.stack([np.array(Image.fromarray(photo).resize((121, 90))) for photo in load_sample_images().images])
SETS = {"patches": PATCHES, "photographs": LARGE}
each_set = pytest.mark.parametrize("images", SETS.values(), ids=SETS)


def _batch(images: np.ndarray) -> torch.Tensor:
    return torch.tensor(images).permute(0, 3, 1, 2).float()


def _uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _drawn(monkeypatch, numbers: torch.Tensor) -> None:
    """Make torch.rand(1) return these numbers, one after the other."""
    queue = iter(numbers.flatten())
    monkeypatch.setattr(torch, "rand", lambda *_: next(queue)[None])


def _theirs(monkeypatch, name: str, images: np.ndarray, value: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """data.views.boost's operation on each image, with its uniforms."""
    results = []
    for image, v, numbers in zip(images, value.tolist(), u, strict=True):
        with monkeypatch.context() as patch:
            _drawn(patch, numbers)
            results.append(np.array(OPERATIONS[name][0](Image.fromarray(image), v)))
    return _batch(np.stack(results))


def _values(name: str, n: int) -> torch.Tensor:
    """From the low to the high end of the operation's range, both included."""
    _, low, high = OPERATIONS[name]
    return torch.linspace(low, high, n, dtype=torch.float64)


def test_the_operations_are_those_of_boost():
    assert list(BATCH_OPERATIONS) == list(OPERATIONS)


@each_set
@each_operation
def test_each_operation_is_pillows_to_the_bit(monkeypatch, name, images):
    n = len(images)
    for seed in range(3):
        value, u = _values(name, n)[torch.randperm(n)], _uniform(n, 2, seed=seed)
        ours = BATCH_OPERATIONS[name](_batch(images), value, u)
        theirs = _theirs(monkeypatch, name, images, value, u)
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", DRAWING)
def test_uniforms_make_a_difference(monkeypatch, name):
    value = _values(name, 3)[1:2]
    sides = [BATCH_OPERATIONS[name](_batch(PATCHES[:1]), value, torch.tensor([[u, 0.2]])) for u in (0.5, 0.9)]
    assert not torch.equal(*sides)
    for u, side in zip((0.5, 0.9), sides, strict=True):  # 0.5 is not over a half
        assert torch.equal(side, _theirs(monkeypatch, name, PATCHES[:1], value, torch.tensor([[u, 0.2]])))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.4])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.0, 0.9999), (0.9999, 0.0), (0.9999, 0.9999)])
def test_cutout_at_the_border(monkeypatch, share, place):
    value, u = torch.full((2,), share, dtype=torch.float64), torch.tensor([place, place])
    ours = BATCH_OPERATIONS["Cutout"](_batch(LARGE), value, u)
    assert torch.equal(ours, _theirs(monkeypatch, "Cutout", LARGE, value, u))


def test_equalize_of_steep_histograms(monkeypatch):
    """Very few or very many pixels have the lightest level: tables that end over 255, and steps of 0."""
    random, images = np.random.RandomState(0), []
    for lightest in (1, 2, 300, 700, 769, 770, 1000, 1023, 1024):
        levels = random.randint(0, 255, SIDE * SIDE)
        levels[:lightest] = 255
        images.append(np.stack([levels.reshape(SIDE, SIDE)] * 3, 2).astype(np.uint8))
    value, u = torch.zeros(len(images)), torch.zeros(len(images), 2)
    ours = BATCH_OPERATIONS["Equalize"](_batch(np.stack(images)), value, u)
    assert torch.equal(ours, _theirs(monkeypatch, "Equalize", np.stack(images), value, u))


def test_affine_identity():
    assert torch.equal(affine(_batch(LARGE)), _batch(LARGE))


@pytest.mark.parametrize(
    ("name", "value"),
    [*((name, 0) for name in (*NEAREST, "Cutout")), ("Solarize", 256), ("Posterize", 8)]
    + [(name, 1) for name in ("Contrast", "Color", "Brightness", "Sharpness")],
)
def test_neutral_values_are_the_identity(name, value):
    batch, n = _batch(PATCHES), len(PATCHES)
    assert torch.equal(BATCH_OPERATIONS[name](batch, torch.full((n,), float(value)), _uniform(n, 2)), batch)


@each_operation
def test_an_operation_leaves_its_input(name):
    batch, n = _batch(PATCHES), len(PATCHES)
    BATCH_OPERATIONS[name](batch, _values(name, n), _uniform(n, 2))
    assert torch.equal(batch, _batch(PATCHES))


# ---- boost_batch


def _parameters(n: int, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """scores, u, draws; a tenth of the scores is 0, and a tenth 1."""
    scores = (_uniform(n, seed=1) * 1.25 - 0.125).clamp(0, 1)
    return scores, torch.ones(n) if k == 1 else _uniform(n, seed=2), _uniform(n, k, 4, seed=3)


def _slow(monkeypatch, boost: Boost, image: np.ndarray, score: float, u: float, draws: torch.Tensor) -> np.ndarray:
    """Boost itself, one operation at a time, with the random numbers of `draws` [k, 4]."""
    single = Boost(1, boost.strength, boost.floor)
    for draw in draws:
        with monkeypatch.context() as patch:
            number = int(len(OPERATIONS) * float(draw[0]))
            patch.setattr(torch, "randint", lambda high, shape, number=number: torch.tensor([number]))
            _drawn(patch, draw[1:])
            image = single(image, score, u)
    return image


@pytest.mark.parametrize(("k", "strength", "floor"), [(1, 30, None), (2, 30, None), (3, 17, 2)])
def test_batches_are_boosts_images_to_the_bit(monkeypatch, k, strength, floor):
    boost = Boost(k, strength, floor)
    images = np.concatenate([PATCHES] * 4)
    scores, u, draws = _parameters(len(images), k)
    ours = boost_batch(boost, _batch(images), scores, u, draws)
    rows = zip(images, scores.tolist(), u.tolist(), draws, strict=True)
    theirs = _batch(np.stack([_slow(monkeypatch, boost, *row) for row in rows]))
    changed = (theirs != _batch(images)).flatten(1).any(1)
    assert 0.3 < changed.float().mean() < 0.95
    assert torch.equal(ours, theirs)


def test_score_zero_changes_nothing():
    batch, n = _batch(PATCHES) + 0.3, len(PATCHES)  # levels that are not whole stay, too
    assert torch.equal(boost_batch(Boost(2), batch, torch.zeros(n), torch.rand(n), _uniform(n, 2, 4)), batch)


def test_score_one_applies_all():
    """Invert twice is nothing, four times too; once and three times it is an inversion."""
    batch, n = _batch(PATCHES), len(PATCHES)
    invert = (list(OPERATIONS).index("Invert") + 0.5) / len(OPERATIONS)
    for k, expected in ((1, 255 - batch), (2, batch), (3, 255 - batch), (4, batch)):
        draws = _uniform(n, k, 4)
        draws[..., 0], draws[..., 1] = invert, 0.9999
        assert torch.equal(boost_batch(Boost(k), batch, torch.ones(n), torch.ones(n), draws), expected)


def test_strength_follows_floor_score_and_u():
    """Solarize's threshold tells the value: 110 m / 30."""
    ramp = torch.arange(256.0).expand(3, 3, 1, 256)
    draws = (
        torch.tensor([(list(OPERATIONS).index("Solarize") + 0.5) / len(OPERATIONS), 0, 0, 0]).expand(3, 2, 4).clone()
    )
    draws[:, 1, 1] = 1  # the second operation never applies
    scores, u = torch.tensor([1.0, 0.5, 0.5]), torch.tensor([1.0, 1.0, 0.2])
    out = boost_batch(Boost(2, 24, 6), ramp, scores, u, draws)
    thresholds = [110 * m / FULL for m in (24, 15, 7.8)]
    assert (out == ramp)[:, 0, 0].sum(1).tolist() == [int(np.ceil(t)) for t in thresholds]


def test_levels_are_rounded_where_an_operation_applies():
    batch, n = _batch(PATCHES), len(PATCHES)
    scores, u, draws = torch.ones(n), torch.ones(n), _uniform(n, 1, 4)
    boost = partial(boost_batch, Boost())
    assert torch.equal(boost(batch + 0.4, scores, u, draws), boost(batch, scores, u, draws))


def test_an_image_does_not_depend_on_its_place_or_its_batch():
    boost, batch = partial(boost_batch, Boost(2)), _batch(PATCHES)
    parameters = _parameters(len(PATCHES), 2)
    whole = boost(batch, *parameters)
    for rows in (torch.arange(len(PATCHES)).flip(0), torch.tensor([4]), torch.tensor([3, 8, 3]), torch.arange(0)):
        assert torch.equal(boost(batch[rows], *(p[rows] for p in parameters)), whole[rows])
    assert torch.equal(batch, _batch(PATCHES))


def test_draws_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="draws must be"):
        boost_batch(Boost(2), _batch(PATCHES[:3]), torch.ones(3), torch.ones(3), _uniform(3, 1, 4))


def test_nothing_waits_for_the_device():
    """Tensors of device meta have no values: to read one is an error; so is arithmetic with the CPU's."""
    batch, n = _batch(PATCHES).to("meta"), len(PATCHES)
    for name, operation in BATCH_OPERATIONS.items():
        assert operation(batch, _values(name, n), _uniform(n, 2)).shape == batch.shape
    assert boost_batch(Boost(2), batch, *_parameters(n, 2)).device == batch.device
