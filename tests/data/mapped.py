"""What tests/data/test_paths.py runs in processes that start anew: few imports, so that they start at once."""

import re
from multiprocessing.connection import Connection
from pathlib import Path

from data.paths import Paths


def mapped() -> list[str]:
    """The files of Paths that this process has mapped: their numbers in the system."""
    return re.findall(r" (\d+) +/memfd:paths", Path("/proc/self/maps").read_text())


def tell(paths: Paths, pipe: Connection) -> None:
    """Send what is mapped here, and what the paths are."""
    pipe.send((mapped(), len(paths), paths[-1], paths == list(paths)))
