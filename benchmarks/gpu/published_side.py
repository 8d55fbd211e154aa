"""The published procedure on a device: benchmarks/published.py's steps, with views made image by image in workers.

It keeps PyTorch's defaults: convolutions may use TF32, and cuDNN does not search for its fastest algorithm.
"""

import atexit
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks import published
from benchmarks.gpu.settings import LR, TEMPERATURE, Size, images_of, method_on, scores_of, use
from benchmarks.memory import Loop
from data.loader import AugmentedImages, collate
from data.views.boost import Boost
from data.views.published import pretrain_transform
from utils.distributed import cores


class Endless(Sampler):
    """Keys of all samples in random orders without end, so that workers are not restarted for each epoch."""

    def __init__(self, images: int, key: Callable[[int], object]) -> None:
        self.images, self.key, self.generator = images, key, torch.Generator().manual_seed(0)

    def __iter__(self) -> Iterator[object]:
        while True:
            yield from map(self.key, torch.randperm(self.images, generator=self.generator).tolist())


class Numbered(Dataset):
    """published.TwoViews that also returns the images' numbers."""

    def __init__(self, images: np.ndarray) -> None:
        self.views = published.TwoViews(images)

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.views[index], index


def loader_of(method: str, size: Size, device: torch.device, workers: int) -> DataLoader:
    """Endless batches of (views [n, 2, 3, S, S], sample ids [n]); BCL's have more items after these."""
    images = images_of(size)
    settings = {"batch_size": size.pairs, "pin_memory": device.type == "cuda", "num_workers": min(workers, cores())}
    if method != "bcl-d":
        data = Numbered(images)
        return DataLoader(data, sampler=Endless(len(data), int), **settings)
    labels = np.zeros(len(images), np.int64)
    data = AugmentedImages(images, labels, pretrain_transform(size.side, True, 1.0, 0.1), 0, 2)
    data.boost = Boost(2)
    data.set_scores(scores_of(len(images)))
    return DataLoader(data, sampler=Endless(len(data), lambda index: (1, index)), collate_fn=collate, **settings)


class Batches:
    """The batches of loader_of, a turn's number of them at a time.

    Between turns the workers are stopped: else they would make the next turn's views while another side is timed.
    """

    def __init__(self, method: str, size: Size, device: torch.device, workers: int) -> None:
        self.steps, before = size.steps, set(multiprocessing.active_children())
        self.iterator = iter(loader_of(method, size, device, workers))
        self.workers = set(multiprocessing.active_children()) - before
        atexit.register(self._signal, signal.SIGCONT)  # at exit Python waits for them to end
        self._signal(signal.SIGSTOP)

    def turn(self) -> Iterator[list[torch.Tensor]]:
        """The batches of one turn; the caller must consume all of them."""
        with self._working():
            yield from itertools.islice(self.iterator, self.steps)

    @contextmanager
    def _working(self) -> Iterator[None]:
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """End the workers."""
        self._signal(signal.SIGCONT)
        self.iterator = iter(())

    def _signal(self, number: int) -> None:
        for worker in self.workers:
            with suppress(ProcessLookupError):
                os.kill(worker.pid, number)


class Published:
    """The published side: a turn is `size.steps` steps including their data; `close` ends the workers."""

    def __init__(self, method: str, size: Size, device: torch.device, workers: int) -> None:
        self.device, self.method = device, method
        self.encoder = method_on(method, size, device).encoder
        if method != "simclr":
            for name, mask in published.pruning_masks(self.encoder, 0.9).items():
                self.encoder.get_submodule(name).mask.copy_(mask)
        self.optimizer = torch.optim.SGD(self.encoder.parameters(), LR, momentum=0.9, weight_decay=1e-4)
        self.memory, self.batches = Loop(size.images, 2), Batches(method, size, device, workers)
        self.close = self.batches.close

    def turn(self) -> None:
        """Train for one turn."""
        use(tf32=True, search=False)
        for batch in self.batches.turn():
            self.step(batch[0].to(self.device), batch[1])

    def step(self, views: torch.Tensor, index: torch.Tensor) -> None:
        """One update; BCL also writes the losses to its memory one image at a time, as published."""
        if self.method == "simclr":
            published.simclr_step(self.encoder, self.optimizer, views, TEMPERATURE)
        elif self.method == "sdclr":
            published.sdclr_step(self.encoder, self.optimizer, views, TEMPERATURE)
        else:
            losses = published.half_steps(self.encoder, self.optimizer, views, TEMPERATURE)
            self.memory.remember(2, index, losses.view(2, -1).mean(0).cpu())
