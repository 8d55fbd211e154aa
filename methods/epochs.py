"""Options for numbers of epochs that may be given as shares of all epochs, and what they stand for."""

import argparse
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from utils.cli import not_negative


def epochs_or_share(word: str) -> float:
    """An argparse type: a whole number of epochs, or below 1 a share of all, which epochs_of turns into epochs."""
    value = not_negative(word)
    if value >= 1 and value != int(value):
        raise argparse.ArgumentTypeError(f"{word} is neither a whole number of epochs nor a share below 1")
    return value


def epochs_of(value: float, epochs: int) -> int:
    """The number of epochs that epochs_or_share stands for in a training of `epochs`; shares are rounded down."""
    return int(value) if value >= 1 else int(value * epochs + 1e-9)  # in binary, 0.29 * 100 is just below 29


def shares(word: str) -> str:
    """An argparse type: shares of three phases such as 1:3:1, checked but kept as text; parts_of reads them."""
    parts_of(word)
    return word


def parts_of(word: str) -> list[float]:
    """'1:3:1' -> [1.0, 3.0, 1.0]; argparse.ArgumentTypeError for text that is not three positive numbers."""
    try:
        parts = [float(part) for part in word.split(":")]
    except ValueError:
        parts = []
    if len(parts) != 3 or not all(0 < part < 1e9 for part in parts):
        raise argparse.ArgumentTypeError(f"{word!r} is not three positive numbers such as 1:3:1")
    return parts


def share_out(epochs: int, parts: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `epochs` and are closest to the shares `parts`, each at least 1."""
    ends = [int(end + 0.5) for end in np.cumsum([0, *parts]) / sum(parts) * epochs]
    lengths = [after - before for before, after in pairwise(ends)]
    while 0 in lengths:
        lengths[lengths.index(max(lengths))] -= 1
        lengths[lengths.index(0)] = 1
    return lengths
