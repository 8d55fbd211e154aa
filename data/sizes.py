"""The size of own images' views where none is asked for."""

from pathlib import Path
from statistics import median

from PIL import Image

from data.images import read_image
from data.tree import Tree

LOOKED_AT = 100  # images of a tree, evenly spread
STEPS = (96, 128, 160, 192, 224)
SMALLEST = 8  # pixels, as of --image_size


def usual_size(tree: Tree) -> int:
    """Pixels of a view: the median of the images' shorter sides up to 64; above that, a usual size no larger."""
    if tree.pixels:
        shorter = min(tree.pixels["train"].shape[1:3])
    else:
        paths = tree.parts["train"].paths
        sides = [_shorter_side(tree.root / path) for path in paths[:: max(1, len(paths) // LOOKED_AT)]]
        shorter = int(median([side for side in sides if side] or [STEPS[-1]]))
    larger = [step for step in STEPS if step <= shorter]
    return larger[-1] if larger else max(SMALLEST, min(shorter, 64))


def _shorter_side(path: Path) -> int:
    """0 of an image that cannot be read; its pixels are not decoded."""

    def side(file: Image.Image) -> int:
        return min(file.size)

    try:
        return read_image(path, side)
    except Exception:  # Pillow raises anything; what is bad is told where it is used
        return 0
