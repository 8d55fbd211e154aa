"""One run at a time in an experiment's folder."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from utils.distributed import World, union_over_processes
from utils.errors import InputError
from utils.files import held, remove_temporary_files

PATIENCE = 1.0  # seconds to wait for a run that is just ending


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


@contextmanager
def lock_for_all(folder: Path, world: World) -> Iterator[None]:
    """experiment_lock in the main process; where it fails, all processes fail.

    Raises:
        InputError: in the main process, another run holds the lock, or it cannot be made; in the others SystemExit.
    """
    with ExitStack() as stack:
        problems = set()
        if world.main:
            try:
                stack.enter_context(experiment_lock(folder))
            except (InputError, OSError) as error:
                problems = {str(error)}
        if problems := union_over_processes(problems):
            raise InputError(problems.pop()) if world.main else SystemExit(2)
        yield
