"""Result tables: mean and standard deviation over the splits of Many, Medium, Few, Std and All.

    python exp_analyse.py --dataset cifar100 --LT                    # SimCLR, linear probe
    python exp_analyse.py --dataset cifar100 --LT --prune --fewShot  # SDCLR, few-shot probe
    python exp_analyse.py --dataset digits --LT --method untrained simclr sdclr --probe linear fewShot --plot DIR
    python exp_analyse.py --paper bcl                                # BCL's table 1: all methods, three data sets

Reads results.json of each experiment, or a log in the authors' format where there is only that.
"""

import argparse
import sys
from pathlib import Path

from data.datasets import SPECS
from data.image_lists import LIST_SPECS, ListSpec
from utils import bcl_table
from utils.cli import Parser
from utils.errors import InputError, run
from utils.figures import write_figures
from utils.tables import METHODS, PROBES, Row, collect_as_told, find_spec, format_table, names_of, published


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--paper", default="sdclr", choices=["sdclr", "bcl"], help="whose table; default sdclr")
    choices = ["imagenet100", *SPECS, *LIST_SPECS]
    parser.add_argument("--dataset", choices=choices, help="default cifar100; with --paper bcl its three data sets")
    parser.add_flag("--LT", help="pre-trained on the long-tailed lists (D_i, LT), else on the balanced ones (D_b, BL)")
    parser.add_flag("--fewShot", help="few-shot probe instead of the linear one")
    parser.add_flag("--prune", help="SDCLR instead of SimCLR")
    parser.add_argument("--method", nargs="+", choices=list(METHODS), help="instead of --prune: one row for each")
    parser.add_argument("--probe", nargs="+", choices=list(PROBES), help="instead of --fewShot: one table for each")
    parser.add_argument("--splits", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the checkpoints folders")
    parser.add_argument("--contains", default="", help="a part of the names, where several settings were run")
    parser.add_argument("--experiments", nargs="+", help="names of the pre-trainings to tabulate; default all")
    parser.add_argument("--epochs", type=int, help="of pre-training, where several were run")
    parser.add_argument("--shape", default="", help="lists of another shape, as in their names: pareto6_imb100")
    parser.add_argument("--data", default="", help="folder of the data set, where only it can tell the class sizes")
    parser.add_argument("--plot", type=Path, help="a folder to write figures to, PNG and PDF")
    args = parser.parse_args()
    rows: dict[str, list[Row]] = {}
    if args.paper == "bcl":
        panels, title = bcl_table.print_tables(args), "pre-trained on long-tailed lists"
    else:
        args.dataset = args.dataset or "cifar100"
        rows = print_tables(args)
        panels = {PROBES[probe]: {row.method: row.mean_and_std() for row in found} for probe, found in rows.items()}
        title = f"{find_spec(args.dataset).name}, pre-trained on {'long-tailed' if args.LT else 'balanced'} lists"
    if not panels:
        raise InputError(f"there is no result to show below {args.root.resolve()}: run the recipe first")
    if args.plot:
        for path in write_figures(panels, rows, args.plot, title):
            print(f"figure: {path}")


def print_tables(args: argparse.Namespace) -> dict[str, list[Row]]:
    """SDCLR's tables, one for each probe; returns the rows with a result, probe -> one for each method.

    Raises:
        InputError: a result is of no use.
    """
    spec, found = find_spec(args.dataset), {}
    pretrained_on = f"D_{'i' if args.LT else 'b'}"
    if isinstance(spec, ListSpec):
        pretrained_on = names_of(spec, 1, args.LT, "linear", args.shape).base
    for probe in args.probe or ["fewShot" if args.fewShot else "linear"]:
        methods = args.method or ["sdclr" if args.prune else "simclr"]
        rows = {method: collect_as_told(args, spec, method, probe, args.LT, args.shape) for method in methods}
        print_table(f"{spec.name}, pre-trained on {pretrained_on}, {PROBES[probe]}", rows, probe, args)
        if any(row.values for row in rows.values()):
            found[probe] = [row for row in rows.values() if row.values]
    return found


def print_table(title: str, rows: dict[str, Row], probe: str, args: argparse.Namespace) -> None:
    """The table, the published numbers below ours where there are any, and what is missing or departs."""
    spec, lines = find_spec(args.dataset), []
    splits = "1" if isinstance(spec, ListSpec) else "5"
    for method, row in rows.items():
        lines.append((row.method, str(len(row.values)), row.mean_and_std()))
        if args.LT and not args.shape and (numbers := published(spec, method, probe)):
            lines.append((f"{row.method} (published)", splits, numbers))
    print(f"\n{title}: test accuracy in %, mean ± std over splits\n")
    print(format_table(lines))
    notes = sorted({note for row in rows.values() for note in row.notes})
    print(*([f"note: {'; '.join(notes)}"] if notes else []), sep="\n")
    for row in rows.values():
        print(*(f"missing: {what}" for what in row.missing), sep="\n", end="\n" if row.missing else "")


if __name__ == "__main__":
    sys.exit(run(main))
