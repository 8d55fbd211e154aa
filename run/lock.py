"""One run at a time in an experiment's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.files import held, remove_temporary_files

PATIENCE = 1.0  # seconds for a run that is just ending


@contextmanager
def experiment_lock(folder: Path) -> Iterator[None]:
    """Hold `<folder>/lock`, and remove the temporary files of a run that was killed.

    Raises:
        InputError: another run holds it.
        OSError: the lock file cannot be made.
    """
    with held(folder / "lock", PATIENCE):
        remove_temporary_files(folder)
        yield
