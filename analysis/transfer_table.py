"""Table 4 of BCL's paper (Zhou et al., ICML 2022): frozen networks on five fine-grained sets, ours beside theirs.

A row is a method, a column a set; All is the unweighted mean of the five, as in the paper, whose twelve cells it gives
within 0.01. Top-1 and Top-5 are a table each. Accuracy is over the test images, chosen here where classes have
unequally many. Five results make a row if they are of the same pre-training.
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
    """A result on one set: its folder, the method, and what is told of the pre-training."""

    folder: Path
    method: str
    told: Pretraining


def with_mean(cells: Cells) -> Cells:
    """The cells of the sets, and All, their unweighted mean, where all five are there."""
    values = [cells[label][0] for label in SETS.values() if label in cells]
    return cells | ({"All": (sum(values) / len(values), None)} if len(values) == len(SETS) else {})


def cells_of(row: Row) -> Cells:
    """Column -> accuracy; a row has a value for each set that there is a result of."""
    return with_mean({label: (value, None) for values in row.values.values() for label, value in values.items()})


PAPER = Paper("All: unweighted mean of the sets, n sets", COLUMNS, (), cells_of)


def make_tables(wanted: Wanted) -> list[Table]:
    """Two for each probe, Top-1 and Top-5.

    Raises:
        InputError: a result is of no use, or results do not belong together.
    """
    methods, tables = wanted.method or METHODS, []
    for probe in wanted.probe or ["bcl-transfer"]:
        found = _found(probe, wanted)
        on = sorted({f"{e.told.pretrained_on}, {e.told.list}" for e in found if e.method in methods})
        for top in TOPS:
            rows = {label_of(method): _row(method, found, probe, top, wanted) for method in methods}
            name, dataset = f"Fine-grained sets, {top}", data_set(next(iter(SETS)))
            table = Table(PAPER, dataset, wanted, name, " and ".join(on) or "ImageNet-LT", probe, rows)
            table.published = {label: _published(label, top) for label in rows}
            tables.append(table)
    return tables


def print_tables(tables: list[Table]) -> None:
    """One after the other; what there is to say of a probe follows its last one."""
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
    """None: its columns are no groups of classes."""
    return {}


def _folder(wanted: Wanted) -> Path:
    return probed(data_set(next(iter(SETS))), wanted.root)


def _published(label: str, top: str) -> Cells:
    found = {column: read_published("BCL-T4", column, label).get(top) for column in COLUMNS}
    return {column: cell for column, cell in found.items() if cell}


def _found(probe: str, wanted: Wanted) -> list[Transfer]:
    """The results of a probe whose pre-training is told, as far as they are wanted."""
    found = []
    for folder in sorted(_folder(wanted).glob("*")):
        told = read_pretraining(folder)
        if not told or told.protocol != probe or told.dataset not in SETS or wanted.contains not in folder.name:
            continue
        if wanted.epochs not in (None, told.epochs) or wanted.experiments and told.experiment not in wanted.experiments:
            continue
        try:
            found.append(Transfer(folder, method_of(told.settings), told))
        except InputError:
            continue  # a method that there is not, or no longer
    return found


def _row(method: str, found: list[Transfer], probe: str, top: str, wanted: Wanted) -> Row:
    row, own = Row(label_of(method)), [e for e in found if e.method == method]
    _check_one(row.method, own)
    for n, (name, label) in enumerate(SETS.items()):
        mine = [(e, r) for e in own if e.told.dataset == name and (r := _result(e, probe, wanted))]
        for experiment, result in mine:
            row.values[n], row.results[n] = {label: result[TOPS[top]]}, result
            row.folders[n] = experiment.folder, experiment.folder
    gone = ", ".join(label for n, label in enumerate(SETS.values()) if n not in row.values)
    if gone:
        row.missing.append(f"{row.method}: no result of {gone} below {_folder(wanted)}")
    return row


def _result(experiment: Transfer, probe: str, wanted: Wanted) -> dict[str, Any] | None:
    """What read_result gives; sets differ between the columns of a table, the list of the pre-training may not."""
    told = experiment.told
    result = read_result(experiment.folder, probe, 0, wanted.mix)
    if result is None or None in (result["top1"], result["top5"]):
        raise InputError(f"{experiment.folder} has no Top-1 and Top-5: run that probe again")
    kind = {k: v for k, v in result["kind"].items() if k != "dataset"}
    return {**result, "kind": kind | {"list of the pre-training": f"{told.pretrained_on}, {told.list}"}}


def _kept(settings: dict[str, Any]) -> str:
    return json.dumps(sorted((name, str(value)) for name, value in settings.items() if name not in OF_A_SPLIT))


def _check_one(label: str, experiments: list[Transfer]) -> None:
    """Raise InputError if a set has several results, or two sets have other pre-trainings."""
    settings = {(e.told.experiment, e.told.epochs, _kept(e.told.settings)) for e in experiments}
    sets = [e.told.dataset for e in experiments]
    if len(settings) > 1 or len(set(sets)) < len(sets):
        names = ", ".join(sorted(e.folder.name for e in experiments))
        raise InputError(f"several pre-trainings or settings of {label} were probed: {names}; {CHOOSE}")
