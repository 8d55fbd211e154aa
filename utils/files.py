"""Files written whole or not at all, and read with care."""

import os
import re
from contextlib import suppress
from pathlib import Path

from utils.errors import InputError

PROJECT = Path(__file__).resolve().parents[1]  # the folder of the project


def replace_file(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Write to a temporary file beside `path`, sync it to the disk, rename: `path` is never half-written.

    Args:
        previous: where the file that was at `path` is kept.

    Raises:
        InputError: it cannot be written, because the disk is full, say; what was there is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            _keep(path, previous)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _keep(path: Path, previous: Path) -> None:
    """Let `previous` name the file at `path`, which stays there as well where the file system has links."""
    link = previous.with_name(f".{previous.name}.{os.getpid()}")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        link.replace(previous)
    except OSError:
        path.replace(previous)


def _sync(folder: Path) -> None:
    """Bring renames to the disk; some file systems cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_temporary_files(folder: Path) -> None:
    """Remove what `replace_file` of a process that was killed left in `folder`; nobody else may write there now."""
    for file in folder.iterdir():
        if re.fullmatch(r"\..+\.\d+", file.name) and file.is_file():
            file.unlink(missing_ok=True)


def read_file(path: Path, most: int) -> bytes:
    """Content of a file from outside.

    Args:
        most: bytes that such a file has at most.

    Raises:
        OSError: it is missing, larger, or no plain file (a pipe would never end).
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no plain file")
    if path.stat().st_size > most:
        raise OSError(f"{path} is larger than {most:,} bytes")
    return path.read_bytes()
