"""Linear separability and few-shot probe of a pre-trained backbone, for images that fit in memory.

    python train_cifar.py EXPERIMENT --dataset cifar10 --checkpoint FILE --cvt_state_dict --fixto layer4 --fixbn ...

Trains a linear classifier on labelled images, keeps the epoch with the best validation accuracy, and evaluates that
one on the test set. The published protocols, with all their settings, are in cmds/shell_scrips.
"""

import sys
import time

import torch

from data.datasets import load, spec_of
from models import build_classifier
from utils import probe, results
from utils.distributed import world_from_environment
from utils.errors import run
from utils.log import Log, progress, provenance


def main() -> None:
    args, started = probe.parse(__doc__), time.perf_counter()
    device = world_from_environment(args.no_cuda).device
    spec = spec_of(args.dataset)
    train_set = load(spec.name, args.data, train=True, download=args.download)
    test_set = load(spec.name, args.data, train=False, download=args.download)
    lists = probe.find_lists(args, train_set)
    torch.manual_seed(args.seed)
    model = build_classifier(args.model, spec.classes)
    run_files = probe.Files(args, model)
    done = run_files.load()
    frozen = probe.freeze(model.to(device), args.fixto, args.fixbn)

    log = Log(run_files.folder)
    log.info(" ".join([sys.executable, *sys.argv]))
    log.info(f"{device.type}, precision fp32, {provenance()}")
    log.info(run_files.message)
    if not args.test_only:
        val = probe.subset(test_set, None) if args.valiSplit == "test" else probe.subset(train_set, lists["val"])
        loader = probe.train_loader(probe.subset(train_set, lists["train"]), args, device)
        optimizer = run_files.optimizer()
        bar = progress(args.epochs, done, f"{spec.name} probe", True)
        for epoch in range(done + 1, args.epochs + 1):
            probe.train_epoch(model, loader, optimizer, epoch, args, device, log)
            if epoch % args.test_freq == 0 or epoch == args.epochs:
                scores = probe.evaluate(model, val, args.test_batch_size, device)
                results.log_validation(log, epoch, scores)
                run_files.save_best(epoch, scores["top1"], optimizer)
            run_files.save(epoch, optimizer)
            bar.update()
        bar.close()
        frozen.check(model)

    best = run_files.load_best()
    scores = probe.evaluate(model, probe.subset(test_set, None), args.test_batch_size, device)
    results.report(args, lists, scores, best, time.perf_counter() - started, log, train_set)


if __name__ == "__main__":
    sys.exit(run(main))
