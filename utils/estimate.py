"""What a run takes: a few steps of it are done, at as many images as seconds and memory allow, and scaled up."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

from data.views import Batch, on_device
from utils.compute import Compute
from utils.machine import resident
from utils.optim import set_rate

FEW, SECONDS = 8, 4.0  # images of the first step; time of each of the later ones
# Gradients of a layer's input and output, and the layer's work space, live beside what is saved for the backward pass.
TEMPORARIES = 3
# What a heap that is never trimmed takes (utils/allocator.py), beside what lives in it: its holes grow for many steps.
HEAP = 1.25


@dataclass(frozen=True)
class Work:
    """The steps of one process.

    Args:
        loader: Batches of so many images, made in this process. loss: of a batch, a scalar; None where nothing is
            trained. optimizer: None likewise. batch: images of a step. images: of this process in an epoch.
        workers: processes that make the run's batches; none where it makes them itself.
    """

    loader: Callable[[int], Iterable[Batch]]
    loss: Callable[[Batch], torch.Tensor | None]
    optimizer: torch.optim.Optimizer | None
    batch: int
    images: int
    workers: int


@dataclass(frozen=True)
class Estimate:
    """Seconds for an image, of the network and of its data; peak bytes of the process, and of the GPU (0 without).

    `batch`: images of the largest step that was done; what is beyond it is scaled. `views`: bytes of an image's views.
    """

    network: float
    data: float
    process: float
    gpu: float
    batch: int
    views: float


def estimate(work: Work, compute: Compute, room: float) -> Estimate:
    """Do steps with learning rate 0.

    Args:
        room: bytes that may be taken; the steps take half of them at most.
    """
    if work.optimizer is not None:
        set_rate(work.optimizer, 0.0)
    batch, before = min(work.batch, work.images), resident()
    few, some = min(FEW, batch), min(2 * FEW, batch)
    (first, _), (second, largest) = (_sizes(work, compute, n) for n in (few, some))
    # What does not grow with the batch, weights in the run's precision say, is in both.
    each = (second - first) / max(1, some - few) + TEMPORARIES * largest / some
    network, data, views = _timed(work, compute, some, 1)
    able = int(min(SECONDS / (network + data), room / 2 / max(each, 1)))
    # Batches of a power of two are the fast ones; a batch that is done whole needs no scaling.
    n = batch if able >= batch else max(some, 2 ** max(0, able.bit_length() - 1))
    if n > some:
        network, data, views = _timed(work, compute, n, 2)
    rest = each * (batch - n)
    on_gpu = compute.device.type == "cuda"
    gpu = torch.cuda.max_memory_allocated(compute.device) + rest if on_gpu else 0.0
    process = resident() if on_gpu else before + HEAP * (resident() - before + rest)
    return Estimate(network, data, process, gpu, n, views)


def _batches(work: Work, compute: Compute, n: int) -> Iterator[Batch]:
    """Whole batches of n images, epoch after epoch."""
    for loader in itertools.repeat(work.loader(n)):
        for batch in on_device(loader, compute.device, compute.stream):
            if len(batch.index) == n:
                yield batch


def _step(work: Work, compute: Compute, batch: Batch) -> None:
    with compute.autocast():
        loss = work.loss(batch)
    if loss is not None:
        compute.update(loss, work.optimizer)
    if compute.device.type == "cuda":
        torch.cuda.synchronize(compute.device)


def _timed(work: Work, compute: Compute, n: int, steps: int) -> tuple[float, float, float]:
    """Seconds for an image of the network and of its data, after a first step, and bytes of an image's views."""
    batches, network, data = _batches(work, compute, n), 0.0, 0.0
    for i in range(steps + 1):
        start = time.perf_counter()
        batch = next(batches)
        made = time.perf_counter()
        _step(work, compute, batch)
        if i:
            network, data = network + time.perf_counter() - made, data + made - start
    return network / steps / n, data / steps / n, batch.views.nbytes / n


def _sizes(work: Work, compute: Compute, n: int) -> tuple[int, int]:
    """Bytes that a step of n images saves for its backward pass, and of the largest output of a layer."""
    saved: dict[int, int] = {}
    with _largest_output() as largest:

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            _step(work, compute, next(_batches(work, compute, n)))
    return sum(saved.values()), largest[0]


@contextmanager
def _largest_output() -> Iterator[list[int]]:
    """Inside, the one number of the list is the size in bytes of the largest tensor that a module has put out."""
    largest = [0]

    def note(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            largest[0] = max(largest[0], output.nbytes)

    handle = register_module_forward_hook(note)
    try:
        yield largest
    finally:
        handle.remove()
