"""Result tables: mean and standard deviation over the splits of Many, Medium, Few, Std and All.

    python exp_analyse.py --dataset cifar100 --LT                    # SimCLR, linear probe
    python exp_analyse.py --dataset cifar100 --LT --prune --fewShot  # SDCLR, few-shot probe
    python exp_analyse.py --dataset digits --LT --method untrained simclr sdclr --probe linear fewShot --plot DIR
    python exp_analyse.py --paper bcl                                # BCL's table 1: all methods, three data sets
    python exp_analyse.py --dataset cifar10 --LT --method simclr sdclr --baseline simclr --test bootstrap --out DIR

Reads results.json of each experiment, or a log in the authors' format where there is only that.
"""

import sys

from analysis import bcl_table, sdclr_table
from analysis.flags import Wanted, parse
from analysis.write import write_tables
from utils.cli import taken
from utils.errors import InputError, run


def main() -> None:
    args = parse(__doc__)
    paper = bcl_table if args.paper == "bcl" else sdclr_table
    tables = paper.make_tables(taken(Wanted, args))
    if not any(table.ours or any(table.published.values()) for table in tables):
        raise InputError(f"there is no result to show below {args.root.resolve()}: run the recipe first")
    paper.print_tables(tables)
    for path in write_tables(tables, args.out) if args.out else ():
        if not args.quiet:
            print(f"table: {path}")
    for path in paper.draw(tables, args.plot) if args.plot else ():
        if not args.quiet:
            print(f"figure: {path}")


if __name__ == "__main__":
    sys.exit(run(main))
