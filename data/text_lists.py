"""The lines of a text file of paths, one at a time: a list of a million strings takes ten times the file's bytes."""

import io
from collections.abc import Iterator
from itertools import repeat


def lines_of(content: bytes) -> Iterator[str]:
    """The lines of a text in UTF-8, without the mark that some editors put before the first, and blank ones at the end.

    Names may have what str.splitlines takes for a line's end.

    Raises:
        UnicodeDecodeError: it is no text.
    """
    blank = 0
    for line in io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=None):
        if line.isspace():
            blank += 1
            continue
        yield from repeat("", blank)
        blank = 0
        yield line


def count_lines(content: bytes) -> int:
    """How many lines `lines_of` gives.

    Raises:
        UnicodeDecodeError: it is no text; the message has the place in the file.
    """
    try:
        return sum(1 for _ in lines_of(content))
    except UnicodeDecodeError:
        content.decode("utf-8-sig")  # the error above has the place in a part of the file
        raise
