"""Pre-train without labels: SimCLR, SDCLR with --prune --prune_dual_bn True, --focal; each boosted with --bcl.

    python train_simCLR.py EXPERIMENT --dataset cifar --data DIR --optimizer sgd --lr 0.5 --temperature 0.2 ...
    torchrun --nproc_per_node=2 train_simCLR.py EXPERIMENT ...

The published recipes, with all their settings, are in cmds/shell_scrips.
"""

import sys
import time

import torch

from data.loader import fingerprint
from data.sets.files import PRETRAIN_LISTS
from methods import build_method
from pretrain.epoch import one_epoch
from pretrain.files import Checkpoints
from pretrain.flags import parse
from pretrain.images import training_images, two_view_loader
from pretrain.monitor import Monitor
from pretrain.record import outcome
from run.bad_images import BadImages
from run.board import Board
from run.compute import Compute
from run.log import Log, progress, provenance
from run.optim import build_optimizer
from run.randomness import seed_generators
from utils.distributed import join, world_from_environment
from utils.errors import run


def main() -> None:
    args, started = parse(__doc__), time.perf_counter()
    world = world_from_environment()
    compute = Compute(args, world.device)
    images, counts = training_images(args)
    loader = two_view_loader(images, args, world)
    monitor = Monitor(images, counts, args, compute, world) if args.monitor == "knn" else None
    seed_generators(args.seed + world.rank)
    stem = "imagenet" if args.dataset in PRETRAIN_LISTS else "cifar"
    method = compute.on_device(build_method(args, stem, len(images)))
    optimizer = build_optimizer(args.optimizer, method.parameters(), args.lr, args.weight_decay)
    checkpoints = Checkpoints(args, method, optimizer, compute, world, fingerprint(images))
    start = checkpoints.load()

    join(world)
    with (
        checkpoints.alone(),
        Board(checkpoints.folder if args.tensorboard and world.main else None, start + 1) as board,
    ):
        log = Log(checkpoints.folder, world.main, board, args.quiet)
        log.info(" ".join([sys.executable, *sys.argv]))
        log.info(f"{world.size} process(es) on {world.device.type}, {compute}, {args.augment} views, {provenance()}")
        log.info(f"class distribution in training set is {counts}")
        checkpoints.tell(log)
        if world.size > 1 and world.device.type == "cuda":
            method = torch.nn.SyncBatchNorm.convert_sync_batchnorm(method)
        elif world.size > 1:
            log.info("batch statistics are per process: PyTorch synchronises batch norm on CUDA only")
        bad, model = BadImages(args.on_bad_image, log), compute.distributed(method, world)
        if args.compile:
            method.encoder.compile()

        what = f"{args.dataset} {args.experiment[-40:]}"
        each = len(loader.sampler) * world.size
        bar = progress(args.epochs * each, start * each, what, world.main and not args.quiet)
        if start == args.epochs == 0:
            checkpoints.save(0)
        for epoch in checkpoints.epochs(start):
            method.start_epoch(epoch)
            meters = checkpoints.meters(len(loader))
            loader.sampler.set_epoch(epoch, meters.done * args.batch_size // world.size)
            if args.bcl:
                images.set_scores(method.score)
            one_epoch(model, loader, optimizer, epoch, args, compute, world, log, bar, bad, meters, checkpoints)
            if monitor and (epoch % args.monitor_freq == 0 or epoch == args.epochs):
                monitor.report(method.encoder, epoch, log, bad)
            checkpoints.save(epoch)
        bar.close()
        log.result(outcome(args, start, time.perf_counter() - started, checkpoints.folder))


if __name__ == "__main__":
    sys.exit(run(main))
