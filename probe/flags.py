"""Command lines of the two probes: the published flags with their published defaults, and a few of ours."""

import argparse
import os
from dataclasses import dataclass

from data.flags import add_augment, add_data_options, add_image_file_options, check_augment
from data.sets.registry import data_set, data_sets
from models import MODELS
from probe.network import STAGES
from probe.protocols import DEFAULT_LIST, PROTOCOLS, on_features
from run.flags import add_check, add_compute_options, add_experiment, add_resume
from utils.cli import Parser, milestones, natural, not_negative, number, positive
from utils.errors import InputError

CONVERT = "add --cvt_state_dict"


@dataclass(frozen=True)
class Settings:
    """How a probe goes, by the names of its options. batch_size: images of all processes; fixto: the stage up to which
    nothing is trained; decreasing_lr: epochs at which lr falls to a tenth, with step_at_end at their end; test_freq:
    epochs between validations; log_interval: steps between lines."""

    experiment: str
    model: str
    protocol: str
    augment: str
    epochs: int
    batch_size: int
    test_batch_size: int
    lr: float
    momentum: float
    wd: float
    decreasing_lr: list[int]
    cosineLr: bool
    step_at_end: bool
    fixto: str
    fixbn: bool
    test_freq: int
    log_interval: int
    seed: int
    test_only: bool
    on_bad_image: str
    quiet: bool


def _parser(description: str, save_dir: str, batch: int, epochs: int) -> Parser:
    """The flags that both scripts have; save_dir, batch and epochs: published defaults."""
    parser = Parser(description)
    add = parser.add_argument
    add_experiment(parser, save_dir)
    add_data_options(parser)
    add_augment(parser)
    add_compute_options(parser)
    add("--groupSplit", default="", help="long-tailed list whose class sizes make Many, Medium, Few; "
        "default: by the experiment's name, else by the list of its pre-training")  # fmt: skip
    protocols = ["", *PROTOCOLS, "custom"]
    add("--protocol", default="", choices=protocols, help="default: by the training list; "
        "bcl-* are BCL's probes on features, with lists, batches and rates of their own")  # fmt: skip
    add("--batch-size", type=positive, default=batch, help="images per step, all processes together")
    add("--test-batch-size", type=positive, default=batch)
    add("--epochs", type=positive, help=f"default {epochs}; of BCL's probes 500")
    add("--weight-decay", "--wd", dest="wd", type=not_negative)
    add("--lr", type=not_negative)
    add("--momentum", type=not_negative, default=0.9)
    add("--decreasing_lr", type=milestones, help="epochs at which lr falls to a tenth")
    add("--seed", type=natural, help="default 1; of BCL's probes 10")
    add("--test_freq", type=positive, default=1, help="epochs between validations")
    add("--checkpoint", default="", help="weights to start from")
    parser.add_flag("--cvt_state_dict", help="--checkpoint is of pre-training: drop its head")
    add("--bnNameCnt", type=int, default=-1, choices=[-1, 0, 1], help="of dual batch norm: 0 dense, 1 pruned")
    add_check(parser)
    parser.add_flag("--untrained", help="with --check: random weights where --checkpoint is not there yet")
    add_resume(parser, "the experiment's newest checkpoint")
    add("--start-epoch", type=natural, default=0, help="epochs taken as done when not resuming")
    parser.add_flag("--test_only", help="evaluate the experiment's best_model.pt")
    parser.add_flag("--no-cuda", help="compute on the CPU")
    return parser


def _parse(parser: Parser, epochs: int) -> argparse.Namespace:
    args = parser.parse_args()
    dataset, features = data_set(args.dataset), on_features(args.protocol)
    check_augment(args, dataset)
    own = PROTOCOLS[args.protocol].settings.get(dataset.style, {}) if features else {}
    args.epochs = args.epochs or own.get("epochs", epochs)
    args.seed = own.get("seed", 1) if args.seed is None else args.seed
    # What would be a part of the other probes, and goes unused here.
    given = [name for name in ("test_only", "trainSplit", "customSplit", "fullset", "valiSplit")
             if getattr(args, name, None) not in (None, parser.get_default(name))]  # fmt: skip
    if features and given:
        raise InputError(f"--protocol {args.protocol} trains on its own lists, anew each time: leave out --{given[0]}")
    if args.untrained and not args.check:
        raise InputError("--untrained goes with --check: a probe of random weights has no --checkpoint")
    if args.test_only and args.overwrite:
        raise InputError("--test_only evaluates what --overwrite would remove: choose one")
    if not args.test_only and args.start_epoch >= args.epochs:
        raise InputError(f"--start-epoch {args.start_epoch} leaves nothing of --epochs {args.epochs}")
    return args


def parse_cifar(description: str) -> argparse.Namespace:
    """Flags of train_cifar.py.

    Raises:
        InputError: an unknown flag or a value out of range.
    """
    parser = _parser(description, "checkpoints_tune", batch=128, epochs=100)
    add = parser.add_argument
    add("--model", default="res18", choices=MODELS)
    add("--dataset", default="cifar10", choices=["cifar", *data_sets("cifar")])
    add("--trainSplit", default=DEFAULT_LIST, help="list of labelled images: a path below split/, or a file")
    add("--valiSplit", default="", help="list of validation images; default the data set's; or the word test")
    parser.add_flag("--cosineLr", help="cosine instead of --decreasing_lr")
    add("--log-interval", type=positive, default=10, help="steps")
    add("--save-freq", "-s", type=positive, default=1, help="epochs between model.pt")
    add("--fixto", default="nothing", choices=["nothing", *STAGES], help="freeze everything up to that stage")
    parser.add_flag("--fixbn", help="batch norm of the frozen stages in evaluation mode")
    parser.add_flag("--prune", help="probe the pruned network")
    add("--prune_percent", type=float, default=0.3, help="share of the weights it lacks, in [0, 1)")
    # The published schedule moves at the start of an epoch here, at its end in train_imagenet.py.
    parser.set_defaults(step_at_end=False, on_bad_image="error", wd=2e-4, lr=0.1, decreasing_lr="75,90,95")
    return _parse(parser, epochs=100)


def parse_imagenet(description: str) -> argparse.Namespace:
    """Flags of train_imagenet.py; `fixto` and `image_size` are filled in.

    Raises:
        InputError: an unknown flag, a value out of range, two lists at once, or processes without their ranks.
    """
    parser = _parser(description, "checkpoints_imagenet_tune", batch=512, epochs=10)
    add = parser.add_argument
    add("--model", default="res50", choices=MODELS)
    add("--dataset", default="imagenet", choices=list(data_sets("imagenet")))
    add_image_file_options(parser)
    parser.add_flag("--fullset", help="train on all labelled images")
    add("--customSplit", default="", help="list of labelled images: its published name, or a file")
    add("--valiSplit", default="", help="list of validation images; default the data set's")
    add("--log-interval", type=positive, default=50, help="steps")
    parser.add_flag("--unfreeze", help="train the backbone of --checkpoint, too")
    add("--local_rank", "--local-rank", type=int, help="of processes started by hand; else the environment decides")
    add("--world_size", type=positive, default=1, help="their number")
    add("--port", type=number(int, 0, 65535), default=4850, help="where they meet, on this machine")
    parser.set_defaults(step_at_end=True, cosineLr=False, prune=False, prune_percent=0.0, fixbn=True)
    parser.set_defaults(wd=5e-4, lr=0.2, decreasing_lr="3,6,9")
    args = _parse(parser, epochs=10)
    if args.fullset and args.customSplit:
        raise InputError("--fullset and --customSplit name two training lists: choose one")
    ranks = range(args.world_size)
    if len(ranks) > 1 and args.local_rank not in ranks and "RANK" not in os.environ:
        raise InputError(f"--world_size {len(ranks)} needs --local_rank 0 to {ranks[-1]}, or start with torchrun")
    args.fixto = "layer4" if args.checkpoint and not args.unfreeze else "nothing"
    args.image_size = args.image_size or data_set(args.dataset).size
    args.save_freq = args.test_freq  # as published
    return args
