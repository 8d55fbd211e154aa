"""One run at a time in an experiment's folder."""

import errno
import fcntl
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from utils.errors import InputError
from utils.files import remove_temporary_files

TOUCHED, STALE = 30, 180  # seconds between touches of a held lock, and since the last one of a dead one


class Lock:
    """`<folder>/lock`, held inside `with`: by the kernel, which frees it when the process dies, also over NFS.

    The file says `host pid job` of its holder. Some file systems lock for one machine alone, or not at all; there the
    file's words and the time of its last touch decide. No other code of the process may open the file: to close it
    would give up the lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "lock"
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        """Take the lock, and remove the temporary files of a run that was killed.

        Raises:
            InputError: another run holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._take()
            except BaseException:
                os.close(self.file)
                raise
            if self._ours():
                break
            os.close(self.file)  # its holder removed it in between
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, f"{socket.gethostname()} {os.getpid()} {os.environ.get('SLURM_JOB_ID', '')}".encode(), 0)
        self.toucher = threading.Thread(target=self._touch, daemon=True)
        self.toucher.start()
        remove_temporary_files(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ended.set()
        self.toucher.join()
        if self._ours():
            self.path.unlink()
        os.close(self.file)

    def _ours(self) -> bool:
        """Whether the path still leads to the open file."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self.file), self.path.stat())
        return False

    def _touch(self) -> None:
        while not self.ended.wait(TOUCHED):
            with suppress(OSError):
                os.utime(self.file)

    def _take(self) -> None:
        locks = True
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            locks = False
            if error.errno in (errno.EACCES, errno.EAGAIN):
                host, pid, _ = self._holder()
                who = f"process {pid} on {host}" if pid else "another run"
                raise InputError(f"{self.folder} is in use by {who}: wait for it, or end it") from None
        host, pid, job = self._holder()
        if host == socket.gethostname():
            alive = not locks and pid != os.getpid() and _exists(pid)
        else:
            alive = pid and time.time() - os.fstat(self.file).st_mtime < STALE
            # A job that was put back into the queue has ended where it was.
            alive = alive and not (job and job == os.environ.get("SLURM_JOB_ID"))
        if alive:
            raise InputError(
                f"{self.folder} seems in use by process {pid} on {host}: end it; if it has ended, delete {self.path}, "
                f"or wait {STALE} seconds where that was another machine"
            )

    def _holder(self) -> tuple[str, int, str]:
        """Host, process and SLURM job written in the file; empty and 0 where there are none."""
        words = os.pread(self.file, 1000, 0).decode(errors="replace").split()
        if len(words) < 2 or not words[1].isdigit():
            return "", 0, ""
        return words[0], int(words[1]), words[2] if len(words) > 2 else ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
