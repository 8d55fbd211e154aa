"""The views as published, of single images: torchvision's transforms in Pillow."""

from collections.abc import Callable

import torch
from PIL import Image, ImageFilter
from torchvision import transforms as T

from data.loader import Transform
from data.views import arrays

BICUBIC = T.InterpolationMode.BICUBIC


class GaussianBlur:
    """Pillow's Gaussian blur with sigma uniform in [0.1, 2.0] pixels (SDCLR's data/augmentation.py)."""

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(float(torch.empty(1).uniform_(0.1, 2.0))))


class View:
    """Transforms of pixels one after another, then a tensor in [0, 1]."""

    def __init__(self, *steps: Callable) -> None:
        self.pixels, self.to_tensor = T.Compose(steps), T.ToTensor()

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self.to_tensor(self.pixels(image))


def pretrain_transform(
    size: int, flip: bool, strength: float = 1.0, resize_lower: float = 0.1, blur: bool = False
) -> View:
    """One view (SDCLR's train_simCLR.py): [3, size, size] in [0, 1].

    Args:
        size: pixels. flip: mirror half of the images. strength: factor on the jitter (0.4, 0.4, 0.4, 0.1).
        resize_lower: smallest crop, as a share of the image's area, in (0, 1]; published 0.1 at 32 pixels, else 0.08.
        blur: blur half of the images, as published for ImageNet.
    """
    jitter = T.ColorJitter(*(strength * spread for spread in arrays.JITTER))
    return View(
        T.RandomResizedCrop(size, scale=(resize_lower, 1.0), interpolation=BICUBIC),
        *([T.RandomHorizontalFlip()] if flip else []),
        T.RandomApply([jitter], p=0.8),
        T.RandomGrayscale(p=0.2),
        *([T.RandomApply([GaussianBlur()], p=0.5)] if blur else []),
    )


def probe_transform(size: int, flip: bool) -> Transform:
    """The probes' training augmentation (SDCLR's train_cifar.py): crop after padding (4 pixels for 32) and flip."""
    mirror = [T.RandomHorizontalFlip()] if flip else []
    return T.Compose([T.RandomCrop(size, padding=size // 8), *mirror, T.ToTensor()])


def file_probe_transform(size: int, jitter: float = 0.0) -> Transform:
    """The probes' training augmentation for image files (SDCLR's train_imagenet.py): random bilinear crop, flip.

    Args:
        jitter: for supervised learning, range of brightness, contrast and saturation (Kang et al.: 0.4).
    """
    colours = [T.ColorJitter(jitter, jitter, jitter)] if jitter else []
    return T.Compose([T.RandomResizedCrop(size), T.RandomHorizontalFlip(), *colours, T.ToTensor()])


def centre_transform(size: int) -> Transform:
    """Evaluation of image files (SDCLR's train_imagenet.py): the middle 224 of 256 pixels, or `size` in that ratio."""
    return T.Compose([T.Resize(size * 256 // 224), T.CenterCrop(size), T.ToTensor()])
