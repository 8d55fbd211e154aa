"""The table of a GPU's rows as text."""

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
    """A line a row."""
    return align([HEAD, *(cells(row) for row in rows)])


def cells(row: Row) -> tuple[str, ...]:
    """A row's words."""
    memory = [None if b is None else b / 2**30 for b in (row.published_bytes, row.our_bytes)]
    numbers = [number(row.published), number(row.ours), number(row.ratio, ".2f"), number(row.share, ".2f")]
    return row.what, row.unit, *numbers, *(number(gib, ".2f") for gib in memory), row.note


def number(value: float | None, form: str = ".3g") -> str:
    """Of a cell; `-` for None."""
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else format(value, form)


def report(found: dict[str, Any], rows: list[Row]) -> str:
    """The text of results/gpu.txt.

    Args:
        found: what the JSON file has besides the rows.
    """
    libraries = ", ".join(f"{name} {version}" for name, version in found["libraries"].items())
    tests = found["tests"]
    lines = [
        f"{found['card']}, {libraries}, revision {found['git']}",
        f"tests: {tests['summary']}" if tests else "tests: not run",
        f"best bfloat16 product: {found['best_tflops']:.4g} TFLOP/s; all in {found['seconds']:.0f} s",
        "",
        table(rows),
        "",
        NOTES,
    ]
    return "\n".join(lines) + "\n"
