"""What a run says while it goes on."""

from typing import NamedTuple

from tqdm import tqdm

from run.bad_images import BadImages
from run.log import Log


class Reporter(NamedTuple):
    """log: lines and numbers. bar: of images. bad: images that cannot be read. every: steps between published lines."""

    log: Log
    bar: tqdm
    bad: BadImages
    every: int
