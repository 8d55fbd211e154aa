"""Time, memory and the best matrix product of a device; what is left of the time that a measurement may take."""

import contextlib
import gc
import platform
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from benchmarks.compare import machine


class Clock:
    """Seconds since its making, of so many minutes."""

    def __init__(self, minutes: float) -> None:
        self.start, self.seconds = time.perf_counter(), 60 * minutes

    @property
    def spent(self) -> float:
        """Seconds."""
        return time.perf_counter() - self.start

    @property
    def left(self) -> float:
        """Seconds; negative when they are over."""
        return self.seconds - self.spent


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """What some work takes, until the device has done it."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


class Memory:
    """`peak`: bytes of a GPU that tensors made inside held at most; on a CPU, of the process since its start."""

    peak = 0


@contextlib.contextmanager
def memory_of(device: torch.device) -> Iterator[Memory]:
    """Notes the peak of what is done inside."""
    found, before = Memory(), 0
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    yield found
    if device.type == "cuda":
        found.peak = torch.cuda.max_memory_allocated(device) - before
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        found.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget(device: torch.device) -> None:
    """Give back memory that nothing holds."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def best_product(device: torch.device, sizes: Sequence[int], repeats: int = 10) -> float:
    """Floating-point operations per second of the fastest square product of bfloat16 matrices.

    Args:
        sizes: rows. repeats: products that are timed together, after one that is not; the best of three times counts.
    """
    best = 0.0
    for n in sizes:
        a, b = (torch.randn(n, n, device=device).bfloat16() for _ in range(2))
        out = a @ b

        def products(a: torch.Tensor = a, b: torch.Tensor = b, out: torch.Tensor = out) -> None:
            for _ in range(repeats):
                torch.matmul(a, b, out=out)

        taken = min(seconds_of(products, device) for _ in range(3))
        best = max(best, repeats * 2 * n**3 / taken)
    return best


def card(device: torch.device) -> str:
    """The device's name, for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else machine()


def file_name(device: torch.device) -> str:
    """The device's name, as a file's."""
    return re.sub("[^a-z0-9]+", "-", card(device).lower()).strip("-")


def libraries(device: torch.device) -> dict[str, str]:
    """Versions of what computes."""
    found = {"torch": torch.__version__, "python": platform.python_version()}
    if device.type == "cuda":
        found |= {"cuda": torch.version.cuda or "none", "cudnn": str(torch.backends.cudnn.version())}
    return found
