"""Views of images in memory, made a batch at a time on the training device (operations: data/views/batch_ops.py).

The random numbers of an epoch are one table, uniform in [0, 1), with a row for each image and view: a view is a
function of seed, epoch and sample id, whatever the batches and processes. They are turned into the distributions of
torchvision's transforms, which data/views/published.py uses.
"""

import math

import torch

from data.views import batch_ops
from data.views.arrays import JITTER, RATIO
from data.views.batch_boost import boost_batch
from data.views.batch_ops import sent
from data.views.boost import Boost

ATTEMPTS = 10  # at a crop that fits, before the middle of the image is taken (torchvision's RandomResizedCrop)

OPERATION = 4  # random numbers for each operation of RandAugment


def draw_boxes(u: torch.Tensor, height: int, width: int, lower: float) -> torch.Tensor:
    """Crops as torchvision's RandomResizedCrop draws them.

    Args:
        u: [n, 2 ATTEMPTS + 2] uniform numbers. height, width: of the image, pixels. lower: smallest share of its area.

    Returns:
        [n, 4] top, left, height, width in pixels, int64, on the CPU like `u`.
    """
    area = height * width * (lower + (1 - lower) * u[:, :ATTEMPTS].double())
    low, high = (math.log(r) for r in RATIO)
    ratio = (low + (high - low) * u[:, ATTEMPTS : 2 * ATTEMPTS].double()).exp()
    wide, tall = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.int().argmax(1, keepdim=True)
    # If none fits, the largest part in the middle with an allowed ratio of its sides.
    middle_wide = min(width, round(height * RATIO[1]))
    middle_tall = min(height, round(width / RATIO[0]))
    any_fits = fits.any(1)
    wide = torch.where(any_fits, wide.gather(1, first)[:, 0], middle_wide)
    tall = torch.where(any_fits, tall.gather(1, first)[:, 0], middle_tall)
    top = torch.where(any_fits, (u[:, -2] * (height - tall + 1)).long(), (height - tall) // 2)
    left = torch.where(any_fits, (u[:, -1] * (width - wide + 1)).long(), (width - wide) // 2)
    # With a uniform number just under 1 the float32 product may round up.
    return torch.stack([top.minimum(height - tall), left.minimum(width - wide), tall, wide], 1)


class PretrainViews:
    """data.views.published.pretrain_transform for batches, without blur, followed by RandAugment.

    Args:
        size: pixels. flip: mirror half of the images. strength: factor on the jitter (0.4, 0.4, 0.4, 0.1).
        resize_lower: smallest crop, as a share of the image's area. boost: RandAugment by memorisation score.
    """

    of_batches = True

    def __init__(
        self, size: int, flip: bool, strength: float = 1.0, resize_lower: float = 0.1, boost: Boost | None = None
    ) -> None:
        self.size, self.flip, self.lower = size, flip, resize_lower
        spread, middle = strength * torch.tensor(JITTER), torch.tensor([1.0, 1.0, 1.0, 0.0])
        # Factors of brightness, contrast and saturation are at least 0, the shift of hue at least minus half a turn.
        self.range = (middle - spread).maximum(torch.tensor([0.0, 0.0, 0.0, -0.5])), middle + spread
        self.boost = boost
        # Random numbers of a view: crop; whether to flip, jitter, turn grey; two that are unused, kept so that a seed
        # still makes the same views; factors of the jitter; order of the jitter; operations of RandAugment.
        self.numbers = [2 * ATTEMPTS + 2, 3, 2, 4, 4, 0 if boost is None else OPERATION * boost.k]

    def __call__(
        self, images: torch.Tensor, u: torch.Tensor, scores: torch.Tensor, shared: torch.Tensor
    ) -> torch.Tensor:
        """images [n, 3, H, W] uint8 -> views [n, 3, size, size] float32 in [0, 1].

        Args:
            u: [n, sum of numbers] uniform, for each view. scores: [n] memorisation scores in [0, 1]. shared: [n]
                uniform, the same for all views of an image. All three are on the CPU, wherever the images are.
        """
        crop, chance, _, factors, order, operations = u.split(self.numbers, 1)
        boxes = draw_boxes(crop, *images.shape[2:], self.lower)
        flips = (chance[:, 0] < 0.5) & self.flip
        views = batch_ops.crop_resize(images, boxes, flips, self.size)
        views = batch_ops.jitter(views, chance[:, 1] < 0.8, torch.lerp(*self.range, factors), order.argsort(1))
        batch_ops.apply_where(views, chance[:, 2] < 0.2, batch_ops.grey)
        if self.boost is not None:
            u = shared if self.boost.k > 1 else torch.ones_like(shared)
            draws = operations.view(len(views), self.boost.k, OPERATION)
            views = boost_batch(self.boost, views, scores, u, draws)
        return views.div_(255)


class ShiftedViews:
    """data.views.published.probe_transform for batches: a crop of the image in a black border of size // 8 pixels, and
    flip."""

    of_batches = True

    def __init__(self, size: int, flip: bool) -> None:
        self.size, self.flip, self.pad = size, flip, size // 8
        self.numbers = [2, 1]

    def __call__(self, images: torch.Tensor, u: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        """images [n, 3, size, size] uint8, u [n, 3] -> views [n, 3, size, size] float32 in [0, 1]."""
        n, places, pixel = len(images), 2 * self.pad + 1, torch.arange(self.size, device=images.device)
        u = sent(u, images.device)
        shift, mirrored = (u[:, :2] * places).long().clamp(max=places - 1), (u[:, 2:] < 0.5) & self.flip
        across = torch.where(mirrored, pixel.flip(0), pixel) + shift[:, 1:]
        down = pixel + shift[:, :1]
        padded = torch.nn.functional.pad(images, [self.pad] * 4)
        place = (down[:, :, None] * padded.shape[3] + across[:, None]).view(n, 1, -1)
        views = padded.flatten(2).gather(2, place.expand(-1, 3, -1))
        return views.view(n, 3, self.size, self.size).float().div_(255)
