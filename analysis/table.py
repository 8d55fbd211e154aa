"""A table of results: methods as rows, ours beside the published numbers, and the differences between them as text."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from analysis.flags import Wanted
from analysis.paired import TESTS, Paired, compare
from analysis.published import Cells
from analysis.read import TOPS, check_alike
from analysis.rows import Row
from data.groups import COLUMNS
from data.sets.base import DataSet
from methods import label_of
from utils.errors import InputError
from utils.text import align

Lines = list[tuple[str, ...]]  # a heading and rows of equally many words
SPLIT_COLUMNS = (*COLUMNS, "Top-1", "Top-5")


def cell(value: tuple[float, float | None] | None) -> str:
    """A number in percent, with its deviation if there is one; '-' for what is missing."""
    mean, std = value or (None, None)
    text = "-" if mean is None else f"{mean:.2f}"
    return text if std is None else f"{text} ± {std:.2f}"


def signed(value: float) -> str:
    """A difference with its sign, never -0.00."""
    return f"{round(value, 2) + 0.0:+.2f}"


class Paper(NamedTuple):
    """What differs between the tables of the papers.

    shows: the meaning of the cells, in words. columns: all. paired: the columns by which methods are compared, which
    each split has; without one, methods are not compared. cells_of: the cells of a row.
    """

    shows: str
    columns: tuple[str, ...]
    paired: tuple[str, ...]
    cells_of: Callable[[Row], Cells]


@dataclass
class Table:
    """The results on one data set with one probe; `rows` are ours by the method's label.

    published: label -> the paper's cells, also of methods without a row; published_n: the number of its splits.
    baseline: label. differences: label -> column -> ours minus the baseline's, paired over the splits; empty where
    there is only one method.
    """

    paper: Paper
    dataset: DataSet
    wanted: Wanted
    paper_name: str  # what the paper calls the data set
    pretrained_on: str
    protocol: str
    rows: dict[str, Row]
    published: dict[str, Cells] = field(default_factory=dict)
    published_n: str = ""
    baseline: str = ""
    differences: dict[str, dict[str, Paired]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Collect the notes of the results, and compare the methods.

        Raises:
            InputError: results do not belong together, or the baseline is not among the methods.
        """
        rows, wanted = self.rows, self.wanted
        results = [result for row in rows.values() for result in row.results.values()]
        self.notes = sorted({note for result in results for note in result["notes"]}) + check_alike(results, wanted.mix)
        self.notes += [line for row in rows.values() for line in row.left_out]
        first = next((label for label, row in rows.items() if row.values), "")
        chosen = label_of(wanted.baseline) if wanted.baseline else first
        if chosen and chosen not in rows:
            known = ", ".join(rows)
            raise InputError(f"the baseline {wanted.baseline} is not among the methods of the table: {known}")
        if chosen and len(rows) > 1 and self.paper.paired:
            self.baseline, base = chosen, rows[chosen]
            for label, row in rows.items():
                if label != chosen:
                    pairs = {column: _difference(row, base, column, wanted.test) for column in self.paper.paired}
                    self.differences[label] = pairs

    @property
    def title(self) -> str:
        return f"{self.paper_name}, pre-trained on {self.pretrained_on}, {self.protocol}"

    @property
    def cells(self) -> dict[str, Cells]:
        """Label -> cells of our row."""
        return {label: self.paper.cells_of(row) for label, row in self.rows.items()}

    @property
    def splits(self) -> list[int]:
        """Numbers of the splits that are shown one by one: those that the user named."""
        return [split.number for split in self.wanted.splits_of(self.dataset)] if self.wanted.splits else []

    @property
    def ours(self) -> dict[str, Cells]:
        """Label -> cells of the methods with a result."""
        return {label: cells for label, cells in self.cells.items() if self.rows[label].values}

    @property
    def methods(self) -> list[str]:
        """Labels of all methods; last those that have only a published row."""
        return list(dict.fromkeys([*self.rows, *self.published]))

    @property
    def missing(self) -> list[str]:
        return [line for row in self.rows.values() for line in row.missing]

    def to_published(self, method: str) -> dict[str, float]:
        """Column -> ours minus the published number, in percentage points, where there are both."""
        ours, theirs = self.cells.get(method, {}), self.published.get(method, {})
        return {c: ours[c][0] - theirs[c][0] for c in self.paper.columns if c in ours and c in theirs}


def _difference(row: Row, baseline: Row, column: str, test: str) -> Paired:
    pairs = [(row.values[n][column], baseline.values[n][column]) for n in row.values if n in baseline.values]
    pairs = [pair for pair in pairs if None not in pair]
    return compare([ours for ours, _ in pairs], [theirs for _, theirs in pairs], test)


def method_lines(table: Table, method: str) -> dict[str, tuple[str, ...]]:
    """Heading -> words of n and the columns, for our row, the published row and the difference, where they exist."""

    def words(n: str, cells: Cells) -> tuple[str, ...]:
        return n, *(cell(cells.get(c)) for c in table.paper.columns)

    lines = {}
    if method in table.rows:
        lines[method] = words(str(len(table.rows[method].values)), table.cells[method])
    if theirs := table.published.get(method):
        lines[f"{method} (published)"] = words(table.published_n, theirs)
    if gaps := table.to_published(method):
        lines["difference"] = "", *(signed(gaps[c]) if c in gaps else "-" for c in table.paper.columns)
    return lines


def main_lines(table: Table) -> Lines:
    """For each method our row, the published row and the difference between them."""
    lines = [line for method in table.methods for line in method_lines(table, method).items()]
    return [("", "n", *table.paper.columns), *((heading, *words) for heading, words in lines)]


def difference_lines(table: Table) -> tuple[str, Lines, list[str]]:
    """Caption and lines of the differences to the baseline, no lines if there is none; the reasons for missing ones.

    Methods are indented, so that no row begins like one of the main table.
    """
    caption = f"difference to {table.baseline}, paired over splits: mean [95% interval] p ({TESTS[table.wanted.test]})"
    lines: Lines = [("", "n", *table.paper.paired)]
    any_known, without = False, {}  # reason -> methods, or their columns, that have no test for it
    for method, pairs in table.differences.items():
        n = str(max(pair.n for pair in pairs.values()))
        lines.append((f"  {method}", n, *(difference_cell(pair) for pair in pairs.values())))
        any_known |= any(pair.difference is not None for pair in pairs.values())
        for why in dict.fromkeys(pair.why for pair in pairs.values() if pair.why):
            columns = [column for column, pair in pairs.items() if pair.why == why]
            name = method if len(columns) == len(pairs) else f"{method} ({', '.join(columns)})"
            without.setdefault(why, []).append(name)
    reasons = [f"{', '.join(names)} beside {table.baseline}: {why}" for why, names in without.items()]
    return caption, lines if any_known else [], reasons


def difference_cell(pair: Paired) -> str:
    """'+1.23 [0.40, 2.06] p 0.012', without an interval or p that is not known; '-' without a difference."""
    if pair.difference is None:
        return "-"
    interval = "" if pair.low is None else f" [{pair.low:.2f}, {pair.high:.2f}]"
    p = "" if pair.p is None else " p <0.001" if pair.p < 0.001 else f" p {pair.p:.3f}"
    return f"{signed(pair.difference)}{interval}{p}"


def split_lines(table: Table) -> Lines:
    """SPLIT_COLUMNS of each method and split, in percent; 'missing' for a split without a result."""
    lines: Lines = [("", *SPLIT_COLUMNS)]
    for label, row in table.rows.items():
        for n in table.splits:
            name = f"  {label}, split {n}"
            if n not in row.values:
                lines.append((name, *["missing"] * len(SPLIT_COLUMNS)))
                continue
            numbers = [*(row.values[n][c] for c in COLUMNS), *(row.results[n][top] for top in TOPS)]
            lines.append((name, *("-" if number is None else f"{number:.2f}" for number in numbers)))
    return lines


def print_blocks(table: Table, name: str = "") -> None:
    """Print what follows a table: notes, what is missing, differences to the baseline, the splits one by one.

    Args:
        name: of the data set, where several share a table.
    """
    colon, comma = (f"{name}: ", f"{name}, ") if name else ("", "")
    caption, lines, reasons = difference_lines(table)
    blocks = [f"note: {colon}{'; '.join(table.notes)}"] if table.notes else []
    blocks += [f"missing: {comma}{line}" for line in table.missing]
    blocks += [f"\n{colon}{caption}\n\n{align(lines)}"] if lines else []
    blocks += [f"no test: {colon}{reason}" for reason in reasons]
    if table.splits:
        blocks.append(f"\n{colon}each split{', Std with ddof 0' if name else ''}\n\n{align(split_lines(table))}")
    print(*(f"{block}\n" for block in blocks), sep="", end="")
