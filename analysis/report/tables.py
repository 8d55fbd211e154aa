"""Tables as HTML: those of the terminal, the classes one by one, headings that sort by script.js."""

import re

import numpy as np

from analysis.class_figures import by_rank, group_ranks
from analysis.figures import looks_of
from analysis.report.markup import Html, folded, joined, scrolling, tag
from analysis.rows import Row
from analysis.table import Lines, Table, difference_lines, method_lines, split_lines
from analysis.write import best
from data.groups import GROUPS

SHOWN = 30  # classes of a table that is not folded


def table_of(lines: Lines, caption: str) -> Html:
    """Lines of words, the first of which are headings, and the first word of each the row's."""
    rows = [_row(tuple(map(_stacked, line))) for line in lines[1:]]
    return _table(caption, lines[0], [tag("tbody", *rows)])


def _stacked(word: str) -> str | Html:
    """The interval and p of a difference below it: side by side, five columns are wider than a page."""
    parts = re.fullmatch(r"([+-][\d.]+) (\[.*|p .*)", word)
    return joined(parts[1], tag("br"), tag("small", parts[2])) if parts else word


def _table(caption: str, headings: tuple[str, ...], bodies: list[Html], kind: str = "sortable") -> Html:
    first, *others = headings
    cells = [tag("th", first or "method", scope="col"), *(tag("th", word, scope="col") for word in others)]
    head = tag("thead", tag("tr", *cells))
    return scrolling(tag("table", tag("caption", tag("span", caption)), head, *bodies, class_=kind), caption)


def _row(words: tuple[object, ...], kind: str | None = None, bold: tuple[bool, ...] = ()) -> Html:
    first, *others = (word.strip() if type(word) is str else word for word in words)
    marked = [tag("strong", word) if i < len(bold) and bold[i] else word for i, word in enumerate(others)]
    return tag("tr", tag("th", first, scope="row"), *(tag("td", word) for word in marked), class_=kind)


def main_table(table: Table, key: str) -> Html:
    """Ours, the published row and the difference of each method, which stay together when they are sorted.

    Args:
        key: of the table, as in the ids of what tells how its numbers were made.
    """
    winners, bodies = best(table), []
    for method in table.methods:
        rows = []
        for heading, words in method_lines(table, method).items():
            if heading != method:
                kind = "gap" if heading == "difference" else "published"
                rows.append(_row((heading.removeprefix(f"{method} ").strip("()"), *words), kind))
                continue
            bold = (False, *((method, column) in winners for column in table.paper.columns))
            known = table.rows[method].results
            name = tag("a", method, href=f"#{made_id(key, method)}") if known else method
            rows.append(_row((name, *words), "ours", bold))
        bodies.append(tag("tbody", *rows))
    caption = f"Test accuracy in %, {table.paper.shows}; the best of ours is bold"
    return _table(caption, ("", "n", *table.paper.columns), bodies, "sortable grouped")


def made_id(key: str, method: str) -> str:
    """Id of what tells how a method's numbers were made."""
    return f"made-{key}-{''.join(c if c.isalnum() else '-' for c in method)}"


def more_tables(table: Table) -> Html:
    """Differences to the baseline and the splits one by one, where there are any."""
    caption, differences, _ = difference_lines(table)
    found = [table_of(differences, f"{caption[0].upper()}{caption[1:]}")] if differences else []
    if table.splits:
        found.append(folded("Each split", table_of(split_lines(table), "Each split: accuracy in %")))
    return joined(*found)


def class_table(table: Table) -> Html:
    """A bar for each class and method; classes by name or number, or by rank where splits give them other sizes.

    '' where no result tells the classes.
    """
    rows = [row for row in table.rows.values() if row.results and all("groups" in r for r in row.results.values())]
    if not rows:
        return Html("")
    names, groups, order, by = _classes(rows)
    sizes = by_rank(rows[0])[0].mean(0)
    looks, values = looks_of(row.method for row in rows), {row.method: _accuracies(row, order) for row in rows}
    body = []
    for rank, name in enumerate(names):
        bars = [_bar(means[rank], spread[rank], looks[method].colour) for method, (means, spread) in values.items()]
        words = tag("td", groups[rank]), tag("td", f"{sizes[rank]:,.0f}"), *bars
        body.append(tag("tr", tag("th", name, scope="row"), *words))
    caption = f"{table.paper_name}, {table.protocol}: test accuracy of each class in %, most frequent first"
    found = _table(caption, (by, "group", "images", *values), [tag("tbody", *body)])
    return found if len(names) <= SHOWN else folded(f"{len(names)} classes, {table.protocol}", found)


def _classes(rows: list[Row]) -> tuple[list[str], list[str], list[int] | None, str]:
    """Names and groups of the classes, most frequent first; their numbers in that order, None where splits differ; and
    what the names are."""
    results = [result for row in rows for result in row.results.values()]
    counts, known = results[0]["class_counts"], results[0].get("class_names")
    group = [name for name, ranks in group_ranks(rows[0]).items() for _ in ranks]
    group += ["-"] * (len(counts) - len(group))
    if any(result["class_counts"] != counts for result in results):
        return [str(rank + 1) for rank in range(len(counts))], group, None, "rank"
    order = [int(c) for c in np.argsort(counts, kind="stable")[::-1]]
    of = {c: name for name in GROUPS for c in results[0]["groups"][name]}
    names = [known[c] if known and len(known) == len(counts) else str(c) for c in order]
    return names, [of.get(c, "-") for c in order], order, "class"


def _accuracies(row: Row, order: list[int] | None) -> tuple[np.ndarray, np.ndarray | list[None]]:
    """Mean and deviation over the splits, in percent, each [classes]; of one split no deviation."""
    if order is None:
        found = by_rank(row)[1]
    else:
        found = np.array([result["per_class"] for result in row.results.values()], np.float64)[:, order]
    return found.mean(0), found.std(0) if len(found) > 1 else [None] * found.shape[1]


def _bar(mean: float, spread: float | None, colour: str) -> Html:
    words = f"{mean:.2f}" if spread is None else f"{mean:.2f} ± {spread:.2f}"
    return tag("td", words, class_="bar", style=f"--value: {mean:.2f}; --colour: {colour}")
