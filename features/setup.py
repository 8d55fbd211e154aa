"""The features that a command line asks for: data, list and backbone, then the extraction."""

import argparse
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from data.flags import check_augment, opening_of, views_of
from data.images import ImageList
from data.loader import Batch
from data.sets.registry import data_set
from features.encoder import read_encoder
from features.extract import backbone_of, extract, images_of
from features.flags import reading_of
from models.frozen import FrozenBackbone, frozen_backbone
from run.bad_images import BadImages
from run.compute import Compute
from run.flags import precision_of
from run.log import Log
from run.world import world_from_environment
from split.open import Lists
from utils.distributed import World, join


class Extraction(NamedTuple):
    """A frozen backbone and the Batches whose features it computes, of some or all of the `listed` images of a list."""

    backbone: FrozenBackbone
    batches: Iterable[Batch]
    chosen: ImageList | None
    listed: int
    bad: BadImages
    world: World

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that features.save writes; {} in processes other than the main one.

        Raises:
            InputError: an image is bad, and is not to be skipped.
        """
        features = extract(self.backbone, images_of(self.batches, self.bad), self.world.device)
        self.bad.report()
        tensors = {"features": features.values, "labels": features.labels, "ids": features.ids}
        arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        if self.chosen is not None and self.chosen.ids is not None:
            arrays["ids"] = self.chosen.ids[arrays["ids"]]
        elif self.chosen is not None:
            arrays["paths"] = np.array(list(self.chosen.paths[arrays["ids"]]))
        return arrays if self.world.main else {}


def set_up(args: argparse.Namespace) -> Extraction:
    """Find images and list, load the backbone, and connect the processes.

    Raises:
        InputError: data set, list or checkpoint is bad, or an option is not for this data set.
    """
    data = data_set(args.dataset).open(args.data, args.download, opening_of(args))
    dataset = data.dataset
    check_augment(args, dataset)
    views, world = views_of(args), world_from_environment(args.no_cuda)
    compute = Compute(precision_of(args), world.device)
    source = read_encoder(args.checkpoint, reading_of(args))
    source.print_format(args.quiet or not world.main)
    state, stem = source.encoder.state, source.encoder.stem
    model = backbone_of(state, args.model or source.model or dataset.default_model, stem, source.path, args.bnNameCnt)
    join(world)
    name = {"train": dataset.train_list, "val": dataset.val_list, "test": dataset.test_list}.get(args.list, args.list)
    chosen = None if name is None else Lists().open(name, data)
    bad, listed = BadImages(args.on_bad_image, Log(None, world.main)), data.count(chosen)
    numbers = subset(listed, args.images, args.seed)
    batches = data.plain(chosen, views, args.test_batch_size, world, numbers)
    return Extraction(frozen_backbone(model, *compute.placement), batches, chosen, listed, bad, world)


def subset(count: int, wanted: int | None, seed: int) -> np.ndarray:
    """Indices of the images that are taken of `count`: all, or a sorted random subset of `wanted`."""
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))
