"""The exceptions for a user's mistake and for a signal, and how a script ends on them."""

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

# What a run ends with on a signal: 128 + n as a shell has it. SIGUSR1 is a scheduler's warning: 85 asks to be started
# again, and nothing else ends so.
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 85}
UNSAVED = 1  # exit code where a signal came before the first step or after the last one: nothing was saved for it

# Seconds that the other processes wait before they end: a launcher ends all with the first, and the main one tells why.
WAIT_FOR_MAIN = 10
FEWER_WORKERS = "use fewer workers (num_workers; 0 needs none) or smaller batches"


class InputError(Exception):
    """Bad input: the message says what is wrong, in which file, and what to do, on one line.

    Of several processes that have not joined yet, only rank 0 prints it, as all meet it; or each, where `each` is True.
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
    """A line of warning on standard error, of rank 0."""
    if _is_main():
        print(f"warning: {one_line(message)}", file=sys.stderr, flush=True)


def run_main(main: Callable[[], None]) -> None:
    """Run a script's main(): an InputError, a file that cannot be written, or no memory is one line and exit code 2.

    Interrupted becomes one line of rank 0 and its own exit code.
    Before the processes have joined, every process meets the same error, so only rank 0 prints it; afterwards, and
    where joining itself failed, the line names the rank that met it.
    """
    for name in ("stdin", "stdout", "stderr"):  # None where closed, by `>&-` say: the next file opened would be it
        setattr(sys, name, getattr(sys, name) or open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: PTH123, SIM115
    os.environ.pop("MPLBACKEND", None)  # a notebook's, which may not be installed here; figures need none
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # not several lines on a cache that cannot be written
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        main()
    except (InputError, OSError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python writes there at its end
            sys.exit(128 + signal.SIGPIPE)
        each = _process_group() is not None or getattr(error, "each", False)
        if _is_main() or each:
            where = f" [rank {os.environ.get('RANK', 0)}]" if each else ""
            print(f"error{where}: {one_line(str(error)) or 'not enough memory'}", file=sys.stderr, flush=True)
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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)  # of a run that never came to its first step


def _is_main() -> bool:
    """Whether this is rank 0, or no launcher has said which one it is."""
    rank = os.environ.get("RANK", "")
    return not rank.isdecimal() or int(rank) == 0


def _line_for(error: RuntimeError) -> str:
    """The line for what torch raises where memory, a loader's worker or another process is gone; '' for a fault."""
    rank = f" [rank {os.environ.get('RANK', 0)}]" if _process_group() else ""  # each has a GPU of its own
    if re.search("can't allocate memory|out of memory|ALLOC_FAILED", str(error)):
        return f"error{rank}: not enough memory: {one_line(str(error))}"
    if re.search("busy or unavailable|no kernel image is available|driver is too old", str(error)):
        return f"error{rank}: the GPU cannot be used: {str(error).splitlines()[0]}"
    if reason := _of_a_worker(error):
        return f"error: {reason}"
    # Where one process ends, the others fail in the middle of a collective; so do all where the network does.
    if _process_group() and re.search("gloo|nccl|closed by peer", str(error), re.I):
        return f"error [rank {os.environ.get('RANK', 0)}]: lost the other processes: {str(error).splitlines()[0]}"
    return ""


def _of_a_worker(error: RuntimeError) -> str:
    """What torch says where a loader's worker died or gave no batch, with what to do; '' for another error."""
    message = f"{error} {error.__cause__}"  # how it ended is in one or in the other
    if found := re.search(r"DataLoader timed out after (\d+) seconds", message):
        return f"a loader's workers gave no batch for {found[1]} seconds: see whether the disk answers; {FEWER_WORKERS}"
    found = re.search(r"DataLoader worker \(pid\S* ([\d, ]+)\) (is killed|exited)", message)
    if not found:
        return ""
    code = re.search(r"exit code (\d+)", message)
    number = int(code[1]) if code else 0
    if "Bus error" in message or number == errno.ENOSPC:
        cause = "the shared memory, /dev/shm, is full"
    elif number == errno.EMFILE:
        cause = "too many files are open, raise `ulimit -n`"
    else:
        cause = "out of memory perhaps"
    return f"a loader's worker, process {found[1]}, has ended: {cause}; {FEWER_WORKERS}"


def _nobody_reads() -> bool:
    """Whether standard output is a pipe that its reader has closed, as `head` does when it has seen enough."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))


def _process_group() -> ModuleType | None:
    """torch.distributed if the processes have joined; asks without importing torch, which takes seconds."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist and dist.is_available() and dist.is_initialized() else None
