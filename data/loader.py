"""Augmented images and their loaders: batches of views with sample ids and labels."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from data.images import BadImage, ImageArrays, ImageFiles
from data.samplers import HOLE, EpochSampler, ShardedBatches, mixed_seed
from data.views.batch_ops import sent
from data.views.boost import Boost
from data.workers import WorkerLoader, workers_that_fit
from utils.distributed import cores
from utils.errors import InputError

Transform = Callable[[Image.Image], torch.Tensor]


class Batch(NamedTuple):
    """views [n, V, 3, H, W] in [0, 1]; index [n]: sample ids; labels [n]; bad: messages on images that could not be
    read; lost: number of samples that are missing because of them."""

    views: torch.Tensor
    index: torch.Tensor
    labels: torch.Tensor
    bad: list[str]
    lost: int


def collate(samples: list[tuple[torch.Tensor | None, int, int, list[str]]]) -> Batch:
    """Samples of AugmentedImages as a Batch; holes and samples without an image are left out."""
    samples = [sample for sample in samples if sample[1] != HOLE]
    whole = [sample for sample in samples if sample[0] is not None]
    views = torch.stack([sample[0] for sample in whole]) if whole else torch.empty(0)
    index, labels = (torch.tensor([sample[i] for sample in whole], dtype=torch.long) for i in (1, 2))
    bad = list(dict.fromkeys(message for sample in samples for message in sample[3]))
    return Batch(views, index, labels, bad, len(samples) - len(whole))


def on_device(
    loader: Iterable[Batch], device: torch.device, stream: torch.cuda.Stream | None = None
) -> Iterator[Batch]:
    """The loader's Batches with views, ids and labels on the device.

    On CUDA they are copied, or made, on `stream`, the run's stream for data, one batch ahead of the training step.
    """
    if device.type != "cuda":
        yield from loader
        return
    for batch, ready in one_ahead(_sent_batches(loader, device, stream)):
        computing = torch.cuda.current_stream(device)
        computing.wait_event(ready)  # not for the whole stream, which is already at the next batch
        for tensor in batch[:3]:
            tensor.record_stream(computing)  # so that the allocator does not reuse its memory while the step reads it
        yield batch


def _sent_batches(
    loader: Iterable[Batch], device: torch.device, stream: torch.cuda.Stream | None
) -> Iterator[tuple[Batch, torch.cuda.Event]]:
    """Batches on a CUDA device, each with the event that is recorded when its tensors are complete."""
    iterator = iter(loader)
    while True:
        with torch.cuda.stream(stream):
            batch = next(iterator, None)
            if batch is None:
                return
            tensors = [sent(t, device) for t in (batch.views, batch.index, batch.labels)]
            ready = torch.cuda.Event()
            ready.record()
        yield Batch(*tensors, batch.bad, batch.lost), ready


def one_ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The items in order; the next one is requested before one is yielded."""
    nothing = object()
    held = next(items, nothing)
    while held is not nothing:
        coming = next(items, nothing)
        yield held
        held = coming


TRIES = 100  # images that are tried in place of a bad one before the sample is left out


class AugmentedImages(Dataset):
    """`views` random views of each image by `transform`, reproducible per (epoch, sample id, earlier draws in it).

    Args:
        images: [N, H, W, 3] uint8 as an array or ImageArrays, or image files. labels: [N] int64. transform: makes one
            view. seed: of all draws. views: per image. fill: replace an image that cannot be read by another one, drawn
            for this epoch and sample, so that batches keep their size; else the sample is left out.

    `boost`: RandAugment between the transform's pixels and its tensor, whose strength follows the memorisation `scores`
    [N] in [0, 1]. These are a tensor in shared memory, so that persistent workers see what the training process writes.
    """

    boost: Boost | None = None

    def __init__(
        self,
        images: np.ndarray | ImageArrays | ImageFiles,
        labels: np.ndarray,
        transform: Transform,
        seed: int,
        views: int = 1,
        fill: bool = True,
    ) -> None:
        self.images = ImageArrays(images) if isinstance(images, np.ndarray) else images
        self.labels, self.transform, self.seed, self.views, self.fill = labels, transform, seed, views, fill
        self.scores = torch.zeros(len(images)).share_memory_()

    def __len__(self) -> int:
        return len(self.images)

    def set_scores(self, scores: torch.Tensor) -> None:
        """Take the memorisation scores [N] of the coming epoch, in [0, 1].

        Raises:
            InputError: there is not one score for each image, or one is out of range.
        """
        if scores.shape != self.scores.shape:
            raise InputError(f"there are {list(scores.shape)} memorisation scores for {len(self)} images")
        if not (scores.min() >= 0 and scores.max() <= 1):
            raise InputError(f"memorisation scores must be in [0, 1], not {scores.min():g} to {scores.max():g}")
        self.scores.copy_(scores)

    def __getitem__(self, key: tuple[int, ...]) -> tuple[torch.Tensor | None, int, int, list[str]]:
        """(epoch, sample id) -> views [views, 3, H, W] in [0, 1], sample id, label, messages on bad images.

        A third number of the key, of the image's earlier draws in the epoch, gives a repeated image other views. Where
        another image replaces a bad one, id and label are of that image. A hole has no views.
        """
        key = key if any(key[2:]) else key[:2]
        epoch, index = key[:2]
        if index == HOLE:
            return None, HOLE, 0, []
        image, index, bad = self.good_image(epoch, index)
        if image is None:
            return None, index, int(self.labels[index]), bad
        state = torch.get_rng_state()
        # Not torch.manual_seed, which would also queue a call for CUDA, in every worker for every sample.
        torch.default_generator.manual_seed(mixed_seed(self.seed, *key))
        try:
            score, boost = float(self.scores[index]), self.boost
            transform = self.transform if boost is None else boost.view(self.transform, score)
            views = torch.stack([transform(image) for _ in range(self.views)])
        finally:
            torch.set_rng_state(state)
        return views, index, int(self.labels[index]), bad

    def sample_bytes(self) -> int:
        """Bytes of the views of one sample, of the first image that can be read; 0 if none of TRIES can."""
        samples = (self[0, index][0] for index in range(min(len(self), TRIES)))
        return next((views.nbytes for views in samples if views is not None), 0)

    def good_image(self, epoch: int, index: int) -> tuple[Any, int, list[str]]:
        """The image or its replacement, its number, and messages on those that were bad; no image after TRIES."""
        bad, others = [], None
        while True:
            try:
                return self.images[index], index, bad
            except BadImage as error:
                bad.append(str(error))
            if not self.fill or len(bad) > TRIES:
                return None, index, bad
            # Drawn at random: the next good one would replace all images of a missing folder, many times in an epoch.
            others = others or np.random.RandomState([self.seed, epoch, index])
            index = int(others.randint(len(self)))


def fingerprint(data: AugmentedImages) -> str:
    """SHA-256 of the labels and of the images, or of the names of their files, in order."""
    digest = hashlib.sha256(np.ascontiguousarray(data.labels).tobytes())
    digest.update(data.images.identity)
    return digest.hexdigest()


def make_loader(
    dataset: AugmentedImages,
    sampler: EpochSampler | ShardedBatches,
    batch: int,
    workers: int,
    device: torch.device,
) -> DataLoader:
    """Batches of `batch` images, of which the last may be short, or those of ShardedBatches; at most a worker per core.

    Raises:
        InputError: shared memory has no room for the batches of so many workers.
    """
    workers = min(workers, cores())  # samples do not depend on their number
    if isinstance(sampler, ShardedBatches):
        largest, how = max(map(len, sampler.batches), default=0), {"batch_sampler": sampler}
    else:
        largest, how = min(batch, len(sampler)), {"batch_size": batch, "sampler": sampler}
    how |= {
        "collate_fn": collate,
        "pin_memory": device.type == "cuda",
        # A DataLoader draws a number at the start of every epoch, also of a resumed one: not from the global generator.
        "generator": torch.Generator(),
    }
    workers, ahead = workers_that_fit(workers, largest * dataset.sample_bytes()) if workers else (0, 0)
    if not workers:
        return DataLoader(dataset, **how)
    return WorkerLoader(dataset, num_workers=workers, prefetch_factor=ahead, **how)


class BatchedLoader:
    """Batches of a data set whose transform makes views of whole batches: used like a DataLoader, without workers.

    Args:
        dataset: images as an array [N, H, W, 3] uint8, in memory or memory-mapped; an array in memory is copied to a
            CUDA device once. sampler: the process's share of each epoch. batch: images; the last batch may be short.
        device: where views are made.
    """

    def __init__(self, dataset: AugmentedImages, sampler: EpochSampler, batch: int, device: torch.device) -> None:
        self.dataset, self.sampler, self.batch_size, self.device = dataset, sampler, batch, device
        self.images, self.resident = dataset.images.images, None
        if device.type == "cuda" and not isinstance(self.images, np.memmap):
            self.resident = torch.from_numpy(self.images).to(device)

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        data, keys = self.dataset, iter(self.sampler)  # as of AugmentedImages, of one epoch
        if (first := next(keys, None)) is None:
            return
        order, epoch = np.fromiter(chain([first], keys), np.dtype((np.int64, len(first)))), first[0]
        generator = torch.Generator().manual_seed(mixed_seed(data.seed, epoch))
        table = torch.rand(len(data), data.views, sum(data.transform.numbers), generator=generator)
        shared = torch.rand(len(data), generator=generator)
        for drawn in torch.from_numpy(order[:, 1:].copy()).split(self.batch_size):
            drawn, bad, lost = self._good(epoch, drawn[drawn[:, 0] != HOLE])
            chosen = drawn[:, 0]
            if not len(chosen):
                yield Batch(torch.empty(0), chosen, chosen, bad, lost)
                continue
            u = table[chosen]
            for place in drawn[:, 1:].any(1).nonzero().flatten().tolist():  # of images that are drawn again
                generator.manual_seed(mixed_seed(data.seed, epoch, *drawn[place].tolist()))
                u[place] = torch.rand(u.shape[1:], generator=generator)
            images = self._of(chosen).repeat_interleave(data.views, 0)
            ids = chosen.repeat_interleave(data.views)  # of each view
            views = data.transform(images, u.flatten(0, 1), data.scores[ids], shared[ids])
            labels = torch.from_numpy(data.labels[chosen.numpy()])
            yield Batch(views.unflatten(0, (len(chosen), data.views)), chosen, labels, bad, lost)

    def _good(self, epoch: int, drawn: torch.Tensor) -> tuple[torch.Tensor, list[str], int]:
        """The keys `drawn` [n, ...], without the epoch, with the ids of unreadable images replaced; messages on these,
        and how many have no replacement."""
        data, messages, good = self.dataset, [], []
        if not data.images.bad:
            return drawn, [], 0
        for index, *earlier in drawn.tolist():
            if index not in data.images.bad:
                good.append((index, *earlier))
                continue
            image, number, bad = data.good_image(epoch, index)
            messages += bad
            if image is not None:
                good.append((number, *earlier))
        lost = len(drawn) - len(good)
        return drawn.new_tensor(good).view(-1, drawn.shape[1]), list(dict.fromkeys(messages)), lost

    def _of(self, chosen: torch.Tensor) -> torch.Tensor:
        """The images [n, 3, H, W] uint8 of these ids, on the device."""
        if self.resident is None:
            images = torch.from_numpy(self.images[chosen.numpy()])
        else:
            images = self.resident[sent(chosen, self.device)]
        return sent(images, self.device).permute(0, 3, 1, 2)


def view_loader(
    dataset: AugmentedImages, sampler: EpochSampler, batch: int, workers: int, device: torch.device
) -> DataLoader | BatchedLoader:
    """Batches of `batch` images, of which the last may be short; `workers` make them if the transform takes single
    images."""
    if getattr(dataset.transform, "of_batches", False):
        return BatchedLoader(dataset, sampler, batch, device)
    return make_loader(dataset, sampler, batch, workers, device)


def whole_batches(
    loader: DataLoader | BatchedLoader, device: torch.device, stream: "torch.cuda.Stream | None"
) -> Iterator[Batch]:
    """Batches of an epoch, again and again, on the device; short ones only if the epoch has no others."""
    whole = min(loader.batch_size, loader.sampler.largest)
    while True:
        yield from (batch for batch in on_device(loader, device, stream) if len(batch.index) + batch.lost == whole)
