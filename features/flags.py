"""Flags of features' programs."""

import argparse
from pathlib import Path

from data.flags import add_augment, add_data_options, add_image_file_options
from data.sets.registry import DATA_SETS
from models import MODELS
from run.flags import add_compute_options
from utils.cli import Parser, natural, positive
from utils.errors import InputError
from utils.plotting import FORMATS

SHOW_GROUPS = "--groupSplit LIST shows Many, Medium and Few"


def add_feature_options(parser: Parser) -> None:
    """Which features of which images: the same in every program that asks for them."""
    add = parser.add_argument
    add("--dataset", required=True, choices=["cifar", *DATA_SETS])
    add_data_options(parser)
    add_augment(parser)
    add_image_file_options(parser)
    add_compute_options(parser, precision="fp32")  # other programs read them
    add("--checkpoint", default="", help="of pre-training or of a probe")
    add("--model", choices=MODELS, help="default res18, of image files res50")
    add("--bnNameCnt", type=int, choices=[0, 1], help="of dual batch norm: 0 dense branch, the default; 1 pruned")
    add("--list", default="test", help="train, val or test, or the name of a list below split/; default test")
    add("--test-batch-size", type=positive, default=128, help="images per step")
    parser.add_flag("--no-cuda", help="compute on the CPU")
    parser.set_defaults(images=None, seed=0)


def parse_save(description: str) -> argparse.Namespace:
    """Flags of features.save.

    Raises:
        InputError: an unknown flag or a value out of range.
    """
    parser = Parser(description)
    add_feature_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    args = parser.parse_args()
    if not args.checkpoint:
        raise InputError("--checkpoint is missing: whose features? (see --help)")
    if args.out.suffix != ".npz":
        raise InputError(f"--out {args.out} must end in .npz")
    return args


def parse_embed(description: str) -> argparse.Namespace:
    """Flags of features.embed.

    Raises:
        InputError: an unknown flag, a value out of range, or flags that do not go together.
    """
    parser = Parser(description)
    add_feature_options(parser)
    add = parser.add_argument
    add("--features", default="", help="in place of --checkpoint, the .npz file that features.save wrote")
    add("--method", default="tsne", choices=["tsne", "pca"])
    add("--colour", choices=["class", "group"], help="default class; with --groupSplit group")
    add("--groupSplit", default="", help="long-tailed list whose class sizes make Many, Medium, Few")
    add("--images", type=positive, default=5000, help="at most so many, a random subset")
    add("--seed", type=natural, default=0, help="of the subset and the method")
    add("--out", type=Path, required=True, help="the .png or .pdf file to write")
    args = parser.parse_args()
    if bool(args.checkpoint) == bool(args.features):
        raise InputError("give one of --checkpoint and --features (see --help)")
    args.colour = args.colour or ("group" if args.groupSplit else "class")
    if (args.colour == "group") != bool(args.groupSplit):
        raise InputError("--colour group and --groupSplit LIST, a long-tailed one, go together")
    if args.out.suffix not in FORMATS:
        raise InputError(f"--out {args.out} must end in {' or '.join(FORMATS)}")
    return args


def parse_export(description: str) -> argparse.Namespace:
    """Flags of features.export.

    Raises:
        InputError: an unknown flag or a value out of range.
    """
    parser = Parser(description)
    add = parser.add_argument
    add("--checkpoint", required=True, help="of pre-training or of a probe")
    add(
        "--model", choices=MODELS, help="default the checkpoint's; where it has none, res18, with ImageNet's stem res50"
    )
    add("--out", type=Path, required=True, help="the file to write")
    args = parser.parse_args()
    if args.out.is_dir():
        raise InputError(f"--out {args.out} is a folder: choose a file")
    if args.out.exists() and Path(args.checkpoint).exists() and args.out.samefile(args.checkpoint):
        raise InputError(f"--out {args.out} is the checkpoint itself: choose another file")
    return args
