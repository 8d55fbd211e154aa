"""Flags of exp_analyse.py, and the advice that messages of this package give about them."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from analysis.paired import TESTS
from data.sets.base import DataSet, Split
from data.sets.registry import ALIASES, DATA_SETS, data_set
from methods import choose, method_names, method_of
from probe.protocols import PROBES, PROTOCOLS
from utils.cli import Parser
from utils.errors import InputError

CHOOSE = "choose by --contains"
CHOOSE_OR_MIX = "choose some, or put them into one table by --mix True"
OTHER_IMAGES = "name their place by --data, or show them by --mix True"
GROUP_AGAIN = "put the log of its pre-training there, or probe again with --groupSplit LIST"


@dataclass(frozen=True)
class Wanted:
    """Which results are tabulated, and how: options of parse(); None for the default of the paper or the data set."""

    root: Path
    dataset: str | None = None
    data: str = ""
    LT: bool = True
    method: list[str] | None = None
    probe: list[str] | None = None
    splits: list[int] | None = None
    shape: str = ""
    contains: str = ""
    epochs: int | None = None
    experiments: list[str] | None = None
    mix: bool = False
    baseline: str | None = None
    test: str = "t"

    def splits_of(self, dataset: DataSet) -> list[Split]:
        """The splits of a data set that are tabulated; where it has only one, `splits` has no meaning."""
        numbers = self.splits if self.splits and (len(dataset.splits) > 1 or dataset.own) else dataset.splits
        return [Split(n, self.LT or not n, self.shape) for n in numbers]  # split 0, all own images, is never balanced


def _method(word: str) -> str:
    try:
        return choose(word).name
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _check_table(args: argparse.Namespace) -> None:
    """Refuse options that have no meaning for the table.

    Raises:
        InputError: one is given.
    """
    if args.table and args.paper != "bcl":
        raise InputError(f"--table {args.table} is of BCL's paper: add --paper bcl")
    args.table = args.table or 1
    unused = [name for name in ("dataset", "data", "splits", "shape", "baseline", "plot") if getattr(args, name)]
    if args.table == 4 and unused:
        raise InputError(f"--{unused[0]} has no meaning for --table 4, whose columns are five data sets: leave it out")
    supervised = [label for label, name in PROBES.items() if PROTOCOLS[name].supervised]
    if args.table == 3 and (frozen := [label for label in args.probe or [] if label not in supervised]):
        raise InputError(f"--table 3 has --probe {', '.join(supervised)}, not {frozen[0]}")
    misplaced = [label for label in args.probe or () if PROTOCOLS[PROBES[label]].transfer != (args.table == 4)]
    if misplaced and args.paper == "bcl":
        transfer = " and ".join(p.label for p in PROTOCOLS.values() if p.transfer)
        raise InputError(f"--probe {misplaced[0]} is not of --table {args.table}: {transfer} are of --table 4 alone")


def _check_choices(args: argparse.Namespace) -> None:
    """Refuse options beside others that take their place.

    Raises:
        InputError: one is given.
    """
    if args.paper == "bcl" and (args.prune or args.fewShot):
        raise InputError("--prune and --fewShot are of SDCLR's tables: choose --method and --probe with --paper bcl")
    if args.prune and args.method:
        raise InputError("--prune and --method choose the same: leave out one")
    if args.fewShot and args.probe:
        raise InputError("--fewShot and --probe choose the same: leave out one")
    dataset = data_set(args.dataset) if args.dataset else None
    if args.data and not (dataset and dataset.own):
        raise InputError("--data is of your own images: add --dataset folder, or leave it out")
    if args.paper == "bcl" and args.shape and not dataset:
        raise InputError("--shape needs --dataset: the data sets of BCL's table have lists of different shapes")
    if args.paper == "bcl" and args.shape and dataset.bcl_shape not in ("", args.shape):
        raise InputError(
            f"--shape: BCL's table of {dataset.name} has the lists of shape {dataset.bcl_shape}, not {args.shape}"
        )


def parse(description: str) -> argparse.Namespace:
    """Which results are tabulated, and where the tables go.

    Raises:
        InputError: a flag is unknown, or flags do not go together.
    """
    parser = Parser(description)
    parser.add_argument("--paper", default="sdclr", choices=["sdclr", "bcl"], help="whose table; default sdclr")
    which = "with --paper bcl: which one; default 1. 3: supervised learning, 4: transfer"
    parser.add_argument("--table", type=int, choices=[1, 3, 4], help=which)
    choices = [*ALIASES, *DATA_SETS]  # recipes pass the name that the user gave
    parser.add_argument("--dataset", choices=choices, help="default cifar100; with --paper bcl its three data sets")
    parser.add_argument("--data", default="", help="own images: where they are, which names their checkpoints")
    parser.add_flag("--LT", help="pre-trained on the long-tailed lists (D_i, LT), else on the balanced ones (D_b, BL)")
    parser.add_flag("--fewShot", help="few-shot probe instead of the linear one")
    parser.add_flag("--prune", help="SDCLR instead of SimCLR")
    methods = f"{', '.join(method_names())}, or METHOD+WRAPPER"
    parser.add_argument("--method", nargs="+", type=_method, help=f"instead of --prune: one row for each of {methods}")
    parser.add_argument("--probe", nargs="+", choices=list(PROBES), help="instead of --fewShot: one table for each")
    parser.add_argument("--splits", type=int, nargs="+", help="default 1 to 5; given, a line for each is shown, too")
    parser.add_argument("--baseline", type=_method, help="compare the others to it; default the first method")
    parser.add_argument(
        "--test", default="t", choices=list(TESTS), help="; ".join(f"{k}: {v}" for k, v in TESTS.items())
    )
    parser.add_flag("--mix", help="show results in one table that differ in precision, lists, record, ...")
    parser.add_argument("--contains", default="", help="a part of the names, where several settings were run")
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the checkpoints folders")
    parser.add_argument("--experiments", nargs="+", help="names of the pre-trainings to tabulate; default all")
    parser.add_argument("--epochs", type=int, help="of pre-training, where several were run")
    parser.add_argument("--shape", default="", help="lists of another shape, as in their names: pareto6_imb100")
    parser.add_argument("--out", type=Path, help="a folder to write the tables to: Markdown, CSV, LaTeX, JSON")
    parser.add_argument("--plot", type=Path, help="a folder to write figures to, PNG and PDF")
    parser.add_argument("--report", type=Path, help="a folder to write a page on all of it to, index.html")
    args = parser.parse_args()
    _check_table(args)
    _check_choices(args)
    # A split, method or protocol that is named twice is one.
    for name in ("splits", "method", "probe"):
        setattr(args, name, list(dict.fromkeys(getattr(args, name) or [])) or None)
    if args.paper == "sdclr":
        args.method = args.method or [method_of({"prune": args.prune})]
        args.probe = args.probe or ["fewShot" if args.fewShot else "linear"]
    return args
