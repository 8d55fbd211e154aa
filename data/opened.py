"""The images of a data set, opened: augmented for pre-training and probes, and without augmentation for features."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from data.flags import Views
from data.images import ImageArrays, ImageFiles, ImageList, ImageSet
from data.loader import AugmentedImages, Batch, Transform, make_loader
from data.samplers import ShardedBatches
from data.sets.base import DataSet, MemorySet
from data.sets.files import Files
from data.sets.memory import load, resized
from data.views import arrays
from data.views.batches import PretrainViews, ShiftedViews
from data.views.boost import Boost
from data.views.published import centre_transform, file_probe_transform, pretrain_transform, probe_transform
from utils.distributed import World
from utils.errors import InputError


class Opened(ABC):
    """A data set together with the folder of its images.

    Where a list may be None, None stands for the test images of a data set in memory, which have no list.

    Raises:
        InputError: from each method, the images are missing or damaged.
    """

    dataset: DataSet
    lists_from: np.ndarray | str  # what missing lists are made from: labels [N] of all training images, or the folder
    pixels: dict[str, str] | None = None  # of images in memory: SHA-256 of 'train' and 'test', and 'source'

    def count(self, chosen: ImageList | None) -> int:
        """The number of images of a list."""
        return len(chosen)

    def listed(self, name: str) -> ImageList | None:
        """The list of this name if it comes with the images; None if it is a file below split/."""
        return None

    @property
    def notes(self) -> list[str]:
        """Lines for the log on the images that were found; none for published data sets."""
        return []

    def keep(self, folder: Path) -> None:  # noqa: B027 - most have nothing to keep
        """Keep the result of a slow scan in the run's folder, for its next start."""

    def training(self, chosen: ImageList, views: Views, boost: Boost | None = None) -> "TrainingImages":
        """Two augmented views of each image, [2, 3, S, S] in [0, 1] for a sample, with the list and its class sizes.

        Args:
            boost: RandAugment of BCL, whose strength follows the images' memorisation scores.
        """
        transform, fill = self._pretrain_transform(views, boost), views.skip_bad
        images = AugmentedImages(self._images(chosen, views), chosen.labels, transform, views.seed, 2, fill)
        if views.engine != "batched":  # batched transforms contain the boost
            images.boost = boost
        counts = np.bincount(chosen.labels, minlength=self.dataset.classes).tolist()
        return TrainingImages(images, counts, chosen, self)

    def probing(self, chosen: ImageList, views: Views) -> AugmentedImages:
        """One view of each image, [1, 3, S, S] in [0, 1], augmented as a probe trains its classifier."""
        transform, fill = self._probe_transform(views), views.skip_bad
        return AugmentedImages(self._images(chosen, views), chosen.labels, transform, views.seed, 1, fill)

    @abstractmethod
    def plain(
        self, chosen: ImageList | None, views: Views, batch: int, world: World, numbers: np.ndarray | None = None
    ) -> Iterable[Batch]:
        """This process's Batches of un-augmented images, views [n, 1, 3, S, S] in [0, 1]; centre crops of files.

        All processes together have each image once, in order.

        Args:
            numbers: [n], indices within the list of the images wanted, from 0; default all.
        """

    def labelled(self, chosen: ImageList, views: Views, batch: int, world: World) -> Iterable[Batch]:
        """Batches as of `plain`, of the labelled images whose features train the classifiers of BCL's probes."""
        return self.plain(chosen, views, batch, world)

    @abstractmethod
    def _images(self, chosen: ImageList, views: Views) -> ImageArrays | ImageFiles: ...

    @abstractmethod
    def _pretrain_transform(self, views: Views, boost: Boost | None) -> Transform: ...

    @abstractmethod
    def _probe_transform(self, views: Views) -> Transform: ...


class TrainingImages(NamedTuple):
    """images: two augmented views of each image of the list `chosen`. counts: images per class. data: the data set."""

    images: AugmentedImages
    counts: list[int]
    chosen: ImageList
    data: Opened


class OpenedArrays(Opened):
    """Images in memory.

    Args:
        root: folder of the data. download: fetch them where they are missing.
    """

    def __init__(self, dataset: MemorySet, root: str, download: bool | None) -> None:
        self.dataset, self._load = dataset, partial(load, dataset, root, download=download)
        self._resized: dict[tuple[int, bytes | None], ImageSet] = {}

    @cached_property
    def train(self) -> ImageSet:
        """All training images."""
        return self._load(train=True)

    @cached_property
    def test(self) -> ImageSet:
        """The test images."""
        return self._load(train=False)

    @property
    def lists_from(self) -> np.ndarray:
        """Labels [N] of all training images."""
        return self.train.labels

    @cached_property
    def pixels(self) -> dict[str, str]:
        """SHA-256 of all training and all test images as read, before any resizing; and their source, 'published' or
        'own'."""
        hashes = {part: hashlib.sha256(getattr(self, part).images).hexdigest() for part in ("train", "test")}
        return {**hashes, "source": self.train.source}

    def of(self, chosen: ImageList | None, size: int) -> ImageSet:
        """The images of a list at `size` x `size` pixels; resized ones are made once and kept."""
        if size == self.dataset.size:
            return self._as_given(chosen)
        key = size, None if chosen is None else chosen.ids.tobytes()
        if key not in self._resized:
            given = self._as_given(chosen)
            self._resized[key] = replace(given, images=resized(given.images, size))
        return self._resized[key]

    def _as_given(self, chosen: ImageList | None) -> ImageSet:
        if chosen is None:
            return self.test
        return replace(self.train, images=self.train.images[chosen.ids], labels=self.train.labels[chosen.ids])

    def count(self, chosen: ImageList | None) -> int:
        return len(self.test.labels if chosen is None else chosen)

    def plain(
        self, chosen: ImageList | None, views: Views, batch: int, world: World, numbers: np.ndarray | None = None
    ) -> Iterable[Batch]:
        return ArrayBatches(self.of(chosen, views.size), batch, world, numbers)

    def _images(self, chosen: ImageList, views: Views) -> ImageArrays:
        return ImageArrays(self.of(chosen, views.size).images, chosen.ids)

    def _pretrain_transform(self, views: Views, boost: Boost | None) -> Transform:
        how = (views.size, self.dataset.flip, views.strength, views.smallest_crop)
        return pretrain_transform(*how) if views.engine == "pillow" else PretrainViews(*how, boost)

    def _probe_transform(self, views: Views) -> Transform:
        return (probe_transform if views.engine == "pillow" else ShiftedViews)(views.size, self.dataset.flip)


class OpenedFiles(Opened):
    """Image files; the paths of lists are relative to the folder `root`."""

    def __init__(self, dataset: Files, root: str) -> None:
        self.dataset, self.lists_from = dataset, root

    def plain(
        self, chosen: ImageList | None, views: Views, batch: int, world: World, numbers: np.ndarray | None = None
    ) -> Iterable[Batch]:
        transform = (centre_transform if views.engine == "pillow" else arrays.CentreView)(views.size)
        images = AugmentedImages(self._images(chosen, views), chosen.labels, transform, views.seed, fill=False)
        batches = ShardedBatches(np.arange(len(images)) if numbers is None else numbers, batch, world)
        return make_loader(images, batches, batch, views.workers, world.device)

    def labelled(self, chosen: ImageList, views: Views, batch: int, world: World) -> Iterable[Batch]:
        """With the random crops of a probe's training, as published, in place of centre crops."""
        images = self.probing(chosen, views)
        images.fill = False
        batches = ShardedBatches(np.arange(len(images)), batch, world)
        return make_loader(images, batches, batch, views.workers, world.device)

    def _images(self, chosen: ImageList, views: Views) -> ImageFiles:
        return ImageFiles(self.lists_from, chosen, views.engine != "pillow", views.skip_bad)

    def _pretrain_transform(self, views: Views, boost: Boost | None) -> Transform:
        if views.engine == "pillow":
            return pretrain_transform(views.size, True, views.strength, views.smallest_crop, blur=True)
        return arrays.PretrainView(views.size, views.strength, views.smallest_crop)

    def _probe_transform(self, views: Views) -> Transform:
        return (file_probe_transform if views.engine == "pillow" else arrays.ProbeView)(views.size, views.jitter)


class OpenedTransfer(OpenedFiles):
    """A set for transfer of a frozen network; `lists` come with the images. Its features are of centre crops."""

    def __init__(self, dataset: Files, root: str, lists: Mapping[str, ImageList]) -> None:
        super().__init__(dataset, root)
        self._lists = lists

    def listed(self, name: str) -> ImageList:
        if name not in self._lists:
            raise InputError(f"{self.dataset.name} has no list {name!r}: its lists are {' and '.join(self._lists)}")
        return self._lists[name]

    labelled = Opened.labelled


class ArrayBatches:
    """This process's Batches of un-augmented images in memory, views [n, 1, 3, H, W] in [0, 1].

    Args:
        bad: number -> message on those that could not be read, which are left out.
    """

    def __init__(
        self,
        data: ImageSet,
        batch: int,
        world: World,
        numbers: np.ndarray | None = None,
        bad: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        numbers = np.arange(len(data.labels)) if numbers is None else numbers
        self.data, self.batches, self.bad = data, ShardedBatches(numbers, batch, world).batches, bad

    def __iter__(self) -> Iterator[Batch]:
        for wanted in self.batches:
            messages = [self.bad[number] for number in wanted.tolist() if number in self.bad] if self.bad else []
            numbers = np.array([n for n in wanted.tolist() if n not in self.bad], np.int64) if messages else wanted
            images, labels = to_batch(self.data.images[numbers]), torch.from_numpy(self.data.labels[numbers])
            yield Batch(images[:, None], torch.from_numpy(numbers), labels, messages, len(messages))


def to_batch(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [0, 1]: the whole transform of evaluations."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)
