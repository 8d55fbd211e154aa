"""Linear separability and few-shot probe of a pre-trained backbone, for image files that are named by lists.

    python train_imagenet.py EXPERIMENT --dataset imagenet-100 --data DIR --fullset --checkpoint FILE ...
    torchrun --nproc_per_node=2 train_imagenet.py EXPERIMENT ...

Trains a linear classifier on labelled images, keeps the epoch with the best top-5 accuracy on the validation list, and
evaluates that one on the test list. With --protocol bcl-full or bcl-100shot, it is BCL's classifier on extracted
features, with --protocol ce, crt, la or la-posthoc supervised learning on a long-tailed list (docs/supervised.md).

The published protocols, with all their settings, are in cmds/shell_scrips. --check tries a few steps, writes nothing.
"""

import signal
import sys

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})  # until the first step, see run.signals

from probe.flags import parse_imagenet
from probe.stages import run_probe
from run.world import launched_by_hand
from utils.errors import run_main


def main() -> None:
    args = parse_imagenet(__doc__)
    launched_by_hand(args.local_rank, args.world_size, args.port)
    run_probe(args)


if __name__ == "__main__":
    sys.exit(run_main(main))
