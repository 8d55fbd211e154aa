"""A probe from its command line: images, lists, network and files, of images in memory and of image files alike."""

import argparse
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from data.flags import views_of
from data.images import ImageList
from data.loader import Batch, EpochSampler, view_loader
from data.opened import Opened
from data.sets.base import DataSet
from features.images import Images, images_of
from models import build_classifier
from probe.files import Files
from probe.lists import find_lists, origin
from probe.network import Frozen, Network, freeze, frozen_modules
from probe.protocols import FEATURE_PROTOCOLS
from probe.published import SCRIPTS, Script
from run.bad_images import BadImages
from run.compute import Compute
from run.randomness import seed_generators
from split.lists import group_sizes
from split.open import Lists
from utils.distributed import World, world_from_environment
from utils.errors import InputError


class Sources:
    """Where a probe's images come from. All are looked for here, so that what is missing is told before the run begins.

    Args:
        args: of probe.flags. data: the opened data set. lists: the checked ones by name (find_lists).

    Raises:
        InputError: images are not there, or the batch size does not divide by the processes.
    """

    def __init__(
        self, args: argparse.Namespace, data: Opened, lists: dict[str, ImageList | None], world: World
    ) -> None:
        self.data, self.lists, self.world, self.batch = data, lists, world, args.batch_size
        self.views, self.test_images = views_of(args, data.spec), data.count(lists.get("test"))
        self.train = data.probing(lists["train"], self.views) if "train" in lists and not args.test_only else None
        if self.train is not None and args.batch_size % world.size:
            raise InputError(f"the batch of {args.batch_size} images is not divisible by {world.size} processes")
        batch, self._batches = args.test_batch_size, {}
        for name in dict.fromkeys(["test", *lists]):
            if name in ("val", "test"):
                self._batches[name] = data.plain(lists.get(name), self.views, batch, world)
            elif name.startswith("train") and args.protocol in FEATURE_PROTOCOLS:
                self._batches[name] = data.labelled(lists[name], self.views, batch, world)

    def images(self, name: str, bad: BadImages) -> Images:
        """The images of 'val', 'test' or 'train1', ..., in batches, as they are evaluated."""
        return images_of(self._batches[name], bad)

    def training(self, steps: int = 1) -> Iterable[Batch]:
        """Shuffled Batches of augmented images for so many steps each, views [n, 1, 3, S, S]; the last may be short."""
        sampler = EpochSampler(self.train, self.world.size, self.world.rank, shuffle=True, seed=self.views.seed)
        batch = self.batch // self.world.size * steps
        return view_loader(self.train, sampler, batch, self.views.workers, self.world.device)

    @property
    def sizes(self) -> list[int] | None:
        """Images per class of the grouping list; None where it is not known."""
        return group_sizes(self.lists["group"], self.data.spec.classes)


class Probe(NamedTuple):
    """All that a probe needs, its weights loaded; `done` is the number of epochs that are."""

    args: argparse.Namespace
    spec: DataSet
    world: World
    compute: Compute
    sources: Sources
    model: nn.Module
    files: Files
    frozen: Frozen
    done: int

    @property
    def on_features(self) -> bool:
        """Whether it trains on features that are extracted once (BCL's protocols)."""
        return self.args.protocol in FEATURE_PROTOCOLS

    @property
    def script(self) -> Script:
        """Whose published lines and files it writes."""
        return SCRIPTS[self.spec.style]

    def network(self) -> Network:
        """The model, and what of it is trained."""
        still = frozen_modules(self.model, self.script.still or self.args.fixto) if self.args.fixbn else {}
        return Network(self.model, still, self.args.fixbn, self.compute, self.world)

    def training_loader(self, network: Network) -> Iterable[Batch]:
        """Batches of augmented images; of several steps if the backbone is frozen and views are quickly made."""
        steps = 1 if network.backbone is None else max(1, self.spec.at_once // self.args.batch_size)
        return self.sources.training(steps)

    def __str__(self) -> str:
        """How it runs, for the log."""
        processes = f"{self.world.size} process(es) on " if self.spec.style == "imagenet" else ""
        return f"{processes}{self.world.device.type}, {self.compute}, {self.args.augment} views"


def set_up(args: argparse.Namespace, spec: DataSet, lists: Lists | None = None) -> Probe:
    """Find images and lists, build the network, load what --checkpoint, --resume and --test_only ask for.

    Args:
        args: of probe.flags. spec: the data set. lists: where they are looked for; default split/.

    Raises:
        InputError: data, a list, a checkpoint or the experiment's folder is bad, or settings do not go together.
    """
    world = world_from_environment(args.no_cuda)
    compute = Compute(args, world.device)
    data = spec.open(args.data, args.download)
    sources = Sources(args, data, find_lists(args, data, lists), world)
    seed_generators(args.seed)
    model = build_classifier(args.model, spec.classes, stem=spec.stem)
    own = Files(args, model, compute, world, origin(sources.lists), SCRIPTS[spec.style])
    done = own.load()
    frozen = freeze(compute.on_device(model), args.fixto, args.fixbn)
    return Probe(args, spec, world, compute, sources, model, own, frozen, done)
