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
        # Names of files need not be text.
        replace_file(folder / f"tables{suffix}", text.encode(errors="backslashreplace"))
    return [folder / f"tables{suffix}" for suffix in texts]


def markdown(tables: list[Table]) -> str:
    """For each table a heading, the table, and what follows it on the terminal."""
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
    """Notes, what is missing, and what could not be tested."""
    kinds = {"note": table.notes, "missing": table.missing, "no test": difference_lines(table)[2]}
    return [f"{kind}: {what}" for kind, words in kinds.items() for what in words]


def _pipes(lines: Lines) -> str:
    words = [[word.strip().replace("|", r"\|") for word in line] for line in lines]
    widths = [max(3, *(len(line[i]) for line in words)) for i in range(len(words[0]))]
    words.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    rows = [
        [line[0].ljust(widths[0]), *(w.rjust(n) for w, n in zip(line[1:], widths[1:], strict=True))] for line in words
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def long_csv(tables: list[dict[str, Any]]) -> str:
    """One line for each table, method and column; numbers in full, in percent; empty where there is none."""
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
    """A cell's numbers under the names of the CSV's columns; without those that are not known."""
    mean, std = table.cells.get(method, {}).get(column, (None, None))
    theirs = table.published.get(method, {}).get(column, (None, None))
    found = {"mean": mean, "std": std, "published mean": theirs[0], "published std": theirs[1]}
    found["difference to published"] = table.to_published(method).get(column)
    if pair := table.differences.get(method, {}).get(column):
        found |= {"baseline": table.baseline, "pairs": pair.n, "paired difference": pair.difference}
        found |= {"low": pair.low, "high": pair.high, "p": pair.p}
    return {name: value for name, value in found.items() if value is not None}


def latex(tables: list[Table]) -> str:
    """A `table` for each, to be read by \\input in a document with the package booktabs; the best of ours is bold."""
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
    """(method, column) of our best: the highest mean, of Std the lowest, as printed; of one method alone none is."""
    best = set()
    for column in table.paper.columns:
        means = {method: round(cells[column][0], 2) for method, cells in table.cells.items() if column in cells}
        if len(means) > 1:
            limit = min(means.values()) if column == "Std" else max(means.values())
            best |= {(method, column) for method, mean in means.items() if mean == limit}
    return best


def _tabular(lines: Lines, bold: set[tuple[str, str]]) -> str:
    head, *rows = lines
    text = [[_stacked(escaped(word.strip())) for word in line] for line in lines]
    for row, words in zip(rows, text[1:], strict=True):
        for i, column in enumerate(head):
            if (row[0], column) in bold:
                words[i] = rf"\textbf{{{words[i]}}}"
    body = [" & ".join(words) + r" \\" for words in text]
    body = [rf"\begin{{tabular}}{{lr{'c' * (len(head) - 2)}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"])


def _stacked(cell: str) -> str:
    """Difference, interval and p of an escaped cell below each other: side by side, five columns leave the page."""
    parts = re.sub(r" (?=\[|p )", r" \\\\ {}", cell)  # {}: what follows \\ in brackets is a length
    return cell if parts == cell else rf"\shortstack{{{parts}}}"


def escaped(text: str) -> str:
    """Text as LaTeX: special characters, signs of numbers, and a dash for what is missing."""
    if text == "-":
        return "--"
    text = "".join(_LATEX.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", text)


def as_dict(table: Table) -> dict[str, Any]:
    """Everything: numbers, per split and per class, files they came from, notes, and what is missing."""
    names = {"dataset": table.paper_name, "pretrained_on": table.pretrained_on, "protocol": table.protocol}
    rows = []
    for method in table.methods:
        row = table.rows.get(method, Row(method))
        n = len(row.values) if method in table.rows else None
        columns = {column: _numbers(table, method, column) for column in table.paper.columns}
        paired = {c: pair._asdict() for c, pair in table.differences.get(method, {}).items()}
        splits = {n: {**row.values[n], **result, "notes": sorted(result["notes"])} for n, result in row.results.items()}
        found = {"columns": columns, "paired": paired, "splits": splits, "missing": row.missing}
        rows.append({"method": method, "n": n, **found})
    baseline = {"baseline": table.baseline or None, "test": table.wanted.test}
    return {
        **names,
        "columns": table.paper.columns,
        **baseline,
        "rows": rows,
        "notes": table.notes,
        "missing": table.missing,
    }
