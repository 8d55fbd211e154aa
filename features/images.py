"""Images that a frozen network reads: batches of a data set in memory, or of listed files."""

import argparse
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch.utils.data import DataLoader

from data.images import ImageFiles, ImageList, ImageSet
from data.loader import (
    AugmentedImages,
    ShardedBatches,
    make_loader,
    to_batch,
)
from data.views import arrays
from data.views.published import centre_transform, file_probe_transform
from run.bad_images import BadImages
from utils.distributed import World

Images = Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def images_in_memory(data: ImageSet, batch: int) -> Images:
    """Batches (images [n, 3, H, W] in [0, 1], labels [n], sample ids [n]) of a data set, in order."""
    for i in range(0, len(data.images), batch):
        labels = torch.from_numpy(data.labels[i : i + batch])
        yield to_batch(data.images[i : i + batch]), labels, torch.arange(i, i + len(labels))


def images_of_files(loader: DataLoader, bad: BadImages) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches (images [n, 3, H, W] in [0, 1], labels [n], sample ids [n]) of a loader; bad images are left out.

    Raises:
        InputError: an image is bad and --on_bad_image is error.
    """
    for batch in loader:
        bad.take(batch, training=False)
        if len(batch.labels):
            yield batch.views[:, 0], batch.labels, batch.index


def subset(data: ImageSet, chosen: ImageList | None) -> ImageSet:
    """The images of a list; all of them for None."""
    if chosen is None:
        return data
    return ImageSet(data.spec, data.images[chosen.ids], data.labels[chosen.ids])


def file_test_loader(
    images: ImageList,
    args: argparse.Namespace,
    world: World,
    augmented: bool = False,
    numbers: Sequence[int] | None = None,
) -> DataLoader:
    """This process's share of the Batches of a list, in order and none of them twice; of centre crops, or augmented.

    Args:
        numbers: of the images that are asked for, from 0; default all.

    Raises:
        InputError: --data is no folder, or an image is bad.
    """
    fast, size = args.augment != "pillow", args.image_size
    if augmented:
        transform = arrays.ProbeView(size) if fast else file_probe_transform(size)
    else:
        transform = arrays.CentreView(size) if fast else centre_transform(size)
    files = ImageFiles(args.data, images, fast, args.on_bad_image)
    dataset = AugmentedImages(files, images.labels, transform, args.seed, fill=False)
    numbers = range(len(files)) if numbers is None else numbers
    batches = ShardedBatches(numbers, args.test_batch_size, world)
    return make_loader(dataset, batches, 1, args.num_workers, world.device)
