"""torchrun for the recipes: the same launcher, but a script's exit code stays the script's.

    python -m utils.launch --nproc_per_node=2 --master_port=4833 train_simCLR.py ...

torchrun answers every failure with a report of its own and exit code 1, which would bury the one line and the exit
code 2 of a bad command line.
"""

import argparse
import contextlib
import io
import logging
import os
import re
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args
from torch.distributed.run import run as torchrun

from utils.distributed import cores
from utils.errors import InputError


def main() -> int:
    """Run torchrun with this command line; returns the exit code of the first process that failed."""
    processes = re.search(r"--nproc[-_]per[-_]node[= ](\d+)", " ".join(sys.argv[1:]))
    if processes:
        # Left alone, torchrun gives each process one thread, and warns that it did.
        threads = max(cores() // max(int(processes.group(1)), 1), 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun(_parse())
    except ChildFailedError as error:
        return error.get_first_failure()[1].exitcode
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"error: cannot start the processes, choose another --port perhaps: {reason}", file=sys.stderr)
        return 2
    return 0


def _parse() -> argparse.Namespace:
    """torchrun's own flags; its usage, which precedes what is wrong, is left out."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args = parse_args(sys.argv[1:])
    except SystemExit as end:
        if not end.code:
            raise
        raise InputError(said.getvalue().rpartition("error: ")[2]) from end
    if not args.module and not args.no_python and not Path(args.training_script).is_file():
        raise InputError(f"script {args.training_script} does not exist")
    return args


if __name__ == "__main__":
    sys.exit(main())
