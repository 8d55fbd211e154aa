"""The two stages of a probe: training with validation, and the evaluation on the test images."""

from typing import Any

from features.accuracy import evaluate
from features.extract import extract
from models.frozen import frozen_backbone
from probe.epoch import train_epoch
from probe.on_features import classifier_of, run
from probe.protocols import LAST_EPOCH
from probe.record import log_validation
from probe.setup import Probe
from run.bad_images import BadImages
from run.log import Log, progress
from run.reporter import Reporter
from utils.distributed import wait_for_all


def train(probe: Probe, log: Log) -> None:
    """The epochs that are not done yet; keeps the best one on the validation images in best_model.pt.

    Raises:
        InputError: the loss is not finite, or an image is bad and --on_bad_image is error.
        Interrupted: a signal has come; all is saved.
        RuntimeError: what is frozen has moved.
    """
    args, world, files = probe.args, probe.world, probe.run
    training, spec = probe.training(), probe.spec
    each = len(training.loader.sampler) * world.size
    bar = progress(args.epochs * each, probe.done * each, f"{spec.name} probe", world.main and not args.quiet)
    reporter = Reporter(log, bar, BadImages(args.on_bad_image, log), args.log_interval)
    for epoch in files.epochs(probe.done):
        train_epoch(training, epoch, reporter, files)
        if epoch % args.test_freq == 0 or epoch == args.epochs:
            scores = training.network.evaluate(probe.sources.images("val", reporter.bad), spec.classes)
            reporter.bad.report()
            log_validation(log, epoch, scores, probe.script)
            probe.best.save(files, epoch, scores[probe.script.best])
        files.save(epoch)
    bar.close()
    probe.frozen.check(probe.model)


def test(probe: Probe, log: Log) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores on the test images (features.accuracy), and what is known of the epoch that they are of (BestModel.load).

    Raises:
        InputError: the best model is not there, or an image is bad and --on_bad_image is error.
    """
    args, classes, bad = probe.args, probe.spec.classes, BadImages(probe.args.on_bad_image, log)
    wait_for_all()
    if not probe.on_features:
        best = probe.best.load(vars(args))
        scores = evaluate(probe.model, probe.sources.images("test", bad), classes, probe.compute)
        bad.report()
        return scores, best
    backbone, found = frozen_backbone(probe.model, *probe.compute.placement), []
    for name in (*(name for name in probe.sources.lists if name.startswith("train")), "test"):
        found.append(extract(backbone, probe.sources.images(name, bad), probe.world.device))
        bad.report()
    *training, testing = found
    show = probe.world.main and not args.quiet
    return run(training, testing, classes, classifier_of(args), args.seed, show), LAST_EPOCH
