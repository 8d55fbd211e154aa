"""Images per class of the long-tailed lists: the published rules and counts, and laws fitted to them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from split.flags import ROOT
from utils.errors import InputError


class Shape(NamedTuple):
    """How the classes of a long-tailed list decrease: settings of class_counts. imb_factor: None for the data set's."""

    name: str = "exp"
    imb_factor: float | None = None
    alpha: float = 6.0


def class_counts(classes: int, head: int, imb_factor: float, shape: str = "exp", alpha: float = 6.0) -> np.ndarray:
    """Images per class of a long-tailed list, largest first, [classes] int64, at least 1 each.

    exp:    floor(head * imb_factor^(-i / (classes - 1)))  (as the authors' lists)
    pareto: a power law ((i + 1/2) / classes)^(-1 / alpha), shifted and scaled to run from head to
            head / imb_factor; alpha 6 is ImageNet-LT's.

    Raises:
        InputError: imb_factor < 1, alpha <= 0, or an unknown shape.
    """
    if not (1 <= imb_factor < np.inf and 0 < alpha < np.inf):
        raise InputError(f"imb_factor must be at least 1 and alpha positive, not {imb_factor} and {alpha}")
    rank = np.arange(classes)
    if classes == 1:
        return np.array([head])
    if shape == "exp":
        counts = head * imb_factor ** (-rank / (classes - 1))
    elif shape == "pareto":
        with np.errstate(over="ignore", invalid="ignore"):
            law = ((rank + 0.5) / classes) ** (-1 / alpha)
            tail = head / imb_factor
            counts = tail + (head - tail) * (law - law[-1]) / (law[0] - law[-1])
    else:
        raise InputError(f"unknown shape {shape!r}; choose exp or pareto")
    if not np.isfinite(counts).all():
        raise InputError(f"alpha {alpha} is too small: the power law overflows")
    # 1e-9, as a count that is an integer in exact arithmetic may be just below it in floating point.
    return np.maximum(np.floor(counts + 1e-9), 1).astype(np.int64)


@dataclass(frozen=True)
class PowerLaw:
    """floor(shift + scale * (((r + offset) / K)^(-1/alpha) - 1)), rank r = 0..K-1, between tail and head.

    The counts of ImageNet-LT and Places-LT (Liu et al., CVPR 2019: "Pareto distribution with alpha = 6") are published
    only as lists of several MB. This law is fitted to what is known of them: images of the largest and the smallest
    class, number of images, and number of classes with more than 100, 20 to 100 and fewer than 20 images. `moved`
    (rank -> images to add) makes these numbers exact.
    """

    head: int
    tail: int
    alpha: float
    shift: float
    scale: float
    offset: float
    moved: dict[int, int]

    def counts(self, classes: int) -> np.ndarray:
        """Images per class, largest first, [classes] int64."""
        position = (np.arange(classes) + self.offset) / classes
        law = np.floor(self.shift + self.scale * (position ** (-1 / self.alpha) - 1) + 1e-9)
        counts = np.clip(law, self.tail, self.head).astype(np.int64)
        for rank, images in self.moved.items():
            counts[rank] += images
        return counts


IMAGENET_LT = PowerLaw(1280, 5, 5.75, 6.5, 523.27, 0.5, {1: 2, 999: -1})
PLACES_LT = PowerLaw(4980, 5, 1.46, 5.0, 94.869, 1.0, {})


def imagenet_100() -> tuple[list[str], np.ndarray]:
    """Class folders of ImageNet-100 in the order of their labels, and images per class in ImageNet-100-LT.

    The counts are those of the published list; the classes those of Tian et al., "Contrastive Multiview Coding", ECCV
    2020.
    """
    rows = [line.split("\t") for line in (ROOT / "imagenet_100.tsv").read_text("utf-8").splitlines()[1:]]
    return [row[1] for row in rows], np.array([int(row[2]) for row in rows])
