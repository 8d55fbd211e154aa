"""glibc's memory allocator: whether freed memory goes back to the system at once."""

import ctypes
import sys
from collections.abc import Callable

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h


def keep_memory() -> None:
    """Let glibc keep freed memory: else each large temporary of each step is fetched page by page from the kernel.

    Temporaries up to the largest threshold that this glibc takes come from the heap, which is not trimmed.
    """
    mallopt = _mallopt()
    # Older ones refuse more than 32 MiB. Where both were refused, the other threshold alone would do harm.
    if mallopt and (mallopt(_MMAP, 2**30) or mallopt(_MMAP, 2**25)):
        mallopt(_TRIM, -1)


def return_memory() -> None:
    """glibc's own thresholds, for processes that are forked from one that keeps its memory."""
    if mallopt := _mallopt():
        mallopt(_MMAP, 2**17)
        mallopt(_TRIM, 2**17)


def _mallopt() -> Callable[[int, int], int] | None:
    """None where there is another C library."""
    return getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
