"""The parts of pre-training: flags, loader of view pairs, one epoch, checkpoints."""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data import opencv
from data.batch_views import PretrainViews, view_loader
from data.boost import Boost
from data.datasets import SPECS, load
from data.image_lists import LIST_SPECS, PRETRAIN_LISTS, ImageFiles
from data.views import AugmentedImages, Batch, EpochSampler, on_device, pretrain_transform
from methods import BCL
from models import MODELS
from models.mask import get_masks
from models.published import from_published, load_state
from split.ensure import ensure_list, ensure_path_list, known_list
from split.lists import read_list
from split.path_lists import read_path_list
from utils.bad_images import BadImages
from utils.checkpoint import read_checkpoint, resume_optimizer, write_checkpoint
from utils.cli import (
    Parser,
    add_augment,
    add_data_options,
    add_experiment,
    add_image_file_options,
    check_augment,
    natural,
    not_negative,
    number,
    positive,
)
from utils.compute import Compute, Losses, add_compute_options
from utils.distributed import World
from utils.errors import InputError
from utils.log import Average, Log, provenance
from utils.optim import WEIGHT_DECAY, set_rate
from utils.schedule import pretrain_lr

WARMUP_EPOCHS = 10


def parse(description: str) -> argparse.Namespace:
    """The published flags of train_simCLR.py with their published defaults, and a few of ours.

    Raises:
        InputError: an unknown flag or a value out of range.
    """
    parser = Parser(description)
    add = parser.add_argument
    add_experiment(parser, "checkpoints")
    add("--dataset", default="cifar", choices=["cifar", *SPECS, *PRETRAIN_LISTS])
    add_data_options(parser)
    add_augment(parser)
    add_image_file_options(parser)
    add_compute_options(parser)
    parser.add_flag("--compile", help="torch.compile the network: minutes at the start; no gain on a CPU")
    add("--trainSplit", default="trainIdxList.npy", help="list of training images: a path below split/, or a file")
    add("--imagenetCustomSplit", default="", help="list of image files: its published name, or a file")
    add("--batch_size", type=positive, default=512, help="images per step, all processes together")
    add("--epochs", type=natural, default=1000, help="0 saves the untrained network")
    add("--optimizer", default="lars", choices=list(WEIGHT_DECAY))
    add("--lr", type=not_negative, default=5.0)
    add("--weight_decay", "--wd", type=not_negative, help=f"default by optimizer: {WEIGHT_DECAY}")
    add("--scheduler", default="cosine", choices=["cosine", "constant"])
    add("--model", default="res18", choices=MODELS)
    add("--temperature", type=float, default=0.5)
    add("--output_ch", type=number(int, 1, 65536), default=512, help="numbers per projection")
    add("--head_layers", type=int, help="2 or 3; default as published: 3 with --prune_dual_bn, else 2")
    add("--seed", type=natural, default=1)
    add("--strength", type=number(float, 0, 5), default=1.0, help="factor on the colour jitter")
    add("--resizeLower", type=float, help="smallest crop, share of the area; default 0.1, image files 0.08")
    parser.add_flag("--focal", help="contrastive focal loss instead of NT-Xent")
    add("--focal_gamma", type=not_negative, default=2.0, help="how much less easy anchors count")
    parser.add_flag("--bcl", help="boosted: images that are memorised late get stronger augmentation")
    add("--momentum_loss_beta", type=number(float, 0, 1 - 1e-9), default=0.97, help="of the momentum loss, in [0, 1)")
    add("--rand_k", type=number(int, 1, 100), default=1, help="boosted operations per view: 1 in BCL-I, 2 in BCL-D")
    add("--rand_strength", type=number(float, 0, 30), default=30.0, help="largest strength of an operation")
    add("--rand_floor", type=number(float, 0, 30), help="smallest; default 10 for --rand_k 1, else 5")
    parser.add_flag("--prune", help="SDCLR: contrast with a pruned self-competitor")
    add("--prune_percent", type=float, default=0.3, help="share of the weights it lacks, in [0, 1)")
    add("--random_prune_percent", type=float, default=0.0, help="the part of it that falls at random")
    parser.add_flag("--prune_dual_bn", help="one batch norm for each branch")
    add("--print_freq", type=positive, default=50, help="steps")
    add("--save_freq", type=positive, default=100, help="epochs between model_<epoch>.pt")
    add("--mask_save_freq", type=positive, default=100, help="epochs between mask_<epoch>.pt")
    add("--checkpoint", default="", help="weights to start from")
    parser.add_flag("--resume", help="go on from the experiment's model.pt, or from --checkpoint with its epoch")
    add("--local_rank", "--local-rank", type=int, help="given by old launchers; the environment decides")
    parser.add_flag("--testContrastiveAcc", help="accepted; without effect, as published")
    parser.add_flag("--testContrastiveAccTest", help="accepted; without effect, as published")
    args = parser.parse_args()
    if args.resizeLower is None:
        args.resizeLower = 0.08 if args.dataset in PRETRAIN_LISTS else 0.1
    check_augment(args, args.dataset in PRETRAIN_LISTS)
    if not 0 < args.resizeLower <= 1:
        raise InputError(f"--resizeLower must be in (0, 1], not {args.resizeLower}")
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
        images, labels = ImageFiles(args.data, chosen, as_array=fast), chosen.labels
        if fast:
            transform = opencv.PretrainView(size, args.strength, args.resizeLower)
        else:
            transform = pretrain_transform(size, True, args.strength, args.resizeLower, blur=True)
    else:
        data = load(args.dataset, args.data, train=True, download=args.download)
        spec = data.spec
        name = spec.train_list if args.trainSplit == "trainIdxList.npy" else args.trainSplit
        path = ensure_list(name, spec, data.labels)
        val = read_list(ensure_list(spec.val_list, spec, data.labels), spec)
        chosen = read_list(path, spec, disjoint_from=val)
        images, labels = data.images[chosen.indices], data.labels[chosen.indices]
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
) -> None:
    """Train for one epoch (1-based); reads the losses and prints the published line every --print_freq steps.

    Raises:
        InputError: the loss is not finite, or an image is bad and --on_bad_image is error.
    """
    model.train()
    steps, start = len(loader), time.perf_counter()
    losses, data_time, train_time = Losses(steps, world.device), Average(), Average()

    def rate(step: int) -> float:
        step += (epoch - 1) * steps
        return pretrain_lr(step, args.epochs * steps, WARMUP_EPOCHS * steps, args.lr, args.scheduler)

    for i, batch in enumerate(on_device(loader, world.device, compute.stream)):
        bad.take(batch, training=True)
        data_time.add(time.perf_counter() - start)
        lr = set_rate(optimizer, rate(i))
        with compute.autocast():
            loss = model(batch.views, batch.index).mean()
        compute.update(loss, optimizer)
        losses.add(loss, len(batch.index))
        told = i % args.print_freq == 0
        if told or i == steps - 1:
            losses.read(world, lambda step: f"epoch {epoch}, step {step}, lr {rate(step):g}")
        train_time.add(time.perf_counter() - start)
        if told:
            log.detail(
                f"Epoch: [{epoch}][{i}/{steps}]\tLoss {losses.last:.3f} ({losses.mean:.3f})\t"
                f"data_time: {data_time.mean:.3f}\ttrain_time: {train_time.mean:.3f}"
            )
            bar.set_postfix(epoch=epoch, loss=f"{losses.mean:.3f}", lr=f"{lr:.4f}", refresh=False)
        bar.update()
        start = time.perf_counter()
    bad.report()
    log.detail(f"current lr is {lr:.6g}")
    images_per_s = losses.images * world.size / max(train_time.total, 1e-9)
    log.metrics(epoch=epoch, loss=losses.mean, lr=lr, images_per_s=round(images_per_s, 1))


class Checkpoints:
    """The experiment's files: model.pt every 2 epochs (of image files every epoch), model_<epoch>.pt as --save_freq
    and mask_<epoch>.pt as --mask_save_freq says.

    Each holds 'epoch', 'state_dict' (keys with `module.`, as published), 'optim', and what made it. Sample order,
    augmentation, learning rate and mask are functions of the seed and the epoch, so nothing else is needed to resume.
    """

    def __init__(
        self, args: argparse.Namespace, method: nn.Module, optimizer: torch.optim.Optimizer, compute: Compute
    ) -> None:
        self.args, self.method, self.optimizer, self.compute = args, method, optimizer, compute
        self.folder = Path(args.save_dir) / args.experiment
        self.message = "starting from random weights"
        self.made_by = {"config": vars(args), "provenance": provenance()}

    def load(self) -> int:
        """Load what --checkpoint and --resume ask for; returns the epochs that are done.

        Raises:
            InputError: the file is missing, unreadable, of another model, or further than --epochs.
        """
        own = self.folder / "model.pt"
        file = Path(self.args.checkpoint) if self.args.checkpoint else own
        if not self.args.checkpoint and not (self.args.resume and own.exists()):
            if self.args.resume:
                self.message = f"nothing to resume in {self.folder}: starting from random weights"
            return 0
        content = read_checkpoint(file)
        load_state(self.method.encoder, from_published(content["state_dict"]), str(file))
        if not self.args.resume:
            self.message = f"starting from the weights of {file}"
            return 0
        epoch = resume_optimizer(self.optimizer, content, file)
        before = content.get("config") if isinstance(content.get("config"), dict) else {}
        if isinstance(self.method, BCL):
            self.method.load_memory(content.get("memory"), str(file))
        self.compute.load_scaler(content.get("scaler"))
        if epoch > self.args.epochs:
            raise InputError(f"{file} is at epoch {epoch}, beyond --epochs {self.args.epochs}")
        self.message = f"resuming from {file} after epoch {epoch}{' (finished)' * (epoch == self.args.epochs)}"
        for name in ("precision", "augment"):
            if before.get(name, "auto") not in ("auto", now := getattr(self.args, name)):
                self.message += f"; {name} was {before[name]}, is {now} from here on"
        return epoch

    def save(self, epoch: int, world: World) -> None:
        """Write the files that are due after `epoch`; only the main process writes."""
        last = epoch == self.args.epochs
        if not world.main:
            return
        numbered = last or epoch % self.args.save_freq == 0
        if numbered or epoch % 2 == 0 or self.args.dataset in PRETRAIN_LISTS:
            state = {f"module.{k}": v for k, v in self.method.encoder.state_dict().items()}
            content = {"epoch": epoch, "state_dict": state, "optim": self.optimizer.state_dict(), **self.made_by}
            if isinstance(self.method, BCL):
                content["memory"] = self.method.memory()
            content |= self.compute.state()
            if numbered:
                write_checkpoint(self.folder / f"model_{epoch}.pt", content)
            write_checkpoint(self.folder / "model.pt", content)
        if self.args.prune and epoch and (last or epoch % self.args.mask_save_freq == 0):
            masks = {name: mask.cpu() for name, mask in get_masks(self.method.encoder).items()}
            write_checkpoint(self.folder / f"mask_{epoch}.pt", {"epoch": epoch, "pruneMask": masks})
