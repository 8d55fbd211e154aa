"""Flags of train_simCLR.py."""

import argparse

from data.flags import add_augment, add_data_options, add_image_file_options, check_augment
from data.sets.registry import pretraining_names, pretraining_set
from models import MODELS
from run.flags import add_board, add_check, add_compute_options, add_experiment, add_resume, check_board
from run.optim import WEIGHT_DECAY
from utils.cli import Parser, natural, not_negative, number, positive
from utils.errors import InputError

FULL_LIST = "trainIdxList.npy"  # the published default: the labelled training list of any data set


def add_view_options(parser: Parser, precision: str = "auto") -> None:
    """Which images, views, network and loss: what training has in common with programs that look at its checkpoints."""
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
    """Fill in what --resizeLower and --augment auto stand for.

    Raises:
        InputError: one of them is out of range, or not for this data set.
    """
    spec, _ = pretraining_set(args.dataset)
    if args.resizeLower is None:
        args.resizeLower = spec.smallest_crop
    check_augment(args, spec)
    if not 0 < args.resizeLower <= 1:
        raise InputError(f"--resizeLower must be in (0, 1], not {args.resizeLower}")


def training_list(args: argparse.Namespace) -> str:
    """The list that the command line names, or the data set's in pre-training."""
    spec, default = pretraining_set(args.dataset)
    given = getattr(args, spec.list_flag)
    return default if given in ("", FULL_LIST) else given


def parse(description: str) -> argparse.Namespace:
    """The published flags of train_simCLR.py with their published defaults, and a few of ours.

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
    add("--scheduler", default="cosine", choices=["cosine", "constant"])
    add("--output_ch", type=number(int, 1, 65536), default=512, help="numbers per projection")
    add("--head_layers", type=int, help="2 or 3; default as published: 3 with --prune_dual_bn, else 2")
    parser.add_flag("--focal", help="contrastive focal loss instead of NT-Xent")
    add("--focal_gamma", type=not_negative, default=2.0,
        help="focusing parameter gamma: larger values weigh down easy anchors more")  # fmt: skip
    parser.add_flag("--bcl", help="boosted: images that are memorised late get stronger augmentation")
    add("--momentum_loss_beta", type=number(float, 0, 1 - 1e-9), default=0.97, help="of the momentum loss, in [0, 1)")
    add("--rand_k", type=number(int, 1, 100), default=1, help="boosted operations per view: 1 in BCL-I, 2 in BCL-D")
    add("--rand_strength", type=number(float, 0, 30), default=30.0, help="largest strength of an operation")
    add("--rand_floor", type=number(float, 0, 30), help="smallest strength; default 10 for --rand_k 1, else 5")
    parser.add_flag("--prune", help="SDCLR: contrast with a pruned self-competitor")
    add("--random_prune_percent", type=float, default=0.0, help="the part of it that is set to zero at random")
    parser.add_flag("--prune_dual_bn", help="one batch norm for each branch")
    add_monitor_options(parser)
    add("--print_freq", type=positive, default=50, help="steps")
    add("--save_freq", type=positive, default=100, help="epochs between model_<epoch>.pt")
    add("--mask_save_freq", type=positive, default=100, help="epochs between mask_<epoch>.pt")
    add("--checkpoint", default="", help="weights to start from")
    add_check(parser)
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
    check_method(args)
    check_board(args)
    return args


def check_method(args: argparse.Namespace) -> None:
    """Refuse flags that choose two methods, or a part of a method without it.

    Raises:
        InputError: they do not go together.
    """
    if args.prune_dual_bn and not args.prune:
        raise InputError("--prune_dual_bn needs --prune")
    if args.prune and args.focal:
        raise InputError("--focal is a loss of SimCLR, not of SDCLR: leave out --prune or --focal")


def add_monitor_options(parser: Parser) -> None:
    """--tensorboard, --monitor, --monitor_freq: none of them changes the training."""
    add_board(parser)
    parser.add_argument("--monitor", default="none", choices=["none", "knn"], help="kNN on the validation list")
    parser.add_argument("--monitor_freq", type=positive, default=25, help="epochs between; always after the last one")
