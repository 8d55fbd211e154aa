"""glibc's memory allocator: whether it returns freed memory to the system at once."""

import ctypes
import sys
from collections.abc import Callable

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h


def keep_memory() -> None:
    """Let glibc keep freed memory: else the kernel maps the pages of each large temporary tensor anew at each step.

    Blocks up to the largest threshold that this glibc accepts come from the heap, and the heap is not trimmed.
    """
    mallopt = _mallopt()
    # Older versions refuse more than 32 MiB. Where both are refused, not trimming alone would make it slower.
    if mallopt and (mallopt(_MMAP, 2**30) or mallopt(_MMAP, 2**25)):
        mallopt(_TRIM, -1)


def return_memory() -> None:
    """Set glibc's default thresholds again, in processes that are forked from one that keeps its memory."""
    if mallopt := _mallopt():
        mallopt(_MMAP, 2**17)
        mallopt(_TRIM, 2**17)


def _mallopt() -> Callable[[int, int], int] | None:
    """The function of the C library; None where it has none."""
    return getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
