"""Linear separability and few-shot probe of a pre-trained backbone, for image files that are named by lists.

    python train_imagenet.py EXPERIMENT --dataset imagenet-100 --data DIR --fullset --checkpoint FILE ...
    torchrun --nproc_per_node=2 train_imagenet.py EXPERIMENT ...

Trains a linear classifier on labelled images, keeps the epoch with the best top-5 accuracy on the validation list, and
evaluates that one on the test list. With --protocol bcl-full or bcl-100shot, it is BCL's classifier on extracted
features. The published protocols, with all their settings, are in cmds/shell_scrips.
"""

import sys
import time

from data.image_lists import LIST_SPECS
from models import build_classifier
from models.frozen import frozen_backbone
from utils import feature_probe, probe, probe_data, results
from utils.bad_images import BadImages
from utils.compute import Compute
from utils.distributed import join, launched_by_hand, wait_for_all, world_from_environment
from utils.errors import run
from utils.log import Log, progress, provenance
from utils.probe_files import Files
from utils.probe_flags import parse_imagenet
from utils.randomness import seed_generators


def main() -> None:
    args, started = parse_imagenet(__doc__), time.perf_counter()
    launched_by_hand(args.local_rank, args.world_size, args.port)
    world = world_from_environment(args.no_cuda)
    compute = Compute(args, world.device)
    spec = LIST_SPECS[args.dataset]
    lists = probe_data.find_path_lists(args, spec)
    on_features = args.protocol in results.FEATURE_PROTOCOLS
    loaders = {
        name: probe_data.file_test_loader(lists[name], args, world, augmented=name not in ("val", "test"))
        for name in lists if name in ("val", "test") or on_features and name != "group"
    }  # fmt: skip
    seed_generators(args.seed)
    model = build_classifier(args.model, spec.classes, stem="imagenet")
    files = Files(args, model, compute, world, results.origin(lists), prefix="module.", numbered=50)
    done = files.load()
    loader = probe_data.file_train_loader(lists["train"], args, world) if "train" in lists else None
    frozen = probe.freeze(compute.on_device(model), args.fixto, fixbn=True)

    join(world)
    with files.alone():
        log = Log(files.folder, world.main)
        log.info(" ".join([sys.executable, *sys.argv]))
        log.info(f"{world.size} process(es) on {world.device.type}, {compute}, {args.augment} views, {provenance()}")
        log.info(files.message)
        bad = BadImages(args.on_bad_image, log)

        def batches(name):
            return probe.images_of_files(loaders[name], bad)

        if not args.test_only and not on_features:
            optimizer = files.optimizer()
            still = probe.frozen_modules(model, "layer4")  # as published, whether or not the backbone is trained
            network = probe.Network(model, still, True, compute, world)
            each = len(loader.sampler) * world.size
            bar = progress(args.epochs * each, done * each, f"{spec.name} probe", world.main)
            for epoch in files.epochs(done):
                probe.train_epoch(network, loader, optimizer, epoch, args, world, log, bad, files, bar)
                if epoch % args.test_freq == 0 or epoch == args.epochs:
                    scores = network.evaluate(batches("val"), spec.classes)
                    bad.report()
                    results.log_validation(log, epoch, scores, files=True)
                    files.save_best(epoch, scores["top5"])
                files.save(epoch)
            bar.close()
            frozen.check(model)

        wait_for_all()
        if on_features:
            backbone, best = frozen_backbone(model, *compute.placement), results.LAST_EPOCH
            names = [*(name for name in loaders if name != "test"), "test"]
            found = []
            for name in names:
                found.append(feature_probe.extract(backbone, batches(name), world.device))
                bad.report()
            *train, test = found
            scores = feature_probe.run(train, test, spec.classes, args.epochs, args.seed, world.main)
        else:
            best = files.load_best()
            scores = probe.evaluate(model, batches("test"), spec.classes, compute)
            bad.report()
        sizes = probe_data.group_sizes(lists["group"], None, spec.classes)
        results.report(args, spec, lists, sizes, compute.precision, scores, best, time.perf_counter() - started, log)


if __name__ == "__main__":
    sys.exit(run(main))
