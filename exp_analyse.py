"""Result tables: mean and standard deviation over the splits of Many, Medium, Few, Std and All.

    python exp_analyse.py --paper bcl --table 3                      # BCL's table 3: supervised learning
    python exp_analyse.py --dataset cifar100 --LT                    # SimCLR, linear probe
    python exp_analyse.py --dataset cifar100 --LT --prune --fewShot  # SDCLR, few-shot probe
    python exp_analyse.py --dataset digits --LT --method untrained simclr sdclr --probe linear fewShot --plot DIR
    python exp_analyse.py --paper bcl                                # BCL's table 1: all methods, three data sets
    python exp_analyse.py --paper bcl --table 4                      # BCL's table 4: transfer to fine-grained sets
    python exp_analyse.py --dataset cifar10 --LT --method simclr sdclr --baseline simclr --test bootstrap --out DIR

Reads results.json of each experiment, or a log in the authors' format where there is only that.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from analysis import bcl_table, sdclr_table, supervised_table, transfer_table
from analysis.figures import write_figures
from analysis.flags import Wanted, parse
from analysis.report.page import check_results, write_report
from analysis.write import write_tables
from run.made import command
from utils.cli import taken
from utils.errors import InputError, run_main

# (paper, number of the table) -> module.
TABLES = {
    ("sdclr", 1): sdclr_table,
    ("bcl", 1): bcl_table,
    ("bcl", 3): supervised_table,
    ("bcl", 4): transfer_table,
}


def main() -> None:
    args = parse(__doc__)
    table_module = TABLES[args.paper, args.table]
    tables = table_module.make_tables(taken(Wanted, args))
    if not any(table.ours or any(table.published.values()) for table in tables):
        others = [line for table in tables for row in table.rows.values() for line in row.left_out]
        reason = others[0] if others else "run the recipe first"
        raise InputError(f"there is no result to show below {args.root.resolve()}: {reason}")
    if args.report:
        check_results(tables)
    table_module.print_tables(tables)
    if args.out:
        print_paths("table", write_tables(tables, args.out), args.quiet)
    if args.plot:
        print_paths("figure", write_figures(table_module.draw(tables), args.plot), args.quiet)
    if args.report:
        # Figures are drawn again, since writing a figure shifts its elements by parts of a pixel.
        page = write_report(tables, table_module.draw(tables), args.report, command(sys.argv))
        print_paths("report", [page], args.quiet)


def print_paths(kind: str, paths: Iterable[Path], quiet: bool) -> None:
    """Print the files that were written, one per line."""
    if not quiet:
        for path in paths:
            print(f"{kind}: {path}")


if __name__ == "__main__":
    sys.exit(run_main(main))
