"""The training images of a pre-training, and the loader of their view pairs."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from data.flags import Views
from data.images import ImageList
from data.loader import AugmentedImages, Batch, EpochSampler, view_loader
from data.opened import Opened
from data.views.boost import Boost
from utils.distributed import World
from utils.errors import InputError


class TrainingImages(NamedTuple):
    """images: of the list `chosen`, two augmented views each. counts: images per class. data: the data set."""

    images: AugmentedImages
    counts: list[int]
    chosen: ImageList
    data: Opened


def training_images(data: Opened, chosen: ImageList, views: Views, boost: Boost | None = None) -> TrainingImages:
    """The images of a training list.

    Args:
        boost: by the images' scores.

    Raises:
        InputError: the data is missing or bad.
    """
    images = data.pretraining(chosen, views, boost)
    counts = np.bincount(chosen.labels, minlength=data.spec.classes).tolist()
    return TrainingImages(images, counts, chosen, data)


def two_view_loader(
    dataset: AugmentedImages, batch_size: int, views: Views, world: World, smallest: int = 1
) -> Iterable[Batch]:
    """This process's Batches of view pairs, views [n, 2, 3, H, W]; the last one may be short, as published.

    Args:
        batch_size: images of all processes. smallest: images of a batch that a step can take.

    Raises:
        InputError: the batch size does not divide by the processes, or leaves a batch of one.
    """
    if batch_size % world.size:
        raise InputError(f"the batch of {batch_size} images is not divisible by {world.size} processes")
    sampler = EpochSampler(dataset, world.size, world.rank, shuffle=True, seed=views.seed)
    batch = batch_size // world.size
    if batch == 1 or 0 < len(sampler) % batch < smallest:
        raise InputError(f"batch_size {batch_size} leaves a batch of one image, which batch norm cannot take")
    return view_loader(dataset, sampler, batch, views.workers, world.device)
