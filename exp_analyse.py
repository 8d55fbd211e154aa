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
from analysis.figures import write_figures
from analysis.flags import parse
from analysis.rows import Row
from analysis.write import write_tables
from data.sets.registry import data_set
from probe.protocols import PROBES
from utils.errors import InputError, run


def main() -> None:
    args = parse(__doc__)
    rows: dict[str, list[Row]] = {}
    if args.paper == "bcl":
        (panels, tables), title = bcl_table.print_tables(args), "pre-trained on long-tailed lists"
    else:
        args.dataset = args.dataset or "cifar100"
        rows, tables = sdclr_table.print_tables(args)
        panels = {PROBES[probe]: {row.method: row.mean_and_std() for row in found} for probe, found in rows.items()}
        title = f"{data_set(args.dataset).name}, pre-trained on {'long-tailed' if args.LT else 'balanced'} lists"
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


if __name__ == "__main__":
    sys.exit(run(main))
