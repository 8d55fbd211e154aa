"""Linear separability and few-shot probe of a pre-trained backbone, for image files that are named by lists.

    python train_imagenet.py EXPERIMENT --dataset imagenet-100 --data DIR --fullset --checkpoint FILE ...
    torchrun --nproc_per_node=2 train_imagenet.py EXPERIMENT ...

Trains a linear classifier on labelled images, keeps the epoch with the best top-5 accuracy on the validation list, and
evaluates that one on the test list. With --protocol bcl-full or bcl-100shot, it is BCL's classifier on extracted
features. The published protocols, with all their settings, are in cmds/shell_scrips.
"""

import sys
import time

import torch
from torch.nn.parallel import DistributedDataParallel

from data.image_lists import LIST_SPECS
from models import build_classifier
from utils import feature_probe, probe, probe_data, results
from utils.bad_images import BadImages
from utils.distributed import join, launched_by_hand, wait_for_all, world_from_environment
from utils.errors import run
from utils.log import Log, progress, provenance
from utils.probe_files import Files
from utils.probe_flags import parse_imagenet


def main() -> None:
    args, started = parse_imagenet(__doc__), time.perf_counter()
    launched_by_hand(args.local_rank, args.world_size, args.port)
    world = world_from_environment(args.no_cuda)
    spec = LIST_SPECS[args.dataset]
    lists = probe_data.find_path_lists(args, spec)
    on_features = args.protocol in results.FEATURE_PROTOCOLS
    loaders = {
        name: probe_data.file_test_loader(lists[name], args, world, augmented=name not in ("val", "test"))
        for name in lists if name in ("val", "test") or on_features and name != "group"
    }  # fmt: skip
    torch.manual_seed(args.seed)
    model = build_classifier(args.model, spec.classes, stem="imagenet")
    files = Files(args, model, prefix="module.", main=world.main, numbered=50)
    files.config["lists"] = results.origin(lists)
    done = files.load()
    loader = probe_data.file_train_loader(lists["train"], args, world) if "train" in lists else None
    frozen = probe.freeze(model.to(world.device), args.fixto, fixbn=True)

    join(world)
    log = Log(files.folder, world.main)
    log.info(" ".join([sys.executable, *sys.argv]))
    log.info(f"{world.size} process(es) on {world.device.type}, precision fp32, {provenance()}")
    log.info(files.message)
    bad = BadImages(args.on_bad_image, log)

    def evaluate(name):
        scores = probe.evaluate(model, probe.images_of_files(loaders[name], bad), spec.classes, world.device)
        bad.report()
        return scores

    def features(name):
        found = feature_probe.extract(model, probe.images_of_files(loaders[name], bad), world.device)
        bad.report()
        return found

    if not args.test_only and not on_features:
        optimizer = files.optimizer()
        trained = DistributedDataParallel(model, forward_sync_buffers=False) if world.size > 1 else model
        still = probe.frozen_modules(model, "layer4")  # as published, whether or not the backbone is trained
        bar = progress(args.epochs, done, f"{spec.name} probe", world.main)
        for epoch in range(done + 1, args.epochs + 1):
            probe.train_epoch(trained, still, loader, optimizer, epoch, args, world, log, bad)
            if epoch % args.test_freq == 0 or epoch == args.epochs:
                scores = evaluate("val")
                results.log_validation(log, epoch, scores, files=True)
                files.save_best(epoch, scores["top5"], optimizer)
            files.save(epoch, optimizer)
            bar.update()
        bar.close()
        frozen.check(model)

    wait_for_all()
    if on_features:
        train = [features(name) for name in loaders if name != "test"]
        best = results.LAST_EPOCH
        scores = feature_probe.run(train, features("test"), spec.classes, args.epochs, args.seed, world.main)
    else:
        best = files.load_best()
        scores = evaluate("test")
    sizes = probe_data.group_sizes(lists["group"], None, spec.classes)
    results.report(args, spec, lists, sizes, scores, best, time.perf_counter() - started, log)


if __name__ == "__main__":
    sys.exit(run(main))
