"""Augmented images and loaders: batches of views with sample ids and labels."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from data.images import BadImage, ImageArrays, ImageFiles
from data.samplers import HOLE, EpochSampler, ShardedBatches
from data.views.batch_ops import sent
from data.views.boost import Boost
from data.workers import WorkerLoader, workers_that_fit
from utils.distributed import cores
from utils.errors import InputError

Transform = Callable[[Image.Image], torch.Tensor]


class Batch(NamedTuple):
    """views [n, V, 3, H, W] in [0, 1], sample ids [n], labels [n]; messages on bad images; samples without an image."""

    views: torch.Tensor
    index: torch.Tensor
    labels: torch.Tensor
    bad: list[str]
    lost: int


def collate(samples: list[tuple[torch.Tensor | None, int, int, list[str]]]) -> Batch:
    """Samples of AugmentedImages as a Batch; those without an image are left out, and holes."""
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

    On CUDA they are copied, or made, on `stream`, the run's stream for data, one ahead of the step that is computed.
    """
    if device.type != "cuda":
        yield from loader
        return
    for batch, ready in one_ahead(_sent_batches(loader, device, stream)):
        computing = torch.cuda.current_stream(device)
        computing.wait_event(ready)  # for this batch alone: the next one is being made
        for tensor in batch[:3]:
            tensor.record_stream(computing)  # so that its memory is not taken again before it was read
        yield batch


def _sent_batches(
    loader: Iterable[Batch], device: torch.device, stream: torch.cuda.Stream | None
) -> Iterator[tuple[Batch, torch.cuda.Event]]:
    """Batches on a CUDA device, each with the event behind which it is there."""
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
    """The items in order; before one is handed out, the next one is asked for."""
    nothing = object()
    held = next(items, nothing)
    while held is not nothing:
        coming = next(items, nothing)
        yield held
        held = coming


TRIES = 100  # images that are tried in place of a bad one, before the sample is left out


def mixed_seed(*numbers: int) -> int:
    """A generator's seed of 64 bits that depends on all of the numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


class AugmentedImages(Dataset):
    """`views` random draws of `transform` for each image, reproducible per (epoch, sample id).

    Args:
        images: [N, H, W, 3] uint8, as such or ImageArrays, or image files. labels: [N] int64. transform: one view.
        seed: of all draws. views: per image. fill: another image, drawn for this epoch and sample, takes a bad one's
            place, so that batches keep their size; else there is none.

    `boost`: RandAugment between the transform's pixels and its tensor, as strong as `scores` [N] in [0, 1] say; a
    tensor in shared memory, so that workers that persist see what the training writes there.
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
            InputError: they are not one for each image, or out of range.
        """
        if scores.shape != self.scores.shape:
            raise InputError(f"there are {list(scores.shape)} memorisation scores for {len(self)} images")
        if not (scores.min() >= 0 and scores.max() <= 1):
            raise InputError(f"memorisation scores must be in [0, 1], not {scores.min():g} to {scores.max():g}")
        self.scores.copy_(scores)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor | None, int, int, list[str]]:
        """(epoch, sample id) -> views [views, 3, H, W] in [0, 1], sample id, label, messages on bad images.

        Where another image takes a bad one's place, id and label are of that image. A hole has no views.
        """
        epoch, index = key
        if index == HOLE:
            return None, HOLE, 0, []
        image, index, bad = self.good_image(epoch, index)
        if image is None:
            return None, index, int(self.labels[index]), bad
        state = torch.get_rng_state()
        # torch.manual_seed would also queue a call for CUDA, in every worker, for every sample.
        torch.default_generator.manual_seed(mixed_seed(self.seed, *key))
        try:
            score, boost = float(self.scores[index]), self.boost
            transform = self.transform if boost is None else boost.view(self.transform, score)
            views = torch.stack([transform(image) for _ in range(self.views)])
        finally:
            torch.set_rng_state(state)
        return views, index, int(self.labels[index]), bad

    def sample_bytes(self) -> int:
        """Bytes of the views of one sample, measured on the first image that can be read; 0 if none of TRIES can."""
        samples = (self[0, index][0] for index in range(min(len(self), TRIES)))
        return next((views.nbytes for views in samples if views is not None), 0)

    def good_image(self, epoch: int, index: int) -> tuple[Any, int, list[str]]:
        """The image, or one in its place, its number, and messages on those that were bad; None if there is none."""
        bad, others = [], None
        while True:
            try:
                return self.images[index], index, bad
            except BadImage as error:
                bad.append(str(error))
            if not self.fill or len(bad) > TRIES:
                return None, index, bad
            # Drawn at random: a neighbour would replace all images of a missing folder, many times in an epoch.
            others = others or np.random.RandomState([self.seed, epoch, index])
            index = int(others.randint(len(self)))


def fingerprint(data: AugmentedImages) -> str:
    """SHA-256 of the labels and of the images, or of the names of their files, in order."""
    found = hashlib.sha256(np.ascontiguousarray(data.labels).tobytes())
    found.update(data.images.identity)
    return found.hexdigest()


def make_loader(
    dataset: AugmentedImages,
    sampler: EpochSampler | ShardedBatches,
    batch: int,
    workers: int,
    device: torch.device,
) -> DataLoader:
    """Batches of `batch` images, the last one short, or those of ShardedBatches; at most one worker per core.

    Raises:
        InputError: there is no room for batches of so many workers.
    """
    workers = min(workers, cores())  # their number changes no sample
    if isinstance(sampler, ShardedBatches):
        largest, how = max(map(len, sampler.batches), default=0), {"batch_sampler": sampler}
    else:
        largest, how = min(batch, len(sampler)), {"batch_size": batch, "sampler": sampler}
    how |= {
        "collate_fn": collate,
        "pin_memory": device.type == "cuda",
        "generator": torch.Generator(),  # it draws once for each epoch that it begins, again where one is resumed
    }
    workers, ahead = workers_that_fit(workers, largest * dataset.sample_bytes()) if workers else (0, 0)
    if not workers:
        return DataLoader(dataset, **how)
    return WorkerLoader(dataset, num_workers=workers, prefetch_factor=ahead, **how)


class BatchedLoader:
    """Batches of a data set whose transform is for batches; a DataLoader's stand-in, without workers.

    Args:
        dataset: images as an array [N, H, W, 3] uint8, in memory or memory-mapped; on CUDA, one in memory is copied
            there once. sampler: the process's share of each epoch. batch: images, the last one short.
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
        data, order = self.dataset, np.fromiter(self.sampler, np.dtype((np.int64, 2)))  # (epoch, sample id)
        if not len(order):
            return
        generator = torch.Generator().manual_seed(mixed_seed(data.seed, int(order[0, 0])))
        table = torch.rand(len(data), data.views, sum(data.transform.numbers), generator=generator)
        shared = torch.rand(len(data), generator=generator)
        for chosen in torch.from_numpy(order[:, 1].copy()).split(self.batch_size):
            chosen, bad, lost = self._good(int(order[0, 0]), chosen[chosen != HOLE])
            if not len(chosen):
                yield Batch(torch.empty(0), chosen, chosen, bad, lost)
                continue
            images = self._of(chosen).repeat_interleave(data.views, 0)
            each = chosen.repeat_interleave(data.views)
            views = data.transform(images, table[chosen].flatten(0, 1), data.scores[each], shared[each])
            labels = torch.from_numpy(data.labels[chosen.numpy()])
            yield Batch(views.unflatten(0, (len(chosen), data.views)), chosen, labels, bad, lost)

    def _good(self, epoch: int, chosen: torch.Tensor) -> tuple[torch.Tensor, list[str], int]:
        """Sample ids whose images could be read, of some; messages on the others, and how many have no replacement."""
        data, messages, good = self.dataset, [], []
        if not data.images.bad:
            return chosen, [], 0
        for index in chosen.tolist():
            if index not in data.images.bad:
                good.append(index)
                continue
            image, number, bad = data.good_image(epoch, index)
            messages += bad
            if image is not None:
                good.append(number)
        return torch.tensor(good, dtype=torch.long), list(dict.fromkeys(messages)), len(chosen) - len(good)

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
    """Batches of `batch` images, the last one short; `workers` make them where the transform is for single images."""
    if getattr(dataset.transform, "of_batches", False):
        return BatchedLoader(dataset, sampler, batch, device)
    return make_loader(dataset, sampler, batch, workers, device)


def whole_batches(
    loader: DataLoader | BatchedLoader, device: torch.device, stream: "torch.cuda.Stream | None"
) -> Iterator[Batch]:
    """Batches of an epoch, over and over, on the device; short ones only where the epoch has no other."""
    whole = min(loader.batch_size, loader.sampler.largest)
    while True:
        yield from (batch for batch in on_device(loader, device, stream) if len(batch.index) + batch.lost == whole)
