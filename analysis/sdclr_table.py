"""The tables of SDCLR's paper (Jiang et al., ICML 2021) from this project's results: one data set, one probe each."""

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.figures import Panels, make_figures, plot_groups
from analysis.flags import Wanted
from analysis.published import published
from analysis.rows import Row, collect
from analysis.table import Paper, Table, main_lines, print_blocks
from data.groups import COLUMNS
from data.sets.registry import data_set
from methods import label_of
from probe.protocols import PROBES, PROTOCOLS
from utils.plotting import styles
from utils.text import align

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LISTS = {"balanced": False, "long-tailed": True}  # name in figures -> Wanted.LT
PAPER = Paper("mean ± std over splits", COLUMNS, COLUMNS, Row.mean_and_std)


def make_tables(wanted: Wanted) -> list[Table]:
    """One for each probe.

    Raises:
        InputError: a result is damaged, or results do not belong together.
    """
    dataset, tables = data_set(wanted.dataset or "cifar100").called(wanted.data), []
    kind = dataset.list_kind(wanted.LT, wanted.shape)
    if dataset.own and not wanted.splits:
        kind = dataset.split_name(0, True, wanted.shape)
    for probe in wanted.probe:
        rows = collect(dataset, wanted.method, probe, wanted)
        table = Table(PAPER, dataset, wanted, dataset.name, kind, PROBES[probe], rows)
        # The published rows are of pre-training on the long-tailed lists of the published shape.
        if wanted.LT and not wanted.shape:
            table.published = {label_of(method): published(dataset, method, probe) for method in wanted.method}
            table.published_n = str(len(dataset.splits))
        tables.append(table)
    return tables


def print_tables(tables: list[Table]) -> None:
    """One table after the other, the published numbers below ours, each with its notes."""
    for table in tables:
        print(f"\n{table.title}: test accuracy in %, {PAPER.shows}\n")
        print(align(main_lines(table)))
        print_blocks(table)


def draw(tables: list[Table]) -> "dict[str, Figure]":
    """The figures that there are results for, by the names of their files."""
    with_results = [table for table in tables if table.ours]
    panels = {table.protocol: table.ours for table in with_results}
    rows = {PROTOCOLS[table.protocol].label: list(table.rows.values()) for table in with_results}
    first = tables[0]
    kind = "long-tailed lists" if first.wanted.LT else "balanced lists"
    if first.dataset.own and not first.wanted.splits:
        kind = f"the list {first.pretrained_on}"
    title = f"{first.paper_name}, pre-trained on"
    return make_figures(panels, rows, f"{title} {kind}", {"balanced": _plot_both_lists(with_results, title)})


def _plot_both_lists(tables: list[Table], title: str) -> "Figure | None":
    """Each method pre-trained on balanced and on long-tailed lists, with the same class groups; None for no method.

    That rare classes lose accuracy by a long tail is the observation that SDCLR's paper begins with.
    """
    panels: Panels = {}
    for table in tables:
        if table.dataset.own:
            continue
        other = replace(table.wanted, LT=not table.wanted.LT)
        other_rows = collect(table.dataset, table.wanted.method, PROTOCOLS[table.protocol].label, other)
        rows_by_list = {table.wanted.LT: table.rows, other.LT: other_rows}
        bars = panels.setdefault(table.protocol, {})
        for label in table.ours:
            if other_rows[label].results:
                bars |= {f"{label}, {name}": rows_by_list[LT][label].mean_and_std() for name, LT in LISTS.items()}
    panels = {protocol: bars for protocol, bars in panels.items() if bars}
    looks = styles(list(dict.fromkeys(name for bars in panels.values() for name in bars)))
    return plot_groups(panels, f"{title} balanced and long-tailed lists", looks) if panels else None
