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

from analysis import bcl_table
from analysis.figures import write_figures
from analysis.flags import parse
from analysis.published import published
from analysis.rows import Row, collect_as_told, names_of
from analysis.table import Table, main_lines, make_table, print_blocks
from analysis.write import write_tables
from data.sets.base import ListSpec
from data.sets.registry import find_spec
from methods.names import METHODS
from probe.protocols import PROBES
from utils.errors import InputError, run
from utils.text import align


def main() -> None:
    args = parse(__doc__, list(METHODS))
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
