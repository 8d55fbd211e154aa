"""views.png of a run: the views of its first batch as the network receives them, to look at and for reports."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from utils.files import replace_file

SHOWN = 8  # images of a batch
GAP = 2  # pixels between views, transparent


def write_views(views: torch.Tensor, path: Path) -> None:
    """Write a grid of a batch's views as a PNG file; nothing for a batch without images.

    It draws no random numbers, so the run is the same with and without it.

    Args:
        views: [n, V, 3, H, W] in [0, 1], on any device.

    Raises:
        InputError: the file cannot be written.
    """
    if views.dim() != 5:
        return
    buffer = io.BytesIO()
    Image.fromarray(grid(views), "RGBA").save(buffer, "PNG")
    replace_file(path, buffer.getvalue())


def grid(views: torch.Tensor) -> np.ndarray:
    """The views of a batch's first SHOWN images: a row for each image, a column for each view.

    Args:
        views: [n, V, 3, H, W] in [0, 1], on any device.

    Returns:
        [rows of pixels, columns of pixels, 4] uint8, red, green, blue and opacity.
    """
    first = views[:SHOWN].float().mul(255).round().clamp(0, 255).to(torch.uint8)
    opaque = torch.nn.functional.pad(first, (0, 0, 0, 0, 0, 1), value=255)  # a fourth channel, opacity
    n, columns, _, height, width = opaque.shape
    padded = torch.nn.functional.pad(opaque, (0, GAP, 0, GAP))
    pixels = padded.permute(0, 3, 1, 4, 2).reshape(n * (height + GAP), columns * (width + GAP), 4)
    return pixels[:-GAP, :-GAP].cpu().numpy()
