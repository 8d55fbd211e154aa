"""Set up a pre-training from its command line, for train_simCLR.py and for --check."""

import argparse
from bisect import bisect_left
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from data.flags import FEWER_IMAGES, Views, check_augment, opening_of, views_of
from data.groups import group_of_each
from data.loader import AugmentedImages, BatchedLoader, fingerprint, view_loader
from data.opened import TrainingImages
from data.samplers import EpochSampler
from data.sets.registry import pretraining_set
from data.views.boost import Boost
from methods.base import Method
from methods.build import build_method
from methods.epochs import epochs_of
from methods.measures import OF_IMAGES
from models.published import NetworkPart
from pretrain.epoch import Schedule, Training
from pretrain.features import Extractor
from pretrain.files import Memory, WithinEpoch, load, write_masks
from pretrain.flags import Settings, training_list
from pretrain.monitor import Monitor
from run.bad_images import BadImages
from run.board import Board
from run.changes import within_epoch
from run.compute import Compute
from run.flags import precision_of, saving_of
from run.folder import Run
from run.made import how_made
from run.meters import Meters
from run.optim import build_optimizer
from run.parts import Generators, Note, OptimizerPart, Scaler
from run.randomness import seed_generators, undisturbed
from run.reporter import Reporter
from run.schedule import TWO_STAGE, Stage
from run.wandb_board import Boards, WandbBoard
from run.world import world_from_environment
from split.open import Lists
from utils.cli import taken
from utils.distributed import World
from utils.errors import InputError


@dataclass
class Pretraining:
    """All that a pre-training needs.

    A method has one or more phases; each has its own optimizer, schedule and DistributedDataParallel model.
    `start` is the number of epochs that are done when the run begins.
    """

    settings: Settings
    world: World
    compute: Compute
    data: TrainingImages
    loader: DataLoader | BatchedLoader
    extractor: Extractor
    monitor: Monitor | None
    method: Method
    run: Run
    network: NetworkPart
    optimizer: OptimizerPart
    group: torch.Tensor | None = None  # [N] the index in GROUPS of each training image, for monitoring alone
    start: int = 0
    schedule: Schedule | None = None
    phase: int = -1  # number of the running phase, -1 before the first one
    _training: Training | None = field(default=None, repr=False)

    def enter_phase(self, epoch: int) -> None:
        """Begin the phase that `epoch` (1-based) belongs to, if it is not the running one.

        Raises:
            InputError: some phase has no epoch for the second of two stages.
        """
        lengths = self.method.phases(self.settings.epochs)
        ends = list(accumulate(lengths))
        if sum(lengths) != self.settings.epochs:
            raise ValueError(f"the phases of the method have other epochs than {self.settings.epochs} together")
        number = min(bisect_left(ends, epoch), len(ends) - 1)
        if number == self.phase:
            return
        _check_stages(self.settings, lengths)
        for phase in range(self.phase + 1, number + 1):
            self.method.start_phase(phase)
        length, first = lengths[number], ends[number] - lengths[number] + 1
        self.phase, settings = number, self.settings
        self._training = None
        self.network.network = self.method.encoder  # checkpoints have its weights from now on
        trained = [p for p in self.compute.on_device(self.method).parameters() if p.requires_grad]
        optimizer = build_optimizer(settings.optimizer, trained, settings.lr, settings.weight_decay)
        self.optimizer.optimizer = optimizer
        stage = Stage(epochs_of(settings.stage_epochs, length), settings.stage_decay * settings.lr)
        self.schedule = Schedule(length, settings.lr, settings.scheduler, first, stage)

    @property
    def training(self) -> Training:
        """What the steps of the running phase need; made at the first call, after all processes have joined."""
        if self._training is None:
            model: nn.Module = self.method
            if self.world.size > 1 and self.world.device.type == "cuda":
                model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            model = self.compute.distributed(model, self.world, self.method.static_graph)
            if self.settings.compile:
                for encoder in trained_encoders(self.method):
                    encoder.compile()
            optimizer = self.optimizer.optimizer
            self._training = Training(model, self.loader, optimizer, self.schedule, self.compute, self.world)
        return self._training

    def begin_epoch(self, epoch: int, bad: BadImages) -> Meters:
        """Start `epoch` in the method, load its state if it was interrupted, and choose its images.

        Raises:
            InputError: the state does not fit, or an image is bad and is not to be skipped.
        """
        self.enter_phase(epoch)
        extract = partial(self.extractor.of_training, self.method.encoder, self.data.chosen, bad)
        # For a resumed epoch, start_epoch is called again, but its random numbers were drawn before the interruption.
        with undisturbed(self.world.device) if self.run.interrupted else nullcontext():
            self.method.start_epoch(epoch, extract)

        def steps() -> int:
            subset, batch = self.method.subset(), self.loader.batch_size
            self.loader.sampler.choose(subset, batch, self.method.smallest_batch)
            if not len(self.loader):
                raise InputError(f"the method has no image to train on in epoch {epoch}")
            return len(self.loader)

        more = tuple(OF_IMAGES) if "groups" in self.settings.monitor else ()
        meters = self.run.begin_epoch(steps, self.group, more)
        self.loader.sampler.set_epoch(epoch, meters.done * self.loader.batch_size)
        if (scores := self.method.scores()) is not None:
            self.data.images.set_scores(scores)
        return meters

    def end_epoch(self, epoch: int, reporter: Reporter) -> None:
        """Measure kNN accuracy if it is due, and save.

        Raises:
            InputError: an image is bad and is not to be skipped.
            Interrupted: a signal has come; model.pt is of this epoch.
        """
        settings = self.settings
        if self.monitor and (epoch % settings.monitor_freq == 0 or epoch == settings.epochs):
            self.monitor.report(self.method.encoder, epoch, reporter.log, reporter.bad)
        write_masks(self.run, self.method, epoch, settings.mask_save_freq)
        self.run.save(epoch)


def set_up(args: argparse.Namespace, lists: Lists | None = None) -> Pretraining:
    """Find images and lists, build method and optimizer, load what --checkpoint and --resume ask for.

    The processes have not joined yet; on bad input, each of them raises the same error.

    Args:
        args: of pretrain.flags.parse; `precision` is filled in. lists: where lists are looked for; default split/.

    Raises:
        InputError: data, a list, a checkpoint or the experiment's folder is bad, or settings do not go together.
    """
    world = world_from_environment()
    compute = Compute(precision_of(args), world.device)
    args.precision = compute.precision
    folder = Path(args.save_dir) / args.experiment
    opened = pretraining_set(args.dataset)[0].open(args.data, args.download, opening_of(args, folder))
    dataset, lists = opened.dataset, lists or Lists()
    check_augment(args, dataset)
    views = views_of(args)
    chosen = lists.open_training(training_list(args), opened)
    seed_generators(args.seed + world.rank)
    method = compute.on_device(build_method(args, dataset.stem(views.size), len(chosen)))
    if dataset.own and len(chosen) < args.batch_size:
        raise InputError(f"there are {len(chosen)} images, fewer than the batch of {args.batch_size}: {FEWER_IMAGES}")
    data = opened.training(chosen, views, method.boost and Boost(*method.boost))
    loader = _loader(data.images, args.batch_size, views, world, method.smallest_batch)
    extractor = Extractor(opened, views, args.model, compute, world)
    monitor = Monitor(data, extractor, lists) if "knn" in args.monitor else None

    saving = saving_of(args, processes=world.size, images=fingerprint(data.images))
    saving = replace(saving, every=dataset.save_every, numbered=args.save_freq, last_numbered=True)
    network, optimizer = NetworkPart(method.encoder, "module."), OptimizerPart()
    parts = {"state_dict": network, "optim": optimizer, "random": Generators(world), "memory": Memory(method),
             "scaler": Scaler(compute.scaler), "provenance": Note(how_made())}  # fmt: skip
    run = Run(saving, world, parts, {"epoch_state": WithinEpoch(method)})
    run.notes += opened.notes
    pretraining = Pretraining(
        taken(Settings, args), world, compute, data, loader, extractor, monitor, method, run, network, optimizer,
        _group_of_each(data, world)
    )  # fmt: skip
    checkpoint = load(run, network, args.resume)
    if checkpoint:
        done, within = run.epoch_of(*checkpoint), within_epoch(checkpoint[1])
        pretraining.enter_phase(done + within)  # the phase that the checkpoint was written in
        pretraining.start = run.load_checkpoint(*checkpoint)
    else:
        pretraining.enter_phase(1)
    return pretraining


def _check_stages(settings: Settings, lengths: list[int]) -> None:
    """Raise InputError if the first of two stages takes all epochs of a phase; lengths: epochs of each phase."""
    if settings.scheduler != TWO_STAGE or not settings.epochs:
        return
    for epochs in lengths:
        if epochs_of(settings.stage_epochs, epochs) >= epochs:
            share = settings.stage_epochs
            problem = f"stage_epochs {share:g} leaves none of a phase's {epochs} epochs for the second one"
            raise InputError(f"{problem}: choose a share")


def trained_encoders(method: Method) -> list[nn.Module]:
    """The encoders that are trained, in a method and the methods inside it: one, or several such as DnC's experts."""
    methods = [m for m in method.modules() if isinstance(m, Method) and hasattr(m, "encoder")]
    encoders = {id(m.encoder): m.encoder for m in methods}  # each once, as a wrapper has that of its inner method
    return [encoder for encoder in encoders.values() if any(p.requires_grad for p in encoder.parameters())]


def _group_of_each(data: TrainingImages, world: World) -> torch.Tensor | None:
    """The index in GROUPS of each training image's group, [N]; None for a list that is balanced or lacks a group.

    It is for monitoring only: the training sees images and sample ids, no labels.
    """
    groups = data.data.dataset.groups(data.counts)
    if max(data.counts) == min(data.counts) or not all(groups.values()):
        return None
    return torch.from_numpy(group_of_each(data.chosen.labels, groups)).to(world.device)


def _loader(
    images: AugmentedImages, batch_size: int, views: Views, world: World, smallest: int
) -> DataLoader | BatchedLoader:
    """This process's Batches with two views of each image, [n, 2, 3, H, W]; the last one may be short, as published.

    Args:
        batch_size: images of all processes together. smallest: the fewest images that a step can use.

    Raises:
        InputError: the batch size is not divisible by the processes, or leaves a batch of one, or of fewer images than
            `smallest`.
    """
    if batch_size % world.size:
        raise InputError(f"the batch of {batch_size} images is not divisible by {world.size} processes")
    sampler = EpochSampler(images, world.size, world.rank, shuffle=True, seed=views.seed)
    batch = batch_size // world.size
    last = len(sampler) % batch  # images of the last batch; 0 if it is full
    if batch == 1 or last == 1 and smallest > 1:
        raise InputError(f"batch_size {batch_size} leaves a batch of one image, which batch norm cannot take")
    if batch < smallest or 0 < last < smallest:
        raise InputError(f"batch_size {batch_size} leaves a batch of {min(batch, last or batch)} images of a process, "
                         f"fewer than the method's {smallest}")  # fmt: skip
    return view_loader(images, sampler, batch, views.workers, world.device)


def board_of(args: argparse.Namespace, folder: Path, main: bool, first: int) -> Board:
    """The board that the run's numbers are written to: TensorBoard, Weights & Biases, both, or one that does nothing.

    Args:
        folder: the experiment's. main: whether this process writes. first: the epoch that comes next.

    Raises:
        InputError: a package is missing, or cannot begin.
    """
    board = Board(folder if args.tensorboard and main else None, first)
    if not (args.wandb and main):
        return board
    settings = {name: value for name, value in vars(args).items() if name not in ("data", "save_dir")}
    return Boards([board, WandbBoard(folder, args.wandb, settings, args.resume, args.quiet)])
