"""Memorisation-boosted augmentation: RandAugment whose probability and strength follow an image's score.

The method is section 3.2 of Zhou et al., ICML 2022; operations, ranges and strengths are those of BCL's code
(data/randaug.py and data/memoboosted_cifar100.py). M is the image's memorisation score. Each of k operations, drawn
with replacement, is applied with probability M; an operation with the range [low, high] has the value
low + m / 30 (high - low), where m is

    k = 1 (BCL-I):  floor + (strength - floor) M
    k > 1 (BCL-D):  floor + (strength - floor) M u,    u uniform in [0, 1), one for both views of an image

with strength 30 and a floor of 10 for k = 1, else 5.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from data.views.strength import FULL, default_floor
from utils.errors import InputError

FILL = (125, 123, 114)  # of Cutout's square


def _sign() -> float:
    return -1.0 if torch.rand(1) > 0.5 else 1.0


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Output pixel (x, y) comes from (a x + b y + c, d x + e y + f), the nearest; black outside."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def cutout(image: Image.Image, share: float) -> Image.Image:
    """A grey square around a random point, cut off at the border; its side is `share` of the width."""
    if share <= 0:
        return image
    (width, height), side = image.size, share * image.size[0]
    # As published, the point is drawn from 1 to the width, not from 0.
    x = int(max(0, 1 + float(torch.rand(1)) * (width - 1) - side / 2))
    y = int(max(0, 1 + float(torch.rand(1)) * (height - 1) - side / 2))
    image = image.copy()
    ImageDraw.Draw(image).rectangle((x, y, min(width, x + side), min(height, y + side)), FILL)
    return image


# name -> (operation on an image and a value, low, high)
OPERATIONS: dict[str, tuple[Callable[[Image.Image, float], Image.Image], float, float]] = {
    "ShearX": (lambda image, v: _affine(image, 1, _sign() * v, 0, 0, 1, 0), 0, 0.6),
    "ShearY": (lambda image, v: _affine(image, 1, 0, 0, _sign() * v, 1, 0), 0, 0.6),
    "TranslateX": (lambda image, v: _affine(image, 1, 0, _sign() * v * image.size[0], 0, 1, 0), 0, 0.66),
    "TranslateY": (lambda image, v: _affine(image, 1, 0, 0, 0, 1, _sign() * v * image.size[1]), 0, 0.66),
    "Rotate": (lambda image, v: image.rotate(_sign() * v), 0, 60),
    "AutoContrast": (lambda image, _: ImageOps.autocontrast(image), 0, 1),
    "Invert": (lambda image, _: ImageOps.invert(image), 0, 1),
    "Equalize": (lambda image, _: ImageOps.equalize(image), 0, 1),
    "Solarize": (lambda image, v: ImageOps.solarize(image, v), 0, 110),
    "Posterize": (lambda image, v: ImageOps.posterize(image, max(1, int(v))), 4, 8),
    "Contrast": (lambda image, v: ImageEnhance.Contrast(image).enhance(v), 0.1, 1.9),
    "Color": (lambda image, v: ImageEnhance.Color(image).enhance(v), 0.1, 1.9),
    "Brightness": (lambda image, v: ImageEnhance.Brightness(image).enhance(v), 0.1, 1.9),
    "Sharpness": (lambda image, v: ImageEnhance.Sharpness(image).enhance(v), 0.1, 1.9),
    "Cutout": (cutout, 0, 0.4),
}


class PixelTransform(Protocol):
    """A transform in two parts: `pixels` gives the view as an image [H, W, 3] uint8, `to_tensor` makes it a tensor."""

    pixels: Callable
    to_tensor: Callable[[Image.Image | np.ndarray], torch.Tensor]


class Boost:
    """RandAugment by memorisation score.

    Args:
        k: operations per view, at least 1. strength: the largest m, in [0, 30]. floor: the smallest m; default 10 for
            k = 1, else 5, at most `strength`.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, k: int = 1, strength: float = FULL, floor: float | None = None) -> None:
        floor = default_floor(k, strength) if floor is None else floor
        if k < 1 or not 0 <= floor <= strength <= FULL:
            limits = f"0 <= rand_floor {floor} <= rand_strength {strength} <= {FULL}"
            raise InputError(f"rand_k must be at least 1, and {limits} must hold")
        self.k, self.strength, self.floor = k, strength, floor

    def draw(self) -> float:
        """The number u of an image, shared by its views; 1 for k = 1."""
        return 1.0 if self.k == 1 else float(torch.rand(1))

    def view(self, transform: "PixelTransform", score: float) -> Callable[[Image.Image | np.ndarray], torch.Tensor]:
        """The transform for all views of an image with this score: pixels, RandAugment with one u, tensor."""
        u = self.draw()
        return lambda image: transform.to_tensor(self(transform.pixels(image), score, u))

    def __call__(self, image: Image.Image | np.ndarray, score: float, u: float) -> Image.Image | np.ndarray:
        """The view of an image [H, W, 3] uint8 (PIL or array, as given) with `score` M in [0, 1] and u from draw()."""
        m = self.floor + (self.strength - self.floor) * score * u
        drawn = torch.randint(len(OPERATIONS), (self.k,)).tolist()
        applied = [list(OPERATIONS.values())[i] for i in drawn if torch.rand(1) < score]
        if not applied:
            return image
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        for operation, low, high in applied:
            picture = operation(picture, low + m / FULL * (high - low))
        return picture if isinstance(image, Image.Image) else np.array(picture)
