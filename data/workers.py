"""A DataLoader's worker processes: they survive the signals at which a run saves its state, and if one of them dies,
the run ends instead of waiting for it."""

import errno
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from data.flags import MORE_SHARED_MEMORY, NO_WORKERS
from utils.allocator import return_memory
from utils.distributed import local_processes
from utils.errors import CODES, InputError, warn
from utils.text import size

SHARED_MEMORY = Path("/dev/shm")  # through which workers pass batches
SMALL_TENSORS = 3 * 4096  # bytes of a batch in addition to its views: a page of ids, one of labels, one begun by views
LONGEST_SOCKET = 107  # bytes of a socket's path on Linux
SOCKET_IN_TMPDIR = len("/pymp-xxxxxxxx/listener-xxxxxxxx")
PATIENCE = 1800  # seconds that the run waits for a batch
AHEAD = 2  # batches that each worker makes ahead
HELD = 2  # batches that a run holds: that of the current step, and the next one
SOCKETS = 2  # file descriptors through which a worker passes on those of a batch's tensors


class WorkerLoader(DataLoader):
    """A DataLoader with persistent workers.

    Schedulers, service managers and terminals send signals to the whole process group, but the run needs its workers
    until its state is saved. So workers react to SIGTERM only if it comes from the run, as torch ends them by it. If a
    worker dies, torch raises a RuntimeError in the run, of which utils.errors.run_main makes one line.

    Args:
        collate_fn: samples -> a sequence; its tensors are passed on in shared memory. args, how: as of a DataLoader.
    """

    def __init__(self, *args: Any, collate_fn: Callable[[list], Sequence], **how: Any) -> None:
        # Forked workers share the images; with the default of Python 3.14, forkserver, each would have a copy.
        context = "fork" if sys.platform == "linux" else None
        begin = partial(_begin, os.getpid())
        how |= {"persistent_workers": True, "multiprocessing_context": context, "worker_init_fn": begin}
        super().__init__(*args, timeout=PATIENCE, collate_fn=partial(_shared, collate_fn), **how)

    def __iter__(self) -> Iterator[Any]:
        # Workers inherit the blocked signals: one that came while a worker starts would end it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, CODES)
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def workers_that_fit(workers: int, view_bytes: int) -> tuple[int, int]:
    """(workers, batches that each makes ahead) that shared memory has room for; a container has 64 MB by default.

    Args:
        workers: as asked for, at least 1. view_bytes: of one batch's views.

    Raises:
        InputError: not even one batch of each worker fits, or the path of the folder of temporary files is too long.
    """
    _check_sockets()
    if not SHARED_MEMORY.is_dir():
        return workers, AHEAD
    free, batch = shutil.disk_usage(SHARED_MEMORY).free, view_bytes + SMALL_TENSORS
    fitting = free // (batch * local_processes())
    if fitting >= AHEAD * workers + HELD:
        return workers, AHEAD
    message = f"{SHARED_MEMORY} has {size(free)} free, for {workers} workers with batches of {size(batch)}"
    message += f" in each of {local_processes()} processes" if local_processes() > 1 else ""
    advice = f"{MORE_SHARED_MEMORY}, or {NO_WORKERS}"
    if fitting < workers:
        raise InputError(f"{message}: {advice}")
    fewer = max(min(workers, fitting - HELD), 0)
    warn(f"{message}: {fewer or 'no'} workers make one batch ahead each; {advice}")
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
    cv2.setNumThreads(0)  # else OpenCV has a thread for each core, which keeps the memory of its largest image
    return_memory()


def _end_with(owner: int) -> None:
    """End this process at a SIGTERM of `owner`, and at nobody else's."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != owner:
        pass
    os._exit(0)


def _shared(collate: Callable[[list], Sequence], samples: list) -> Sequence:
    """The samples as a batch with its tensors in shared memory, in a worker.

    torch would share them in a thread that only prints an error, and the run would wait for the batch in vain. Here the
    worker ends; its exit code is the error's errno, 1 if it has none.
    """
    batch = collate(samples)
    try:
        tensors = [part.share_memory_() for part in batch if isinstance(part, torch.Tensor)]
        _check_descriptors(len(tensors) + SOCKETS)
    except (RuntimeError, OSError) as error:
        named = [number for number in (errno.ENOSPC, errno.EMFILE) if os.strerror(number) in str(error)]
        os._exit((named or [getattr(error, "errno", None) or 1])[0])
    return batch


def _check_descriptors(needed: int) -> None:
    """Raise an OSError unless this process can open so many files more."""
    opened = []
    try:
        for _ in range(needed):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for descriptor in opened:
            os.close(descriptor)
