"""Table 4 of BCL's paper (Zhou et al., ICML 2022): frozen networks on five fine-grained sets, ours beside theirs.

A row is a method, a column a set; All is the unweighted mean of the five, which reproduces the paper's twelve cells
within 0.01. Top-1 and Top-5 are a table each. Accuracy is over the test images, not the mean over the classes, which
differ in size: so it is chosen here. All results of a row are of the same pre-training.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.bcl_table import METHODS
from analysis.flags import CHOOSE, Wanted
from analysis.published import Cells, read_published
from analysis.read import Pretraining, read_pretraining, read_result
from analysis.rows import OF_A_SPLIT, Row, probed
from analysis.table import Paper, Table, main_lines, print_blocks
from data.sets.registry import data_set
from methods import label_of, method_of
from utils.errors import InputError
from utils.text import align

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOPS = {"Top-1": "top1", "Top-5": "top5"}
SETS = {"cub": "CUB", "cars": "Cars", "aircraft": "Aircrafts", "dogs": "Dogs", "nabirds": "NABirds"}  # as printed
COLUMNS = (*SETS.values(), "All")


class Transfer(NamedTuple):
    """A result on one set: its folder, the method, and the recorded pre-training."""

    folder: Path
    method: str
    pretraining: Pretraining


def with_mean(cells: Cells) -> Cells:
    """The cells of the sets and, where there are all five, All, their unweighted mean."""
    values = [cells[label][0] for label in SETS.values() if label in cells]
    return cells | ({"All": (sum(values) / len(values), None)} if len(values) == len(SETS) else {})


def cells_of(row: Row) -> Cells:
    """Column -> accuracy, for the sets that the row has a result of, and All."""
    return with_mean({label: (value, None) for values in row.values.values() for label, value in values.items()})


PAPER = Paper("All: unweighted mean of the sets, n sets", COLUMNS, (), cells_of)


def make_tables(wanted: Wanted) -> list[Table]:
    """Two for each probe, Top-1 and Top-5.

    Raises:
        InputError: a result is damaged, or results do not belong together.
    """
    methods, tables = wanted.method or METHODS, []
    for probe in wanted.probe or ["bcl-transfer"]:
        transfers = _transfers(probe, wanted)
        lists = sorted({_pretraining_list(t.pretraining) for t in transfers if t.method in methods})
        for top in TOPS:
            rows = {label_of(method): _row(method, transfers, probe, top, wanted) for method in methods}
            name, dataset = f"Fine-grained sets, {top}", data_set(next(iter(SETS)))
            table = Table(PAPER, dataset, wanted, name, " and ".join(lists) or "ImageNet-LT", probe, rows)
            table.published = {label: _published(label, top) for label in rows}
            tables.append(table)
    return tables


def print_tables(tables: list[Table]) -> None:
    """One table after the other; the notes on a probe follow its last table."""
    for probe, group in groupby(tables, lambda table: table.protocol):
        both = list(group)
        for table, top in zip(both, TOPS, strict=True):
            print(f"\nBCL's table 4, {probe}, {top}: test accuracy in %, {PAPER.shows}\n")
            print(align(main_lines(table)))
        if both[0].ours:
            print_blocks(both[0])
        else:
            print(f"missing: no result of these methods below {_folder(both[0].wanted)}")


def draw(tables: list[Table]) -> "dict[str, Figure]":
    """No figures: the columns are no groups of classes."""
    return {}


def _folder(wanted: Wanted) -> Path:
    return probed(data_set(next(iter(SETS))), wanted.root)


def _published(label: str, top: str) -> Cells:
    cells = {column: read_published("BCL-T4", column, label).get(top) for column in COLUMNS}
    return {column: cell for column, cell in cells.items() if cell}


def _pretraining_list(pretraining: Pretraining) -> str:
    return f"{pretraining.pretrained_on}, {pretraining.list}"


def _transfers(probe: str, wanted: Wanted) -> list[Transfer]:
    """The wanted results of a probe; those without a recorded pre-training are left out."""
    transfers = []
    for folder in sorted(_folder(wanted).glob("*")):
        pretraining = read_pretraining(folder)
        if not pretraining or pretraining.protocol != probe or pretraining.dataset not in SETS:
            continue
        if wanted.contains not in folder.name or wanted.epochs not in (None, pretraining.epochs):
            continue
        if wanted.experiments and pretraining.experiment not in wanted.experiments:
            continue
        try:
            transfers.append(Transfer(folder, method_of(pretraining.settings), pretraining))
        except InputError:
            continue  # an unknown method, perhaps of an older version
    return transfers


def _row(method: str, transfers: list[Transfer], probe: str, top: str, wanted: Wanted) -> Row:
    row, of_method = Row(label_of(method)), [transfer for transfer in transfers if transfer.method == method]
    _check_one_pretraining(row.method, of_method)
    columns = {name: (n, label) for n, (name, label) in enumerate(SETS.items())}
    for transfer in sorted(of_method, key=lambda transfer: columns[transfer.pretraining.dataset]):
        n, label = columns[transfer.pretraining.dataset]
        result = _result(transfer, probe, wanted)
        row.values[n], row.results[n] = {label: result[TOPS[top]]}, result
        row.folders[n] = transfer.folder, transfer.folder
    missing = ", ".join(label for n, label in columns.values() if n not in row.values)
    if missing:
        row.missing.append(f"{row.method}: no result of {missing} below {_folder(wanted)}")
    return row


def _result(transfer: Transfer, probe: str, wanted: Wanted) -> dict[str, Any]:
    """What read_result returns, but its `kind` has the list of the pre-training in place of the data set.

    A table's columns are different sets, but all its rows must be pre-trained on the same list.
    """
    result = read_result(transfer.folder, probe, 0, wanted.mix)
    if result is None or None in (result["top1"], result["top5"]):
        raise InputError(f"{transfer.folder} has no Top-1 and Top-5: run that probe again")
    kind = {key: value for key, value in result["kind"].items() if key != "dataset"}
    return {**result, "kind": kind | {"list of the pre-training": _pretraining_list(transfer.pretraining)}}


def _settings(pretraining: Pretraining) -> str:
    """The settings that must be the same in all results of a row."""
    items = pretraining.settings.items()
    return json.dumps(sorted((name, str(value)) for name, value in items if name not in OF_A_SPLIT))


def _check_one_pretraining(label: str, transfers: list[Transfer]) -> None:
    """Raise InputError if a set has several results, or sets have different pre-trainings."""
    pretrainings = [transfer.pretraining for transfer in transfers]
    settings = {(p.experiment, p.epochs, _settings(p)) for p in pretrainings}
    sets = [p.dataset for p in pretrainings]
    if len(settings) > 1 or len(set(sets)) < len(sets):
        names = ", ".join(sorted(transfer.folder.name for transfer in transfers))
        raise InputError(f"several pre-trainings or settings of {label} were probed: {names}; {CHOOSE}")
