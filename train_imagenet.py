"""Linear separability and few-shot probe of a pre-trained backbone, for image files that are named by lists.

    python train_imagenet.py EXPERIMENT --dataset imagenet-100 --data DIR --fullset --checkpoint FILE ...
    torchrun --nproc_per_node=2 train_imagenet.py EXPERIMENT ...

Trains a linear classifier on labelled images, keeps the epoch with the best top-5 accuracy on the validation list, and
evaluates that one on the test list. With --protocol bcl-full or bcl-100shot, it is BCL's classifier on extracted
features. The published protocols, with all their settings, are in cmds/shell_scrips.
"""

import sys
import time

import probe.on_features
from data.sets.files import LIST_SPECS
from features.accuracy import evaluate
from features.extract import extract
from features.images import file_test_loader, images_of_files
from models import build_classifier
from models.frozen import frozen_backbone
from probe.epoch import train_epoch
from probe.files import Files
from probe.flags import parse_imagenet
from probe.lists import find_path_lists
from probe.loaders import file_train_loader
from probe.network import Network, freeze, frozen_modules
from probe.protocols import FEATURE_PROTOCOLS, LAST_EPOCH
from probe.record import log_validation, origin, outcome, report
from run.bad_images import BadImages
from run.compute import Compute
from run.log import Log, progress, provenance
from run.randomness import seed_generators
from split.lists import group_sizes
from utils.distributed import join, launched_by_hand, wait_for_all, world_from_environment
from utils.errors import run


def main() -> None:
    args, started = parse_imagenet(__doc__), time.perf_counter()
    launched_by_hand(args.local_rank, args.world_size, args.port)
    world = world_from_environment(args.no_cuda)
    compute = Compute(args, world.device)
    spec = LIST_SPECS[args.dataset]
    lists = find_path_lists(args, spec)
    on_features = args.protocol in FEATURE_PROTOCOLS
    loaders = {
        name: file_test_loader(lists[name], args, world, augmented=name not in ("val", "test"))
        for name in lists if name in ("val", "test") or on_features and name != "group"
    }  # fmt: skip
    seed_generators(args.seed)
    model = build_classifier(args.model, spec.classes, stem="imagenet")
    files = Files(args, model, compute, world, origin(lists), prefix="module.", numbered=50)
    done = files.load()
    loader = file_train_loader(lists["train"], args, world) if "train" in lists else None
    frozen = freeze(compute.on_device(model), args.fixto, fixbn=True)

    join(world)
    with files.alone():
        log = Log(files.folder, world.main, quiet=args.quiet)
        log.info(" ".join([sys.executable, *sys.argv]))
        log.info(f"{world.size} process(es) on {world.device.type}, {compute}, {args.augment} views, {provenance()}")
        files.tell(log)
        bad = BadImages(args.on_bad_image, log)

        def batches(name):
            return images_of_files(loaders[name], bad)

        if not args.test_only and not on_features:
            optimizer = files.optimizer()
            still = frozen_modules(model, "layer4")  # as published, whether or not the backbone is trained
            network = Network(model, still, True, compute, world)
            each = len(loader.sampler) * world.size
            bar = progress(args.epochs * each, done * each, f"{spec.name} probe", world.main and not args.quiet)
            for epoch in files.epochs(done):
                train_epoch(network, loader, optimizer, epoch, args, world, log, bad, files, bar)
                if epoch % args.test_freq == 0 or epoch == args.epochs:
                    scores = network.evaluate(batches("val"), spec.classes)
                    bad.report()
                    log_validation(log, epoch, scores, files=True)
                    files.save_best(epoch, scores["top5"])
                files.save(epoch)
            bar.close()
            frozen.check(model)

        wait_for_all()
        if on_features:
            backbone, best = frozen_backbone(model, *compute.placement), LAST_EPOCH
            names = [*(name for name in loaders if name != "test"), "test"]
            found = []
            for name in names:
                found.append(extract(backbone, batches(name), world.device))
                bad.report()
            *train, test = found
            show = world.main and not args.quiet
            scores = probe.on_features.run(train, test, spec.classes, args.epochs, args.seed, show)
        else:
            best = files.load_best()
            scores = evaluate(model, batches("test"), spec.classes, compute)
            bad.report()
        sizes = group_sizes(lists["group"], None, spec.classes)
        seconds = time.perf_counter() - started
        result = report(args, spec, lists, sizes, compute.precision, scores, best, seconds, log)
        if result:
            log.result(outcome(args, done, result, files.folder))


if __name__ == "__main__":
    sys.exit(run(main))
