"""The lines of a text file of paths, one at a time: as a list of strings they would take ten times the file's bytes."""

import io
from collections.abc import Iterator
from itertools import repeat


def lines_of(content: bytes) -> Iterator[str]:
    """The lines of a UTF-8 text, without a byte order mark and without blank lines at the end.

    Not by str.splitlines, which splits at characters that names of files may have.

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
        UnicodeDecodeError: it is no text; the message has the position in the file.
    """
    try:
        return sum(1 for _ in lines_of(content))
    except UnicodeDecodeError:
        content.decode("utf-8-sig")  # raises with the position in the file; the error above has that in a chunk of it
        raise
