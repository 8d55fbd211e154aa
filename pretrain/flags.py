"""Flags of train_simCLR.py."""

import argparse
from dataclasses import dataclass
from typing import Any

from data.flags import add_augment, add_data_options, add_image_file_options, check_augment
from data.sets.registry import FULL_LIST, pretraining_names, pretraining_set, trained_on
from data.views.strength import default_floor
from methods import METHODS, WRAPPERS, Line, choose, load, method_names, method_of
from methods.epochs import epochs_of, epochs_or_share
from models import MODELS
from models.mask import check_fractions
from run.flags import add_check, add_compute_options, add_experiment, add_resume, check_board
from run.optim import WEIGHT_DECAY
from run.schedule import TWO_STAGE
from utils.cli import Parser, natural, not_negative, number, positive
from utils.errors import InputError

MONITORS = ("knn", "groups")


@dataclass(frozen=True)
class Settings:
    """Settings of a pre-training's optimizer, schedule and monitoring.

    lr: the highest rate. stage_epochs: of the first of two stages, as epochs_of takes them. stage_decay: factor on lr
    at the end of the first stage. compile: by torch.compile. monitor: names of MONITORS. monitor_freq: epochs between
    kNN measurements. mask_save_freq: epochs between mask_<epoch>.pt.
    """

    epochs: int
    optimizer: str
    lr: float
    weight_decay: float
    scheduler: str
    stage_epochs: float
    stage_decay: float
    compile: bool
    monitor: list[str]
    monitor_freq: int
    mask_save_freq: int


def add_view_options(parser: Parser, precision: str = "auto") -> None:
    """Add the options of images, views, network and loss, which programs that evaluate checkpoints have, too."""
    add = parser.add_argument
    add("--dataset", default="cifar", choices=pretraining_names())
    add_data_options(parser)
    add_augment(parser)
    add_image_file_options(parser)
    add_compute_options(parser, precision)
    add("--trainSplit", default=FULL_LIST, help="list of training images: a path below split/, or a file")
    add("--imagenetCustomSplit", default="", help="list of image files: its published name, or a file")
    add("--batch_size", type=positive, default=512, help="images per step, all processes together")
    add("--model", default="res18", choices=MODELS)
    add("--temperature", type=float, default=0.5)
    add("--seed", type=natural, default=1)
    add("--strength", type=number(float, 0, 5), default=1.0, help="factor on the colour jitter")
    add("--resizeLower", type=float, help="smallest crop, share of the area; default 0.1, image files 0.08")
    add("--prune_percent", type=float, default=0.3, help="share of the weights the pruned network lacks, in [0, 1)")


def fill_in_views(args: argparse.Namespace) -> None:
    """Fill in the defaults of --resizeLower and --augment auto, and check the shares.

    Raises:
        InputError: a value is out of range, or not for this data set.
    """
    dataset, _ = pretraining_set(args.dataset)
    if args.resizeLower is None:
        args.resizeLower = dataset.smallest_crop
    check_augment(args, dataset)
    if not 0 < args.resizeLower <= 1:
        raise InputError(f"--resizeLower must be in (0, 1], not {args.resizeLower}")
    check_fractions(args.prune_percent)


def training_list(args: argparse.Namespace) -> str:
    """The training list that the command line names, or the data set's default for pre-training."""
    return trained_on(vars(args))[1]


def monitors(word: str) -> list[str]:
    """An argparse type: `none`, or names of MONITORS separated by commas."""
    names = [] if word == "none" else word.split(",")
    if unknown := [name for name in names if name not in MONITORS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not none, {' or '.join(MONITORS)}")
    return sorted(set(names))


def parse(description: str) -> argparse.Namespace:
    """The command line of train_simCLR.py: the published flags with their published defaults, and a few new ones.

    Raises:
        InputError: an unknown flag, a value out of range, or flags that do not go together.
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
    _add_schedule(parser)
    add("--output_ch", type=number(int, 1, 65536), default=512, help="numbers per projection")
    add("--head_layers", type=int, help="2 or 3; default as published: 3 with --prune_dual_bn, else 2")
    add("--head_width", type=number(int, 0, 65536), default=0, help="of its hidden layers; 0: the backbone's features")
    add("--method", default="", help=f"by name, with its own defaults: {', '.join(method_names())}, METHOD+WRAPPER")
    for line in (*METHODS.values(), *WRAPPERS.values()):
        load(line).add_options(parser)
    _add_monitoring(parser)
    add("--save_freq", type=positive, default=100, help="epochs between model_<epoch>.pt")
    add("--mask_save_freq", type=positive, default=100, help="epochs between mask_<epoch>.pt")
    add("--checkpoint", default="", help="weights to start from")
    add_check(parser)
    add_resume(parser, "the experiment's newest checkpoint, or from --checkpoint with its epoch")
    add("--local_rank", "--local-rank", type=int, help="given by old launchers; the environment decides")
    parser.add_flag("--testContrastiveAcc", help="accepted; without effect, as published")
    parser.add_flag("--testContrastiveAccTest", help="accepted; without effect, as published")
    args = _parse_method(parser)
    if args.weight_decay is None:
        args.weight_decay = WEIGHT_DECAY[args.optimizer]
    if args.rand_floor is None:
        args.rand_floor = default_floor(args.rand_k, args.rand_strength)
    if args.head_layers is None:
        args.head_layers = load(choose(args.method).lines[0]).encoder_options(args)["head_layers"]
    fill_in_views(args)
    _check_stages(args, parser)
    check_board(args)
    return args


def _add_schedule(parser: Parser) -> None:
    """Add the options of the learning rate's schedule."""
    add = parser.add_argument
    add("--scheduler", default="cosine", choices=["cosine", "constant", TWO_STAGE])
    of_first = "of the first of two stages, or a share of all below 1"
    add("--stage_epochs", type=epochs_or_share, default=0.5, help=of_first)
    add("--stage_decay", type=number(float, 0, 1), default=0.6, help="what the first of two stages leaves of --lr")


def _add_monitoring(parser: Parser) -> None:
    """Add the options of what is logged and measured during training."""
    add = parser.add_argument
    parser.add_flag("--tensorboard", help="write TensorBoard's events; default: where it is installed")
    parser.set_defaults(tensorboard=None)
    add("--wandb", default="", metavar="PROJECT", help="log to this project of Weights & Biases, too; offline with "
        "WANDB_MODE=offline")  # fmt: skip
    choices = "knn: accuracy on the validation list; groups: more of Many, Medium and Few; none; knn,groups: both"
    add("--monitor", type=monitors, default=[], help=choices)
    add("--monitor_freq", type=positive, default=25, help="epochs between; always after the last one")
    add("--print_freq", type=positive, default=50, help="steps")


def _check_stages(args: argparse.Namespace, parser: Parser) -> None:
    """Raise InputError if stages are given for a schedule without them, or the second stage has no epoch."""
    if args.scheduler != TWO_STAGE:
        given = (name for name in ("stage_epochs", "stage_decay") if getattr(args, name) != parser.get_default(name))
        if name := next(given, None):
            raise InputError(f"--{name} needs --scheduler {TWO_STAGE}")
    elif args.epochs and epochs_of(args.stage_epochs, args.epochs) >= args.epochs:
        raise InputError(f"--stage_epochs {args.stage_epochs:g} leaves none of {args.epochs} epochs for the second one")


def _parse_method(parser: Parser) -> argparse.Namespace:
    """Parse the command line, and set the options that --method stands for; `method` becomes the method's full name.

    Raises:
        InputError: flags choose two methods, or an option belongs to another method.
    """
    args, lines = parser.parse_args(), (*METHODS.values(), *WRAPPERS.values())
    if args.method:
        chosen = choose(args.method)
        # The flag of a wrapper, such as --bcl, wraps the named method.
        flagged = [name for name, line in WRAPPERS.items() if line.flag and getattr(args, line.flag)]
        wrappers = [name for name in flagged if WRAPPERS[name] not in chosen.lines]
        chosen = choose("+".join([args.method, *wrappers]))
        flags = {line.flag: "True" for line in chosen.lines if line.flag}
        options = {name: value for name, value in chosen.options.items() if hasattr(args, name)}
        parser.set_defaults(**flags | options)
        args = parser.parse_args()
    given = {line.flag for line in lines if line.flag and getattr(args, line.flag)}
    if not args.method:
        chosen = choose(method_of(dict.fromkeys(given, True)))
    missing_or_extra = given ^ {line.flag for line in chosen.lines if line.flag}
    if missing_or_extra:
        method = f"--method {args.method}" if args.method else f"--{chosen.lines[0].flag}"
        raise InputError(f"{method} and --{min(missing_or_extra)} do not go together: leave out one")
    if chosen.name == "untrained" and args.epochs:
        raise InputError(f"--method untrained has no epochs, not {args.epochs}")
    for line in [line for line in lines if line not in chosen.lines]:
        for name, default in _own_options(line).items():
            if getattr(args, name) != default:
                needed = f"--{line.flag}" if line.flag else f"a --method with {line.label}"
                raise InputError(f"--{name} needs {needed}")
    args.method = "simclr" if chosen.name == "untrained" else chosen.name
    return args


def _own_options(line: Line) -> dict[str, Any]:
    """The options that a method adds, with their defaults."""
    parser, shared = Parser(None), set(vars(Parser(None).parse_args([])))
    load(line).add_options(parser)
    return {name: value for name, value in vars(parser.parse_args([])).items() if name not in shared}
