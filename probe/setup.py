"""A probe from its command line: images, lists, network and files, of images in memory and of image files alike."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from data.flags import Views, check_augment, opening_of, views_of
from data.images import ImageList
from data.loader import Batch, view_loader
from data.opened import Opened
from data.sets.base import DataSet
from features.encoder import Source, read_encoder
from features.extract import Images, images_of
from features.flags import Reading, reading_of
from models import build_classifier
from models.published import NetworkPart
from probe.epoch import Schedule, Training
from probe.files import BestModel, load_backbone, origin_of, resume
from probe.flags import Settings
from probe.lists import find_lists, origin
from probe.network import Frozen, Network, freeze, frozen_modules
from probe.pretraining import pretraining_of, settings_in, size_of, tailed_list_of
from probe.protocols import labelled_list, of_last_epoch, on_features, supervised, trains_on_images
from probe.published import SCRIPTS, Script
from probe.supervised.ce import network_of, result_of_ce
from probe.supervised.training import (
    WarmUpCosine,
    check_list,
    class_counts,
    loss_of,
    parameter_groups,
    sampler_of,
)
from run.bad_images import BadImages
from run.compute import Compute
from run.flags import precision_of, saving_of
from run.folder import Run
from run.optim import sgd
from run.parts import Generators, Note, OptimizerPart, Scaler
from run.randomness import seed_generators
from run.world import world_from_environment
from split.open import Lists
from utils.cli import taken
from utils.distributed import World
from utils.errors import InputError


class Sources:
    """Where a probe's images come from. All are looked for here, so that what is missing is told before the run begins.

    Args:
        settings: of the probe. views: how images become views. data: the opened data set. lists: the checked ones by
            name (find_lists).

    Raises:
        InputError: images are not there, or the batch size does not divide by the processes.
    """

    def __init__(
        self, settings: Settings, views: Views, data: Opened, lists: dict[str, ImageList | None], world: World
    ) -> None:
        self.settings, self.data, self.lists, self.world, self.batch = settings, data, lists, world, settings.batch_size
        self.views, self.test_images = views, data.count(lists.get("test"))
        self.train = data.probing(lists["train"], views) if "train" in lists and not settings.test_only else None
        if self.train is not None and self.batch % world.size:
            raise InputError(f"the batch of {self.batch} images is not divisible by {world.size} processes")
        batch, self._batches = settings.test_batch_size, {}
        for name in dict.fromkeys(["test", *lists]):
            if name in ("val", "test"):
                self._batches[name] = data.plain(lists.get(name), self.views, batch, world)
            elif name.startswith("train") and on_features(settings.protocol):
                self._batches[name] = data.labelled(lists[name], self.views, batch, world)

    def images(self, name: str, bad: BadImages) -> Images:
        """The images of 'val', 'test' or 'train1', ..., in batches, as they are evaluated."""
        return images_of(self._batches[name], bad)

    def training(self, steps: int = 1) -> Iterable[Batch]:
        """Shuffled Batches of augmented images for so many steps each, views [n, 1, 3, S, S]; the last may be short."""
        sampler = sampler_of(self.settings, self.train, self.world, self.views.seed)
        batch = self.batch // self.world.size * steps
        return view_loader(self.train, sampler, batch, self.views.workers, self.world.device)


class Probe(NamedTuple):
    """All that a probe needs, its weights loaded; `done` is the number of epochs that are."""

    settings: Settings
    dataset: DataSet
    world: World
    compute: Compute
    sources: Sources
    model: nn.Module
    run: Run
    best: BestModel
    optimizer: torch.optim.Optimizer
    frozen: Frozen
    done: int

    @property
    def on_features(self) -> bool:
        """Whether it trains on features that are extracted once (BCL's protocols)."""
        return on_features(self.settings.protocol)

    @property
    def trains(self) -> bool:
        """Whether it has epochs on images."""
        return trains_on_images(self.settings.protocol) and not self.settings.test_only

    @property
    def counts(self) -> list[int]:
        """Training images of each class."""
        return class_counts(self.sources.lists["train"], self.dataset.classes)

    @property
    def script(self) -> Script:
        """Whose published lines and files it writes."""
        return SCRIPTS[self.dataset.style]

    def training(self) -> Training:
        """What its epochs are made with: of the loader's Batches, each has several steps where views are quickly made
        and the backbone is frozen."""
        how, script = self.settings, self.script
        still = frozen_modules(self.model, script.still or how.fixto) if how.fixbn else {}
        model = self.model
        if supervised(how.protocol) and self.world.size > 1 and self.world.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        network = Network(model, still, how.fixbn, self.compute, self.world)
        steps = 1 if network.backbone is None else max(1, self.dataset.at_once // how.batch_size)
        each, loader = how.batch_size // self.world.size, self.sources.training(steps)
        if supervised(how.protocol):
            loss = loss_of(how, self.counts, self.world.device)
            schedule = WarmUpCosine(how.epochs, how.lr, how.warmup)
            return Training(network, loader, self.optimizer, schedule, each, self.world, loss)
        schedule = Schedule(how.epochs, how.lr, how.decreasing_lr, how.cosineLr, how.step_at_end)
        return Training(network, loader, self.optimizer, schedule, each, self.world)

    def __str__(self) -> str:
        """How it runs, for the log."""
        processes = f"{self.world.size} process(es) on " if self.script.tells_processes else ""
        return f"{processes}{self.world.device.type}, {self.compute}, {self.settings.augment} views"


def _grouping_list(args: argparse.Namespace, dataset: DataSet) -> str:
    """By its option, by the experiment's name, else the long-tailed list of the split that the checkpoint was
    pre-trained on; '' where nothing tells it. Of supervised learning that of the list that is learned from."""
    if supervised(args.protocol):
        train = labelled_list(vars(args), dataset)
        split = dataset.split_of(train)
        return args.groupSplit or (dataset.tailed_list(split) if split else train)
    if named := args.groupSplit or dataset.grouping_list(args.experiment):
        return named
    settings = vars(args)
    if args.test_only:  # the training's
        settings, _ = settings_in(Path(args.save_dir) / args.experiment / "best_model.pt")
    return tailed_list_of(settings, dataset)


def _start_of(args: argparse.Namespace) -> tuple[str, Reading]:
    """The file that the network begins with, '' for none, and how it is read: that of a run of protocol ce, or the
    checkpoint that is given."""
    if first := network_of(args):
        return first, Reading("", None, None)
    protocol = supervised(args.protocol)
    return "" if protocol and protocol.after_ce else args.checkpoint, reading_of(args)


def _other_size(args: argparse.Namespace, dataset: DataSet, size: int) -> list[str]:
    """A line where the encoder was pre-trained on views of another size, in pixels."""
    trained_at = size_of(pretraining_of(vars(args)), dataset)
    other = trained_at not in (None, size)
    return [f"it was pre-trained at {trained_at} pixels, and is probed at {size}"] if other else []


def _load_encoder(model: nn.Module, source: Source | None, args: argparse.Namespace) -> str:
    """Load the network that a run begins with; returns what it is. Where protocol ce has trained it, all but a
    classifier that is learned anew."""
    pruned = args.prune_percent if args.prune else 0.0
    if network_of(args):  # with single batch norm, whatever it began with
        return load_backbone(model, source, supervised(args.protocol).supervised == "classifier", -1, pruned)
    return load_backbone(model, source, args.cvt_state_dict, args.bnNameCnt, pruned)


def set_up(args: argparse.Namespace, dataset: DataSet, lists: Lists | None = None) -> Probe:
    """Find images and lists, build the network, load what --checkpoint, --resume and --test_only ask for.

    Args:
        args: of probe.flags; `precision` is filled in. lists: where they are looked for; default split/.

    Raises:
        InputError: data, a list, a checkpoint or the experiment's folder is bad, or settings do not go together.
    """
    world = world_from_environment(args.no_cuda)
    compute = Compute(precision_of(args), world.device)
    args.precision = compute.precision
    data = dataset.open(args.data, args.download, opening_of(args, Path(args.save_dir) / args.experiment))
    dataset = data.dataset
    check_augment(args, dataset)
    how, views = taken(Settings, args), views_of(args)
    group = _grouping_list(args, dataset)
    found = find_lists(how, data, lists or Lists(), labelled_list(vars(args), dataset), args.valiSplit, group)
    protocol = supervised(args.protocol)
    if protocol and "train" in found:
        class_counts(found["train"], dataset.classes)
        check_list(protocol, result_of_ce(args.ce), found["train"])
    sources = Sources(how, views, data, found, world)
    seed_generators(args.seed)
    start, reading = _start_of(args)
    source = read_encoder(start, reading) if start and not args.test_only else None
    args.encoder = origin_of(args, source, dataset.stem(views.size))
    model = build_classifier(args.model, dataset.classes, args.encoder["stem"])
    script, origins = SCRIPTS[dataset.style], origin(found)
    hashes = {name: item["sha1"] for name, item in origins.items() if item and name != "group"}
    saving = saving_of(args, processes=world.size, lists=hashes)
    saving = replace(saving, every=args.save_freq, numbered=script.numbered, checkpoint=start)
    last = args.select == "last" or of_last_epoch(args.protocol)
    best, optimizer = BestModel(saving.folder, model, args.bnNameCnt, last), OptimizerPart()
    parts = {"state_dict": NetworkPart(model, script.prefix), "optim": optimizer, "random": Generators(world),
             "best_prec1": best, "scaler": Scaler(compute.scaler), "lists": Note(origins)}  # fmt: skip
    # Classifiers on features are trained anew each time.
    run = Run(saving, world, parts, resumable=trains_on_images(args.protocol))
    run.told += data.told
    if args.test_only:
        best.load(saving.settings)  # a bad one is reported before the log begins
        run.told.append(f"evaluating {best.path}")
    else:
        run.told += [_load_encoder(model, source, args), *_other_size(args, dataset, views.size)]
    frozen = freeze(compute.on_device(model), args.fixto, args.fixbn)
    trained = parameter_groups(model, args.init_lr_scale)
    optimizer.optimizer = sgd(trained, args.lr, args.momentum, args.wd, args.nesterov)
    done = None if args.test_only else resume(run, model, frozen)
    if done is not None:
        frozen = freeze(model, args.fixto, args.fixbn)  # without --checkpoint, its weights are the run's
    done = (0 if args.test_only else args.start_epoch) if done is None else done
    return Probe(how, dataset, world, compute, sources, model, run, best, optimizer.optimizer, frozen, done)
