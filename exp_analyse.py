"""Result tables: mean and standard deviation over the splits of Many, Medium, Few, Std and All.

    python exp_analyse.py --dataset cifar100 --LT                    # SimCLR, linear probe
    python exp_analyse.py --dataset cifar100 --LT --prune --fewShot  # SDCLR, few-shot probe
    python exp_analyse.py --dataset digits --LT --method untrained simclr sdclr --probe linear fewShot --plot DIR
    python exp_analyse.py --paper bcl                                # BCL's table 1: all methods, three data sets
    python exp_analyse.py --dataset cifar10 --LT --method simclr sdclr --baseline simclr --test bootstrap --out DIR

Reads results.json of each experiment, or a log in the authors' format where there is only that.
"""

import argparse
import sys
from pathlib import Path

from analysis import bcl_table
from analysis.figures import write_figures
from analysis.flags import add_choice
from analysis.paired import TESTS
from analysis.published import published
from analysis.rows import Row, collect_as_told, names_of
from analysis.table import Table, main_lines, make_table, print_blocks
from analysis.write import write_tables
from data.sets.base import ListSpec
from data.sets.files import LIST_SPECS
from data.sets.memory import SPECS
from data.sets.registry import find_spec
from methods.names import METHODS
from probe.protocols import PROBES
from utils.cli import Parser
from utils.errors import InputError, run
from utils.text import align


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
    parser.add_argument("--splits", type=int, nargs="+", help="default 1 to 5; given, a line for each is shown, too")
    parser.add_argument("--baseline", choices=list(METHODS), help="compare the others to it; default the first method")
    parser.add_argument(
        "--test", default="t", choices=list(TESTS), help="; ".join(f"{k}: {v}" for k, v in TESTS.items())
    )
    add_choice(parser)
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the checkpoints folders")
    parser.add_argument("--experiments", nargs="+", help="names of the pre-trainings to tabulate; default all")
    parser.add_argument("--epochs", type=int, help="of pre-training, where several were run")
    parser.add_argument("--shape", default="", help="lists of another shape, as in their names: pareto6_imb100")
    parser.add_argument("--data", default="", help="folder of the data set, if no file has the class sizes")
    parser.add_argument("--out", type=Path, help="a folder to write the tables to: Markdown, CSV, LaTeX, JSON")
    parser.add_argument("--plot", type=Path, help="a folder to write figures to, PNG and PDF")
    args = parser.parse_args()
    if args.paper == "bcl" and (args.prune or args.fewShot):
        raise InputError("--prune and --fewShot are of SDCLR's tables: choose --method and --probe with --paper bcl")
    # A split, method or protocol that is named twice is one.
    for name in ("splits", "method", "probe"):
        setattr(args, name, list(dict.fromkeys(getattr(args, name) or [])) or None)
    rows: dict[str, list[Row]] = {}
    if args.paper == "bcl":
        (panels, tables), title = bcl_table.print_tables(args), "pre-trained on long-tailed lists"
    else:
        args.dataset = args.dataset or "cifar100"
        rows, tables = print_tables(args)
        panels = {PROBES[probe]: {row.method: row.mean_and_std() for row in found} for probe, found in rows.items()}
        title = f"{find_spec(args.dataset).name}, pre-trained on {'long-tailed' if args.LT else 'balanced'} lists"
    if not panels:
        raise InputError(f"there is no result to show below {args.root.resolve()}: run the recipe first")
    if args.out:
        for path in write_tables(tables, args.out):
            if not args.quiet:
                print(f"table: {path}")
    if args.plot:
        for path in write_figures(panels, rows, args.plot, title):
            if not args.quiet:
                print(f"figure: {path}")


def print_tables(args: argparse.Namespace) -> tuple[dict[str, list[Row]], list[Table]]:
    """SDCLR's tables, one for each probe; returns the rows with a result, probe -> one for each method, and the tables.

    Raises:
        InputError: a result is of no use, or results do not belong together.
    """
    spec, found, tables = find_spec(args.dataset), {}, []
    pretrained_on = f"D_{'i' if args.LT else 'b'}"
    if isinstance(spec, ListSpec):
        pretrained_on = names_of(spec, 1, args.LT, "linear", args.shape).base
    for probe in args.probe or ["fewShot" if args.fewShot else "linear"]:
        methods = args.method or ["sdclr" if args.prune else "simclr"]
        rows = {method: collect_as_told(args, spec, method, probe, args.LT, args.shape) for method in methods}
        # The papers' rows are of long-tailed pre-training on lists of their own shape.
        theirs = {METHODS[m]: published(spec, m, probe) for m in rows} if args.LT and not args.shape else {}
        table = make_table(args, spec, (spec.name, pretrained_on, PROBES[probe]), rows, theirs)
        table.published_n = "1" if isinstance(spec, ListSpec) else "5"
        print_table(table)
        tables.append(table)
        if any(row.values for row in rows.values()):
            found[probe] = [row for row in rows.values() if row.values]
    return found, tables


def print_table(table: Table) -> None:
    """The table, the published numbers below ours where there are any, what is missing or departs, and differences."""
    print(f"\n{table.title}: test accuracy in %, {table.shows}\n")
    print(align(main_lines(table)))
    if table.notes:
        print(f"note: {'; '.join(table.notes)}")
    print(*(f"missing: {what}\n" for what in table.missing), sep="", end="")
    print_blocks(table)


if __name__ == "__main__":
    sys.exit(run(main))
