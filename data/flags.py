"""Command-line flags of data, views and image files, the same in every script; those of the programs in data/."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from data.sets.base import DataSet, Opening
from utils.cli import Parser, natural, number
from utils.errors import InputError

GIVE_DATA = "give its folder by --data, or the one to fetch it to with --download True"
GIVE_OWN = "--data: a folder, a text file of paths, or an .npz file"
GIVE_UNPACKED = "give by --data the folder that it was unpacked in"
GIVE_TREE = "give by --data the one that holds train/ and val/ of the images"
MORE_SHARED_MEMORY = "give a container more (docker run --shm-size=8g)"
NO_WORKERS = "choose --num_workers 0"
FEWER_IMAGES = "choose a smaller one by --batch_size"
DECODED = "decoded_images"  # folder that --cache disk writes to
SKIP_BAD = "leave out such images with --on_bad_image skip"


def add_data_options(parser: Parser) -> None:
    """--data, --download, --num_workers: the same in every script."""
    parser.add_argument("--data", default="", help="folder of the data set (digits need none)")
    parser.add_flag("--download", help="fetch CIFAR or Fashion-MNIST where they are missing")
    parser.add_argument(
        "--num_workers",
        type=natural,
        default=10,
        help="processes that make single images' views, at most one per core; batched views need none",
    )


def add_augment(parser: Parser) -> None:
    """--augment: which implementation makes the views."""
    how = (
        "pillow: views as published, one by one; batched: whole batches on the device, images in memory; "
        "opencv: one by one, over twice as fast, image files; auto: batched or opencv"
    )
    parser.add_argument("--augment", default="auto", choices=["auto", "batched", "opencv", "pillow"], help=how)


def add_image_size(parser: Parser) -> None:
    """--image_size: side of a view in pixels."""
    how = "pixels of a view, and of images in memory, which are resized; default as published, 224 for image files"
    parser.add_argument("--image_size", type=number(int, 8, 4096), help=how)


def add_image_file_options(parser: Parser) -> None:
    """--image_size; --cache and --on_bad_image, for data sets of image files."""
    add_image_size(parser)
    add = parser.add_argument
    add("--cache", default="auto", choices=["auto", "memory", "disk", "none"], help="own images are decoded "
        "once, into memory or a file, or each time; auto: those of up to 64 pixels once")  # fmt: skip
    how = "skip: leave out, count and report"
    add("--on_bad_image", default="error", choices=["error", "skip"], help=how)


def check_augment(args: argparse.Namespace, dataset: DataSet) -> None:
    """Replace --augment auto by an implementation, and a missing --image_size by the usual one.

    Raises:
        InputError: --augment or --cache is not for this data set.
    """
    args.image_size = args.image_size or dataset.size
    if args.augment not in ("auto", *dataset.engines):
        needs = {"batched": "images in memory", "opencv": "image files"}[args.augment]
        if dataset.own:
            needs += ", and --cache memory decodes them once" if args.augment == "batched" else ", by --cache none"
        raise InputError(
            f"--augment {args.augment} is for {needs}, not for {args.dataset}: choose {' or '.join(dataset.engines)}"
        )
    if getattr(args, "cache", "auto") != "auto" and not dataset.own:
        raise InputError(f"--cache is for own images, not for {args.dataset}")
    if args.augment == "auto":
        args.augment = dataset.engines[0]


@dataclass(frozen=True)
class Views:
    """How images become views.

    engine: the implementation: 'batched', 'opencv' or 'pillow'. size: side in pixels, to which images in memory are
    also resized before augmentation. seed: of all random draws. workers: processes that make views of single images.
    skip_bad: images that cannot be read are left out, or replaced in training; else they are errors. strength: factor
    on the colour jitter of pre-training. smallest_crop: of pre-training, as a share of the image's area. jitter: range
    of brightness, contrast and saturation in a probe's training on image files.
    """

    engine: str
    size: int
    seed: int
    workers: int
    skip_bad: bool = False
    strength: float = 1.0
    smallest_crop: float = 1.0
    jitter: float = 0.0


def opening_of(args: argparse.Namespace, kept: Path | None = None) -> Opening:
    """How the images are opened by the options of a command line.

    Args:
        kept: folder of the run, where a scan of the images is kept; None keeps nothing, and so does --check.
    """
    kept = None if getattr(args, "check", False) else kept
    return Opening(kept, getattr(args, "cache", "auto"), args.image_size or 0, not args.quiet, _skips_bad(args))


def views_of(args: argparse.Namespace) -> Views:
    """How images become views by the options of a command line, after check_augment."""
    how = {"strength": args.strength, "smallest_crop": args.resizeLower} if hasattr(args, "resizeLower") else {}
    how |= {"jitter": args.jitter} if getattr(args, "jitter", None) else {}
    return Views(args.augment, args.image_size, args.seed, args.num_workers, _skips_bad(args), **how)


def _skips_bad(args: argparse.Namespace) -> bool:
    return getattr(args, "on_bad_image", "error") == "skip"


def parse_extract(description: str) -> argparse.Namespace:
    """Flags of data.imagenet_extract; `archives` has those that are given: 'train', 'val', 'devkit' -> path.

    Raises:
        InputError: an unknown flag, a file that does not exist, or nothing to unpack.
    """
    parser = Parser(description)
    add = parser.add_argument
    add("--train", type=Path, help="ILSVRC2012_img_train.tar, of 1,000 archives")
    add("--val", type=Path, help="ILSVRC2012_img_val.tar, or the folder that it was unpacked into")
    add("--devkit", type=Path, help="ILSVRC2012_devkit_t12.tar.gz, which has the classes of the validation images")
    add("--out", type=Path, required=True, help="folder to make train/ and val/ in")
    args = parser.parse_args()
    args.archives = {kind: path for kind in ("train", "val", "devkit") if (path := getattr(args, kind))}
    if not args.train and not args.val:
        raise InputError("there is nothing to unpack: give --train, or --val and --devkit")
    if args.val and not args.devkit:
        raise InputError("--val needs --devkit, which has the classes of the validation images")
    for kind, path in args.archives.items():
        if not path.is_file() and not (kind == "val" and path.is_dir()):
            raise InputError(f"--{kind} {path} does not exist: get it from image-net.org")
    return args


def parse_fetch(description: str) -> argparse.Namespace:
    """Flags of data.sets.fetch.

    Raises:
        InputError: an unknown flag or set.
    """
    from data.sets.registry import TRANSFER_SETS

    parser = Parser(description)
    parser.prog = "python -m data.sets.fetch"
    parser.add_argument("names", nargs="+", metavar="NAME", choices=list(TRANSFER_SETS), help=", ".join(TRANSFER_SETS))
    parser.add_argument("--out", type=Path, required=True, help="folder to unpack in, the --data of the probes")
    return parser.parse_args()
