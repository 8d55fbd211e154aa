"""Numbers of epochs that scale with a training's: as options, and what they stand for."""

import argparse
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from utils.cli import not_negative


def epochs_or_share(word: str) -> float:
    """An argparse type: a whole number of epochs, or below 1 a share of all; epochs_of makes epochs of it."""
    value = not_negative(word)
    if value >= 1 and value != int(value):
        raise argparse.ArgumentTypeError(f"{word} is neither a whole number of epochs nor a share below 1")
    return value


def epochs_of(value: float, epochs: int) -> int:
    """What epochs_or_share stands for where a training has so many epochs; of a share, the whole ones."""
    return int(value) if value >= 1 else int(value * epochs + 1e-9)  # 0.29 of 100 is less than 29 in binary


def shares(word: str) -> str:
    """An argparse type: shares of three phases such as 1:3:1, which stay a text; parts_of reads them."""
    parts_of(word)
    return word


def parts_of(word: str) -> list[float]:
    """'1:3:1' -> [1.0, 3.0, 1.0]; argparse.ArgumentTypeError of what is not three positive numbers."""
    try:
        parts = [float(part) for part in word.split(":")]
    except ValueError:
        parts = []
    if len(parts) != 3 or not all(0 < part < 1e9 for part in parts):
        raise argparse.ArgumentTypeError(f"{word!r} is not three positive numbers such as 1:3:1")
    return parts


def share_out(epochs: int, parts: Sequence[float]) -> list[int]:
    """Whole numbers that sum up to `epochs` and are nearest to the shares `parts`, each at least 1."""
    ends = [int(end + 0.5) for end in np.cumsum([0, *parts]) / sum(parts) * epochs]
    lengths = [after - before for before, after in pairwise(ends)]
    while 0 in lengths:
        lengths[lengths.index(max(lengths))] -= 1
        lengths[lengths.index(0)] = 1
    return lengths
