"""Loaders of augmented images for the probes."""

import argparse

import torch
from torch.utils.data import DataLoader

from data.images import ImageFiles, ImageSet, PathList
from data.loader import AugmentedImages, BatchedLoader, EpochSampler, make_loader, view_loader
from data.views import arrays
from data.views.batches import ShiftedViews
from data.views.published import file_probe_transform, probe_transform
from utils.distributed import World
from utils.errors import InputError


def train_loader(
    data: ImageSet, args: argparse.Namespace, device: torch.device, at_once: int = 1
) -> DataLoader | BatchedLoader:
    """Shuffled, augmented Batches with views [n, 1, 3, H, W], of `at_once` steps each; the last one may be short."""
    transform = (probe_transform if args.augment == "pillow" else ShiftedViews)(data.spec.size, data.spec.flip)
    dataset = AugmentedImages(data.images, data.labels, transform, args.seed)
    sampler = EpochSampler(dataset, 1, 0, shuffle=True, seed=args.seed)
    return view_loader(dataset, sampler, args.batch_size * at_once, args.num_workers, device)


def file_train_loader(images: PathList, args: argparse.Namespace, world: World) -> DataLoader:
    """Shuffled, augmented Batches of this process with views [n, 1, 3, S, S]; the last one may be short.

    Raises:
        InputError: --data is no folder, an image is bad, or the batch size does not divide by the processes.
    """
    if args.batch_size % world.size:
        raise InputError(f"the batch of {args.batch_size} images is not divisible by {world.size} processes")
    fast, size = args.augment != "pillow", args.image_size
    transform = arrays.ProbeView(size) if fast else file_probe_transform(size)
    files, fill = ImageFiles(args.data, images, fast, args.on_bad_image), args.on_bad_image == "skip"
    dataset = AugmentedImages(files, images.labels, transform, args.seed, fill=fill)
    sampler = EpochSampler(dataset, world.size, world.rank, shuffle=True, seed=args.seed)
    return make_loader(dataset, sampler, args.batch_size // world.size, args.num_workers, world.device)
