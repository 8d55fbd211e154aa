"""torchrun for the recipes: the same launcher, but a script's exit code stays the script's.

    python -m utils.launch --nproc_per_node=2 --master_port=4833 train_simCLR.py ...

torchrun answers every failure with a report of its own and exit code 1, which would bury the one line and the exit
code 2 of a bad command line.
"""

import logging
import os
import re
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from utils.distributed import cores


def main() -> int:
    """Run torchrun with this command line; returns the exit code of the first process that failed."""
    processes = re.search(r"--nproc[-_]per[-_]node[= ](\d+)", " ".join(sys.argv[1:]))
    if processes:
        # Left alone, torchrun gives each process one thread, and warns that it did.
        threads = max(cores() // max(int(processes.group(1)), 1), 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun(sys.argv[1:])
    except ChildFailedError as error:
        return error.get_first_failure()[1].exitcode
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"error: cannot start the processes, choose another --port perhaps: {reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
