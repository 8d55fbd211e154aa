"""A file lock, so that several processes fetch or make a thing once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Hold the lock file of `folder` (made if missing); None locks nothing. Freed when the process ends."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
