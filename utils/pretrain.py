"""The parts of pre-training: flags, loader of view pairs, one epoch."""

import argparse
import time
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data import opencv
from data.batch_views import PretrainViews, view_loader
from data.boost import Boost
from data.datasets import SPECS, load, spec_of
from data.image_lists import LIST_SPECS, PRETRAIN_LISTS, ImageArrays, ImageFiles
from data.views import AugmentedImages, Batch, EpochSampler, on_device, pretrain_transform
from methods import BCL
from models import MODELS
from split.ensure import ensure_list, ensure_path_list, known_list
from split.lists import read_list
from split.path_lists import read_path_list
from utils.bad_images import BadImages
from utils.board import check_board
from utils.cli import (
    Parser,
    add_augment,
    add_data_options,
    add_experiment,
    add_image_file_options,
    add_resume,
    check_augment,
    natural,
    not_negative,
    number,
    positive,
)
from utils.compute import Compute, add_compute_options
from utils.distributed import World
from utils.errors import InputError
from utils.log import Average, Log, had_before
from utils.meters import COLLAPSED, MEASURES, Meters
from utils.monitor import add_monitor_options
from utils.optim import WEIGHT_DECAY, set_rate
from utils.run_files import RunFiles
from utils.schedule import pretrain_lr

WARMUP_EPOCHS = 10


def add_view_options(parser: Parser, precision: str = "auto") -> None:
    """Which images, views, network and loss: what training has in common with programs that look at its checkpoints."""
    add = parser.add_argument
    add("--dataset", default="cifar", choices=["cifar", *SPECS, *PRETRAIN_LISTS])
    add_data_options(parser)
    add_augment(parser)
    add_image_file_options(parser)
    add_compute_options(parser, precision)
    add("--trainSplit", default="trainIdxList.npy", help="list of training images: a path below split/, or a file")
    add("--imagenetCustomSplit", default="", help="list of image files: its published name, or a file")
    add("--batch_size", type=positive, default=512, help="images per step, all processes together")
    add("--model", default="res18", choices=MODELS)
    add("--temperature", type=float, default=0.5)
    add("--seed", type=natural, default=1)
    add("--strength", type=number(float, 0, 5), default=1.0, help="factor on the colour jitter")
    add("--resizeLower", type=float, help="smallest crop, share of the area; default 0.1, image files 0.08")
    add("--prune_percent", type=float, default=0.3, help="share of the weights the pruned network lacks, in [0, 1)")


def fill_in_views(args: argparse.Namespace) -> None:
    """Fill in what --resizeLower and --augment auto stand for.

    Raises:
        InputError: one of them is out of range, or not for this data set.
    """
    if args.resizeLower is None:
        args.resizeLower = 0.08 if args.dataset in PRETRAIN_LISTS else 0.1
    check_augment(args, args.dataset in PRETRAIN_LISTS)
    if not 0 < args.resizeLower <= 1:
        raise InputError(f"--resizeLower must be in (0, 1], not {args.resizeLower}")


def parse(description: str) -> argparse.Namespace:
    """The published flags of train_simCLR.py with their published defaults, and a few of ours.

    Raises:
        InputError: an unknown flag or a value out of range.
    """
    parser = Parser(description)
    add = parser.add_argument
    add_experiment(parser, "checkpoints")
    add_view_options(parser)
    parser.add_flag("--compile", help="torch.compile the network: minutes at the start; no gain on a CPU")
    add("--epochs", type=natural, default=1000, help="0 saves the untrained network")
    add("--optimizer", default="lars", choices=list(WEIGHT_DECAY))
    add("--lr", type=not_negative, default=5.0)
    add("--weight_decay", "--wd", type=not_negative, help=f"default by optimizer: {WEIGHT_DECAY}")
    add("--scheduler", default="cosine", choices=["cosine", "constant"])
    add("--output_ch", type=number(int, 1, 65536), default=512, help="numbers per projection")
    add("--head_layers", type=int, help="2 or 3; default as published: 3 with --prune_dual_bn, else 2")
    parser.add_flag("--focal", help="contrastive focal loss instead of NT-Xent")
    add("--focal_gamma", type=not_negative, default=2.0, help="how much less easy anchors count")
    parser.add_flag("--bcl", help="boosted: images that are memorised late get stronger augmentation")
    add("--momentum_loss_beta", type=number(float, 0, 1 - 1e-9), default=0.97, help="of the momentum loss, in [0, 1)")
    add("--rand_k", type=number(int, 1, 100), default=1, help="boosted operations per view: 1 in BCL-I, 2 in BCL-D")
    add("--rand_strength", type=number(float, 0, 30), default=30.0, help="largest strength of an operation")
    add("--rand_floor", type=number(float, 0, 30), help="smallest; default 10 for --rand_k 1, else 5")
    parser.add_flag("--prune", help="SDCLR: contrast with a pruned self-competitor")
    add("--random_prune_percent", type=float, default=0.0, help="the part of it that falls at random")
    parser.add_flag("--prune_dual_bn", help="one batch norm for each branch")
    add_monitor_options(parser)
    add("--print_freq", type=positive, default=50, help="steps")
    add("--save_freq", type=positive, default=100, help="epochs between model_<epoch>.pt")
    add("--mask_save_freq", type=positive, default=100, help="epochs between mask_<epoch>.pt")
    add("--checkpoint", default="", help="weights to start from")
    add_resume(parser, "the experiment's newest checkpoint, or from --checkpoint with its epoch")
    add("--local_rank", "--local-rank", type=int, help="given by old launchers; the environment decides")
    parser.add_flag("--testContrastiveAcc", help="accepted; without effect, as published")
    parser.add_flag("--testContrastiveAccTest", help="accepted; without effect, as published")
    args = parser.parse_args()
    if args.weight_decay is None:
        args.weight_decay = WEIGHT_DECAY[args.optimizer]
    if args.head_layers is None:
        args.head_layers = 3 if args.prune_dual_bn else 2
    fill_in_views(args)
    check_board(args)
    return args


def training_images(args: argparse.Namespace) -> tuple[AugmentedImages, list[int]]:
    """The images of the training list, two views each, and their number per class.

    Raises:
        InputError: the data or the list is missing or bad.
    """
    boost = Boost(args.rand_k, args.rand_strength, args.rand_floor) if args.bcl else None
    if args.dataset in PRETRAIN_LISTS:
        name, default = PRETRAIN_LISTS[args.dataset]
        spec = LIST_SPECS[name]
        path = ensure_path_list(args.imagenetCustomSplit or default, spec, args.data)
        held_out = tuple(read_path_list(p, spec) for name in (spec.val, spec.test) if (p := known_list(spec, name)))
        chosen = read_path_list(path, spec, held_out)
        size, fast = args.image_size or spec.size, args.augment != "pillow"
        images, labels = ImageFiles(args.data, chosen, fast, args.on_bad_image), chosen.labels
        if fast:
            transform = opencv.PretrainView(size, args.strength, args.resizeLower)
        else:
            transform = pretrain_transform(size, True, args.strength, args.resizeLower, blur=True)
    else:
        data = load(spec_of(args.dataset), args.data, train=True, download=args.download)
        spec = data.spec
        name = spec.train_list if args.trainSplit == "trainIdxList.npy" else args.trainSplit
        path = ensure_list(name, spec, data.labels)
        val = read_list(ensure_list(spec.val_list, spec, data.labels), spec)
        chosen = read_list(path, spec, disjoint_from=val)
        images, labels = ImageArrays(data.images[chosen.indices], chosen.indices), data.labels[chosen.indices]
        how = spec.size, spec.flip, args.strength, args.resizeLower
        if args.augment == "pillow":
            transform = pretrain_transform(*how)
        else:
            transform, boost = PretrainViews(*how, boost=boost), None
    counts = np.bincount(labels, minlength=spec.classes).tolist()
    fill = args.on_bad_image == "skip"
    return AugmentedImages(images, labels, transform, args.seed, views=2, fill=fill, boost=boost), counts


def two_view_loader(dataset: AugmentedImages, args: argparse.Namespace, world: World) -> Iterable[Batch]:
    """This process's Batches of view pairs, views [n, 2, 3, H, W]; the last one may be short, as published.

    Raises:
        InputError: the batch size does not divide by the processes, or leaves a batch of one.
    """
    if args.batch_size % world.size:
        raise InputError(f"--batch_size {args.batch_size} is not divisible by {world.size} processes")
    sampler = EpochSampler(dataset, world.size, world.rank, shuffle=True, seed=args.seed)
    batch = args.batch_size // world.size
    if batch == 1 or args.prune and len(sampler) % batch == 1:
        raise InputError(f"--batch_size {args.batch_size} leaves a batch of one image, which batch norm cannot take")
    return view_loader(dataset, sampler, batch, args.num_workers, world.device)


def one_epoch(
    model: nn.Module,
    loader: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    epoch: int,
    args: argparse.Namespace,
    compute: Compute,
    world: World,
    log: Log,
    bar: tqdm,
    bad: BadImages,
    meters: Meters | None = None,
    files: RunFiles | None = None,
) -> None:
    """Train for one epoch (1-based); reads the losses and prints the published line every --print_freq steps.

    Args:
        meters: with the part of the epoch that was done before an interruption. files: save after steps.

    Raises:
        InputError: the loss is not finite, or an image is bad and --on_bad_image is error.
        Interrupted: a signal has come.
    """
    model.train()
    steps, method = len(loader), getattr(model, "module", model)  # as it is under DistributedDataParallel
    meters = meters or Meters(steps, world.device)
    before, first, data_time, train_time = meters.images, meters.done, Average(), Average()

    def read() -> None:
        meters.read(world, lambda step: f"epoch {epoch}, step {step}, lr {_rate(args, epoch, step, steps):g}")

    had_before(bar, before * world.size)
    lr = _rate(args, epoch, steps - 1, steps)
    start = time.perf_counter()
    for i, batch in enumerate(on_device(loader, world.device, compute.stream), first):
        bad.take(batch, training=True)
        if epoch == 1 and i == first:
            log.board.views(batch.views, epoch)
        data_time.add(time.perf_counter() - start)
        lr, told = set_rate(optimizer, _rate(args, epoch, i, steps)), i % args.print_freq == 0
        with compute.autocast():
            losses = model(batch.views, batch.index)
        norm = compute.update(losses.mean(), optimizer, measure=told)
        meters.add(losses, batch.index)
        if told:
            meters.measure("grad_norm", norm)
            for name, measure in MEASURES.items():
                meters.measure(name, measure(method.projections))
        if told or i == steps - 1:
            read()
        train_time.add(time.perf_counter() - start)
        if told:
            log.detail(
                f"Epoch: [{epoch}][{i}/{steps}]\tLoss {meters.last:.3f} ({meters.loss:.3f})\t"
                f"data_time: {data_time.mean:.3f}\ttrain_time: {train_time.mean:.3f}"
            )
            bar.set_postfix(epoch=epoch, loss=f"{meters.loss:.3f}", lr=f"{lr:.4f}", refresh=False)
        bar.update(len(batch.index) * world.size)
        if files:
            files.stepped(epoch, meters, read)
        start = time.perf_counter()
    bad.report()
    log.detail(f"current lr is {lr:.6g}")
    if isinstance(method, BCL):
        log.board.histogram("score", method.score, epoch)
    rate = round((meters.images - before) * world.size / train_time.total, 1) if train_time.total else None
    _record(log, epoch, lr, meters, images_per_s=rate, **method.measures())


def _rate(args: argparse.Namespace, epoch: int, step: int, steps: int) -> float:
    return pretrain_lr((epoch - 1) * steps + step, args.epochs * steps, WARMUP_EPOCHS * steps, args.lr, args.scheduler)


def _record(log: Log, epoch: int, lr: float, meters: Meters, **more: float | None) -> None:
    """The epoch's line of metrics.jsonl, and a warning where the features have become all alike."""
    measured = {name: meters.mean(name) for name in ("grad_norm", *MEASURES)}
    log.metrics(epoch=epoch, loss=meters.loss, lr=lr, **more, **measured)
    if measured["spread"] is not None and measured["spread"] < COLLAPSED:
        log.info(
            f"warning: the features have collapsed in epoch {epoch}: their standard deviation is "
            f"{measured['spread']:.3f} of uniform ones' (lower --lr, or see whether the views differ too much)"
        )
