"""The tables of SDCLR's paper (Jiang et al., ICML 2021) from this project's results: one data set, one probe each."""

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.figures import Panels, make_figures, plot_groups
from analysis.flags import Wanted
from analysis.published import Cells, published
from analysis.read import check_alike
from analysis.rows import Row, collect
from analysis.table import Paper, Table, main_lines, print_blocks
from data.groups import COLUMNS
from data.sets.registry import data_set
from methods import label_of
from probe.protocols import PROBES, PROTOCOLS
from utils.errors import InputError
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
    """Each method pre-trained on balanced and on long-tailed lists, with the same class groups.

    None for no method, and where results do not belong together, which a note says. That rare classes
    lose accuracy by a long tail is the observation that SDCLR's paper begins with.
    """
    panels: Panels = {}
    try:
        for table in tables:
            if not table.dataset.own and (bars := _bars_of_both_lists(table)):
                panels[table.protocol] = bars
    except InputError as error:  # of results that the tables do not have, so these and other figures are right
        _note(tables[0], f"no figure of balanced lists beside long-tailed ones: {error}")
        return None
    looks = styles(list(dict.fromkeys(name for bars in panels.values() for name in bars)))
    return plot_groups(panels, f"{title} balanced and long-tailed lists", looks) if panels else None


def _bars_of_both_lists(table: Table) -> dict[str, Cells]:
    """Method and kind of lists -> cells, over the splits that have a result of both kinds.

    Raises:
        InputError: results do not belong together, or one is damaged.
    """
    other = replace(table.wanted, LT=not table.wanted.LT)
    methods = [method for method in table.wanted.method if label_of(method) in table.ours]
    other_rows = collect(table.dataset, methods, PROTOCOLS[table.protocol].label, other)
    bars, results = {}, []
    for label, other_row in other_rows.items():
        row_of = {table.wanted.LT: table.rows[label], other.LT: other_row}
        if common := [n for n in table.rows[label].values if n in other_row.values]:
            for name, LT in LISTS.items():
                bars[f"{label}, {name}"] = Row(label, {n: row_of[LT].values[n] for n in common}).mean_and_std()
                results += [row_of[LT].results[n] for n in common]
    for line in check_alike(results, other.mix):
        if line not in table.notes:
            _note(table, f"balanced beside long-tailed lists: {line}")
    return bars


def _note(table: Table, line: str) -> None:
    """Add a note to a table that was printed, and print it; once, as figures may be drawn again."""
    if line not in table.notes:
        table.notes.append(line)
        print(f"note: {line}")
