"""Linear separability and few-shot probe of a pre-trained backbone, for image files that are named by lists.

    python train_imagenet.py EXPERIMENT --dataset imagenet-100 --data DIR --fullset --checkpoint FILE ...
    torchrun --nproc_per_node=2 train_imagenet.py EXPERIMENT ...

Trains a linear classifier on labelled images, keeps the epoch with the best top-5 accuracy on the validation list, and
evaluates that one on the test list. With --protocol bcl-full or bcl-100shot, it is BCL's classifier on extracted
features. The published protocols, with all their settings, are in cmds/shell_scrips. --check tries one step and writes
nothing.
"""

import sys
import time

from data.sets.registry import data_set
from probe.check import check
from probe.flags import parse_imagenet
from probe.record import outcome, report
from probe.setup import set_up
from probe.stages import test, train
from run.log import Log, provenance
from utils.distributed import join, launched_by_hand
from utils.errors import run


def main() -> None:
    args, started = parse_imagenet(__doc__), time.perf_counter()
    spec = data_set(args.dataset)
    launched_by_hand(args.local_rank, args.world_size, args.port)
    if args.check:
        check(args, spec)
        return
    probe = set_up(args, spec)

    join(probe.world)
    with probe.alone():
        log = Log(probe.run.folder, probe.world.main, quiet=args.quiet)
        log.info(" ".join([sys.executable, *sys.argv]))
        log.info(f"{probe}, {provenance()}")
        probe.run.tell(log)
        if not args.test_only and not probe.on_features:
            train(probe, log)
        scores, best = test(probe, log)
        result = report(probe, scores, best, time.perf_counter() - started, log)
        if result:
            log.result(outcome(probe, result, log.folder))


if __name__ == "__main__":
    sys.exit(run(main))
