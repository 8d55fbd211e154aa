"""Linear separability and few-shot probe of a pre-trained backbone, for images that fit in memory.

    python train_cifar.py EXPERIMENT --dataset cifar10 --checkpoint FILE --cvt_state_dict --fixto layer4 --fixbn ...

Trains a linear classifier on labelled images, keeps the epoch with the best validation accuracy, and evaluates that
one on the test set. With --protocol bcl-full, bcl-100shot or bcl-50shot, it is BCL's classifier on extracted features.
The published protocols, with all their settings, are in cmds/shell_scrips.
"""

import sys
import time

from data.datasets import load, spec_of
from models import build_classifier
from models.frozen import frozen_backbone
from utils import feature_probe, probe, probe_data, results
from utils.bad_images import BadImages
from utils.compute import Compute
from utils.distributed import world_from_environment
from utils.errors import run
from utils.log import Log, progress, provenance
from utils.probe_files import Files
from utils.probe_flags import parse_cifar
from utils.randomness import seed_generators


def main() -> None:
    args, started = parse_cifar(__doc__), time.perf_counter()
    world = world_from_environment(args.no_cuda)
    compute = Compute(args, world.device)
    spec = spec_of(args.dataset)
    train_set = load(spec, args.data, train=True, download=args.download)
    test_set = load(spec, args.data, train=False, download=args.download)
    lists = probe_data.find_lists(args, train_set)
    seed_generators(args.seed)
    model = build_classifier(args.model, spec.classes)
    files = Files(args, model, compute, world, results.origin(lists))
    done = files.load()
    frozen = probe.freeze(compute.on_device(model), args.fixto, args.fixbn)

    with files.alone():
        log = Log(files.folder)
        log.info(" ".join([sys.executable, *sys.argv]))
        log.info(f"{world.device.type}, {compute}, {args.augment} views, {provenance()}")
        log.info(files.message)

        def batches(images):
            return probe.images_in_memory(images, args.test_batch_size)

        on_features = args.protocol in results.FEATURE_PROTOCOLS
        if not args.test_only and not on_features:
            val = test_set if args.valiSplit == "test" else probe_data.subset(train_set, lists["val"])
            optimizer, bad = files.optimizer(), BadImages(args.on_bad_image, log)
            still = probe.frozen_modules(model, args.fixto) if args.fixbn else {}
            network = probe.Network(model, still, args.fixbn, compute, world)
            at_once = 1 if network.backbone is None else max(1, probe.AT_ONCE // args.batch_size)
            train = probe_data.subset(train_set, lists["train"])
            loader = probe_data.train_loader(train, args, world.device, at_once)
            each = len(loader.sampler)
            bar = progress(args.epochs * each, done * each, f"{spec.name} probe", True)
            for epoch in files.epochs(done):
                probe.train_epoch(network, loader, optimizer, epoch, args, world, log, bad, files, bar)
                if epoch % args.test_freq == 0 or epoch == args.epochs:
                    scores = network.evaluate(batches(val), spec.classes)
                    results.log_validation(log, epoch, scores)
                    files.save_best(epoch, scores["top1"])
                files.save(epoch)
            bar.close()
            frozen.check(model)

        if on_features:
            backbone, best = frozen_backbone(model, *compute.placement), results.LAST_EPOCH
            train = [probe_data.subset(train_set, lists[name]) for name in lists if name.startswith("train")]
            *train, test = (
                feature_probe.extract(backbone, batches(images), world.device) for images in [*train, test_set]
            )
            scores = feature_probe.run(train, test, spec.classes, args.epochs, args.seed)
        else:
            best = files.load_best()
            scores = probe.evaluate(model, batches(test_set), spec.classes, compute)
        sizes = probe_data.group_sizes(lists["group"], train_set.labels, spec.classes)
        results.report(args, spec, lists, sizes, compute.precision, scores, best, time.perf_counter() - started, log)


if __name__ == "__main__":
    sys.exit(run(main))
