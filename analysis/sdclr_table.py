"""The tables of SDCLR's paper (Jiang et al., ICML 2021) from this project's results: one data set, one probe each."""

from pathlib import Path

from analysis.figures import write_figures
from analysis.flags import Wanted
from analysis.published import published
from analysis.rows import Row, collect
from analysis.table import Paper, Table, main_lines, print_blocks
from data.groups import COLUMNS
from data.sets.registry import data_set
from methods import label_of
from probe.protocols import PROBES, PROTOCOLS
from utils.text import align

PAPER = Paper("mean ± std over splits", COLUMNS, COLUMNS, Row.mean_and_std)


def make_tables(wanted: Wanted) -> list[Table]:
    """One for each probe.

    Raises:
        InputError: a result is of no use, or results do not belong together.
    """
    dataset, tables = data_set(wanted.dataset or "cifar100"), []
    kind = dataset.list_kind(wanted.LT, wanted.shape)
    for probe in wanted.probe:
        rows = collect(dataset, wanted.method, probe, wanted)
        table = Table(PAPER, dataset, wanted, dataset.name, kind, PROBES[probe], rows)
        # The paper's rows are of long-tailed pre-training on lists of their own shape.
        if wanted.LT and not wanted.shape:
            table.published = {label_of(method): published(dataset, method, probe) for method in wanted.method}
            table.published_n = str(len(dataset.splits))
        tables.append(table)
    return tables


def print_tables(tables: list[Table]) -> None:
    """One after the other: the published numbers below ours where there are any, and what there is to say."""
    for table in tables:
        print(f"\n{table.title}: test accuracy in %, {PAPER.shows}\n")
        print(align(main_lines(table)))
        print_blocks(table)


def draw(tables: list[Table], folder: Path) -> list[Path]:
    """Write the figures that there are results for; returns the files' paths."""
    found = [table for table in tables if table.ours]
    panels = {table.protocol: table.ours for table in found}
    rows = {PROTOCOLS[table.protocol].label: list(table.rows.values()) for table in found}
    kind = "long-tailed" if tables[0].wanted.LT else "balanced"
    return write_figures(panels, rows, folder, f"{tables[0].paper_name}, pre-trained on {kind} lists")
