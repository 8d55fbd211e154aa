"""The text of a GPU's measurements: a table and the conditions."""

from typing import Any

from benchmarks.gpu.rows import Row
from utils.text import align

HEAD = ("what", "unit", "published", "ours", "ratio", "share", "published GiB", "ours GiB", "")

NOTES = """\
images/s and ratio: medians over rounds in which all sides take turns; whole steps with their data.
share: FLOP/s of the step's networks, divided by those of the best bfloat16 product.
published: benchmarks/published.py, float32 with PyTorch's own settings (TF32 in convolutions), views by workers.
GiB: the most that tensors held at once."""


def table(rows: list[Row]) -> str:
    """The rows as text, with a header line."""
    return align([HEAD, *(cells(row) for row in rows)])


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row, as text."""
    memory = [None if b is None else b / 2**30 for b in (row.published_bytes, row.our_bytes)]
    numbers = [number(row.published), number(row.ours), number(row.ratio, ".2f"), number(row.share, ".2f")]
    return row.what, row.unit, *numbers, *(number(gib, ".2f") for gib in memory), row.note


def number(value: float | None, spec: str = ".3g") -> str:
    """The text of a cell; `-` for None."""
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else format(value, spec)


def report(content: dict[str, Any], rows: list[Row]) -> str:
    """The text of results/gpu.txt.

    Args:
        content: of the JSON file, without the rows.
    """
    libraries = ", ".join(f"{name} {version}" for name, version in content["libraries"].items())
    tests = content["tests"]
    lines = [
        f"{content['card']}, {libraries}, revision {content['git']}",
        f"tests: {tests['summary']}" if tests else "tests: not run",
        f"best bfloat16 product: {content['best_tflops']:.4g} TFLOP/s; all in {content['seconds']:.0f} s",
        "",
        table(rows),
        "",
        NOTES,
    ]
    return "\n".join(lines) + "\n"
