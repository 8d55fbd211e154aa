"""Text for people to read: on one line, in columns, sizes and durations."""


def printable(text: str, kept: str = "") -> str:
    """The text; control characters and bytes that are no text are written as in Python's repr, but those in `kept`."""
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """The text on one line, in printable characters."""
    return printable(" ".join(text.split()))


def align(lines: list[tuple[str, ...]]) -> str:
    """Rows of equally many words as text, each column as wide as its longest word."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def size(amount: float) -> str:
    """A number of bytes for people, in MiB or GiB."""
    return f"{amount / 2**30:.2f} GiB" if amount >= 1000 * 2**20 else f"{amount / 2**20:.3g} MiB"


def duration(seconds: float) -> str:
    """A time for people, in three digits, in the largest unit up to days of which it has at least two."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
