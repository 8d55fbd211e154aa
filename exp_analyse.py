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

from analysis import bcl_table, sdclr_table
from analysis.figures import write_figures
from analysis.flags import parse
from analysis.table import Table
from analysis.write import write_tables
from utils.errors import InputError, run


def main() -> None:
    args = parse(__doc__)
    paper = bcl_table if args.paper == "bcl" else sdclr_table
    tables = paper.make_tables(args)
    everything = [table for found in tables.values() for table in found]
    if not any(table.ours or any(table.published.values()) for table in everything):
        raise InputError(f"there is no result to show below {args.root.resolve()}: run the recipe first")
    paper.print_tables(tables)
    for path in write_tables(everything, args.out) if args.out else ():
        if not args.quiet:
            print(f"table: {path}")
    for path in figures(args, tables) if args.plot else ():
        if not args.quiet:
            print(f"figure: {path}")


def figures(args: argparse.Namespace, tables: dict[str, list[Table]]) -> list[Path]:
    """Draw what there are results for; of BCL's table the bars alone. Returns the files' paths."""
    found = [(probe, table) for probe, of_probe in tables.items() for table in of_probe if table.ours]
    if args.paper == "bcl":
        panels = {f"{table.paper_name}, {probe}": table.ours for probe, table in found}
        return write_figures(panels, {}, args.plot, "pre-trained on long-tailed lists")
    name = next(table.paper_name for (table,) in tables.values())
    kind = "long-tailed" if args.LT else "balanced"
    rows = {probe: list(table.rows.values()) for probe, table in found}
    panels = {table.protocol: table.ours for _, table in found}
    return write_figures(panels, rows, args.plot, f"{name}, pre-trained on {kind} lists")


if __name__ == "__main__":
    sys.exit(run(main))
