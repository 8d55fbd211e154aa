"""A DataLoader's worker processes: they outlive the signals that a run saves on, and none makes it wait for ever."""

import errno
import multiprocessing.queues
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from torch.utils.data import DataLoader

from data.flags import MORE_SHARED_MEMORY, NO_WORKERS
from utils.allocator import return_memory
from utils.distributed import local_processes
from utils.errors import CODES, InputError, warn
from utils.text import size

SHARED_MEMORY = Path("/dev/shm")  # through which workers pass batches
SMALL_TENSORS = 3 * 4096  # bytes of a batch but its views: a page of ids, of labels, and one that is begun
LONGEST_SOCKET = 107  # bytes of a socket's path on Linux
SOCKET_IN_TMPDIR = len("/pymp-xxxxxxxx/listener-xxxxxxxx")
PATIENCE = 1800  # seconds for one batch
AHEAD = 2  # batches that each worker makes ahead
HELD = 2  # batches that a run holds: the one it works on, and the next one


class WorkerLoader(DataLoader):
    """A DataLoader with persistent workers.

    A signal to the whole process group, as schedulers, service managers and terminals send it, is for the run alone,
    which needs the workers until its state is saved. So workers take SIGTERM from the run only, by which torch ends
    them. Where a worker dies, torch raises a RuntimeError in the run; utils.errors.run_main makes a line of it.
    """

    def __init__(self, *args: Any, **how: Any) -> None:
        # Forked workers share the images; those of Python 3.14's default would each have a copy.
        context = "fork" if sys.platform == "linux" else None
        begin = partial(_begin, os.getpid())
        how |= {"persistent_workers": True, "multiprocessing_context": context, "worker_init_fn": begin}
        super().__init__(*args, timeout=PATIENCE, **how)

    def __iter__(self) -> Iterator[Any]:
        # Workers that are started here inherit that signals are blocked, so that none meets one at its start.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, CODES)
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def workers_that_fit(workers: int, view_bytes: int) -> tuple[int, int]:
    """(workers, batches that each makes ahead) for which there is shared memory; a container has 64 MB by default.

    Args:
        workers: as asked for, at least 1. view_bytes: of one batch's views.

    Raises:
        InputError: not even one batch of each worker fits, or the folder of temporary files has too long a name.
    """
    _check_sockets()
    if not SHARED_MEMORY.is_dir():
        return workers, AHEAD
    free, batch = shutil.disk_usage(SHARED_MEMORY).free, view_bytes + SMALL_TENSORS
    fitting = free // (batch * local_processes())
    if fitting >= AHEAD * workers + HELD:
        return workers, AHEAD
    told = f"{SHARED_MEMORY} has {size(free)} free, for {workers} workers with batches of {size(batch)}"
    told += f" in each of {local_processes()} processes" if local_processes() > 1 else ""
    advice = f"{MORE_SHARED_MEMORY}, or {NO_WORKERS}"
    if fitting < workers:
        raise InputError(f"{told}: {advice}")
    fewer = max(min(workers, fitting - HELD), 0)
    warn(f"{told}: {fewer or 'no'} workers make one batch ahead each; {advice}")
    return fewer, 1


def _check_sockets() -> None:
    folder, longest = tempfile.gettempdir(), LONGEST_SOCKET - SOCKET_IN_TMPDIR
    if sys.platform == "linux" and len(os.fsencode(folder)) > longest:
        reason = f"workers need sockets in {folder}, whose name has more than {longest} bytes"
        raise InputError(f"{reason}: set TMPDIR to a shorter one, or {NO_WORKERS}")


def _begin(owner: int, worker: int) -> None:
    """The start of a worker of the process `owner`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, CODES)
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_end_with, args=(owner,), daemon=True).start()
    else:  # macOS
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    # What fails on the way to the run would else be printed, and the run would wait for the batch.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_by)
    cv2.setNumThreads(0)  # it would start a thread for each core, which would keep the memory of its largest image
    return_memory()


def _end_with(owner: int) -> None:
    """End this process at the owner's SIGTERM; others' are for the run."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != owner:
        pass
    os._exit(0)


def _end_by(error: Exception, batch: Any) -> None:
    """End this process, as a batch cannot be passed on; the exit code is the error's number, 1 where it has none."""
    numbers = [errno.ENOSPC, errno.EMFILE]
    told = [number for number in numbers if os.strerror(number) in str(error)]
    os._exit((told or [getattr(error, "errno", None) or 1])[0])
