"""What the probes train and are judged on: lists, subsets, loaders, and the class sizes of the groups."""

import argparse
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader

from data import opencv
from data.batch_views import BatchedLoader, ShiftedViews, view_loader
from data.datasets import ImageSet, Spec
from data.image_lists import ImageFiles, ListSpec, PathList
from data.views import (
    AugmentedImages,
    EpochSampler,
    ShardedBatches,
    centre_transform,
    file_probe_transform,
    make_loader,
    probe_transform,
)
from split.ensure import ensure_list, ensure_path_list
from split.lists import IndexList, read_list
from split.path_lists import read_path_list
from utils.distributed import World
from utils.errors import InputError
from utils.results import DEFAULT_LIST, FEATURE_PROTOCOLS


def find_lists(args: argparse.Namespace, data: ImageSet) -> dict[str, IndexList | None]:
    """The checked lists: 'train', 'val' (None for the test set), 'group' (None if no split is named).

    Of BCL's probes 'train1', ... in place of 'train' and 'val'.

    Raises:
        InputError: a list is bad, or training and validation share an image.
    """
    spec = data.spec

    def read(name: str, apart: IndexList | None = None) -> IndexList:
        return read_list(ensure_list(name, spec, data.labels), spec, apart)

    group = args.groupSplit or long_tailed_list(args.experiment, spec)
    groups = {"group": read(group) if group else None}
    if args.protocol in FEATURE_PROTOCOLS:
        return {**groups, **{f"train{i}": read(name) for i, name in enumerate(_probe_lists(args.protocol, spec), 1)}}
    val = None if args.valiSplit == "test" else read(args.valiSplit or spec.val_list)
    train = read(spec.train_list if args.trainSplit == DEFAULT_LIST else args.trainSplit, val)
    return {"train": train, "val": val, **groups}


def _probe_lists(protocol: str, spec: Spec | ListSpec) -> list[str]:
    names = spec.probe_lists(protocol)
    if not names:
        others = ", ".join(p for p in FEATURE_PROTOCOLS if spec.probe_lists(p))
        raise InputError(f"{spec.name} has no lists for --protocol {protocol}, only for {others}")
    return names


def long_tailed_list(experiment: str, spec: Spec) -> str:
    """Path below split/ of the D_i list of the split in an experiment's name; '' where it names none.

    D_b experiments are grouped by D_i too, as published.
    """
    match = re.search(rf"({spec.prefix}split\d+(?:_pareto[\d.]+)?(?:_imb[\d.]+)?)_D_[ib]", experiment)
    return spec.split_list(f"{match.group(1)}_D_i") if match else ""


def subset(data: ImageSet, chosen: IndexList | None) -> ImageSet:
    """The images of a list; all of them for None."""
    if chosen is None:
        return data
    return ImageSet(data.spec, data.images[chosen.indices], data.labels[chosen.indices])


def train_loader(
    data: ImageSet, args: argparse.Namespace, device: torch.device, at_once: int = 1
) -> DataLoader | BatchedLoader:
    """Shuffled, augmented Batches with views [n, 1, 3, H, W], of `at_once` steps each; the last one may be short."""
    transform = (probe_transform if args.augment == "pillow" else ShiftedViews)(data.spec.size, data.spec.flip)
    dataset = AugmentedImages(data.images, data.labels, transform, args.seed)
    sampler = EpochSampler(dataset, 1, 0, shuffle=True, seed=args.seed)
    return view_loader(dataset, sampler, args.batch_size * at_once, args.num_workers, device)


def find_path_lists(args: argparse.Namespace, spec: ListSpec) -> dict[str, PathList | None]:
    """The checked lists of image files: 'train', 'val', 'test', 'group' (None if the experiment's name tells none).

    An evaluation alone needs no 'train' and 'val'. Of BCL's probes 'train1', ... in place of both.

    Raises:
        InputError: a list is bad, or training, validation and test share an image.
    """

    def read(name: str, *apart: PathList) -> PathList:
        return read_path_list(ensure_path_list(name, spec, args.data), spec, apart)

    test = read(spec.test)
    group = args.groupSplit or spec.grouping_list(args.experiment)
    groups = {"test": test, "group": read(group) if group else None}
    if args.protocol in FEATURE_PROTOCOLS:
        # The published list of Places shares images with the validation list, which has no part in this.
        return {**groups, **{f"train{i}": read(n, test) for i, n in enumerate(_probe_lists(args.protocol, spec), 1)}}
    if args.test_only:
        return groups
    val = read(args.valiSplit or spec.val, test)
    train = read(spec.train if args.fullset else args.customSplit or spec.default, val, test)
    return {"train": train, "val": val, **groups}


def group_sizes(item: IndexList | PathList | None, labels: np.ndarray | None, classes: int) -> list[int] | None:
    """Images per class of the grouping list; `labels` are those of a data set in memory."""
    if item is None:
        return None
    chosen = item.labels if isinstance(item, PathList) else labels[item.indices]
    return np.bincount(chosen, minlength=classes).tolist()


def file_train_loader(images: PathList, args: argparse.Namespace, world: World) -> DataLoader:
    """Shuffled, augmented Batches of this process with views [n, 1, 3, S, S]; the last one may be short.

    Raises:
        InputError: --data is no folder, an image is bad, or the batch size does not divide by the processes.
    """
    if args.batch_size % world.size:
        raise InputError(f"--batch-size {args.batch_size} is not divisible by {world.size} processes")
    fast, size = args.augment != "pillow", args.image_size
    transform = opencv.ProbeView(size) if fast else file_probe_transform(size)
    files, fill = ImageFiles(args.data, images, fast, args.on_bad_image), args.on_bad_image == "skip"
    dataset = AugmentedImages(files, images.labels, transform, args.seed, fill=fill)
    sampler = EpochSampler(dataset, world.size, world.rank, shuffle=True, seed=args.seed)
    return make_loader(dataset, sampler, args.batch_size // world.size, args.num_workers, world.device)


def file_test_loader(
    images: PathList,
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
        transform = opencv.ProbeView(size) if fast else file_probe_transform(size)
    else:
        transform = opencv.CentreView(size) if fast else centre_transform(size)
    files = ImageFiles(args.data, images, fast, args.on_bad_image)
    dataset = AugmentedImages(files, images.labels, transform, args.seed, fill=False)
    numbers = range(len(files)) if numbers is None else numbers
    batches = ShardedBatches(numbers, args.test_batch_size, world)
    return make_loader(dataset, batches, 1, args.num_workers, world.device)
