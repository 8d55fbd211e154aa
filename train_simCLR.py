"""Pre-train without labels: SimCLR, SDCLR with --prune --prune_dual_bn True, --focal; each boosted with --bcl.

    python train_simCLR.py EXPERIMENT --dataset cifar --data DIR --optimizer sgd --lr 0.5 --temperature 0.2 ...
    torchrun --nproc_per_node=2 train_simCLR.py EXPERIMENT ...

The published recipes, with all their settings, are in cmds/shell_scrips. --check tries one step and writes nothing.
"""

import sys
import time

from pretrain.check import check
from pretrain.epoch import one_epoch
from pretrain.flags import parse
from pretrain.record import outcome
from pretrain.setup import distribute, set_up
from run.bad_images import BadImages
from run.board import Board
from run.log import Log, progress, provenance
from utils.distributed import join
from utils.errors import run


def main() -> None:
    args, started = parse(__doc__), time.perf_counter()
    if args.check:
        check(args)
        return
    pretraining = set_up(args)
    world, compute, images, counts, loader, monitor, method, optimizer, files, start = pretraining

    join(world)
    with (
        files.alone(),
        Board(files.folder if args.tensorboard and world.main else None, start + 1) as board,
    ):
        log = Log(files.folder, world.main, board, args.quiet)
        log.info(" ".join([sys.executable, *sys.argv]))
        log.info(f"{world.size} process(es) on {world.device.type}, {compute}, {args.augment} views, {provenance()}")
        log.info(f"class distribution in training set is {counts}")
        files.tell(log)
        if world.size > 1 and world.device.type != "cuda":
            log.info("batch statistics are per process: PyTorch synchronises batch norm on CUDA only")
        bad, model = BadImages(args.on_bad_image, log), distribute(pretraining)
        if args.compile:
            method.encoder.compile()

        what = f"{args.dataset} {args.experiment[-40:]}"
        each = len(loader.sampler) * world.size
        bar = progress(args.epochs * each, start * each, what, world.main and not args.quiet)
        if start == args.epochs == 0:
            files.save(0)
        for epoch in files.epochs(start):
            method.start_epoch(epoch)
            meters = files.meters(len(loader))
            loader.sampler.set_epoch(epoch, meters.done * args.batch_size // world.size)
            if (scores := method.scores()) is not None:
                images.set_scores(scores)
            one_epoch(model, loader, optimizer, epoch, args, compute, world, log, bar, bad, meters, files)
            if monitor and (epoch % args.monitor_freq == 0 or epoch == args.epochs):
                monitor.report(method.encoder, epoch, log, bad)
            files.save(epoch)
        bar.close()
        log.result(outcome(args, start, time.perf_counter() - started, files.folder))


if __name__ == "__main__":
    sys.exit(run(main))
