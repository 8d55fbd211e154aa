"""The default size of the views of the user's own images."""

from pathlib import Path
from statistics import median

from PIL import Image

from data.pillow import read_image
from data.tree import Tree

LOOKED_AT = 100  # images of a tree, evenly spread: at least as many, fewer than twice
STEPS = (96, 128, 160, 192, 224)
SMALLEST = 8  # pixels, as of --image_size


def usual_size(tree: Tree) -> int:
    """Side of a view in pixels: the median shorter side of the images if it is below 96, at most 64 and at least 8;
    else the largest of STEPS that does not exceed it."""
    if tree.pixels:
        shorter = min(tree.pixels["train"].shape[1:3])
    else:
        paths = tree.parts["train"].paths
        sides = [_shorter_side(tree.root / path) for path in paths[:: max(1, len(paths) // LOOKED_AT)]]
        shorter = int(median([side for side in sides if side] or [STEPS[-1]]))
    larger = [step for step in STEPS if step <= shorter]
    return larger[-1] if larger else max(SMALLEST, min(shorter, 64))


def _shorter_side(path: Path) -> int:
    """In pixels, without decoding the image; 0 if it cannot be read."""

    def side(file: Image.Image) -> int:
        return min(file.size)

    try:
        return read_image(path, side)
    except Exception:  # Pillow raises anything; bad images are reported where they are used
        return 0
