"""Linear separability and few-shot probe of a pre-trained backbone, for images that fit in memory.

    python train_cifar.py EXPERIMENT --dataset cifar10 --checkpoint FILE --cvt_state_dict --fixto layer4 --fixbn ...

Trains a linear classifier on labelled images, keeps the epoch with the best validation accuracy, and evaluates that
one on the test set. With --protocol bcl-full, bcl-100shot or bcl-50shot, it is BCL's classifier on extracted features,
with --protocol ce, crt, la or la-posthoc supervised learning on a long-tailed list (docs/supervised.md).

The published protocols, with all their settings, are in cmds/shell_scrips. --check tries a few steps, writes nothing.
"""

import signal
import sys

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})  # until the first step, see run.signals

from probe.flags import parse_cifar
from probe.stages import run_probe
from utils.errors import run_main


def main() -> None:
    run_probe(parse_cifar(__doc__))


if __name__ == "__main__":
    sys.exit(run_main(main))
