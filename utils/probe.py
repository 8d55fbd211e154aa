"""The parts of the probes: flags, lists, freezing, one epoch, evaluation, files, the result."""

import argparse
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from data.datasets import SPECS, ImageSet, Spec
from data.views import AugmentedImages, EpochSampler, make_loader, probe_transform, to_batch
from models import MODELS
from models.mask import apply_masks, compute_masks
from models.published import from_published, load_state, select_batch_norm, to_backbone
from split.ensure import ensure_list
from split.lists import IndexList, read_list
from utils.checkpoint import read_checkpoint, resume_optimizer, write_checkpoint
from utils.cli import Parser, add_data_options, add_experiment, milestones, natural, not_negative, positive
from utils.errors import InputError
from utils.log import Average, Log
from utils.metrics import accuracy
from utils.results import DEFAULT_LIST, PROTOCOLS
from utils.schedule import pretrain_lr, probe_lr

_STAGES = ("layer1", "layer2", "layer3", "layer4")


def parse(description: str) -> argparse.Namespace:
    """The published flags of train_cifar.py with their published defaults, and a few of ours.

    Raises:
        InputError: an unknown flag or a value out of range.
    """
    parser = Parser(description)
    add = parser.add_argument
    add_experiment(parser, "checkpoints_tune")
    add("--model", default="res18", choices=MODELS)
    add("--dataset", default="cifar10", choices=["cifar", *SPECS])
    add_data_options(parser)
    add("--trainSplit", default=DEFAULT_LIST, help="list of labelled images: a path below split/, or a file")
    add("--valiSplit", default="", help="list of validation images; default the data set's; or the word test")
    add("--groupSplit", default="", help="long-tailed list whose class sizes make Many, Medium, Few; "
        "default: the D_i list of the split that the experiment's name holds")  # fmt: skip
    add("--protocol", default="", choices=["", *PROTOCOLS, "custom"], help="default: by the training list")
    add("--batch-size", type=positive, default=128)
    add("--test-batch-size", type=positive, default=128)
    add("--epochs", type=positive, default=100)
    add("--weight-decay", "--wd", dest="wd", type=not_negative, default=2e-4)
    add("--lr", type=not_negative, default=0.1)
    add("--momentum", type=not_negative, default=0.9)
    add("--decreasing_lr", type=milestones, default=[75, 90, 95], help="epochs at which lr falls to a tenth")
    parser.add_flag("--cosineLr", help="cosine instead of --decreasing_lr")
    parser.add_flag("--no-cuda", help="compute on the CPU")
    add("--seed", type=natural, default=1)
    add("--log-interval", type=positive, default=10, help="steps")
    add("--save-freq", "-s", type=positive, default=1, help="epochs between model.pt")
    add("--test_freq", type=positive, default=1, help="epochs between validations")
    add("--fixto", default="nothing", choices=["nothing", *_STAGES], help="freeze everything up to that stage")
    parser.add_flag("--fixbn", help="batch norm of the frozen stages in evaluation mode")
    add("--checkpoint", default="", help="weights to start from")
    parser.add_flag("--cvt_state_dict", help="--checkpoint is of pre-training: drop its head")
    add("--bnNameCnt", type=int, default=-1, choices=[-1, 0, 1], help="of dual batch norm: 0 dense, 1 pruned")
    parser.add_flag("--prune", help="probe the pruned network")
    add("--prune_percent", type=float, default=0.3, help="share of the weights it lacks, in [0, 1)")
    parser.add_flag("--resume", help="go on from the experiment's model.pt")
    add("--start-epoch", type=natural, default=0, help="epochs taken as done when not resuming")
    parser.add_flag("--test_only", help="evaluate the experiment's best_model.pt")
    args = parser.parse_args()
    if not args.test_only and args.start_epoch >= args.epochs:
        raise InputError(f"--start-epoch {args.start_epoch} leaves nothing of --epochs {args.epochs}")
    return args


def find_lists(args: argparse.Namespace, data: ImageSet) -> dict[str, IndexList | None]:
    """The checked lists: 'train', 'val' (None for the test set), 'group' (None if no split is named).

    Raises:
        InputError: a list is bad, or training and validation share an image.
    """
    spec = data.spec

    def read(name: str, apart: IndexList | None = None) -> IndexList:
        return read_list(ensure_list(name, spec, data.labels), spec, apart)

    val = None if args.valiSplit == "test" else read(args.valiSplit or spec.val_list)
    train = read(spec.train_list if args.trainSplit == DEFAULT_LIST else args.trainSplit, val)
    group = args.groupSplit or long_tailed_list(args.experiment, spec)
    return {"train": train, "val": val, "group": read(group) if group else None}


def long_tailed_list(experiment: str, spec: Spec) -> str:
    """Path below split/ of the D_i list of the split in an experiment's name; '' where it names none.

    D_b experiments are grouped by D_i too, as published.
    """
    match = re.search(rf"({spec.prefix}split\d+(?:_pareto[\d.]+)?(?:_imb[\d.]+)?)_D_[ib]", experiment)
    return spec.split_list(f"{match.group(1)}_D_i") if match else ""


def subset(data: ImageSet, chosen: IndexList | None) -> ImageSet:
    """The images of a list; all of them for None."""
    if chosen is None:
        return data
    return ImageSet(data.spec, data.images[chosen.indices], data.labels[chosen.indices])


def train_loader(data: ImageSet, args: argparse.Namespace, device: torch.device) -> DataLoader:
    """Shuffled, augmented batches ([n, 1, 3, H, W], sample id [n], label [n]); the last one may be short."""
    transform = probe_transform(data.spec.size, data.spec.flip)
    dataset = AugmentedImages(data.images, data.labels, transform, args.seed)
    sampler = EpochSampler(dataset, 1, 0, shuffle=True, seed=args.seed)
    return make_loader(dataset, sampler, args.batch_size, args.num_workers, device)


class Frozen:
    """What must not move: a copy of the frozen weights and buffers, taken before training."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.before = {k: v.detach().clone() for k, v in state.items()}

    def moved(self, model: nn.Module) -> list[str]:
        """Names of the frozen tensors that have another value now."""
        now = model.state_dict()
        return [k for k, v in self.before.items() if not torch.equal(v, now[k].to(v.device))]

    def check(self, model: nn.Module) -> None:
        """Raise RuntimeError if anything frozen has moved: the probe would not be linear."""
        if moved := self.moved(model):
            raise RuntimeError(f"{len(moved)} frozen tensors moved during the probe, {moved[0]} first")


def frozen_modules(model: nn.Module, fixto: str) -> dict[str, nn.Module]:
    """Stem and stages up to `fixto`, by name; none for 'nothing'. The last stage of the small ResNets is layer3."""
    names = ("conv1", "bn1", *_STAGES[: _STAGES.index(fixto) + 1]) if fixto in _STAGES else ()
    return {name: module for name, module in model.named_children() if name in names}


def freeze(model: nn.Module, fixto: str, fixbn: bool) -> Frozen:
    """Stop gradients up to stage `fixto`; returns what to check.

    With `fixbn` the buffers of those stages' batch norms stay too, which `train_epoch` sees to.
    """
    fixed = {}
    for name, module in frozen_modules(model, fixto).items():
        module.requires_grad_(False)
        fixed.update(module.named_parameters(prefix=name))
        if fixbn:
            fixed.update(module.named_buffers(prefix=name))
    return Frozen(fixed)


def train_epoch(
    model: nn.Module,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    args: argparse.Namespace,
    device: torch.device,
    log: Log,
) -> None:
    """One epoch (1-based) of cross-entropy on augmented images.

    Raises:
        InputError: the loss is not finite.
    """
    model.train()
    if args.fixbn:
        # Batch norm is all that evaluation mode changes in a frozen stage.
        for module in frozen_modules(model, args.fixto).values():
            module.eval()
    steps = len(loader)
    loader.sampler.set_epoch(epoch)
    losses = Average()
    for i, (views, _, labels) in enumerate(loader):
        if args.cosineLr:
            lr = pretrain_lr((epoch - 1) * steps + i, args.epochs * steps, 0, args.lr)
        else:
            lr = probe_lr(epoch, args.lr, args.decreasing_lr)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = F.cross_entropy(model(views[:, 0].to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.add(loss.item(), len(labels))
        if not math.isfinite(losses.value):
            raise InputError(f"the probe's loss is {losses.value} in epoch {epoch}, step {i}, lr {lr:g}: lower --lr")
        if i % args.log_interval == 0:
            log.detail(f"Train Epoch: {epoch} [{i}/{steps}]\tLoss: {losses.value:.6f}\tlr: {lr:g}")
    log.metrics(epoch=epoch, loss=losses.mean, lr=lr)


@torch.no_grad()
def evaluate(model: nn.Module, data: ImageSet, batch: int, device: torch.device) -> dict[str, Any]:
    """Top-1, top-5 and per-class accuracy on un-augmented images (see utils.metrics.accuracy)."""
    model.eval()
    chunks = (data.images[i : i + batch] for i in range(0, len(data.images), batch))
    logits = torch.cat([model(to_batch(chunk).to(device)).cpu() for chunk in chunks])
    return accuracy(logits.numpy(), data.labels, data.spec.classes)


class Files:
    """The experiment's model.pt, best_model.pt; each holds 'epoch', 'state_dict', 'optim', 'best_prec1'."""

    def __init__(self, args: argparse.Namespace, model: nn.Module) -> None:
        self.args, self.model = args, model
        self.folder = Path(args.save_dir) / args.experiment
        self.best, self.message, self._resumed = -1.0, "backbone: random weights", None
        self.config = {"config": vars(args)}

    def load(self) -> int:
        """Load the weights that the flags ask for; returns the epochs that are done.

        Raises:
            InputError: a file is missing, unreadable or of another model, or two flags contradict.
        """
        args, own = self.args, self.folder / "model.pt"
        if args.test_only:
            self.message = f"evaluating {self.folder / 'best_model.pt'}"
            return 0
        if args.checkpoint:
            content = read_checkpoint(args.checkpoint)
            if args.cvt_state_dict:
                state = to_backbone(content["state_dict"], args.bnNameCnt)
            else:
                state = from_published(content["state_dict"])
                if any(k.startswith("fc.fc") for k in state):
                    raise InputError(f"{args.checkpoint} is of pre-training: add --cvt_state_dict")
            load_state(self.model, state, args.checkpoint, head=not args.cvt_state_dict)
            self.message = f"backbone: {args.checkpoint}, epoch {content.get('epoch')}"
        if args.prune:
            apply_masks(self.model, compute_masks(self.model, args.prune_percent))
        if not (args.resume and own.exists()):
            return args.start_epoch
        return self._load_own(own)

    def _load_own(self, own: Path) -> int:
        """Take up this experiment's run, unless the backbone under it was trained anew since."""
        content = read_checkpoint(own)
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        frozen = freeze(self.model, self.args.fixto, self.args.fixbn)
        load_state(self.model, content["state_dict"], str(own))
        if self.args.checkpoint and frozen.moved(self.model):
            self.model.load_state_dict(before)
            self.message += f"; {own} is of another backbone: starting over"
            return self.args.start_epoch
        best = content.get("best_prec1")
        if not isinstance(best, int | float):
            raise InputError(f"cannot resume from {own}: its best_prec1 is {best!r}")
        epoch = resume_optimizer(self.optimizer(), content, own)
        self.best, self._resumed = best, content
        self.message = f"resuming from {own} after epoch {epoch}"
        return epoch

    def optimizer(self) -> torch.optim.Optimizer:
        """SGD on what is not frozen, in the state of the resumed run."""
        a, trained = self.args, [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, a.lr, momentum=a.momentum, weight_decay=a.wd)
        if self._resumed is not None:
            resume_optimizer(optimizer, self._resumed, self.folder / "model.pt")
        return optimizer

    def save(self, epoch: int, optimizer: torch.optim.Optimizer, name: str = "model.pt") -> None:
        """Write model.pt when --save-freq says so, and at the end."""
        if name == "model.pt" and epoch % self.args.save_freq and epoch != self.args.epochs:
            return
        content = {"epoch": epoch, "state_dict": self.model.state_dict(), "optim": optimizer.state_dict()}
        write_checkpoint(self.folder / name, {**content, "best_prec1": self.best, **self.config})

    def save_best(self, epoch: int, top1: float, optimizer: torch.optim.Optimizer) -> None:
        """Write best_model.pt if validation accuracy `top1` (percent) is the best so far; ties keep the first."""
        if top1 > self.best:
            self.best = top1
            self.save(epoch, optimizer, "best_model.pt")

    def load_best(self) -> dict[str, Any]:
        """Load best_model.pt into the model; returns 'epoch', 'val_top1' and 'config' of it, None where it has none.

        Raises:
            InputError: it is missing, unreadable, or of another model.
        """
        path = self.folder / "best_model.pt"
        if not path.is_file():
            raise InputError(f"{path} does not exist: run the probe without --test_only first, or get the file")
        content = read_checkpoint(path)
        state = from_published(content["state_dict"])
        if any(".bn_list." in k for k in state):
            state = select_batch_norm(state, self.args.bnNameCnt)
        load_state(self.model, state, str(path))
        config = content.get("config")
        best = {"epoch": content.get("epoch"), "val_top1": content.get("best_prec1")}
        best = {k: float(v) if isinstance(v, int | float | np.number) else None for k, v in best.items()}
        ours = isinstance(config, dict) and config.keys() >= vars(self.args).keys()
        return {**best, "config": config if ours else None}
