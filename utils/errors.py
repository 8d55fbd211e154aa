"""The exceptions for a user's mistake and for a signal, and how a script ends with them."""

import errno
import io
import logging
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable
from types import ModuleType

from utils.text import one_line

# Exit codes of a run that has saved its state after a signal: 128 + n, as in a shell. SIGUSR1 is a scheduler's warning:
# its code, which nothing else gives, asks for the run to be started again.
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 85}
UNSAVED = 1  # exit code where a signal came before the first step or after the last one: nothing was saved for it

# Seconds that other processes wait before they end: the launcher ends all with the first, and rank 0 prints the error.
WAIT_FOR_MAIN = 10
# In torch's errors where memory is missing: cuBLAS and cuDNN name what they could not make of it.
NO_MEMORY = (
    "can't allocate memory|out of memory|ALLOC_FAILED|CUBLAS_STATUS_NOT_INITIALIZED|CUDNN_STATUS_INTERNAL_ERROR|"
    "unable to find an engine"
)
FEWER_WORKERS = "use fewer workers (num_workers; 0 needs none) or smaller batches"


class InputError(Exception):
    """Bad input: the message says what is wrong, in which file, and what to do, on one line.

    Before several processes have joined, only rank 0 prints it, since all meet the same error; with `each`, all do.
    """

    def __init__(self, message: str, each: bool = False) -> None:
        super().__init__(one_line(message))
        self.each = each


class Interrupted(Exception):
    """A signal ended the run after its state was saved. code: exit code 143 (SIGTERM), 130 (SIGINT), 85 (SIGUSR1)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code


def warn(message: str) -> None:
    """Print a warning on standard error, in rank 0."""
    if _is_main():
        print(f"warning: {one_line(message)}", file=sys.stderr, flush=True)


def run_main(main: Callable[[], None]) -> None:
    """Run a script's main(): an InputError, an OSError or a lack of memory becomes one line and exit code 2.

    Interrupted becomes one line of rank 0 and its own exit code.
    Before the processes have joined, every process meets the same error, so only rank 0 prints it; afterwards, and
    where joining itself failed, the line names the rank that met it.
    """
    # A closed stream, as by `>&-`, is None: the next file that is opened would take its place.
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, getattr(sys, name) or open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: PTH123, SIM115
    os.environ.pop("MPLBACKEND", None)  # figures need no backend, and a notebook's may not be installed here
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # no warnings about a cache that cannot be written
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may have bytes that are not UTF-8
    try:
        main()
    except (InputError, OSError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its exit
            sys.exit(128 + signal.SIGPIPE)
        each = _process_group() is not None or getattr(error, "each", False)
        if _is_main() or each:
            rank = f" [rank {os.environ.get('RANK', 0)}]" if each else ""
            print(f"error{rank}: {one_line(str(error)) or 'not enough memory'}", file=sys.stderr, flush=True)
        else:
            time.sleep(WAIT_FOR_MAIN)
        sys.exit(2)
    except Interrupted as end:
        if _is_main():
            print(f"interrupted: {end}", file=sys.stderr, flush=True)
        sys.exit(end.code)
    except RuntimeError as error:
        if not (line := _line_for(error)):
            raise
        print(line, file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        if _is_main():
            print("interrupted: there was no step to save", file=sys.stderr, flush=True)
        sys.exit(UNSAVED)
    finally:
        if group := _process_group():
            group.destroy_process_group()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)  # blocked where a run has ended before its first step


def _is_main() -> bool:
    """Whether this is rank 0, or a process without a launcher."""
    rank = os.environ.get("RANK", "")
    return not rank.isdecimal() or int(rank) == 0


def _line_for(error: RuntimeError) -> str:
    """The line for torch's error on a lack of memory, a lost worker or a lost process; '' for any other error."""
    rank = f" [rank {os.environ.get('RANK', 0)}]" if _process_group() else ""  # each rank has its own GPU
    if re.search(NO_MEMORY, str(error)):
        return f"error{rank}: not enough memory: {one_line(str(error))}"
    if re.search("busy or unavailable|no kernel image is available|driver is too old|ECC error", str(error)):
        return f"error{rank}: the GPU cannot be used: {str(error).splitlines()[0]}"
    if reason := _worker_error(error):
        return f"error: {reason}"
    # Where one process ends, the others fail in the middle of a collective; where the network fails, all do.
    if _process_group() and re.search("gloo|nccl|closed by peer", str(error), re.I):
        return f"error [rank {os.environ.get('RANK', 0)}]: lost the other processes: {str(error).splitlines()[0]}"
    return ""


def _worker_error(error: RuntimeError) -> str:
    """Why a data loader's worker died or gave no batch, and what to do; '' for another error."""
    message = f"{error} {error.__cause__}"  # either may say how the worker ended
    if timeout := re.search(r"DataLoader timed out after (\d+) seconds", message):
        seconds = timeout[1]
        return f"a loader's workers gave no batch for {seconds} seconds: see whether the disk answers; {FEWER_WORKERS}"
    worker = re.search(r"DataLoader worker \(pid\S* ([\d, ]+)\) (is killed|exited)", message)
    if not worker:
        return ""
    match = re.search(r"exit code (\d+)", message)
    code = int(match[1]) if match else 0
    if "Bus error" in message or code == errno.ENOSPC:
        cause = "the shared memory, /dev/shm, is full"
    elif code == errno.EMFILE:
        cause = "too many files are open, raise `ulimit -n`"
    else:
        cause = "out of memory perhaps"
    return f"a loader's worker, process {worker[1]}, has ended: {cause}; {FEWER_WORKERS}"


def _nobody_reads() -> bool:
    """Whether standard output is a pipe that its reader has closed, as `head` does after its last line."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))


def _process_group() -> ModuleType | None:
    """torch.distributed if the processes have joined, else None; without an import of torch, which takes seconds."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist and dist.is_available() and dist.is_initialized() else None
