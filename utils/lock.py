"""A file lock, so that several processes fetch or make a thing once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import InputError


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Hold the lock file of `folder` (made if missing); None locks nothing. Freed when the process ends.

    Raises:
        InputError: the folder cannot be written.
    """
    if folder is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"cannot write in {folder} ({error.strerror}): choose another folder") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
