"""The training images of a pre-training, and the loader of their view pairs."""

import argparse
from collections.abc import Iterable

import numpy as np

from data.images import ImageArrays, ImageFiles
from data.loader import AugmentedImages, Batch, EpochSampler, view_loader
from data.sets.files import LIST_SPECS, PRETRAIN_LISTS
from data.sets.memory import load
from data.sets.registry import spec_of
from data.views import arrays
from data.views.batches import PretrainViews
from data.views.boost import Boost
from data.views.published import pretrain_transform
from split.lists import read_list, read_path_list
from split.open import Lists
from utils.distributed import World
from utils.errors import InputError


def training_images(args: argparse.Namespace, lists: Lists | None = None) -> tuple[AugmentedImages, list[int]]:
    """The images of the training list, two views each, and their number per class.

    Raises:
        InputError: the data or the list is missing or bad.
    """
    lists = lists or Lists()
    boost = Boost(args.rand_k, args.rand_strength, args.rand_floor) if args.bcl else None
    if args.dataset in PRETRAIN_LISTS:
        name, default = PRETRAIN_LISTS[args.dataset]
        spec = LIST_SPECS[name]
        path = lists.find(args.imagenetCustomSplit or default, spec, args.data)
        chosen = read_path_list(path, spec, lists.held_out(spec))
        size, fast = args.image_size or spec.size, args.augment != "pillow"
        images, labels = ImageFiles(args.data, chosen, fast, args.on_bad_image), chosen.labels
        if fast:
            transform = arrays.PretrainView(size, args.strength, args.resizeLower)
        else:
            transform = pretrain_transform(size, True, args.strength, args.resizeLower, blur=True)
    else:
        data = load(spec_of(args.dataset), args.data, train=True, download=args.download)
        spec = data.spec
        name = spec.train_list if args.trainSplit == "trainIdxList.npy" else args.trainSplit
        path = lists.find(name, spec, data.labels)
        chosen = read_list(path, spec, disjoint_from=lists.indices(spec.val_list, spec, data.labels))
        images, labels = ImageArrays(data.images[chosen.indices], chosen.indices), data.labels[chosen.indices]
        how = spec.size, spec.flip, args.strength, args.resizeLower
        if args.augment == "pillow":
            transform = pretrain_transform(*how)
        else:
            transform, boost = PretrainViews(*how, boost=boost), None
    counts = np.bincount(labels, minlength=spec.classes).tolist()
    fill = args.on_bad_image == "skip"
    return AugmentedImages(images, labels, transform, args.seed, views=2, fill=fill, boost=boost), counts


def two_view_loader(dataset: AugmentedImages, args: argparse.Namespace, world: World) -> Iterable[Batch]:
    """This process's Batches of view pairs, views [n, 2, 3, H, W]; the last one may be short, as published.

    Raises:
        InputError: the batch size does not divide by the processes, or leaves a batch of one.
    """
    if args.batch_size % world.size:
        raise InputError(f"the batch of {args.batch_size} images is not divisible by {world.size} processes")
    sampler = EpochSampler(dataset, world.size, world.rank, shuffle=True, seed=args.seed)
    batch = args.batch_size // world.size
    if batch == 1 or args.prune and len(sampler) % batch == 1:
        raise InputError(f"batch_size {args.batch_size} leaves a batch of one image, which batch norm cannot take")
    return view_loader(dataset, sampler, batch, args.num_workers, world.device)
