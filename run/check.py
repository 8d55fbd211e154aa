"""--check: time and memory of real steps of a run, an estimate for the whole run; nothing is written."""

import io
import os
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from utils.errors import InputError
from utils.text import size

STEPS = 3  # steps that are timed, after the first one


class Step(NamedTuple):
    """The time of a step: seconds of the first one, the median of those after it, and the images of a step."""

    first: float
    seconds: float
    images: int


def measure_step(step: Callable[[], int], device: torch.device) -> Step:
    """Time 1 + STEPS steps; the first one also loads and tunes kernels. Making the batch is part of a step.

    Args:
        step: does one step and returns the number of its images.
    """
    seconds, images = [], 0
    for _ in range(1 + STEPS):
        start = time.perf_counter()
        images = step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return Step(seconds[0], statistics.median(seconds[1:]), images)


def memory_used(device: torch.device) -> str:
    """Peak memory of this process so far, without its workers, in words; on CUDA also that of the GPU."""
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    line = f"{size(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)} of memory"
    if device.type == "cuda":
        line += f", {size(torch.cuda.max_memory_reserved(device))} of the GPU's"
    return line


def checkpoint_bytes(content: dict[str, Any]) -> int:
    """Size of a checkpoint's file in bytes, measured by saving it to memory."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer().nbytes


def check_folder(folder: Path, needed: int) -> str:
    """The free space, in words, of the disk that an experiment's folder is or will be on.


    Args:
        needed: bytes that the run will write.

    Raises:
        InputError: the folder cannot be written, or the disk is too full.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{place} cannot be written: choose another folder for the experiments")
    free = shutil.disk_usage(place).free
    if needed > free:
        raise InputError(f"{folder} needs {size(needed)} of disk, {size(free)} are free: free some, or choose another")
    return f"{size(free)} free"
