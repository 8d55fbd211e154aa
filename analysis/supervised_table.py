"""Table 3 of BCL's paper (Zhou et al., ICML 2022): supervised learning from random weights and from encoders.

Rows are the protocols of supervised learning (CE, cRT, LA; probe/protocols.py), columns the weights that it starts
from. The paper has only the accuracy; our Many, Medium, Few and Std are below it, Std as in its table 1. The paper does
not say which form of LA it has: here LA is the loss, and post-hoc adjustment is a row of its own where it was run.
"""

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from analysis import bcl_table
from analysis.figures import make_figures
from analysis.flags import Wanted
from analysis.published import Cells, read_published
from analysis.rows import Row, collect, probed
from analysis.table import Lines, Paper, Table, cell, print_blocks, signed
from data.groups import GROUPS
from data.sets.registry import data_set
from methods import label_of
from probe.protocols import CHOSEN
from utils.text import align

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATASETS = {"cifar100": "CIFAR-100-LT", "imagenet": "ImageNet-LT"}
STARTS = {"untrained": "scratch", "simclr": "CL", **{m: "" for m in ("focal", "dnc", "sdclr", "bcl-i", "bcl-d")}}
PROBES = {"ce": "CE", "crt": "cRT", "la": "LA", "la-posthoc": "LA post-hoc"}  # label of the protocol -> row


def cells(row: Row) -> Cells:
    """All, with its standard deviation over the splits, and the groups' columns as in table 1."""
    means = row.mean_and_std()
    return ({"All": means["All"]} if "All" in means else {}) | bcl_table.group_means(row)


PAPER = Paper("Std of the three groups (ddof 1), n splits", ("All", *GROUPS, "Std"), ("All", *GROUPS), cells)


def head(method: str) -> str:
    """The heading of a column: the weights that training starts from."""
    return "random" if method == "untrained" else label_of(method)


def make_tables(wanted: Wanted) -> list[Table]:
    """One for each data set and protocol; post-hoc adjustment, which is not published, only with a result or by name.

    Raises:
        InputError: a result is damaged, or results do not belong together.
    """
    methods, tables = wanted.method or list(STARTS), []
    for name in [wanted.dataset] if wanted.dataset else DATASETS:
        dataset = data_set(name).called(wanted.data)
        wanted_lists = replace(wanted, LT=True, shape=dataset.bcl_shape or wanted.shape)
        title = DATASETS.get(dataset.name, dataset.name)
        for probe in wanted.probe or PROBES:
            rows = collect(dataset, methods, probe, wanted_lists)
            table = Table(PAPER, dataset, wanted_lists, title, "long-tailed lists", probe, rows)
            table.published = {label_of(m): _published(title, m, probe) for m in methods}
            if table.ours:
                table.notes.append(CHOSEN)
            if probe != "la-posthoc" or wanted.probe or table.ours:
                tables.append(table)
    return tables


def _published(title: str, method: str, probe: str) -> Cells:
    """The paper's accuracy; {} where it has none."""
    start = STARTS.get(method) or label_of(method)
    published = read_published(f"BCL-T3-{PROBES[probe]}", title, f"{start}-init")
    return {"All": published["Acc"]} if "Acc" in published else {}


def print_tables(tables: list[Table]) -> None:
    """For each data set the paper's table, then all our columns."""
    for title, group in groupby(tables, lambda table: table.paper_name):
        tables_of_set = list(group)
        print(f"\nBCL's table 3, {title}: supervised learning, test accuracy in %, ± over the splits of ours\n")
        print(align(_lines(tables_of_set)))
        if lines := _group_lines(tables_of_set):
            print(f"\n{title}, {PAPER.shows}\n")
            print(align(lines))
        for table in tables_of_set:
            name = f"{table.dataset.name}, {PROBES[table.protocol]}"
            if table.ours:
                print_blocks(table, name)
            else:
                print(f"missing: {name}: no result below {probed(table.dataset, table.wanted.root)}")


def _lines(tables: list[Table]) -> Lines:
    """For each protocol our row, the published row and the difference; a column for each start."""
    starts = {label_of(m): head(m) for m in tables[0].wanted.method or STARTS}
    lines: Lines = [("", *starts.values())]
    for table in tables:
        name, ours, theirs = PROBES[table.protocol], table.cells, table.published
        lines.append((name, *(cell(ours[label].get("All")) for label in starts)))
        if any(theirs.values()):
            lines.append((f"{name} (published)", *(cell(theirs[label].get("All")) for label in starts)))
        differences = {label: table.to_published(label) for label in starts}
        if any(differences.values()):
            texts = (signed(by_column["All"]) if by_column else "-" for by_column in differences.values())
            lines.append(("difference", *texts))
    return lines


def _group_lines(tables: list[Table]) -> Lines:
    """A row for each protocol and start with a result; no lines where there is none."""
    starts = {label_of(m): head(m) for m in tables[0].wanted.method or STARTS}
    rows: Lines = []
    for table in tables:
        for label, numbers in table.ours.items():
            n = str(len(table.rows[label].values))
            rows.append(
                (f"{PROBES[table.protocol]}, {starts[label]}", n, *(cell(numbers.get(c)) for c in PAPER.columns))
            )
    return [("", "n", *PAPER.columns), *rows] if rows else []


def draw(tables: list[Table]) -> "dict[str, Figure]":
    """The bars of the tables that have results."""
    panels = {f"{table.paper_name}, {PROBES[table.protocol]}": table.ours for table in tables if table.ours}
    return make_figures(panels, {}, "supervised learning on long-tailed lists")
