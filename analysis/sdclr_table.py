"""The tables of SDCLR's paper (Jiang et al., ICML 2021) from this project's results: one data set, one probe each."""

import argparse

from analysis.flags import wanted_of
from analysis.published import published
from analysis.rows import Row, collect
from analysis.table import Paper, Table, print_table
from data.groups import COLUMNS
from data.sets.registry import data_set
from methods import label_of, method_of
from probe.protocols import PROBES

PAPER = Paper("mean ± std over splits", COLUMNS, COLUMNS, Row.mean_and_std)


def make_tables(args: argparse.Namespace) -> dict[str, list[Table]]:
    """Probe -> its one table.

    Args:
        args: of analysis.flags.

    Raises:
        InputError: a result is of no use, or results do not belong together.
    """
    dataset = data_set(args.dataset or "cifar100")
    wanted, kind = wanted_of(args, dataset), dataset.list_kind(args.LT, args.shape)
    methods, tables = args.method or [method_of({"prune": args.prune})], {}
    for probe in args.probe or ["fewShot" if args.fewShot else "linear"]:
        table = Table(
            PAPER, dataset, wanted, dataset.name, kind, PROBES[probe], collect(dataset, methods, probe, wanted)
        )
        # The paper's rows are of long-tailed pre-training on lists of their own shape.
        if args.LT and not args.shape:
            table.published = {label_of(method): published(dataset, method, probe) for method in methods}
            table.published_n = str(len(dataset.splits))
        tables[probe] = [table]
    return tables


def print_tables(tables: dict[str, list[Table]]) -> None:
    """One after the other."""
    for (table,) in tables.values():
        print_table(table)
