"""Table 1 of BCL's paper (Zhou et al., ICML 2022) from this project's results: methods as rows, ours beside theirs.

Its Std is the sample standard deviation (ddof 1) of the three group means as they are printed, and its CIFAR-100 column
is of the 100-shot probe: so computed, all 18 published cells come out within 0.01. SDCLR's tables have another Std.
"""

import argparse

import numpy as np

from analysis.flags import wanted_of
from analysis.published import Cells, read_published
from analysis.rows import Row, collect, folders_of
from analysis.table import Paper, Table, method_lines, print_blocks
from data.groups import GROUPS
from data.sets.base import DataSet
from data.sets.registry import data_set
from methods import ORDER
from utils.text import align

DATASETS = {"cifar100": "CIFAR-100-LT", "imagenet": "ImageNet-LT", "places": "Places-LT"}
DNC = "DnC"  # published, without a method here


def group_means(row: Row) -> Cells:
    """Many, Medium, Few, each the mean over the splits, and the Std of the three; what is missing is left out."""
    means = {name: round(row.mean_and_std()[name][0], 2) for name in GROUPS if name in row.mean_and_std()}
    if len(means) == len(GROUPS):
        means["Std"] = float(np.std(list(means.values()), ddof=1))
    return {name: (value, None) for name, value in means.items()}


PAPER = Paper("Std of the three groups (ddof 1), n splits", (*GROUPS, "Std"), GROUPS, group_means)


def make_tables(args: argparse.Namespace) -> dict[str, list[Table]]:
    """Probe -> a table for each data set.

    Args:
        args: of analysis.flags.

    Raises:
        InputError: a result is of no use, or results do not belong together.
    """
    datasets = [data_set(name) for name in ([args.dataset] if args.dataset else DATASETS)]
    return {probe: [_table(dataset, probe, args) for dataset in datasets] for probe in args.probe or ["bcl-100shot"]}


def _table(dataset: DataSet, probe: str, args: argparse.Namespace) -> Table:
    wanted, title = wanted_of(args, dataset), DATASETS.get(dataset.name, dataset.name)
    methods = args.method or [name for name in ORDER if name != "untrained"]
    table = Table(PAPER, dataset, wanted, title, "long-tailed lists", probe, collect(dataset, methods, probe, wanted))
    if probe == "bcl-100shot" and dataset.name in DATASETS:
        labels = [*table.rows, *([] if args.method else [DNC])]
        table.published = {label: read_published("BCL-T1", title, label) for label in labels}
    return table


def print_tables(tables: dict[str, list[Table]]) -> None:
    """One table for each probe, the data sets side by side."""
    for probe, found in tables.items():
        print(f"\nBCL's table 1, {probe}: test accuracy in %, {PAPER.shows}\n")
        print(_format(found))
        for table in found:
            if table.ours:
                print_blocks(table, table.dataset.name)
            else:
                print(
                    f"missing: {table.dataset.name}: no result below {folders_of(table.dataset, table.wanted.root)[1]}"
                )


def _format(tables: list[Table]) -> str:
    """All data sets side by side: what main_lines has of each."""
    nothing = ("", *["-"] * len(PAPER.columns))
    lines = [("", *(word for _ in tables for word in ("|", "n", *PAPER.columns)))]
    for method in dict.fromkeys(method for table in tables for method in table.methods):
        parts = [method_lines(table, method) for table in tables]
        for heading in dict.fromkeys(heading for part in parts for heading in part):
            lines.append((heading, *(word for part in parts for word in ("|", *part.get(heading, nothing)))))
    text = align(lines)
    bars = [i for i, letter in enumerate(text.split("\n")[0]) if letter == "|"]
    head = ""
    for bar, table in zip(bars, tables, strict=True):
        head = f"{head.ljust(bar)}| {table.paper_name}"
    return f"{head}\n{text}"
