"""Set up a pre-training from its command line, for train_simCLR.py and for --check."""

import argparse
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from data.flags import views_of
from data.loader import AugmentedImages, Batch, fingerprint
from data.sets.registry import pretraining_set
from data.views.boost import Boost
from methods.base import Method
from methods.build import build_method
from pretrain.files import Checkpoints
from pretrain.flags import training_list
from pretrain.images import training_images, two_view_loader
from pretrain.monitor import Monitor
from run.compute import Compute
from run.optim import build_optimizer
from run.randomness import seed_generators
from split.open import Lists
from utils.distributed import World, world_from_environment


class Pretraining(NamedTuple):
    """All that a pre-training needs, weights loaded; `counts` are images per class, `start` epochs that are done."""

    world: World
    compute: Compute
    images: AugmentedImages
    counts: list[int]
    loader: Iterable[Batch]
    monitor: Monitor | None
    method: Method
    optimizer: torch.optim.Optimizer
    files: Checkpoints
    start: int


def set_up(args: argparse.Namespace, lists: Lists | None = None) -> Pretraining:
    """Find images and lists, build method and optimizer, load what --checkpoint and --resume ask for.

    The processes have not joined yet: each meets the same errors by itself.

    Args:
        args: of pretrain.flags.parse. lists: where they are looked for; default split/.

    Raises:
        InputError: data, a list, a checkpoint or the experiment's folder is bad, or settings do not go together.
    """
    world = world_from_environment()
    compute = Compute(args, world.device)
    spec, _ = pretraining_set(args.dataset)
    views, boost = views_of(args, spec), Boost(args.rand_k, args.rand_strength, args.rand_floor) if args.bcl else None
    training = training_images(spec.open(args.data, args.download), training_list(args), views, boost, lists)
    images = training.images
    loader = two_view_loader(images, args.batch_size, views, world, no_single=args.prune)
    monitor = Monitor(training, views, args.model, compute, world, lists) if args.monitor == "knn" else None
    seed_generators(args.seed + world.rank)
    method = compute.on_device(build_method(args, spec.stem, len(images)))
    optimizer = build_optimizer(args.optimizer, method.parameters(), args.lr, args.weight_decay)
    files = Checkpoints(args, method, optimizer, compute, world, fingerprint(images), spec.save_every)
    start = files.load()
    return Pretraining(world, compute, images, training.counts, loader, monitor, method, optimizer, files, start)


def distribute(run: Pretraining) -> nn.Module:
    """The method as all processes train it together; on CUDA its batch statistics are of all of them."""
    method = run.method
    if run.world.size > 1 and run.world.device.type == "cuda":
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    return run.compute.distributed(method, run.world)
