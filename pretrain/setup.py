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
    """All that a pre-training needs. `start`: epochs that are done when it begins.

    It goes through the phases of its method, most often one: each has an optimizer, a schedule and a model of its own.
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
    group: torch.Tensor | None = None  # of each training image, its place in GROUPS: for monitoring alone
    start: int = 0
    schedule: Schedule | None = None
    phase: int = -1  # its number, -1 before the first
    _training: Training | None = field(default=None, repr=False)

    def enter_phase(self, epoch: int) -> None:
        """Begin the phase that `epoch` (1-based) is of, where it has not begun.

        Raises:
            InputError: a phase, this or another one, has no epoch for the second of two stages.
        """
        lengths = self.method.phases(self.settings.epochs)
        ends = list(accumulate(lengths))
        if sum(lengths) != self.settings.epochs:
            raise ValueError(f"the phases of the method have other epochs than {self.settings.epochs} together")
        number = min(bisect_left(ends, epoch), len(ends) - 1)
        if number == self.phase:
            return
        _check_stages(self.settings, lengths)
        for each in range(self.phase + 1, number + 1):
            self.method.start_phase(each)
        first = ends[number] - lengths[number] + 1
        self.phase, how = number, self.settings
        self._training = None
        self.network.network = self.method.encoder  # whose weights checkpoints have from now on
        trained = [p for p in self.compute.on_device(self.method).parameters() if p.requires_grad]
        self.optimizer.optimizer = build_optimizer(how.optimizer, trained, how.lr, how.weight_decay)
        stage = Stage(epochs_of(how.stage_epochs, lengths[number]), how.stage_decay * how.lr)
        self.schedule = Schedule(lengths[number], how.lr, how.scheduler, first, stage)

    @property
    def training(self) -> Training:
        """What the steps of the running phase are made with; all processes have joined."""
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
        """Make `epoch` ready: phase and epoch of the method, what was done of it before an interruption, its images.

        Raises:
            InputError: what was done does not fit, or an image is bad and is not to be skipped.
        """
        self.enter_phase(epoch)
        extract = partial(self.extractor.of_training, self.method.encoder, self.data.chosen, bad)
        # An epoch that is resumed calls start_epoch again: its random numbers were drawn before the interruption.
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
        """Measure kNN where it is due, and save.

        Raises:
            InputError: an image is bad and is not to be skipped.
            Interrupted: a signal has come; model.pt is of this epoch.
        """
        how = self.settings
        if self.monitor and (epoch % how.monitor_freq == 0 or epoch == how.epochs):
            self.monitor.report(self.method.encoder, epoch, reporter.log, reporter.bad)
        write_masks(self.run, self.method, epoch, how.mask_save_freq)
        self.run.save(epoch)


def set_up(args: argparse.Namespace, lists: Lists | None = None) -> Pretraining:
    """Find images and lists, build method and optimizer, load what --checkpoint and --resume ask for.

    The processes have not joined yet: each meets the same errors by itself.

    Args:
        args: of pretrain.flags.parse; `precision` is filled in. lists: where they are looked for; default split/.

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
    data = opened.training(chosen, views, method.boost and Boost(*method.boost))
    if dataset.own and len(chosen) < args.batch_size:
        raise InputError(f"there are {len(chosen)} images, fewer than the batch of {args.batch_size}: {FEWER_IMAGES}")
    loader = _loader(data.images, args.batch_size, views, world, method.smallest_batch)
    extractor = Extractor(opened, views, args.model, compute, world)
    monitor = Monitor(data, extractor, lists) if "knn" in args.monitor else None

    saving = saving_of(args, processes=world.size, images=fingerprint(data.images))
    saving = replace(saving, every=dataset.save_every, numbered=args.save_freq, last_numbered=True)
    network, optimizer = NetworkPart(method.encoder, "module."), OptimizerPart()
    parts = {"state_dict": network, "optim": optimizer, "random": Generators(world), "memory": Memory(method),
             "scaler": Scaler(compute.scaler), "provenance": Note(how_made())}  # fmt: skip
    run = Run(saving, world, parts, {"epoch_state": WithinEpoch(method)})
    run.told += opened.told
    made = Pretraining(
        taken(Settings, args), world, compute, data, loader, extractor, monitor, method, run, network, optimizer,
        _group_of_each(data, world)
    )  # fmt: skip
    found = load(run, network, args.resume)
    if found:
        done, within = run.epoch_of(*found), found[1].get("within")
        made.enter_phase(done + 1 if within else done)  # that its state is of
        made.start = run.take_up(*found)
    else:
        made.enter_phase(1)
    return made


def _check_stages(how: Settings, lengths: list[int]) -> None:
    """Raises InputError: the first of two stages takes all epochs of a phase, whose numbers of epochs are `lengths`."""
    if how.scheduler != TWO_STAGE or not how.epochs:
        return
    for epochs in lengths:
        if epochs_of(how.stage_epochs, epochs) >= epochs:
            told = f"stage_epochs {how.stage_epochs:g} leaves none of a phase's {epochs} epochs for the second one"
            raise InputError(f"{told}: choose a share")


def trained_encoders(method: Method) -> list[nn.Module]:
    """The networks with weights to train, of a method and of those inside it: one, or DnC's experts."""
    found = {id(m.encoder): m.encoder for m in method.modules() if isinstance(m, Method) and hasattr(m, "encoder")}
    return [encoder for encoder in found.values() if any(p.requires_grad for p in encoder.parameters())]


def _group_of_each(data: TrainingImages, world: World) -> torch.Tensor | None:
    """The place in GROUPS of each training image's group, [N]; None of a list that is balanced, or lacks a group.

    Labels are used for monitoring only: the training sees images and their numbers.
    """
    groups = data.data.dataset.groups(data.counts)
    if max(data.counts) == min(data.counts) or not all(groups.values()):
        return None
    return torch.from_numpy(group_of_each(data.chosen.labels, groups)).to(world.device)


def _loader(
    images: AugmentedImages, batch_size: int, views: Views, world: World, smallest: int
) -> DataLoader | BatchedLoader:
    """This process's Batches of view pairs, views [n, 2, 3, H, W]; the last one may be short, as published.

    Args:
        batch_size: images of all processes. smallest: images of a batch that a step can take.

    Raises:
        InputError: the batch size does not divide by the processes, or leaves a batch of one.
    """
    if batch_size % world.size:
        raise InputError(f"the batch of {batch_size} images is not divisible by {world.size} processes")
    sampler = EpochSampler(images, world.size, world.rank, shuffle=True, seed=views.seed)
    batch = batch_size // world.size
    left = len(sampler) % batch
    if batch == 1 or left == 1 and smallest > 1:
        raise InputError(f"batch_size {batch_size} leaves a batch of one image, which batch norm cannot take")
    if batch < smallest or 0 < left < smallest:
        raise InputError(f"batch_size {batch_size} leaves a batch of {min(batch, left or batch)} images of a process, "
                         f"fewer than the method's {smallest}")  # fmt: skip
    return view_loader(images, sampler, batch, views.workers, world.device)


def board_of(args: argparse.Namespace, folder: Path, main: bool, first: int) -> Board:
    """What shows the numbers of a run besides its own files: TensorBoard, Weights & Biases, both or none.

    Args:
        folder: the experiment's. main: one process writes. first: epoch that comes next.

    Raises:
        InputError: a package is missing or refuses to begin.
    """
    board = Board(folder if args.tensorboard and main else None, first)
    if not (args.wandb and main):
        return board
    settings = {name: value for name, value in vars(args).items() if name not in ("data", "save_dir")}
    return Boards([board, WandbBoard(folder, args.wandb, settings, args.resume, args.quiet)])
