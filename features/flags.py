"""Command-line flags of the programs in features/."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from data.flags import add_augment, add_data_options, add_image_file_options
from data.sets.registry import DATA_SETS
from features.targets import TARGETS, target
from models import MODELS, formats
from run.flags import add_compute_options
from utils.cli import Parser, natural, positive, taken
from utils.errors import InputError
from utils.plotting import FORMATS

ASK_FORMAT = "say which by --format, {}"
OWN_NORMALISATION = (
    "has a mean and a deviation of its own, which its network was trained with: leave out --mean and --std"
)
OTHER_NAME = "choose another --out"
OTHER_TARGETS = "choose --to {}"
SHOW_GROUPS = "--groupSplit LIST shows Many, Medium and Few"


@dataclass(frozen=True)
class Reading:
    """How a checkpoint is read. format: one of models.formats.FORMATS, '' for the one that its keys fit. mean, std: of
    red, green and blue in [0, 1], by which images are normalised; None for the file's, or else ImageNet's."""

    format: str
    mean: list[float] | None
    std: list[float] | None


def add_reading_options(parser: Parser) -> None:
    """--format, --mean, --std: the same in every program that reads an encoder from a checkpoint."""
    add = parser.add_argument
    add("--format", default="", choices=formats.FORMATS, help="of --checkpoint; default: as its keys tell")
    add("--mean", type=_colours, help="what another library's network normalises red, green and blue in [0, 1] by, "
        "as 0.485,0.456,0.406, which is the default")  # fmt: skip
    add("--std", type=_colours, help="the standard deviation that goes with --mean; default 0.229,0.224,0.225")


def reading_of(args: argparse.Namespace) -> Reading:
    """The Reading of a command line.

    Raises:
        InputError: one of --mean and --std is given without the other, or a standard deviation is not positive.
    """
    how = taken(Reading, args)
    if (how.mean is None) != (how.std is None):
        raise InputError("--mean and --std go together: give both or none")
    if how.std and min(how.std) <= 0:
        raise InputError(f"--std {','.join(map(str, how.std))} must be positive")
    return how


def _colours(word: str) -> list[float]:
    try:
        values = [float(part) for part in word.split(",")]
    except ValueError:
        values = []
    if len(values) != 3 or not all(abs(value) < 1000 for value in values):
        raise argparse.ArgumentTypeError(f"{word!r} is not three numbers such as 0.485,0.456,0.406")
    return values


def add_feature_options(parser: Parser) -> None:
    """The options that select features and images: the same in every program that needs features."""
    add = parser.add_argument
    add("--dataset", required=True, choices=["cifar", *DATA_SETS])
    add_data_options(parser)
    add_augment(parser)
    add_image_file_options(parser)
    add_compute_options(parser, precision="fp32")  # full precision, as other programs read the features
    add("--checkpoint", default="", help="of pre-training or of a probe, or another library's")
    add_reading_options(parser)
    add("--model", choices=MODELS, help="default another library's as it is; of ours res18, of image files res50")
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
    """Flags of features.export; `card` is the path of the model card.

    Raises:
        InputError: an unknown flag, a value out of range, or a file's name that is of another kind of file.
    """
    parser = Parser(description)
    add = parser.add_argument
    add("--checkpoint", required=True, help="of pre-training or of a probe, or another library's")
    add_reading_options(parser)
    add(
        "--model", choices=MODELS, help="default the checkpoint's; where it has none, res18, with ImageNet's stem res50"
    )
    add("--to", choices=TARGETS, default="torchvision", help="for whom the file is")
    add("--out", type=Path, required=True, help="the file to write, and with .md behind its name the model card")
    args = parser.parse_args()
    args.card = args.out.with_name(f"{args.out.name}.md") if args.out.name else args.out
    for path in (args.out, args.card):
        if path.is_dir():
            raise InputError(f"--out {args.out}: {path} is a folder: choose another file")
        if path.exists() and Path(args.checkpoint).exists() and path.samefile(args.checkpoint):
            raise InputError(f"--out {args.out}: {path} is the checkpoint itself: choose another file")
    kinds = {suffix: name for name in TARGETS if (suffix := target(name).suffix)}
    if (wanted := target(args.to).suffix) and args.out.suffix != wanted:
        raise InputError(f"--out {args.out} must end in {wanted}, as --to {args.to} writes it")
    if not wanted and args.out.suffix in kinds:
        raise InputError(f"--out {args.out} is written by --to {kinds[args.out.suffix]}, not {args.to}")
    return args
