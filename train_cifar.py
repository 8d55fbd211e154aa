"""Linear separability and few-shot probe of a pre-trained backbone, for images that fit in memory.

    python train_cifar.py EXPERIMENT --dataset cifar10 --checkpoint FILE --cvt_state_dict --fixto layer4 --fixbn ...

Trains a linear classifier on labelled images, keeps the epoch with the best validation accuracy, and evaluates that
one on the test set. With --protocol bcl-full, bcl-100shot or bcl-50shot, it is BCL's classifier on extracted features.
The published protocols, with all their settings, are in cmds/shell_scrips.
"""

import sys
import time

import probe.on_features
from data.sets.memory import load
from data.sets.registry import spec_of
from features.accuracy import evaluate
from features.extract import extract
from features.images import images_in_memory, subset
from models import build_classifier
from models.frozen import frozen_backbone
from probe.epoch import train_epoch
from probe.files import Files
from probe.flags import parse_cifar
from probe.lists import find_lists
from probe.loaders import train_loader
from probe.network import AT_ONCE, Network, freeze, frozen_modules
from probe.protocols import FEATURE_PROTOCOLS, LAST_EPOCH
from probe.record import log_validation, origin, outcome, report
from run.bad_images import BadImages
from run.compute import Compute
from run.log import Log, progress, provenance
from run.randomness import seed_generators
from split.lists import group_sizes
from utils.distributed import world_from_environment
from utils.errors import run


def main() -> None:
    args, started = parse_cifar(__doc__), time.perf_counter()
    world = world_from_environment(args.no_cuda)
    compute = Compute(args, world.device)
    spec = spec_of(args.dataset)
    train_set = load(spec, args.data, train=True, download=args.download)
    test_set = load(spec, args.data, train=False, download=args.download)
    lists = find_lists(args, train_set)
    seed_generators(args.seed)
    model = build_classifier(args.model, spec.classes)
    files = Files(args, model, compute, world, origin(lists))
    done = files.load()
    frozen = freeze(compute.on_device(model), args.fixto, args.fixbn)

    with files.alone():
        log = Log(files.folder, quiet=args.quiet)
        log.info(" ".join([sys.executable, *sys.argv]))
        log.info(f"{world.device.type}, {compute}, {args.augment} views, {provenance()}")
        files.tell(log)

        def batches(images):
            return images_in_memory(images, args.test_batch_size)

        on_features = args.protocol in FEATURE_PROTOCOLS
        if not args.test_only and not on_features:
            val = test_set if args.valiSplit == "test" else subset(train_set, lists["val"])
            optimizer, bad = files.optimizer(), BadImages(args.on_bad_image, log)
            still = frozen_modules(model, args.fixto) if args.fixbn else {}
            network = Network(model, still, args.fixbn, compute, world)
            at_once = 1 if network.backbone is None else max(1, AT_ONCE // args.batch_size)
            train = subset(train_set, lists["train"])
            loader = train_loader(train, args, world.device, at_once)
            each = len(loader.sampler)
            bar = progress(args.epochs * each, done * each, f"{spec.name} probe", not args.quiet)
            for epoch in files.epochs(done):
                train_epoch(network, loader, optimizer, epoch, args, world, log, bad, files, bar)
                if epoch % args.test_freq == 0 or epoch == args.epochs:
                    scores = network.evaluate(batches(val), spec.classes)
                    log_validation(log, epoch, scores)
                    files.save_best(epoch, scores["top1"])
                files.save(epoch)
            bar.close()
            frozen.check(model)

        if on_features:
            backbone, best = frozen_backbone(model, *compute.placement), LAST_EPOCH
            train = [subset(train_set, lists[name]) for name in lists if name.startswith("train")]
            *train, test = (extract(backbone, batches(images), world.device) for images in [*train, test_set])
            scores = probe.on_features.run(train, test, spec.classes, args.epochs, args.seed, not args.quiet)
        else:
            best = files.load_best()
            scores = evaluate(model, batches(test_set), spec.classes, compute)
        sizes = group_sizes(lists["group"], train_set.labels, spec.classes)
        seconds = time.perf_counter() - started
        result = report(args, spec, lists, sizes, compute.precision, scores, best, seconds, log)
        if result:
            log.result(outcome(args, done, result, files.folder))


if __name__ == "__main__":
    sys.exit(run(main))
