"""Flags of split's programs, and the commands that messages advise."""

import argparse
from pathlib import Path

from data.sets.registry import DATA_SETS, data_set, data_sets
from utils.cli import Parser, natural
from utils.errors import InputError
from utils.files import PROJECT

ROOT = PROJECT / "split"  # the folder of the lists
SERVER = "https://raw.githubusercontent.com"
FETCH = "python -m split.fetch_published --dataset"  # a data set follows
MAKE = "python -m split.make_splits --data DIR --dataset"  # a data set follows
# With the program's name, as training scripts also make and fetch lists, and have another option of that name.
REFETCH = "replace it by split.fetch_published with --overwrite True"
REMAKE = "replace it by split.make_splits with --overwrite True"
GIVE_LABELS = "give the labels with --data or --labels"
SORT_VAL = "python -m data.imagenet_extract --val DIR/val --devkit ILSVRC2012_devkit_t12.tar.gz --out DIR"


def parse_verify(description: str) -> argparse.Namespace:
    """Flags of split.verify.

    Raises:
        InputError: an unknown flag, a folder that does not exist, or labels of several data sets.
    """
    parser = Parser(description)
    parser.add_argument("--dataset", nargs="+", choices=list(DATA_SETS), help="default: all")
    parser.add_argument("--data", default="", help="folder of the data set: for the labels, or to look for the images")
    parser.add_argument("--labels", default="", help=".npy file of all training labels, instead of --data")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the lists; default split/")
    args = parser.parse_args()
    if args.data and not Path(args.data).exists():
        raise InputError(f"--data {args.data!r} does not exist")
    in_memory = data_sets("cifar")
    if args.labels and (len(args.dataset or []) != 1 or args.dataset[0] not in in_memory):
        raise InputError(f"--labels needs one --dataset of {', '.join(in_memory)}")
    return args


def parse_fetch(description: str) -> argparse.Namespace:
    """Flags of split.fetch_published.

    Raises:
        InputError: an unknown flag, or a data set without published lists.
    """
    parser = Parser(description)
    published = [name for name, dataset in data_sets().items() if dataset.fetchable]
    parser.add_argument("--dataset", nargs="+", choices=published, default=["cifar10", "cifar100"])
    parser.add_argument("--out", type=Path, default=ROOT, help="folder to write below; default split/")
    parser.add_argument("--server", default=SERVER, help="where the repositories' raw files are served")
    parser.add_flag("--overwrite", help="replace lists of the same name")
    return parser.parse_args()


def parse_make(description: str) -> argparse.Namespace:
    """Flags of split.make_splits.

    Raises:
        InputError: an unknown flag, or one that is not for this data set.
    """
    parser = Parser(description)
    parser.add_argument("--dataset", required=True, choices=list(DATA_SETS))
    parser.add_argument("--data", default="", help="folder of the data set")
    parser.add_flag("--download", help="fetch the data set where it is missing")
    memory = [
        parser.add_argument("--splits", type=int, nargs="+", help="seeds; default 1 to 5"),
        parser.add_argument("--imb_factor", type=float, help="largest over smallest class; default as published"),
        parser.add_argument("--shape", choices=["exp", "pareto"], help="default exp"),
        parser.add_argument("--alpha", type=float, help="of the Pareto shape; default 6"),
    ]
    files = [
        parser.add_argument("--scale", type=float, help="image files: factor on all published counts, in (0, 1]"),
        parser.add_argument("--seed", type=natural, help="image files: of the draws; default 0"),
    ]
    parser.add_argument("--out", type=Path, default=ROOT, help="folder to write below; default split/")
    parser.add_flag("--overwrite", help="replace lists of the same name")
    args = parser.parse_args()
    dataset = data_set(args.dataset)
    of_files = args.dataset in data_sets("imagenet")
    if of_files and args.download:
        raise InputError(f"{args.dataset} cannot be downloaded for you: {dataset.download}")
    for option in files[:1] if dataset.own else memory if of_files else files:
        if getattr(args, option.dest) is not None:
            raise InputError(f"--{option.dest} has no meaning for {args.dataset}; see --help")
    if args.alpha is not None and args.shape != "pareto":
        raise InputError("--alpha has no effect without --shape pareto")
    return args
