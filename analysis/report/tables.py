"""Tables as HTML: those of the terminal, and the classes one by one; script.js sorts by a heading."""

import re

import numpy as np

from analysis.class_figures import by_rank, group_ranks, of_one_size
from analysis.figures import looks_of
from analysis.report.markup import Html, folded, joined, scrolling, tag
from analysis.rows import Row
from analysis.table import Lines, Table, difference_lines, method_lines, split_lines
from analysis.write import best
from data.groups import GROUPS

SHOWN = 30  # most classes of a table that is not folded


def table_of(lines: Lines, caption: str) -> Html:
    """Lines of words as a table: the first line is the columns' headings, the first word of each line the row's."""
    rows = [_row(tuple(map(_stacked, line))) for line in lines[1:]]
    return _table(caption, lines[0], [tag("tbody", *rows)])


def _stacked(word: str) -> str | Html:
    """The interval and p of a difference below it: side by side, five such columns are wider than a page."""
    parts = re.fullmatch(r"([+-][\d.]+) (\[.*|p .*)", word)
    return joined(parts[1], tag("br"), tag("small", parts[2])) if parts else word


def _table(caption: str, headings: tuple[str, ...], bodies: list[Html], kind: str = "sortable") -> Html:
    first, *others = headings
    cells = [tag("th", first or "method", scope="col"), *(tag("th", word, scope="col") for word in others)]
    head = tag("thead", tag("tr", *cells))
    return scrolling(tag("table", tag("caption", tag("span", caption)), head, *bodies, class_=kind), caption)


def _row(
    words: tuple[object, ...], kind: str | None = None, bold: tuple[bool, ...] = (), label: str | None = None
) -> Html:
    """A row that begins with its heading; `label` is the heading for screen readers where it says more."""
    first, *others = (word.strip() if type(word) is str else word for word in words)
    marked = [tag("strong", word) if i < len(bold) and bold[i] else word for i, word in enumerate(others)]
    heading = tag("th", first, scope="row", aria_label=label)
    return tag("tr", heading, *(tag("td", word) for word in marked), class_=kind)


def main_table(table: Table, key: str) -> Html:
    """For each method our row, the published row and the difference, which stay together when the table is sorted.

    Args:
        key: the table's, for made_id.
    """
    winners, bodies = best(table), []
    for method in table.methods:
        rows = []
        for heading, words in method_lines(table, method).items():
            if heading != method:
                kind = "gap" if heading == "difference" else "published"
                short = heading.removeprefix(f"{method} ").strip("()")
                rows.append(_row((short, *words), kind, label=f"{method}, {short}"))
                continue
            bold = (False, *((method, column) in winners for column in table.paper.columns))
            has_result = table.rows[method].results
            name = tag("a", method, href=f"#{made_id(key, method)}") if has_result else method
            rows.append(_row((name, *words), "ours", bold))
        bodies.append(tag("tbody", *rows))
    caption = f"Test accuracy in %, {table.paper.shows}; the best of ours is bold"
    return _table(caption, ("", "n", *table.paper.columns), bodies, "sortable grouped")


def made_id(key: str, method: str) -> str:
    """Id of the element that shows how a method's numbers were made, in the table with this key."""
    return f"made-{key}-{''.join(c if c.isalnum() else '-' for c in method)}"


def more_tables(table: Table) -> Html:
    """Differences to the baseline and the splits one by one, where there are any."""
    caption, differences, _ = difference_lines(table)
    parts = [table_of(differences, f"{caption[0].upper()}{caption[1:]}")] if differences else []
    if table.splits:
        parts.append(folded("Each split", table_of(split_lines(table), "Each split: accuracy in %")))
    return joined(*parts)


def class_table(table: Table) -> Html:
    """A bar for each class and method; classes by name or number, or by rank where their sizes differ between splits.

    '' where the results have no groups of classes.
    """
    rows = [row for row in table.rows.values() if row.results and all("groups" in r for r in row.results.values())]
    rows = of_one_size(rows)
    if not rows:
        return Html("")
    names, groups, order, heading = _classes(rows)
    sizes = by_rank(rows[0])[0].mean(0)
    looks, values = looks_of(row.method for row in rows), {row.method: _accuracies(row, order) for row in rows}
    body = []
    for rank, name in enumerate(names):
        bars = [_bar(means[rank], stds[rank], looks[method].colour) for method, (means, stds) in values.items()]
        cells = tag("td", groups[rank]), tag("td", f"{sizes[rank]:,.0f}"), *bars
        body.append(tag("tr", tag("th", name, scope="row"), *cells))
    caption = f"{table.paper_name}, {table.protocol}: test accuracy of each class in %, most frequent first"
    classes = _table(caption, (heading, "group", "images", *values), [tag("tbody", *body)])
    return classes if len(names) <= SHOWN else folded(f"{len(names)} classes, {table.protocol}", classes)


def _classes(rows: list[Row]) -> tuple[list[str], list[str], list[int] | None, str]:
    """Names, groups and numbers of the classes, most frequent first, and the heading of the names.

    Where sizes or names of classes differ between splits, the names are ranks, and there are no numbers.
    """
    results = [result for row in rows for result in row.results.values()]
    counts, class_names = results[0]["class_counts"], results[0].get("class_names")
    if any((result["class_counts"], result.get("class_names")) != (counts, class_names) for result in results):
        groups = [name for name, ranks in group_ranks(rows[0]).items() for _ in ranks]
        groups += ["-"] * (len(counts) - len(groups))
        return [str(rank + 1) for rank in range(len(counts))], groups, None, "rank"
    order = [int(c) for c in np.argsort(counts, kind="stable")[::-1]]
    group_of = {c: name for name in GROUPS for c in results[0]["groups"][name]}
    named = class_names and len(class_names) == len(counts)
    names = [class_names[c] if named else str(c) for c in order]
    return names, [group_of.get(c, "-") for c in order], order, "class"


def _accuracies(row: Row, order: list[int] | None) -> tuple[np.ndarray, np.ndarray | list[None]]:
    """Mean and standard deviation over the splits, in percent, each [classes]; of one split no deviation."""
    if order is None:
        accuracies = by_rank(row)[1]
    else:
        accuracies = np.array([result["per_class"] for result in row.results.values()], np.float64)[:, order]
    return accuracies.mean(0), accuracies.std(0) if len(accuracies) > 1 else [None] * accuracies.shape[1]


def _bar(mean: float, std: float | None, colour: str) -> Html:
    text = f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"
    return tag("td", text, class_="bar", style=f"--value: {mean:.2f}; --colour: {colour}")
