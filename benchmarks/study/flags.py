"""The command-line options that the studies share."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from utils.cli import Parser, positive
from utils.errors import InputError


def study_parser(doc: str, results: Path, runs: Iterable[str], data: bool = True, **defaults: object) -> Parser:
    """A parser with the options that all studies share.

    Args:
        doc: the program's docstring. results: default folder of the results. runs: names that can be chosen.
        data: whether there is an option for the images; False if they come with a package.
        defaults: of the options splits, epochs and model.
    """
    parser = Parser(doc)
    add = parser.add_argument
    if data:
        add("--data", default="", help="CIFAR-10 as .npz, or the folder of its files")
    add("--work", type=Path, help="where the runs live: lists, checkpoints, logs")
    add("--out", type=Path, default=results)
    add("--splits", type=positive, nargs="+", choices=range(1, 6))
    add("--runs", nargs="+", default=list(runs), choices=list(runs))
    add("--epochs", type=positive)
    add("--model")
    add("--jobs", type=positive, default=2, help="runs at a time")
    parser.add_flag("--table", help="only the table, of what is there")
    parser.set_defaults(**defaults)
    return parser


def pretraining_parser(doc: str, results: Path, runs: Iterable[str], **defaults: object) -> Parser:
    """A study_parser with the options of studies that pre-train and probe; `defaults` has batch_size, too."""
    parser = study_parser(doc, results, runs, **defaults)
    parser.add_argument("--batch_size", type=positive)
    parser.add_argument("--linear_epochs", type=positive, default=30)
    parser.add_argument("--few_shot_epochs", type=positive, default=100)
    return parser


def parsed(parser: Parser) -> argparse.Namespace:
    """The options; --data and --work, which only a run needs and --table does not, as absolute paths.

    Raises:
        InputError: an option is bad, or a run is asked for without --data or --work.
    """
    options = parser.parse_args()
    needed = [name for name in ("data", "work") if hasattr(options, name)]
    if not options.table:
        if missing := [f"--{name}" for name in needed if not getattr(options, name)]:
            verb = "are" if len(missing) > 1 else "is"
            raise InputError(f"{' and '.join(missing)} {verb} missing: the images, or where the runs live (see --help)")
        for name in needed:
            setattr(options, name, Path(getattr(options, name)).resolve())
    return options
