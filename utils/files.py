"""Files written whole or not at all; one process at a time in a folder."""

import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from utils.errors import InputError, warn

PROJECT = Path(__file__).resolve().parents[1]  # the folder of the project


def replace_file(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Write to a temporary file beside `path`, sync it to the disk, rename: `path` is never half-written.

    Args:
        previous: where an existing file at `path` is kept.

    Raises:
        InputError: it cannot be written, because the disk is full, say; an existing file at `path` is unchanged.
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
    """Let `previous` be a hard link to the file at `path`; where the file system has none, move the file there."""
    link = previous.with_name(f".{previous.name}.{os.getpid()}")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        link.replace(previous)
    except OSError:
        path.replace(previous)


def _sync(folder: Path) -> None:
    """Sync the renames in a folder to the disk, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_temporary_files(folder: Path) -> None:
    """Remove what `replace_file` of a killed process left in `folder`, where no other process may be writing."""
    for file in folder.iterdir():
        if re.fullmatch(r"\..+\.\d+", file.name) and file.is_file():
            file.unlink(missing_ok=True)


def read_file(path: Path, most: int) -> bytes:
    """Content of an untrusted file.

    Args:
        most: bytes that such a file may have.

    Raises:
        OSError: it is missing, larger, or no regular file (a pipe would never end).
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no plain file")
    if path.stat().st_size > most:
        raise OSError(f"{path} is larger than {most:,} bytes")
    return path.read_bytes()


NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}  # errors of a file system without locks


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `<folder>/.lock`; waits while another process holds it.

    Afterwards the lock file is removed, and so are folders that were made for it and are empty.

    Raises:
        OSError: the lock file cannot be made.
    """
    new_folders = [place for place in (folder, *folder.parents) if not place.is_dir()]
    try:
        with held(folder / ".lock", timeout=-1):
            yield
    finally:
        with suppress(OSError):
            for place in new_folders:
                place.rmdir()


@contextmanager
def held(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock file `path`; after `timeout` seconds (-1: never) an InputError names the process that holds it."""
    try:
        from filelock import FileLock, Timeout  # here, since a cluster's installation of PyTorch may lack it
    except ImportError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _warn(path.parent, "the package filelock is not installed")
        yield
        return
    # The kernel releases the lock of a killed process; filelock's soft lock, its fallback, would persist.
    lock = FileLock(path, timeout, fallback_to_soft=False, on_acquired=_sign)
    while not lock.is_locked:
        try:
            lock.acquire()
        except Timeout:
            raise InputError(f"{path.parent} is in use by {_holder(path)}: wait for it, or end it") from None
        except FileNotFoundError:  # the process that held it has removed the folder
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
            path.unlink()  # before the release: a process that waits for this file finds it gone, and locks a new one
        lock.release()


def _sign(descriptor: int) -> None:
    """Write host and process into a lock file, for `_holder`."""
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}".encode(), 0)


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        host, pid = path.read_text().split()
        return f"process {pid} on {host}"
    return "another run"


@cache  # one warning per folder
def _warn(folder: Path, why: str) -> None:
    warn(f"{folder} has no lock ({why}): start nothing else there")


def load_object(where: str) -> Any:
    """The object that a registry names as `module:object`; the module is imported here."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
