"""Pre-train without labels by a method of methods/: --method NAME, or NAME+WRAPPER, as docs/methods.md has them.

    python train_simCLR.py EXPERIMENT --dataset cifar --data DIR --optimizer sgd --lr 0.5 --temperature 0.2 ...
    torchrun --nproc_per_node=2 train_simCLR.py EXPERIMENT ...

The published flags work as well: --prune --prune_dual_bn True for SDCLR, --focal, and --bcl around each. The published
recipes, with all their settings, are in cmds/shell_scrips. --check tries a few steps and writes nothing.
"""

import signal
import sys
import time

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})  # until the first step, see run.signals

from pretrain.check import check
from pretrain.epoch import one_epoch
from pretrain.flags import parse
from pretrain.record import outcome
from pretrain.setup import board_of, set_up
from run.bad_images import BadImages
from run.log import Log, progress
from run.made import provenance
from run.reporter import Reporter
from run.signals import release_signals
from utils.distributed import join
from utils.errors import run_main


def main() -> None:
    args, started = parse(__doc__), time.perf_counter()
    if args.check:
        release_signals()
        check(args)
        return
    pretraining = set_up(args)
    world, run, start = pretraining.world, pretraining.run, pretraining.start

    join(world)
    with run.alone(), board_of(args, run.folder, world.main, start + 1) as board:
        log = Log(run.folder, world.main, board, args.quiet)
        log.info(" ".join([sys.executable, *sys.argv]))
        setup = f"{world.size} process(es) on {world.device.type}, {pretraining.compute}, {args.augment} views"
        log.info(f"{setup}, {provenance()}")
        log.info(f"class distribution in training set is {pretraining.data.counts}")
        run.log_start(log)
        if world.main:
            pretraining.data.data.keep(run.folder)
        if world.size > 1 and world.device.type != "cuda":
            log.info("batch statistics are per process: PyTorch synchronises batch norm on CUDA only")

        images, title = len(pretraining.loader.sampler) * world.size, f"{args.dataset} {args.experiment[-40:]}"
        bar = progress(args.epochs * images, start * images, title, world.main and not args.quiet)
        reporter = Reporter(log, bar, BadImages(args.on_bad_image, log), args.print_freq)
        if start == args.epochs == 0:
            run.save(0)
        for epoch in run.epochs(start):
            meters = pretraining.begin_epoch(epoch, reporter.bad)
            one_epoch(pretraining.training, epoch, meters, reporter, run)
            pretraining.end_epoch(epoch, reporter)
        bar.close()
        log.result(outcome(args.experiment, args.epochs, start, time.perf_counter() - started, run.folder))


if __name__ == "__main__":
    sys.exit(run_main(main))
