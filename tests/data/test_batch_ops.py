"""Operations on batches: Pillow's results, each image by its own parameters, on any device."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision import transforms as T
from torchvision.transforms import functional as F

from data.views import batch_ops

PHOTOGRAPHS = load_sample_images().images
SIDE = 32


def _patches(n: int, seed: int = 0) -> np.ndarray:
    """[n, 32, 32, 3] uint8 from random places of both photographs."""
    random, patches = np.random.RandomState(seed), []
    for i in range(n):
        photograph = PHOTOGRAPHS[i % 2]
        y, x = (random.randint(pixels - SIDE) for pixels in photograph.shape[:2])
        patches.append(photograph[y : y + SIDE, x : x + SIDE])
    return np.stack(patches)


def _batch(images: np.ndarray) -> torch.Tensor:
    return torch.tensor(images).permute(0, 3, 1, 2)


PATCHES = _patches(64)
LARGE = np.stack([np.array(Image.fromarray(photograph).resize((224, 150))) for photograph in PHOTOGRAPHS])
SETS = {"patches": PATCHES, "photographs": LARGE}
each_set = pytest.mark.parametrize("images", SETS.values(), ids=SETS)


def _uniform(n: int, low: float, high: float, seed: int = 0) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, generator=torch.Generator().manual_seed(seed))


def _differences(ours: torch.Tensor, theirs: list[Image.Image]) -> np.ndarray:
    """Absolute differences in levels; ours must be whole levels of the right type."""
    assert ours.dtype == torch.float32
    assert torch.equal(ours, ours.round().clamp(0, 255))
    return (ours - _batch(np.stack([np.array(image) for image in theirs]))).abs().numpy()


def _boxes(image: np.ndarray, n: int, lower: float, seed: int = 0) -> torch.Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        draw = T.RandomResizedCrop.get_params
        return torch.tensor([draw(Image.fromarray(image), (lower, 1.0), (3 / 4, 4 / 3)) for _ in range(n)])


def _pillow_crops(images: list[np.ndarray], boxes: torch.Tensor, flips: torch.Tensor, size: int) -> list:
    crops = [
        F.resized_crop(Image.fromarray(image), *box, [size, size], T.InterpolationMode.BICUBIC)
        for image, box in zip(images, boxes.tolist(), strict=True)
    ]
    return [F.hflip(crop) if flip else crop for crop, flip in zip(crops, flips, strict=True)]


# ---- crop and resize


@pytest.mark.parametrize("size", [32, 96, 224])
@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=["china", "flower"])
def test_crops_of_photographs_are_pillows(photograph, size):
    boxes = torch.cat((_boxes(photograph, 6, 0.08), _boxes(photograph, 4, 0.005), torch.tensor([[0, 0, 427, 640]])))
    flips = torch.arange(len(boxes)) % 2 == 0
    batch = _batch(photograph[None]).expand(len(boxes), -1, -1, -1)
    ours = batch_ops.crop_resize(batch, boxes, flips, size)
    apart = _differences(ours, _pillow_crops([photograph] * len(boxes), boxes, flips, size))
    assert apart.max() <= 1
    assert apart.mean() < 0.001


def test_crops_of_patches_are_pillows():
    patches = _patches(200, 1)
    boxes, flips = _boxes(patches[0], 200, 0.1), _uniform(200, 0, 1) < 0.5
    ours = batch_ops.crop_resize(_batch(patches), boxes, flips, SIDE)
    apart = _differences(ours, _pillow_crops(list(patches), boxes, flips, SIDE))
    assert apart.max() <= 1
    assert apart.mean() < 2e-4


def test_order_of_pillows_passes_on_noise():
    """The extents stand on both sides of where Pillow 13 changes it; the wrong order is 0.18 apart and more."""
    image = np.random.RandomState(0).randint(0, 256, (100, 100, 3)).astype(np.uint8)
    extents = [(t, w) for t in (31, 32, 33, 34, 42, 52, 53, 99) for w in (20, 31, 32, 33, 42, 43, 65)]
    boxes = torch.tensor([(0, 1, *extent) for extent in extents])
    flips = torch.zeros(len(boxes), dtype=torch.bool)
    ours = batch_ops.crop_resize(_batch(image[None]).expand(len(boxes), -1, -1, -1), boxes, flips, 32)
    apart = _differences(ours, _pillow_crops([image] * len(boxes), boxes, flips, 32))
    assert apart.max() <= 1
    assert apart.mean((1, 2, 3)).max() < 0.002


def test_the_whole_box_is_the_identity_and_a_flip_its_mirror():
    batch = _batch(PATCHES)
    boxes = torch.tensor([[0, 0, SIDE, SIDE]]).expand(len(batch), 4)
    for flip in (False, True):
        out = batch_ops.crop_resize(batch, boxes, torch.full((len(batch),), flip), SIDE)
        assert torch.equal(out, (batch.flip(3) if flip else batch).float())


def test_floats_are_cropped_as_their_bytes():
    batch, boxes, flips = _batch(PATCHES), _boxes(PATCHES[0], 64, 0.1), _uniform(64, 0, 1) < 0.5
    crops = [batch_ops.crop_resize(images, boxes, flips, 20) for images in (batch, batch.float())]
    assert torch.equal(*crops)


@pytest.mark.parametrize("box", [(-1, 0, 8, 8), (0, -1, 8, 8), (25, 0, 8, 8), (0, 25, 8, 8), (0, 0, 0, 8)])
def test_boxes_outside_of_the_image_are_refused(box):
    with pytest.raises(ValueError, match="inside"):
        batch_ops.crop_resize(_batch(PATCHES[:1]), torch.tensor([box]), torch.tensor([False]), SIDE)


# ---- colours

_ADJUST = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}


def _pillow(images: np.ndarray, operation, parameters: torch.Tensor) -> list[Image.Image]:
    pairs = zip(images, parameters.tolist(), strict=True)
    return [operation(Image.fromarray(image), parameter) for image, parameter in pairs]


@each_set
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_brightness_contrast_and_saturation_are_pillows_to_the_bit(name, images):
    for factors in (_uniform(len(images), 0, 1), _uniform(len(images), 1, 3)):
        ours = getattr(batch_ops, name)(_batch(images).float(), factors)
        assert _differences(ours, _pillow(images, _ADJUST[name], factors)).max() == 0


@each_set
def test_hue_is_pillows_but_for_a_few_pixels(images):
    shifts = _uniform(len(images), -0.5, 0.5)
    apart = _differences(batch_ops.hue(_batch(images).float(), shifts), _pillow(images, F.adjust_hue, shifts))
    assert apart.mean() < 0.01
    assert (apart > 0).mean() < 0.005
    assert apart.max() <= 6  # one of 255 steps of the hue, which has six ramps


def test_hue_of_every_kind_of_colour():
    """Each order of the channels, ties, greys and black: the branches of Pillow's conversion."""
    levels = torch.tensor([0.0, 1, 100, 101, 254, 255])
    colours = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 6, 36)
    image = colours[0].permute(1, 2, 0).byte().numpy()
    shifts = torch.linspace(-0.5, 0.5, 21)
    ours = batch_ops.hue(colours.expand(21, -1, -1, -1), shifts)
    apart = _differences(ours, _pillow(np.stack([image] * 21), F.adjust_hue, shifts))
    assert (apart > 0).mean() < 0.01
    assert apart.max() <= 6


@each_set
def test_grey_is_pillows_to_the_bit(images):
    greys = [F.rgb_to_grayscale(Image.fromarray(image), 3) for image in images]
    assert _differences(batch_ops.grey(_batch(images).float()), greys).max() == 0


# ---- jitter


def _jitter_parameters(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    factors = torch.stack([*(_uniform(n, 0.6, 1.4, seed + i) for i in range(3)), _uniform(n, -0.1, 0.1, seed + 3)], 1)
    return factors, torch.rand(n, 4, generator=torch.Generator().manual_seed(seed)).argsort(1)


def test_jitter_is_torchvisions_chain():
    factors, order = _jitter_parameters(len(PATCHES))
    apply = torch.arange(len(PATCHES)) % 5 > 0
    expected = []
    for image, chosen, factor, steps in zip(PATCHES, apply, factors.tolist(), order.tolist(), strict=True):
        picture = Image.fromarray(image)
        for i in steps if chosen else ():
            picture = list(_ADJUST.values())[i](picture, factor[i])
        expected.append(picture)
    batch = _batch(PATCHES).float()
    ours = batch_ops.jitter(batch, apply, factors, order)
    apart = _differences(ours, expected)
    assert apart.mean() < 0.02
    assert (apart > 0).mean() < 0.01
    assert apart[~apply.numpy()].max() == 0
    assert torch.equal(batch, _batch(PATCHES))  # the input stays


def test_jitter_of_neutral_factors_is_the_identity():
    batch, order = _batch(PATCHES).float(), _jitter_parameters(len(PATCHES))[1]
    neutral = torch.tensor([1.0, 1, 1, 0]).expand(len(batch), 4)
    assert torch.equal(batch_ops.jitter(batch, torch.ones(len(batch), dtype=torch.bool), neutral, order), batch)


def test_an_order_that_is_no_permutation_is_refused():
    factors, order = _jitter_parameters(2)
    order[1] = torch.tensor([0, 1, 1, 3])
    with pytest.raises(ValueError, match="permutation"):
        batch_ops.jitter(_batch(PATCHES[:2]).float(), torch.tensor([True, True]), factors, order)


# ---- each image for itself


def _chain(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """All operations on images, with the parameters of `rows` of the batch PATCHES."""
    n = len(PATCHES)
    factors, order = _jitter_parameters(n)
    views = batch_ops.crop_resize(images, _boxes(PATCHES[0], n, 0.1)[rows], (_uniform(n, 0, 1) < 0.5)[rows], SIDE)
    views = batch_ops.jitter(views, (_uniform(n, 0, 1, 1) < 0.8)[rows], factors[rows], order[rows])
    batch_ops.apply_where(views, (_uniform(n, 0, 1, 2) < 0.2)[rows], batch_ops.grey)
    return views


def test_an_image_does_not_depend_on_its_place_or_its_batch(monkeypatch):
    whole, batch = _chain(_batch(PATCHES), torch.arange(len(PATCHES))), _batch(PATCHES)
    for rows in (torch.arange(len(PATCHES)).flip(0), torch.tensor([5]), torch.tensor([7, 7, 3])):
        assert torch.equal(_chain(batch[rows], rows), whole[rows])
    monkeypatch.setattr(batch_ops, "_PIECE", 5 * batch[0].numel())
    assert torch.equal(_chain(batch, torch.arange(len(PATCHES))), whole)


def test_an_empty_batch():
    assert _chain(_batch(PATCHES)[:0], torch.arange(0)).shape == (0, 3, SIDE, SIDE)


def test_an_empty_subset_changes_nothing():
    batch = _batch(PATCHES).float()
    batch_ops.apply_where(batch, torch.zeros(len(batch), dtype=torch.bool), batch_ops.hue, torch.ones(len(batch)))
    assert torch.equal(batch, _batch(PATCHES))


def test_nothing_waits_for_the_device():
    """Tensors of device meta have no values: to read one is an error; so is arithmetic with the CPU's."""
    views = _chain(_batch(PATCHES).to("meta"), torch.arange(len(PATCHES)))
    assert (views.device.type, views.shape) == ("meta", (len(PATCHES), 3, SIDE, SIDE))
