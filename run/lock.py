"""One run at a time in an experiment's folder."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from utils.distributed import World, union_over_processes
from utils.errors import InputError
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


@contextmanager
def lock_for_all(folder: Path, world: World) -> Iterator[None]:
    """experiment_lock of the main process; all processes fail where it fails.

    Raises:
        InputError: another run holds it, or it cannot be made; in other processes than the main one SystemExit.
    """
    with ExitStack() as stack:
        problem = set()
        if world.main:
            try:
                stack.enter_context(experiment_lock(folder))
            except (InputError, OSError) as error:
                problem = {str(error)}
        if problem := union_over_processes(problem):
            raise InputError(problem.pop()) if world.main else SystemExit(2)
        yield
