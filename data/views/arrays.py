"""The 224-pixel views in OpenCV and torch: the published Pillow pipeline's output, over twice as fast.

Each class draws the same random numbers in the same order as its Pillow counterpart in data/views/published.py, so one
seed makes the same view in both. Each operation is of the fastest library whose output equals Pillow's up to rounding
(benchmarks/views.py measures each): resizing is torch's antialiased 8-bit kernel, brightness and contrast are look-up
tables, saturation, hue and blur are OpenCV's.
Files are still decoded by Pillow: OpenCV takes a fifth less time for that, but accepts some damaged files.
"""

import math

import cv2
import numpy as np
import torch
from torchvision import transforms as T
from torchvision.transforms.v2 import functional as F

BICUBIC, BILINEAR = T.InterpolationMode.BICUBIC, T.InterpolationMode.BILINEAR
RATIO = (3 / 4, 4 / 3)  # of a crop, width to height
JITTER = (0.4, 0.4, 0.4, 0.1)  # of brightness, contrast, saturation and hue, at strength 1


def crop(image: np.ndarray, box: tuple[int, int, int, int], size: int, mode: T.InterpolationMode) -> np.ndarray:
    """Antialiased crop-and-resize: [H, W, 3] uint8, box (top, left, height, width) -> [size, size, 3]."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    return F.resized_crop(tensor, *box, [size, size], mode, antialias=True).permute(1, 2, 0).numpy()


def _random_crop(image: np.ndarray, size: int, lower: float, mode: T.InterpolationMode) -> np.ndarray:
    """A crop of at least the share `lower` of the area, mirrored with probability 0.5."""
    box = T.RandomResizedCrop.get_params(torch.from_numpy(image).permute(2, 0, 1), (lower, 1.0), RATIO)
    view = crop(image, box, size, mode)
    return cv2.flip(view, 1) if torch.rand(1) < 0.5 else view


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """[H, W, 3] uint8 -> [3, H, W] float32 in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1).contiguous().float().div_(255)


def _blend(image: np.ndarray, grey: float, factor: float) -> np.ndarray:
    """Pillow's Image.blend of a constant grey with the image, for every possible value at once."""
    table = grey + np.float32(factor) * (np.arange(256, dtype=np.float32) - grey)
    return cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Every value times `factor`; [H, W, 3] uint8 as in all operations here."""
    return _blend(image, 0, factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Distance from the image's mean grey times `factor`."""
    return _blend(image, int(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean() + 0.5), factor)


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Distance from the pixel's grey times `factor`."""
    # Pillow truncates, OpenCV rounds half to even: with -0.5 every other exact grey value would lose a level.
    return cv2.addWeighted(image, factor, grey(image), 1 - factor, -0.499)


def hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Hue moved by `shift` of a full turn, in [-0.5, 0.5]."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(int(shift * 255) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def grey(image: np.ndarray) -> np.ndarray:
    """The image without colour, in three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur as Pillow approximates it: three box filters of fractional width, here as one kernel.

    The width is by Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering" (2011),
    equations 11 to 14. Sigma in pixels.
    """
    variance = sigma**2 / 3
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    box = np.array([part, *[1.0] * (2 * whole + 1), part]) / (2 * whole + 1 + 2 * part)
    kernel = np.convolve(np.convolve(box, box), box).astype(np.float32)
    return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


_JITTER = (brightness, contrast, saturation, hue)


def _jittered(view: np.ndarray, jitter: T.ColorJitter) -> np.ndarray:
    order, *factors = T.ColorJitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    for i in order.tolist():
        view = view if factors[i] is None else _JITTER[i](view, factors[i])
    return view


class PretrainView:
    """data.views.published.pretrain_transform(size, True, strength, resize_lower, blur=True) for an array.

    Args:
        size: pixels. strength: factor on the jitter (0.4, 0.4, 0.4, 0.1).
        resize_lower: smallest crop, as a share of the image's area.
    """

    to_tensor = staticmethod(to_tensor)

    def __init__(self, size: int, strength: float = 1.0, resize_lower: float = 0.08) -> None:
        self.size, self.lower = size, resize_lower
        self.jitter = T.ColorJitter(*(strength * spread for spread in JITTER))

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        """[H, W, 3] uint8 -> [3, size, size] in [0, 1]."""
        return self.to_tensor(self.pixels(image))

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] uint8 -> [size, size, 3] uint8: the view before it becomes a tensor."""
        view = _random_crop(image, self.size, self.lower, BICUBIC)
        if torch.rand(1) <= 0.8:
            view = _jittered(view, self.jitter)
        if torch.rand(1) < 0.2:
            view = grey(view)
        if torch.rand(1) <= 0.5:
            view = blur(view, float(torch.empty(1).uniform_(0.1, 2.0)))
        return view


class ProbeView:
    """data.views.published.file_probe_transform for an array: the probes' random crop and flip, and for supervised
    learning a colour jitter."""

    def __init__(self, size: int, jitter: float = 0.0) -> None:
        self.size, self.jitter = size, T.ColorJitter(jitter, jitter, jitter) if jitter else None

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        """[H, W, 3] uint8 -> [3, size, size] in [0, 1]."""
        view = _random_crop(image, self.size, 0.08, BILINEAR)
        return to_tensor(view if self.jitter is None else _jittered(view, self.jitter))


class CentreView:
    """data.views.published.centre_transform for an array: shorter side to size * 256 / 224, centre crop of `size`."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        """[H, W, 3] uint8 -> [3, size, size] in [0, 1]."""
        tensor = F.resize(torch.from_numpy(image).permute(2, 0, 1), [self.size * 256 // 224], BILINEAR, antialias=True)
        return F.center_crop(tensor, [self.size, self.size]).contiguous().float().div_(255)
