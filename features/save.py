"""Features of any checkpoint, this project's or the authors', for any data set, as an .npz file.

    python -m features.save --dataset digits --checkpoint checkpoints_digits/NAME/model.pt --model res20_s --out f.npz
    python -m features.save --dataset cifar100 --data datasets --list train --checkpoint FILE --out features.npz
    python -m features.save --dataset imagenet --data DIR --checkpoint FILE --out features.npz

The file holds `features` [N, C] float32, before the projection head; `labels` [N] and `ids` [N] int64. An id is the
number of an image within the training or the test images of a data set in memory, or of a line within its list of
image files, counted from 0; of files, `paths` [N] holds their names below the data folder, too. The images are
those that the probes evaluate on: un-augmented, centre crops of files. Classifiers and heads of the checkpoint are
left out.
"""

import argparse
import io
import sys

import numpy as np
import torch

from data.flags import check_augment
from data.images import ImageSet
from data.sets.files import LIST_SPECS
from data.sets.memory import load
from data.sets.registry import find_spec, spec_of
from features.extract import Features, extract, load_backbone
from features.flags import parse_save
from features.images import file_test_loader, images_in_memory, images_of_files
from models.frozen import FrozenBackbone, frozen_backbone
from run.bad_images import BadImages
from run.compute import Compute
from run.log import Log
from split.open import Lists
from utils.distributed import World, join, world_from_environment
from utils.errors import run
from utils.files import replace_file


def some(count: int, args: argparse.Namespace) -> np.ndarray:
    """Numbers of the images that are taken of `count`: all, or --images of them, a random subset in order.

    Fills in `args.listed`, of how many.
    """
    args.listed = count
    if args.images is None or args.images >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(args.seed).choice(count, args.images, replace=False))


def of_memory(
    args: argparse.Namespace, backbone: FrozenBackbone, world: World
) -> tuple[Features, dict[str, np.ndarray]]:
    """Features of a list of images in memory; ids are numbers among all training, or test, images."""
    data = load(spec_of(args.dataset), args.data, train=args.list != "test", download=args.download)
    numbers = np.arange(len(data.labels))
    if args.list != "test":
        name = {"train": data.spec.train_list, "val": data.spec.val_list}.get(args.list, args.list)
        numbers = Lists().open(name, data.spec, data.labels).ids
    numbers = numbers[some(len(numbers), args)]
    chosen = ImageSet(data.spec, data.images[numbers], data.labels[numbers])
    images = images_in_memory(chosen, args.test_batch_size)
    found = extract(backbone, images if world.main else (), world.device)
    return found._replace(ids=torch.from_numpy(numbers)[found.ids.cpu()]), {}


def of_files(
    args: argparse.Namespace, backbone: FrozenBackbone, world: World
) -> tuple[Features, dict[str, np.ndarray]]:
    """Features of a list of image files, and their paths."""
    spec = LIST_SPECS[args.dataset]
    name = {"train": spec.train, "val": spec.val, "test": spec.test}.get(args.list, args.list)
    chosen = Lists().open(name, spec, args.data)
    bad, numbers = BadImages(args.on_bad_image, Log(None, world.main)), some(len(chosen.paths), args).tolist()
    loader = file_test_loader(chosen, args, world, numbers=numbers)
    found = extract(backbone, images_of_files(loader, bad), world.device)
    bad.report()
    return found, {"paths": np.array(chosen.paths)[found.ids.cpu().numpy()]}


def features_of(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """The arrays that the file holds; {} in other processes than the main one.

    Raises:
        InputError: data set, list or checkpoint is bad, or an option is not for this data set.
    """
    files = args.dataset in LIST_SPECS
    check_augment(args, files)
    world = world_from_environment(args.no_cuda)
    compute = Compute(args, world.device)
    args.image_size = args.image_size or find_spec(args.dataset).size
    name = args.model or ("res50" if files else "res18")
    model = load_backbone(name, "imagenet" if files else "cifar", args.checkpoint, args.bnNameCnt)
    join(world)
    found, more = (of_files if files else of_memory)(args, frozen_backbone(model, *compute.placement), world)
    names = {"features": found.values, "labels": found.labels, "ids": found.ids}
    return {**{k: v.cpu().numpy() for k, v in names.items()}, **more} if world.main else {}


def main() -> None:
    args = parse_save(__doc__)
    if not (arrays := features_of(args)):
        return
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    replace_file(args.out, buffer.getvalue())
    (images, channels), spec = arrays["features"].shape, find_spec(args.dataset)
    print(f"{args.out}: {channels} features of each of {images} images, {spec.name} {args.list}, by {args.checkpoint}")


if __name__ == "__main__":
    sys.exit(run(main))
