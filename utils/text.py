"""Text for people: one line, numbers in columns."""


def printable(text: str, kept: str = "") -> str:
    """The text; what could steer a terminal, or is no character, as in Python's repr, but for the characters kept."""
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """The text on one line, printable."""
    return printable(" ".join(text.split()))


def align(lines: list[tuple[str, ...]]) -> str:
    """Rows of equally many words as text, each column as wide as its longest word."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def size(amount: float) -> str:
    """An amount of bytes for people, in MiB or GiB."""
    return f"{amount / 2**30:.2f} GiB" if amount >= 1000 * 2**20 else f"{amount / 2**20:.3g} MiB"


def duration(seconds: float) -> str:
    """A time for people, in three digits: of two minutes and more in minutes, and so on up to days."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
