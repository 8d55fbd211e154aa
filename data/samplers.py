"""Which images each process gets, and in which order: shuffled epochs, and evaluations in order."""

import math
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import DistributedSampler, Sampler

from utils.distributed import World

HOLE = -1  # in place of a sample id: loaders leave it out, so its batch is short


def mixed_seed(*numbers: int) -> int:
    """A 64-bit seed of a generator that depends on all of the numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


class EpochSampler(DistributedSampler):
    """DistributedSampler that yields (epoch, sample id), so that persistent workers know the epoch.

    The order is a function of seed and epoch. Repeated samples pad it to a multiple of the processes, as published.
    """

    skip = 0

    def __init__(self, dataset: Sized, *args: Any, **how: Any) -> None:
        self.all = range(len(dataset))
        super().__init__(self.all, *args, **how)
        self.parts, self.shares, self.holes = [self.all], [self.num_samples], [0]

    def choose(self, subset: torch.Tensor | list[torch.Tensor] | None, batch: int, smallest: int) -> None:
        """Restrict the epochs from now on to the sample ids `subset`, in any order; None for all.

        If the last batch of this process has fewer than `smallest` samples, repeated ones are added to it. A list has
        the sample ids of several parts, and no batch has samples of two: HOLEs fill the last batch of each part.
        """
        parts = subset if isinstance(subset, list) else [self.all if subset is None else subset]
        self.parts = [x if x is self.all else x.to("cpu", torch.int64, copy=True) for x in parts if len(x)]
        self.shares = [math.ceil(len(part) / self.num_replicas) for part in self.parts]
        if subset is not None:
            self.shares = [_with_repeats(n, batch, smallest) for n in self.shares]
        self.holes = [-n % batch for n in self.shares]
        if self.holes:
            self.holes[-1] = 0  # no part follows the last one
        self.num_samples = sum(self.shares) + sum(self.holes)

    @property
    def largest(self) -> int:
        """Number of this process's samples in the largest part of an epoch."""
        return max(self.shares, default=0)

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Take the order of `epoch`, without its first `skip` samples, which came before an interruption of the run."""
        super().set_epoch(epoch)
        self.skip = skip

    def _order(self) -> torch.Tensor:
        """Sample ids [n] of this process in this epoch, as DistributedSampler's, but tensors in place of its lists."""
        generator, ids = torch.Generator().manual_seed(self.seed + self.epoch), []
        for part, share, holes in zip(self.parts, self.shares, self.holes, strict=True):
            places = torch.arange(share * self.num_replicas)[self.rank :: self.num_replicas] % max(len(part), 1)
            if self.shuffle:
                places = torch.randperm(len(part), generator=generator)[places]
            ids += [places if part is self.all else part[places], torch.full((holes,), HOLE)]
        return torch.cat(ids)[self.skip :] if ids else torch.empty(0, dtype=torch.long)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # In pieces, as Python's integers take 40 bytes each.
        return ((self.epoch, i) for piece in self._order().split(4096) for i in piece.tolist())


def _with_repeats(samples: int, batch: int, smallest: int) -> int:
    """The number of samples after repeated ones have filled the last batch up to at least `smallest`."""
    last = samples % batch
    return samples + max(smallest - last, 0) if last else samples


class ShardedBatches(Sampler):
    """Batches of an evaluation, in order: process r of R gets batches r, r + R, ..., and no image is repeated.

    Whole batches are dealt out, so each has the same images, hence the same outputs, for any number of processes.

    Args:
        images: their indices.
    """

    def __init__(self, images: Sequence[int] | np.ndarray, batch: int, world: World) -> None:
        images = np.asarray(images, np.int64)
        self.batches = [images[i : i + batch] for i in range(0, len(images), batch)][world.rank :: world.size]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return ([(0, index) for index in batch.tolist()] for batch in self.batches)
