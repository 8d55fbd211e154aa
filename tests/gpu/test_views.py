"""Batched views on a device are the processor's: draws exactly, whole-number operations exactly, others nearly."""

import numpy as np
import pytest
import torch

from data.loader import AugmentedImages, BatchedLoader, on_device
from data.samplers import EpochSampler
from data.views import batch_ops, batches
from data.views.batch_boost import BATCH_OPERATIONS, boost_batch
from data.views.batches import PretrainViews, ShiftedViews
from data.views.boost import OPERATIONS, Boost
from tests.data import test_batch_boost, test_batch_ops
from tests.gpu.places import CPU, nothing_waits

PATCHES = test_batch_ops.PATCHES
WITHIN = 0.999  # share of the values that are within 1 level
SEED, SIZE = 5, 24


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def images_on(device: torch.device) -> torch.Tensor:
    """[n, 3, 32, 32] float32 of whole levels."""
    return torch.tensor(PATCHES).permute(0, 3, 1, 2).float().to(device)


def value_of(name: str) -> torch.Tensor:
    """[n] values of an operation, over its whole range."""
    _, low, high = OPERATIONS[name]
    return low + (high - low) * uniform(len(PATCHES), seed=1)


FACTORS = 0.4 + 1.2 * uniform(len(PATCHES), seed=2)
BOXES = batches.draw_boxes(uniform(len(PATCHES), 2 * batches.ATTEMPTS + 2, seed=3), 32, 32, 0.1)
FLIPS = uniform(len(PATCHES), seed=4) < 0.5
# Of numbers that are whole throughout, or are only moved.
WHOLE = {
    "grey": batch_ops.grey,
    "flip": lambda x: batch_ops.crop_resize(x, torch.tensor([[0, 0, 32, 32]]).expand(len(x), 4), FLIPS, 32),
    **{
        name: lambda x, name=name: BATCH_OPERATIONS[name](x, value_of(name), uniform(len(x), 2))
        for name in ("Invert", "Solarize", "Posterize", "Equalize", "Cutout", "TranslateX", "TranslateY")
    },
    "shift": lambda x: ShiftedViews(32, True)(x.to(torch.uint8), uniform(len(x), 3)) * 255,
}
OTHERS = {
    "crop": lambda x: batch_ops.crop_resize(x, BOXES, FLIPS, SIZE),
    "brightness": lambda x: batch_ops.brightness(x, FACTORS),
    "contrast": lambda x: batch_ops.contrast(x, FACTORS),
    "saturation": lambda x: batch_ops.saturation(x, FACTORS),
    "hue": lambda x: batch_ops.hue(x, 0.2 * (FACTORS - 1)),
    **{
        name: lambda x, name=name: BATCH_OPERATIONS[name](x, value_of(name), uniform(len(x), 2))
        for name in ("ShearX", "ShearY", "Rotate", "AutoContrast", "Contrast", "Color", "Brightness", "Sharpness")
    },
}


def test_every_operation_is_compared():
    assert OPERATIONS.keys() <= WHOLE.keys() | OTHERS.keys() and not WHOLE.keys() & OTHERS.keys()


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_are_equal(device, name):
    ours, theirs = WHOLE[name](images_on(device)).cpu(), WHOLE[name](images_on(CPU))
    assert torch.equal(ours, theirs)
    assert not torch.equal(theirs, images_on(CPU))


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_within_a_level(device, name):
    ours, theirs = OTHERS[name](images_on(device)).cpu(), OTHERS[name](images_on(CPU))
    assert ((ours - theirs).abs() <= 1).float().mean() >= WITHIN
    assert theirs.shape != images_on(CPU).shape or not torch.equal(theirs, images_on(CPU))


def epoch_on(device: torch.device, monkeypatch) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """The draws, views in levels and sample ids of an epoch of boosted pairs of views."""
    drawn: list[torch.Tensor] = []

    def noting(function):
        def noted(*arguments):
            tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
            drawn.extend(t.clone() for t in tensors if t.ndim < 4)  # images have four axes
            return function(*arguments)

        return noted

    data = AugmentedImages(
        PATCHES, np.zeros(len(PATCHES), np.int64), PretrainViews(SIZE, True, boost=Boost(2)), SEED, 2
    )
    data.set_scores(uniform(len(PATCHES), seed=7))
    sampler = EpochSampler(data, 1, 0, shuffle=True, seed=SEED)
    sampler.set_epoch(3)
    loader = BatchedLoader(data, sampler, 20, device)
    assert (loader.resident is not None) == (device.type == "cuda")
    with monkeypatch.context() as patch:
        for module, name in ((batch_ops, "crop_resize"), (batch_ops, "jitter"), (batches, "boost_batch")):
            patch.setattr(module, name, noting(getattr(module, name)))
        made = list(on_device(loader, device, torch.cuda.Stream(device) if device.type == "cuda" else None))
    assert all(t.device == b.views.device and t.device.type == device.type for b in made for t in b[:3])
    return drawn, [b.views.cpu() * 255 for b in made], [b.index.cpu() for b in made]


def test_an_epoch_has_the_same_draws_and_nearly_the_same_views(device, monkeypatch):
    ours, theirs = epoch_on(device, monkeypatch), epoch_on(CPU, monkeypatch)
    assert len(ours[0]) == len(theirs[0]) == 4 * (2 + 3 + 3)  # of boxes, jitter and boost, in each of four batches
    for drawn, expected in ((ours[0], theirs[0]), (ours[2], theirs[2])):
        assert all(t.device == CPU and torch.equal(t, e) for t, e in zip(drawn, expected, strict=True))
    apart = torch.cat(ours[1]).sub(torch.cat(theirs[1])).abs()
    # One operation's rounding may be another one's threshold.
    assert (apart <= 1).float().mean() > 0.99 and apart.mean() < 0.1


def test_operations_on_a_batch_do_not_wait(device):
    """The parameters are the processor's, which reads them; the images are never read."""
    rows, ours = torch.arange(len(PATCHES)), images_on(device)
    with nothing_waits(device):
        views = test_batch_ops._chain(ours, rows)
    apart = (views.cpu() - test_batch_ops._chain(images_on(CPU), rows)).abs()
    assert (apart > 0).float().mean() < 0.01 and apart.mean() < 0.02


def test_boosting_a_batch_does_not_wait(device):
    parameters = test_batch_boost._parameters(len(PATCHES), 2)
    ours = images_on(device)
    with nothing_waits(device):
        views = boost_batch(Boost(2), ours, *parameters)
    assert (views.cpu() != boost_batch(Boost(2), images_on(CPU), *parameters)).float().mean() < 1e-3
