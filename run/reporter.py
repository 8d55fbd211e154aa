"""What an epoch reports to while it runs."""

from typing import NamedTuple

from tqdm import tqdm

from run.bad_images import BadImages
from run.log import Log


class Reporter(NamedTuple):
    """log: of lines and numbers. bar: counts images. bad: unreadable images. every: steps between published lines."""

    log: Log
    bar: tqdm
    bad: BadImages
    every: int
