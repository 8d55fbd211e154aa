"""Table 1 of BCL's paper (Zhou et al., ICML 2022) from this project's results: methods as rows, ours beside theirs.

The paper's Std is the sample standard deviation (ddof 1) of the three rounded group means, and its CIFAR-100 column is
of the 100-shot probe: computed so, all 18 published cells are reproduced within 0.01. SDCLR's tables have ddof 0.
"""

from dataclasses import replace
from itertools import groupby, product
from typing import TYPE_CHECKING

import numpy as np

from analysis.figures import make_figures
from analysis.flags import Wanted
from analysis.published import Cells, read_published
from analysis.rows import Row, collect, probed
from analysis.table import Paper, Table, method_lines, print_blocks
from data.groups import GROUPS
from data.sets.registry import data_set
from utils.text import align

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATASETS = {"cifar100": "CIFAR-100-LT", "imagenet": "ImageNet-LT", "places": "Places-LT"}
METHODS = ("simclr", "focal", "dnc", "sdclr", "bcl-i", "bcl-d")  # rows of the paper's table


def group_means(row: Row) -> Cells:
    """Many, Medium and Few, each the mean over the splits, and Std, that of the three; missing ones are left out."""
    means = {name: round(mean, 2) for name, (mean, _) in row.mean_and_std().items() if name in GROUPS}
    if len(means) == len(GROUPS):
        means["Std"] = float(np.std(list(means.values()), ddof=1))
    return {name: (value, None) for name, value in means.items()}


PAPER = Paper("Std of the three groups (ddof 1), n splits", (*GROUPS, "Std"), GROUPS, group_means)


def make_tables(wanted: Wanted) -> list[Table]:
    """One for each probe and data set.

    Raises:
        InputError: a result is damaged, or results do not belong together.
    """
    methods, tables = wanted.method or METHODS, []
    for probe, name in product(wanted.probe or ["bcl-100shot"], [wanted.dataset] if wanted.dataset else DATASETS):
        dataset = data_set(name).called(wanted.data)
        wanted_lists = replace(wanted, LT=True, shape=dataset.bcl_shape or wanted.shape)
        rows, title = collect(dataset, methods, probe, wanted_lists), DATASETS.get(dataset.name, dataset.name)
        table = Table(PAPER, dataset, wanted_lists, title, "long-tailed lists", probe, rows)
        if probe == "bcl-100shot" and dataset.name in DATASETS:
            table.published = {label: read_published("BCL-T1", title, label) for label in rows}
        tables.append(table)
    return tables


def print_tables(tables: list[Table]) -> None:
    """One table for each probe, the data sets side by side."""
    for probe, group in groupby(tables, lambda table: table.protocol):
        tables_of_probe = list(group)
        print(f"\nBCL's table 1, {probe}: test accuracy in %, {PAPER.shows}\n")
        print(_format(tables_of_probe))
        for table in tables_of_probe:
            name = table.dataset.name
            if table.ours:
                print_blocks(table, name)
            else:
                print(f"missing: {name}: no result below {probed(table.dataset, table.wanted.root)}")


def draw(tables: list[Table]) -> "dict[str, Figure]":
    """The bars of the tables that have results."""
    panels = {f"{table.paper_name}, {table.protocol}": table.ours for table in tables if table.ours}
    return make_figures(panels, {}, "pre-trained on long-tailed lists")


def _format(tables: list[Table]) -> str:
    """The rows of main_lines, all data sets side by side."""
    empty = ("", *["-"] * len(PAPER.columns))
    lines = [("", *(word for _ in tables for word in ("|", "n", *PAPER.columns)))]
    for method in dict.fromkeys(method for table in tables for method in table.methods):
        parts = [method_lines(table, method) for table in tables]
        for heading in dict.fromkeys(heading for part in parts for heading in part):
            lines.append((heading, *(word for part in parts for word in ("|", *part.get(heading, empty)))))
    text = align(lines)
    bars = [i for i, letter in enumerate(text.split("\n")[0]) if letter == "|"]
    head = ""
    for bar, table in zip(bars, tables, strict=True):
        head = f"{head.ljust(bar)}| {table.paper_name}"
    return f"{head}\n{text}"
