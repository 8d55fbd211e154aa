"""A probe from its command line: images, lists, network and files, of images in memory and of image files alike."""

import argparse
from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import nn

from data.images import ImageList
from data.loader import Batch
from data.sets.base import ListSpec, Spec
from data.sets.memory import load
from features.images import Images, file_test_loader, images_in_memory, images_of_files, subset
from models import build_classifier
from probe.files import Files
from probe.lists import find_lists, find_path_lists
from probe.loaders import file_train_loader, train_loader
from probe.network import AT_ONCE, Frozen, Network, freeze, frozen_modules
from probe.protocols import FEATURE_PROTOCOLS
from probe.record import origin
from run.bad_images import BadImages
from run.compute import Compute
from run.randomness import seed_generators
from split.lists import group_sizes
from split.open import Lists
from utils.distributed import World, launched_by_hand, world_from_environment


class Sources(NamedTuple):
    """Where a probe's images come from.

    `lists`: the checked ones by name. `images`: of 'val', 'test' or 'train1', ..., as they are evaluated, in batches.
    `training`: Batches of augmented images, of so many steps each. `sizes`: images per class of the grouping list.
    `test_images`: their number.
    """

    lists: dict[str, ImageList | None]
    images: Callable[[str, BadImages], Images]
    training: Callable[[int], Iterable[Batch]] | None
    sizes: list[int] | None
    test_images: int


class Probe(NamedTuple):
    """All that a probe needs, its weights loaded; `done` is the number of epochs that are."""

    args: argparse.Namespace
    spec: Spec | ListSpec
    world: World
    compute: Compute
    sources: Sources
    model: nn.Module
    files: Files
    frozen: Frozen
    done: int

    @property
    def of_files(self) -> bool:
        """Whether its images are files."""
        return isinstance(self.spec, ListSpec)

    @property
    def on_features(self) -> bool:
        """Whether it trains on features that are extracted once (BCL's protocols)."""
        return self.args.protocol in FEATURE_PROTOCOLS

    def network(self) -> Network:
        """The model, and what of it is trained."""
        # Batch norm of image files stays as published, whether or not the backbone is trained.
        still = frozen_modules(self.model, "layer4" if self.of_files else self.args.fixto) if self.args.fixbn else {}
        return Network(self.model, still, self.args.fixbn, self.compute, self.world)

    def training_loader(self, network: Network) -> Iterable[Batch]:
        """Batches of augmented images; of images in memory, of several steps if the backbone is frozen."""
        return self.sources.training(1 if network.backbone is None else max(1, AT_ONCE // self.args.batch_size))

    def __str__(self) -> str:
        """How it runs, for the log."""
        processes = f"{self.world.size} process(es) on " if self.of_files else ""
        return f"{processes}{self.world.device.type}, {self.compute}, {self.args.augment} views"


def set_up(args: argparse.Namespace, spec: Spec | ListSpec, lists: Lists | None = None) -> Probe:
    """Find images and lists, build the network, load what --checkpoint, --resume and --test_only ask for.

    Args:
        args: of probe.flags. spec: the data set. lists: where they are looked for; default split/.

    Raises:
        InputError: data, a list, a checkpoint or the experiment's folder is bad, or settings do not go together.
    """
    files = isinstance(spec, ListSpec)
    if files:
        launched_by_hand(args.local_rank, args.world_size, args.port)
    world = world_from_environment(args.no_cuda)
    compute = Compute(args, world.device)
    sources = (_of_files if files else _in_memory)(args, spec, world, lists)
    seed_generators(args.seed)
    model = build_classifier(args.model, spec.classes, stem="imagenet" if files else "cifar")
    own = Files(args, model, compute, world, origin(sources.lists), "module." * files, numbered=50 * files)
    done = own.load()
    frozen = freeze(compute.on_device(model), args.fixto, args.fixbn)
    return Probe(args, spec, world, compute, sources, model, own, frozen, done)


def _in_memory(args: argparse.Namespace, spec: Spec, world: World, lists: Lists | None) -> Sources:
    train, test = (load(spec, args.data, train=part, download=args.download) for part in (True, False))
    found = find_lists(args, train, lists)

    def images(name: str, bad: BadImages) -> Images:
        chosen = test if name == "test" or found[name] is None else subset(train, found[name])
        return images_in_memory(chosen, args.test_batch_size)

    def training(at_once: int) -> Iterable[Batch]:
        return train_loader(subset(train, found["train"]), args, world.device, at_once)

    return Sources(found, images, training, group_sizes(found["group"], spec.classes), len(test.labels))


def _of_files(args: argparse.Namespace, spec: ListSpec, world: World, lists: Lists | None) -> Sources:
    found = find_path_lists(args, spec, lists)
    on_features = args.protocol in FEATURE_PROTOCOLS
    loaders = {
        name: file_test_loader(found[name], args, world, augmented=name not in ("val", "test"))
        for name in found if name in ("val", "test") or on_features and name != "group"
    }  # fmt: skip
    loader = file_train_loader(found["train"], args, world) if "train" in found else None
    sizes = group_sizes(found["group"], spec.classes)

    def images(name: str, bad: BadImages) -> Images:
        return images_of_files(loaders[name], bad)

    return Sources(found, images, lambda at_once: loader, sizes, len(found["test"]))
