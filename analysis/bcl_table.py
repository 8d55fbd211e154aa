"""Table 1 of BCL's paper (Zhou et al., ICML 2022) from this project's results: methods as rows, ours beside theirs.

Its Std is the sample standard deviation (ddof 1) of the three group means as they are printed, and its CIFAR-100 column
is of the 100-shot probe: so computed, all 18 published cells come out within 0.01. SDCLR's tables have another Std.
"""

import argparse

import numpy as np

from analysis.published import Cells, read_published
from analysis.rows import Row, collect_as_told, folders_of
from analysis.table import Table, make_table, print_blocks
from data.groups import GROUPS
from data.sets.registry import data_set
from methods import label_of, method_names
from utils.errors import InputError
from utils.text import align, cell, signed

DATASETS = {"cifar100": "CIFAR-100-LT", "imagenet": "ImageNet-LT", "places": "Places-LT"}
DNC = "dnc"  # published, without a method here
COLUMNS = (*GROUPS, "Std")
SHOWS = "Std of the three groups (ddof 1), n splits"


def _trained() -> list[str]:
    return [name for name in method_names() if name != "untrained"]


def _label(method: str) -> str:
    return "DnC" if method == DNC else label_of(method)


def group_means(row: Row) -> Cells:
    """Many, Medium, Few, each the mean over the splits, and the Std of the three; what is missing is left out."""
    means = {name: round(row.mean_and_std()[name][0], 2) for name in GROUPS if name in row.mean_and_std()}
    if len(means) == len(GROUPS):
        means["Std"] = float(np.std(list(means.values()), ddof=1))
    return {name: (value, None) for name, value in means.items()}


def print_tables(args: argparse.Namespace) -> tuple[dict[str, dict[str, Cells]], list[Table]]:
    """One table for each probe; returns the figure's panels, title -> method -> cells, and each data set's table.

    Args:
        args: exp_analyse.py's flags.

    Raises:
        InputError: there is no result at all, one of no use, or some of another kind.
    """
    datasets = [args.dataset] if args.dataset else list(DATASETS)
    collected = {p: {name: _collect(name, p, args) for name in datasets} for p in args.probe or ["bcl-100shot"]}
    panels: dict[str, dict[str, Cells]] = {}
    if not any(row.values for rows in collected.values() for methods in rows.values() for row in methods.values()):
        raise InputError(f"there is no result to show below {args.root.resolve()}: run the recipes first")
    tables = []
    for probe, rows in collected.items():
        by_name = {name: _table(name, probe, methods, args) for name, methods in rows.items()}
        tables += by_name.values()
        print(f"\nBCL's table 1, {probe}: test accuracy in %, {SHOWS}\n")
        print(_format(by_name, args.method))
        _print_notes(rows, by_name, args)
        for name, methods in rows.items():
            found = {row.method: group_means(row) for row in methods.values() if row.values}
            panels |= {f"{DATASETS.get(name, name)}, {probe}": found} if found else {}
    return panels, tables


def _collect(dataset: str, probe: str, args: argparse.Namespace) -> dict[str, Row]:
    spec = data_set(dataset)
    shape = spec.bcl_shape or args.shape
    methods = args.method or _trained()
    return {method: collect_as_told(args, spec, method, probe, True, shape) for method in methods}


def _table(dataset: str, probe: str, rows: dict[str, Row], args: argparse.Namespace) -> Table:
    published: dict[str, Cells] = {}
    if probe == "bcl-100shot" and dataset in DATASETS:
        labels = [_label(method) for method in args.method or [*_trained(), DNC]]
        published = {label: read_published("BCL-T1", DATASETS[dataset], label) for label in labels}
    names = (DATASETS.get(dataset, dataset), "long-tailed lists", probe)
    # The Std of this table is of means over splits: no split has one of its own to compare.
    table = make_table(args, data_set(dataset), names, rows, published, COLUMNS, GROUPS, group_means)
    table.shows = SHOWS
    return table


def _format(tables: dict[str, Table], wanted: list[str] | None) -> str:
    """All data sets side by side: ours, the published row and the difference to that, for each method."""
    lines = [("", *(word for _ in tables for word in ("|", "n", *COLUMNS)))]
    for method in wanted or [*_trained(), DNC]:
        name = _label(method)
        ours, theirs, gaps = [], [], []
        for table in tables.values():
            n = [str(len(row.values)) for row in table.rows if row.method == name]
            found, published, gap = table.cells.get(name, {}), table.published.get(name, {}), table.to_published(name)
            ours += ["|", *(n or [""]), *(cell(found.get(c)) for c in COLUMNS)]
            theirs += ["|", "", *(cell(published.get(c)) for c in COLUMNS)]
            gaps += ["|", "", *(signed(gap[c]) if c in gap else "-" for c in COLUMNS)]
        lines += [(name, *ours)] if method != DNC else []
        for label, words in ((f"{name} (published)", theirs), ("difference", gaps)):
            lines += [(label, *words)] if any(word not in ("", "-", "|") for word in words) else []
    text = align(lines)
    bars = [i for i, letter in enumerate(text.split("\n")[0]) if letter == "|"]
    head = ""
    for bar, dataset in zip(bars, tables, strict=True):
        head = f"{head.ljust(bar)}| {DATASETS.get(dataset, dataset)}"
    return f"{head}\n{text}"


def _print_notes(rows: dict[str, dict[str, Row]], tables: dict[str, Table], args: argparse.Namespace) -> None:
    for name, methods in rows.items():
        if tables[name].notes:
            print(f"note: {name}: {'; '.join(tables[name].notes)}")
        if not any(row.values for row in methods.values()):
            print(f"missing: {name}: no result below {folders_of(data_set(name), args.root)[1]}")
            continue
        for row in methods.values():
            print(*(f"missing: {name}, {what}" for what in row.missing), sep="\n", end="\n" if row.missing else "")
    for name, table in tables.items():
        if any(row.values for row in table.rows):
            print_blocks(table, name)
