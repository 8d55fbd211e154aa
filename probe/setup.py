"""Set up a probe from its command line: images, lists, network and files, for images in memory and for image files."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

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
from probe.supervised.flags import check_jitter
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
    """The images of a probe. All are looked for when it is made, so that missing ones are known before the run begins.

    Args:
        settings: of the probe. views: how images become views. data: the opened data set. lists: from find_lists.

    Raises:
        InputError: images are missing, or the batch size is not divisible by the processes.
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
        """Batches of the images of 'val', 'test' or 'train1', ..., for evaluation or extraction of features."""
        return images_of(self._batches[name], bad)

    def training(self, steps: int = 1) -> Iterable[Batch]:
        """Shuffled Batches of augmented images, views [n, 1, 3, S, S], of `steps` steps each; the last may be short."""
        sampler = sampler_of(self.settings, self.train, self.world, self.views.seed)
        batch = self.batch // self.world.size * steps
        return view_loader(self.train, sampler, batch, self.views.workers, self.world.device)


class Probe(NamedTuple):
    """All that a probe needs, with its weights loaded; `done` is the number of epochs that are done."""

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
        """Whether the protocol trains on features that are extracted once."""
        return on_features(self.settings.protocol)

    @property
    def trains(self) -> bool:
        """Whether it trains for epochs on augmented images."""
        return trains_on_images(self.settings.protocol) and not self.settings.test_only

    @property
    def counts(self) -> list[int]:
        """Number of training images of each class."""
        return class_counts(self.sources.lists["train"], self.dataset.classes)

    @property
    def script(self) -> Script:
        """The published script whose log lines and files it writes."""
        return SCRIPTS[self.dataset.style]

    def training(self) -> Training:
        """What the epochs need.

        With a frozen backbone, each Batch of the loader serves several steps, if the data set's views are made quickly:
        the features of `dataset.at_once` images are computed together.
        """
        settings, script, world = self.settings, self.script, self.world
        model = self.model
        if supervised(settings.protocol) and world.size > 1 and world.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        # After the conversion, which makes new modules of the batch norms.
        still = frozen_modules(model, script.still or settings.fixto) if settings.fixbn else {}
        network = Network(model, still, settings.fixbn, self.compute, world)
        steps = 1 if network.backbone is None else max(1, self.dataset.at_once // settings.batch_size)
        batch, loader = settings.batch_size // world.size, self.sources.training(steps)
        if supervised(settings.protocol):
            loss = loss_of(settings, self.counts, world.device)
            schedule = WarmUpCosine(settings.epochs, settings.lr, settings.warmup)
            return Training(network, loader, self.optimizer, schedule, batch, world, loss)
        lr, falls = settings.lr, settings.decreasing_lr
        schedule = Schedule(settings.epochs, lr, falls, settings.cosineLr, settings.step_at_end)
        return Training(network, loader, self.optimizer, schedule, batch, world)

    def __str__(self) -> str:
        """Processes, device, precision and views, for the log."""
        processes = f"{self.world.size} process(es) on " if self.script.tells_processes else ""
        return f"{processes}{self.world.device.type}, {self.compute}, {self.settings.augment} views"


def _of_training(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the training: of an evaluation alone those in best_model.pt, else, or if it has none, those of
    the command line."""
    found: dict[str, Any] = {}
    if args.test_only:
        found, _ = settings_in(Path(args.save_dir) / args.experiment / "best_model.pt")
    names = ("protocol", "trainSplit", "customSplit", "groupSplit")
    texts = all(isinstance(found.get(name, ""), str) for name in names)  # else BestModel.load refuses the file
    return found if found and texts else vars(args)


def _grouping_list(args: argparse.Namespace, settings: dict[str, Any], dataset: DataSet) -> str:
    """The list whose class sizes define Many, Medium and Few; '' where none is known.

    It is given by the option, now or in the training, or else by the experiment's name, or else it is the long-tailed
    list of the split that the checkpoint was pre-trained on. Supervised learning takes that of its own split instead of
    the last two.

    Args:
        settings: of the training.
    """
    given = args.groupSplit or settings.get("groupSplit", "")
    if supervised(settings.get("protocol", "")):
        train = labelled_list(settings, dataset)
        split = dataset.split_of(train)
        return given or (dataset.tailed_list(split) if split else train)
    return given or dataset.grouping_list(args.experiment) or tailed_list_of(settings, dataset)


def _checked_lists(
    settings: Settings, args: argparse.Namespace, data: Opened, lists: Lists
) -> dict[str, ImageList | None]:
    """find_lists by a command line; supervised learning needs images of all classes, and the list of protocol ce."""
    dataset, protocol, trained = data.dataset, supervised(args.protocol), _of_training(args)
    train = labelled_list(trained if supervised(trained.get("protocol", "")) else vars(args), dataset)
    group = _grouping_list(args, trained, dataset)
    checked = find_lists(settings, data, lists, train, args.valiSplit, group)
    if protocol and "train" in checked:
        class_counts(checked["train"], dataset.classes)
        check_list(protocol, result_of_ce(args.ce), checked["train"])
    return checked


def _start_of(args: argparse.Namespace) -> tuple[str, Reading]:
    """The file of the weights that the network starts from, '' for none, and how it is read: from the run of protocol
    ce before it, or the checkpoint that is given."""
    if ce_model := network_of(args):
        return ce_model, Reading("", None, None)
    protocol = supervised(args.protocol)
    return "" if protocol and protocol.after_ce else args.checkpoint, reading_of(args)


def _other_size(args: argparse.Namespace, dataset: DataSet, size: int) -> list[str]:
    """A note for the log, in a list, if the encoder was pre-trained on views of another size (in pixels); else []."""
    trained_at = size_of(pretraining_of(vars(args)), dataset)
    differs = trained_at not in (None, size)
    return [f"it was pre-trained at {trained_at} pixels, and is probed at {size}"] if differs else []


def _load_weights(model: nn.Module, source: Source | None, args: argparse.Namespace) -> str:
    """Load the weights that the network starts from; returns a note on them for the log.

    Of a run of protocol ce, the classifier is loaded, too, unless a new one is trained.
    """
    pruned = args.prune_percent if args.prune else 0.0
    if network_of(args):  # protocol ce saves single batch norm, even if its own start had dual batch norm
        new_classifier = supervised(args.protocol).supervised == "classifier"
        return load_backbone(model, source, new_classifier, -1, pruned)
    return load_backbone(model, source, args.cvt_state_dict, args.bnNameCnt, pruned)


def set_up(args: argparse.Namespace, dataset: DataSet, lists: Lists | None = None) -> Probe:
    """Find images and lists, build the network, load what --checkpoint, --resume and --test_only ask for.

    Args:
        args: of probe.flags; `precision` is filled in. lists: where lists are looked for; default split/.

    Raises:
        InputError: data, a list, a checkpoint or the experiment's folder is bad, or settings do not go together.
    """
    world = world_from_environment(args.no_cuda)
    compute = Compute(precision_of(args), world.device)
    args.precision = compute.precision
    data = dataset.open(args.data, args.download, opening_of(args, Path(args.save_dir) / args.experiment))
    dataset = data.dataset
    check_augment(args, dataset)
    check_jitter(args, dataset)
    settings, views = taken(Settings, args), views_of(args)
    checked = _checked_lists(settings, args, data, lists or Lists())
    sources = Sources(settings, views, data, checked, world)
    seed_generators(args.seed)
    start, reading = _start_of(args)
    source = read_encoder(start, reading) if start and not args.test_only else None
    args.encoder = origin_of(args, source, dataset.stem(views.size))
    model = build_classifier(args.model, dataset.classes, args.encoder["stem"])
    script, origins = SCRIPTS[dataset.style], origin(checked)
    hashes = {name: item["sha1"] for name, item in origins.items() if item and name != "group"}
    saving = saving_of(args, processes=world.size, lists=hashes)
    saving = replace(saving, every=args.save_freq, numbered=script.numbered, checkpoint=start)
    last = args.select == "last" or of_last_epoch(args.protocol)
    best, optimizer = BestModel(saving.folder, model, args.bnNameCnt, last), OptimizerPart()
    parts = {"state_dict": NetworkPart(model, script.prefix), "optim": optimizer, "random": Generators(world),
             "best_prec1": best, "scaler": Scaler(compute.scaler), "lists": Note(origins)}  # fmt: skip
    # Classifiers on features are trained anew each time.
    run = Run(saving, world, parts, resumable=trains_on_images(args.protocol))
    run.notes += data.notes
    if args.test_only:
        best.load(saving.settings)  # so that a bad file is an error before the log begins
        run.notes.append(f"evaluating {best.path}")
    else:
        run.notes += [_load_weights(model, source, args), *_other_size(args, dataset, views.size)]
    frozen = freeze(compute.on_device(model), args.fixto, args.fixbn)
    trained = parameter_groups(model, args.init_lr_scale)
    optimizer.optimizer = sgd(trained, args.lr, args.momentum, args.wd, args.nesterov)
    done = None if args.test_only else resume(run, model, frozen)
    if done is not None:
        frozen = freeze(model, args.fixto, args.fixbn)  # a copy of the weights that were just resumed
    done = (0 if args.test_only else args.start_epoch) if done is None else done
    return Probe(settings, dataset, world, compute, sources, model, run, best, optimizer.optimizer, frozen, done)
