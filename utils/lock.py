"""One process at a time in a folder: a run in its experiment's, and whoever fetches or makes files there."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from utils.errors import InputError, one_line
from utils.files import remove_temporary_files

NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}  # what a file system without locks answers
PATIENCE = 1.0  # seconds for a run that is just ending


@contextmanager
def experiment_lock(folder: Path) -> Iterator[None]:
    """Hold `<folder>/lock`, and remove the temporary files of a run that was killed.

    Raises:
        InputError: another run holds it.
        OSError: the lock file cannot be made.
    """
    with _held(folder / "lock", PATIENCE):
        remove_temporary_files(folder)
        yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `<folder>/.lock`; waits while another process does.

    Afterwards the lock file is gone, and so is the folder if it was made for it and stayed empty.

    Raises:
        OSError: the lock file cannot be made.
    """
    made = not folder.is_dir()
    try:
        with _held(folder / ".lock", timeout=-1):
            yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _held(path: Path, timeout: float) -> Iterator[None]:
    # The kernel frees the lock of a killed process; the soft lock that filelock may fall back to would stay.
    lock = FileLock(path, timeout, fallback_to_soft=False, on_acquired=_sign)
    while not lock.is_locked:
        try:
            lock.acquire()
        except Timeout:
            raise InputError(f"{path.parent} is in use by {_holder(path)}: wait for it, or end it") from None
        except FileNotFoundError:  # who held it has removed the folder
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            _warn(path.parent, error.strerror)
            break
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: filelock takes no lock whose file is gone, but makes the file anew
        lock.release()


def _sign(descriptor: int) -> None:
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}".encode(), 0)


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        host, pid = path.read_text().split()
        return f"process {pid} on {host}"
    return "another run"


@cache  # one warning for a folder
def _warn(folder: Path, why: str) -> None:
    print(one_line(f"warning: {folder} has no lock ({why}): start nothing else there"), file=sys.stderr, flush=True)
