"""Measures time, peak memory and the fastest matrix product of a device, and the time that a program has left."""

import contextlib
import gc
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from benchmarks.compare import machine
from run.gpu import visible_gpus
from utils.errors import InputError
from utils.files import PROJECT


class Clock:
    """The time limit of a program, in minutes, which starts when the clock is made."""

    def __init__(self, minutes: float) -> None:
        self.start, self.seconds = time.perf_counter(), 60 * minutes

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    @property
    def left(self) -> float:
        """Seconds until the limit; negative after it."""
        return self.seconds - self.spent


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that some work takes, until the device has finished it."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


class Memory:
    """peak: in bytes; on a GPU, of the tensors allocated inside memory_of; on a CPU, of the process since its start."""

    peak = 0


@contextlib.contextmanager
def memory_of(device: torch.device) -> Iterator[Memory]:
    """Measure the peak memory of the work inside; `peak` is set at its end."""
    memory, before = Memory(), 0
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    yield memory
    if device.type == "cuda":
        memory.peak = torch.cuda.max_memory_allocated(device) - before
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        memory.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget(device: torch.device) -> None:
    """Return unused memory to the device, for what is measured next."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def best_product(device: torch.device, sizes: Sequence[int], repeats: int = 10) -> float:
    """Floating-point operations per second of the fastest square product of bfloat16 matrices.

    Args:
        sizes: rows of the matrices. repeats: products that are timed together, after a warm-up product. The fastest of
            three such timings counts.
    """
    best = 0.0
    for n in sizes:
        a, b = (torch.randn(n, n, device=device).bfloat16() for _ in range(2))
        out = a @ b

        def products(a: torch.Tensor = a, b: torch.Tensor = b, out: torch.Tensor = out) -> None:
            for _ in range(repeats):
                torch.matmul(a, b, out=out)

        seconds = min(seconds_of(products, device) for _ in range(3))
        best = max(best, repeats * 2 * n**3 / seconds)
    return best


def check_first_gpu() -> None:
    """Check that GPU 0 can be used; if its check fails, it prints the reason, and this process ends with exit code 2.

    run.gpu.check_gpu runs in another process, as a card in exclusive mode takes no second context: that of a check in
    this process would shut out the tests and runs that follow.

    Raises:
        InputError: there is no GPU.
    """
    if not visible_gpus():
        raise InputError("there is no GPU here that this PyTorch can use: run it on a machine that has one")
    check = "from run.gpu import check_gpu; from utils.errors import run_main; run_main(lambda: check_gpu(0))"
    if subprocess.run([sys.executable, "-c", check], cwd=PROJECT).returncode:
        sys.exit(2)


def card(device: torch.device) -> str:
    """The name of the GPU; of the processor and its cores on a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else machine()


def file_name(device: torch.device) -> str:
    """The device's name in the form of a file name."""
    return re.sub("[^a-z0-9]+", "-", card(device).lower()).strip("-")


def libraries(device: torch.device) -> dict[str, str]:
    """Library -> version, of those that affect speed."""
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    if device.type == "cuda":
        versions |= {"cuda": torch.version.cuda or "none", "cudnn": str(torch.backends.cudnn.version())}
    return versions
