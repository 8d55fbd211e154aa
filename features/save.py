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

from data.flags import check_augment, views_of
from data.sets.registry import data_set
from features.extract import extract, load_backbone
from features.flags import parse_save
from features.images import images_of
from models.frozen import frozen_backbone
from run.bad_images import BadImages
from run.compute import Compute
from run.flags import precision_of
from run.log import Log
from split.open import Lists
from utils.distributed import join, world_from_environment
from utils.errors import run
from utils.files import replace_file


def some(count: int, wanted: int | None, seed: int) -> np.ndarray:
    """Numbers of the images that are taken of `count`: all, or so many as are wanted, a random subset in order."""
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))


def features_of(args: argparse.Namespace) -> tuple[dict[str, np.ndarray], int]:
    """The arrays that the file holds, {} in other processes than the main one; and the images of the list.

    Raises:
        InputError: data set, list or checkpoint is bad, or an option is not for this data set.
    """
    dataset = data_set(args.dataset)
    check_augment(args, dataset)
    views, world = views_of(args, dataset), world_from_environment(args.no_cuda)
    compute = Compute(precision_of(args), world.device)
    model = load_backbone(args.model or dataset.default_model, dataset.style, args.checkpoint, args.bnNameCnt)
    join(world)
    data = dataset.open(args.data, args.download)
    name = {"train": dataset.train_list, "val": dataset.val_list, "test": dataset.test_list}.get(args.list, args.list)
    chosen = None if name is None else Lists().open(name, data)
    bad, listed = BadImages(args.on_bad_image, Log(None, world.main)), data.count(chosen)
    numbers = some(listed, args.images, args.seed)
    images = images_of(data.plain(chosen, views, args.test_batch_size, world, numbers.tolist()), bad)
    found = extract(frozen_backbone(model, *compute.placement), images, world.device)
    bad.report()
    arrays = {"features": found.values, "labels": found.labels, "ids": found.ids}
    arrays = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    if chosen is not None and chosen.ids is not None:
        arrays["ids"] = chosen.ids[arrays["ids"]]
    elif chosen is not None:
        arrays["paths"] = np.array(chosen.paths)[arrays["ids"]]
    return arrays if world.main else {}, listed


def main() -> None:
    args = parse_save(__doc__)
    arrays, _ = features_of(args)
    if not arrays:
        return
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    replace_file(args.out, buffer.getvalue())
    (images, channels), dataset = arrays["features"].shape, data_set(args.dataset)
    print(
        f"{args.out}: {channels} features of each of {images} images, {dataset.name} {args.list}, by {args.checkpoint}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
