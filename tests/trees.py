"""Trees of real JPEG files in ImageNet's layout, small enough to make in seconds."""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import split.open
from data.flags import views_of
from data.images import ImageSet
from data.opened import ArrayBatches, TrainingImages
from data.sets.registry import data_set, pretraining_set
from pretrain.flags import training_list
from split.make_image_lists import make_image_lists, scan
from split.open import Lists
from utils.distributed import World


def make_tree(root: Path, classes: list[str], train: list[int], val: int = 2, size: int = 40) -> Path:
    """Make train/<class>/*.JPEG and val/<class>/*.JPEG; each class has its own colour, each image its own noise.

    Args:
        train: number of images, class by class. val: number of images of every class. size: longer side in pixels.
    """
    rng = np.random.RandomState(0)
    colours = rng.randint(0, 190, (len(classes), 3))
    number = 0
    for c, name in enumerate(classes):
        for part, count in (("train", train[c]), ("val", val)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                height, width = size - i % 3, size - 8 * (i % 2)
                pixels = colours[c] + rng.randint(0, 60, (height // 4 + 1, width // 4 + 1, 3))
                image = Image.fromarray(pixels.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
                number += 1
                label = f"ILSVRC2012_val_{number:08d}" if part == "val" else f"{name}_{i}"
                image.save(folder / f"{label}.JPEG", quality=90)
    return root


def names(count: int) -> list[str]:
    """Names of class folders in ImageNet's style."""
    return [f"n{10_000_000 + 37 * i}" for i in range(count)]


def make_listed_tree(root: Path, train: list[int], lists: Path) -> None:
    """Make a tree with 100 classes, and in `lists` its ImageNet-100 lists at a hundredth of the published sizes.

    Args:
        train: number of images of each class.
    """
    dataset = data_set("imagenet-100")
    make_tree(root, names(100), train)
    for name, content in make_image_lists(dataset, scan(dataset, root), scale=0.01).items():
        (lists / name).parent.mkdir(exist_ok=True)
        (lists / name).write_bytes(content)


def take_lists_from(folder: Path, set_attribute=setattr) -> None:
    """Let lists be read from `folder` instead of split/; set_attribute: monkeypatch's setattr, which undoes it."""
    set_attribute(split.open, "ROOT", folder)


def training_of(args: argparse.Namespace) -> TrainingImages:
    """The training images of a pre-training's command line."""
    dataset, _ = pretraining_set(args.dataset)
    data = dataset.open(args.data, args.download)
    return data.training(Lists().open_training(training_list(args), data), views_of(args))


def images_in_memory(data: ImageSet, batch: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(images, labels, ids) of each batch of a data set, in order."""
    batches = ArrayBatches(data, batch, World(0, 1, torch.device("cpu")))
    return [(batch.views[:, 0], batch.labels, batch.index) for batch in batches]
