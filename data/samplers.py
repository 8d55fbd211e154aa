"""Which images each process has, in which order: shuffled epochs, and evaluations in order."""

import math
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import DistributedSampler, Sampler

from utils.distributed import World

HOLE = -1  # in place of a sample id: no sample, so that its batch is short


class EpochSampler(DistributedSampler):
    """DistributedSampler that yields (epoch, sample id), so that workers that persist learn the epoch.

    Shuffles as a function of seed and epoch; pads with repeated samples to a multiple of the processes, as published.
    """

    skip = 0

    def __init__(self, dataset: Sized, *args: Any, **how: Any) -> None:
        self.all = range(len(dataset))
        super().__init__(self.all, *args, **how)
        self.parts, self.shares, self.holes = [self.all], [self.num_samples], [0]

    def choose(self, subset: torch.Tensor | list[torch.Tensor] | None, batch: int, smallest: int) -> None:
        """Let the epochs from now on have the sample ids `subset`, in any order; None for all.

        A last batch of this process with fewer than `smallest` samples is filled up by repeated ones. A list has the
        sample ids of several parts: the last batch of each is filled up by HOLE, which loaders leave out, so that the
        next part begins with a batch of its own.
        """
        parts = subset if isinstance(subset, list) else [self.all if subset is None else subset]
        self.parts = [x if x is self.all else x.to("cpu", torch.int64, copy=True) for x in parts if len(x)]
        self.shares = [math.ceil(len(part) / self.num_replicas) for part in self.parts]
        if subset is not None:
            self.shares = [_with_repeats(n, batch, smallest) for n in self.shares]
        self.holes = [-n % batch for n in self.shares]
        if self.holes:
            self.holes[-1] = 0  # nothing begins behind the last part
        self.num_samples = sum(self.shares) + sum(self.holes)

    @property
    def largest(self) -> int:
        """Samples of this process in the largest part of an epoch."""
        return max(self.shares, default=0)

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """The order of `epoch`; this process had the first `skip` samples of it before an interruption."""
        super().set_epoch(epoch)
        self.skip = skip

    def _order(self) -> torch.Tensor:
        """Sample ids [n] of this process in this epoch: DistributedSampler's, which makes lists of Python's numbers."""
        generator, found = torch.Generator().manual_seed(self.seed + self.epoch), []
        for part, share, holes in zip(self.parts, self.shares, self.holes, strict=True):
            places = torch.arange(share * self.num_replicas)[self.rank :: self.num_replicas] % max(len(part), 1)
            if self.shuffle:
                places = torch.randperm(len(part), generator=generator)[places]
            found += [places if part is self.all else part[places], torch.full((holes,), HOLE)]
        return torch.cat(found)[self.skip :] if found else torch.empty(0, dtype=torch.long)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # Some at a time become numbers of Python, which take 40 bytes each.
        return ((self.epoch, i) for some in self._order().split(4096) for i in some.tolist())


def _with_repeats(samples: int, batch: int, smallest: int) -> int:
    """How many samples there are when the last batch has at least `smallest`."""
    last = samples % batch
    return samples + max(smallest - last, 0) if last else samples


class ShardedBatches(Sampler):
    """Batches of an evaluation, in order: batch k is of process k modulo their number, and no image is repeated.

    Whole batches are dealt, so each has the same images, hence the same outputs, for any number of processes.

    Args:
        images: their numbers.
    """

    def __init__(self, images: Sequence[int] | np.ndarray, batch: int, world: World) -> None:
        images = np.asarray(images, np.int64)
        self.batches = [images[i : i + batch] for i in range(0, len(images), batch)][world.rank :: world.size]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return ([(0, index) for index in batch.tolist()] for batch in self.batches)
