"""One page on a study: tables, figures, classes, curves, pictures, and how each number was made, in a single file."""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.report.figures import OF_CLASSES, OF_TIME, chart
from analysis.report.images import sheets, views
from analysis.report.made import how_made
from analysis.report.markup import Html, folded, joined, tag
from analysis.report.tables import class_table, main_table, more_tables
from analysis.table import Table
from analysis.write import remarks
from run.made import short_text
from utils.errors import InputError
from utils.files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "index.html"
GUIDE = (
    ("Many, Medium, Few", "mean accuracies of three groups of classes, by their images in the long-tailed list"),
    ("Std", "standard deviation of the three: low is balanced, not good"),
    ("All", "mean over the classes"),
    ("n", "splits that have a result; ± is the standard deviation over them"),
    ("difference", "of ours from the published number, in percentage points"),
    ("paired", "methods are compared split by split, with a 95% interval and a p-value that is not corrected"),
)


def write_report(tables: list[Table], figures: "dict[str, Figure]", folder: Path, command: str) -> Path:
    """Write folder/index.html, whole or not at all; returns its path.

    Args:
        figures: by the names of their files; their titles are removed. command: the one that makes the page.

    Raises:
        InputError: there is no result, or it cannot be written.
    """
    if folder.suffix == ".html":
        raise InputError(f"{folder} must be a folder: {NAME} is written there")
    path = folder / NAME
    replace_file(path, page(tables, figures, command).encode(errors="backslashreplace"))
    return path


def check_results(tables: list[Table]) -> None:
    """Raise InputError if no table has a result of ours."""
    if not any(table.ours for table in tables):
        raise InputError(f"there is no result to report below {tables[0].wanted.root.resolve()}: run the recipe first")


def page(tables: list[Table], figures: "dict[str, Figure]", command: str) -> str:
    """The text of the page; arguments as write_report's.

    Raises:
        InputError: there is no result.
    """
    check_results(tables)
    shown = [table for table in tables if table.ours]
    sections = {name: content for name, content in _sections(shown, figures).items() if content}
    names = ", ".join(dict.fromkeys(table.paper_name for table in shown))
    style, script = (Html(Path(__file__).with_name(name).read_text()) for name in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Whatever markup a name might hold: nothing is loaded, and no other script runs.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"Results: {names}"),
        tag("style", style),
    )
    links = [tag("li", tag("a", name, href=f"#{_id(name)}")) for name in sections]
    body = tag(
        "body",
        tag("header", tag("h1", f"Results: {names}"), tag("p", _lead(shown), class_="lead")),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", *(_section(name, *content) for name, content in sections.items())),
        tag("footer", tag("p", "Made by ", tag("code", short_text(command)), ".")),
        tag("script", script),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _id(name: str) -> str:
    return name.lower().replace(" ", "-")


def _section(name: str, *content: object) -> Html:
    heading = tag("h2", name, id=f"{_id(name)}-heading")
    return tag("section", heading, *content, id=_id(name), aria_labelledby=f"{_id(name)}-heading")


def _lead(tables: list[Table]) -> str:
    methods = list(dict.fromkeys(name for table in tables for name in table.ours))
    lists = " and ".join(dict.fromkeys(table.pretrained_on for table in tables))
    splits = {n for table in tables for row in table.rows.values() for n in row.values}
    count = f", {len(splits)} splits" if len(splits) > 1 else ", one split"
    numbered = count if any("Many" in table.paper.columns for table in tables) else ""
    return f"{_and(methods)}, pre-trained on {lists}{numbered}."


def _and(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _sections(tables: list[Table], figures: "dict[str, Figure]") -> dict[str, list[Html]]:
    """Heading -> content; an empty one is left out of the page."""
    series = _and(dict.fromkeys(name for table in tables for name in table.ours))
    drawn = {name: chart(name, figure, series) for name, figure in figures.items() if figure}
    first = [name for name in drawn if name not in OF_CLASSES + OF_TIME]
    classes = [content for table in tables if (content := class_table(table))]
    pictures = views(tables)
    return {
        "Tables": [_result(table, f"t{i}") for i, table in enumerate(tables, 1)] + [_guide()],
        "Figures": [drawn[name] for name in first],
        "Classes": [*(drawn[name] for name in OF_CLASSES if name in drawn), *classes],
        "Curves": [drawn[name] for name in OF_TIME if name in drawn],
        "Views of a first batch": [tag("div", *pictures, class_="cards")] if pictures else [],
        "Images that look like the tail": sheets(tables),
    }


def _result(table: Table, key: str) -> Html:
    """One table with its remarks and how its numbers were made."""
    items = [tag("li", short_text(remark, [table.wanted.root])) for remark in remarks(table)]
    parts = [
        tag("h3", table.title, id=f"{key}-heading"),
        main_table(table, key),
        more_tables(table),
        tag("ul", *items, class_="remarks") if items else "",
        how_made(table, key),
    ]
    return tag("article", *parts, id=key, aria_labelledby=f"{key}-heading")


def _guide() -> Html:
    pairs = (joined(tag("dt", name), tag("dd", meaning)) for name, meaning in GUIDE)
    return folded("How to read a table", tag("dl", *pairs))
