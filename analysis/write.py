"""Result tables as files: Markdown, CSV, LaTeX and JSON, each with all tables of one call of exp_analyse.py."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from analysis.rows import Row
from analysis.table import Lines, Table, difference_lines, main_lines, split_lines
from utils.files import replace_file

CSV_FIELDS = (
    "data set", "pre-trained on", "protocol", "method", "n", "column", "mean", "std", "published mean", "published std",
    "difference to published", "baseline", "pairs", "paired difference", "low", "high", "p",
)  # fmt: skip
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$",
}  # fmt: skip


def write_tables(tables: list[Table], folder: Path) -> list[Path]:
    """tables.md, .csv, .tex and .json in `folder`, each whole or not at all; returns their paths.

    Raises:
        InputError: one cannot be written.
    """
    content = [as_dict(table) for table in tables]
    as_json = json.dumps({"tables": content}, indent=1, allow_nan=False, default=str) + "\n"
    texts = {".md": markdown(tables), ".csv": long_csv(content), ".tex": latex(tables), ".json": as_json}
    for suffix, text in texts.items():
        # Names of files within may have bytes that are not UTF-8.
        replace_file(folder / f"tables{suffix}", text.encode(errors="backslashreplace"))
    return [folder / f"tables{suffix}" for suffix in texts]


def markdown(tables: list[Table]) -> str:
    """For each table a heading, the table, and the remarks and tables that follow it on the terminal."""
    parts = []
    for table in tables:
        caption, differences, _ = difference_lines(table)
        parts += [f"## {table.title}", f"Test accuracy in %, {table.paper.shows}.", _pipes(main_lines(table))]
        parts += [f"- {remark}" for remark in remarks(table)]
        if differences:
            parts += [f"{caption[0].upper()}{caption[1:]}.", _pipes(differences)]
        parts += [_pipes(split_lines(table))] if table.splits else []
    return "\n\n".join(parts) + "\n"


def remarks(table: Table) -> list[str]:
    """Notes, missing results, and the reasons for missing tests, a line each."""
    kinds = {"note": table.notes, "missing": table.missing, "no test": difference_lines(table)[2]}
    return [f"{kind}: {line}" for kind, lines in kinds.items() for line in lines]


def _pipes(lines: Lines) -> str:
    """Lines as a Markdown table, the first column aligned left and the others right."""
    rows = [[word.strip().replace("|", r"\|") for word in line] for line in lines]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    padded = [
        [row[0].ljust(widths[0]), *(word.rjust(n) for word, n in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def long_csv(tables: list[dict[str, Any]]) -> str:
    """One line for each table, method and column; numbers in percent, not rounded; empty where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        names = {"data set": table["dataset"], "pre-trained on": table["pretrained_on"], "protocol": table["protocol"]}
        for row in table["rows"]:
            for column, numbers in row["columns"].items():
                writer.writerow({**names, "method": row["method"], "n": row["n"], "column": column, **numbers})
    return text.getvalue()


def _numbers(table: Table, method: str, column: str) -> dict[str, Any]:
    """A cell's numbers under the names of the CSV's columns, without those that are not known."""
    mean, std = table.cells.get(method, {}).get(column, (None, None))
    published_mean, published_std = table.published.get(method, {}).get(column, (None, None))
    numbers = {"mean": mean, "std": std, "published mean": published_mean, "published std": published_std}
    numbers["difference to published"] = table.to_published(method).get(column)
    if pair := table.differences.get(method, {}).get(column):
        numbers |= {"baseline": table.baseline, "pairs": pair.n, "paired difference": pair.difference}
        numbers |= {"low": pair.low, "high": pair.high, "p": pair.p}
    return {name: value for name, value in numbers.items() if value is not None}


def latex(tables: list[Table]) -> str:
    """A `table` environment for each, for \\input in a document with the package booktabs; our best is bold."""
    parts = [r"% \usepackage{booktabs}"]
    for table in tables:
        caption, differences, _ = difference_lines(table)
        text = f"{table.title}: test accuracy in %, {table.paper.shows}"
        parts += [rf"\begin{{table}}\centering\caption{{{escaped(text)}}}", _tabular(main_lines(table), best(table))]
        if differences:
            parts += [r"\par\medskip", escaped(caption) + r"\par\smallskip", _tabular(differences, set())]
        parts += [r"\end{table}", *(f"% {' '.join(line.split())}" for line in remarks(table))]
    return "\n".join(parts) + "\n"


def best(table: Table) -> set[tuple[str, str]]:
    """(method, column) of our best, the highest mean as printed (of Std the lowest); none in a column of one method."""
    winners = set()
    for column in table.paper.columns:
        means = {method: round(cells[column][0], 2) for method, cells in table.cells.items() if column in cells}
        if len(means) > 1:
            best_mean = min(means.values()) if column == "Std" else max(means.values())
            winners |= {(method, column) for method, mean in means.items() if mean == best_mean}
    return winners


def _tabular(lines: Lines, bold: set[tuple[str, str]]) -> str:
    """Lines as a `tabular` environment; bold: (first word of the line, column)."""
    head, *rows = lines
    cells = [[_stacked(escaped(word.strip())) for word in line] for line in lines]
    for row, words in zip(rows, cells[1:], strict=True):
        for i, column in enumerate(head):
            if (row[0], column) in bold:
                words[i] = rf"\textbf{{{words[i]}}}"
    body = [" & ".join(words) + r" \\" for words in cells]
    body = [rf"\begin{{tabular}}{{lr{'c' * (len(head) - 2)}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"])


def _stacked(cell: str) -> str:
    """Difference, interval and p of an escaped cell below each other: side by side, five columns exceed the page."""
    stacked = re.sub(r" (?=\[|p )", r" \\\\ {}", cell)  # {}: LaTeX takes brackets right after \\ for a length
    return cell if stacked == cell else rf"\shortstack{{{stacked}}}"


def escaped(text: str) -> str:
    """Text as LaTeX: special characters, signs of numbers, and a dash for a missing number."""
    if text == "-":
        return "--"
    text = "".join(_LATEX.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", text)


def as_dict(table: Table) -> dict[str, Any]:
    """Everything: numbers, also per split and per class, the files that they are from, notes and missing results."""
    names = {"dataset": table.paper_name, "pretrained_on": table.pretrained_on, "protocol": table.protocol}
    rows = []
    for method in table.methods:
        row = table.rows.get(method, Row(method))
        n = len(row.values) if method in table.rows else None
        columns = {column: _numbers(table, method, column) for column in table.paper.columns}
        paired = {c: pair._asdict() for c, pair in table.differences.get(method, {}).items()}
        splits = {n: {**row.values[n], **result, "notes": sorted(result["notes"])} for n, result in row.results.items()}
        content = {"columns": columns, "paired": paired, "splits": splits, "missing": row.missing}
        rows.append({"method": method, "n": n, **content})
    return {
        **names,
        "columns": table.paper.columns,
        "baseline": table.baseline or None,
        "test": table.wanted.test,
        "rows": rows,
        "notes": table.notes,
        "missing": table.missing,
    }
