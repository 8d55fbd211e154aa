"""The tables of SDCLR's paper (Jiang et al., ICML 2021) from this project's results: one data set, one probe each."""

import argparse

from analysis.published import published
from analysis.rows import Row, collect_as_told
from analysis.table import Table, make_table, print_table
from data.sets.registry import data_set
from methods import label_of
from probe.protocols import PROBES


def print_tables(args: argparse.Namespace) -> tuple[dict[str, list[Row]], list[Table]]:
    """One table for each probe; returns the rows with a result, probe -> one for each method, and the tables.

    Raises:
        InputError: a result is of no use, or results do not belong together.
    """
    spec, found, tables = data_set(args.dataset), {}, []
    pretrained_on = spec.list_kind(args.LT, args.shape)
    for probe in args.probe or ["fewShot" if args.fewShot else "linear"]:
        methods = args.method or ["sdclr" if args.prune else "simclr"]
        rows = {method: collect_as_told(args, spec, method, probe, args.LT, args.shape) for method in methods}
        # The papers' rows are of long-tailed pre-training on lists of their own shape.
        theirs = {label_of(m): published(spec, m, probe) for m in rows} if args.LT and not args.shape else {}
        table = make_table(args, spec, (spec.name, pretrained_on, PROBES[probe]), rows, theirs)
        table.published_n = str(len(spec.splits))
        print_table(table)
        tables.append(table)
        if any(row.values for row in rows.values()):
            found[probe] = [row for row in rows.values() if row.values]
    return found, tables
