"""A probe, and its two stages: training with validation, and the evaluation on the test images."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from data.sets.registry import data_set
from features.accuracy import evaluate
from features.extract import extract
from models.frozen import frozen_backbone
from probe.check import check
from probe.decay import choose_decay
from probe.epoch import train_epoch
from probe.on_features import classifier_of, evaluate_classifier
from probe.protocols import LAST_EPOCH, of_last_epoch, supervised, trains_on_images
from probe.record import log_validation, outcome, report
from probe.setup import Probe, set_up
from probe.supervised.ce import run_before
from probe.supervised.losses import adjust
from run.bad_images import BadImages
from run.log import Log, progress
from run.made import provenance
from run.reporter import Reporter
from run.signals import release_signals
from utils.distributed import join, wait_for_all


def run_probe(args: argparse.Namespace) -> None:
    """Run a probe from its command line to its result; both scripts call it.

    Args:
        args: of probe.flags.

    Raises:
        InputError: the input or an image is bad; see probe.setup.set_up.
        Interrupted: a signal has come; all is saved.
    """
    if ce_args := run_before(args):
        args.ce = str(Path(ce_args.save_dir) / ce_args.experiment)
        run_probe(ce_args)
    started, dataset = time.perf_counter(), data_set(args.dataset)
    if args.check or args.test_only or not trains_on_images(args.protocol):
        release_signals()
    if args.check:
        check(args, dataset)
        return
    probe = set_up(args, dataset)
    join(probe.world)
    with probe.run.alone(probe.best.find):
        log = Log(probe.run.folder, probe.world.main, quiet=args.quiet)
        log.info(" ".join([sys.executable, *sys.argv]))
        log.info(f"{probe}, {provenance()}")
        probe.run.log_start(log)
        if probe.trains:
            train(probe, log)
        scores, best = test(probe, log)
        result = report(probe, scores, best, time.perf_counter() - started, log)
        if result:
            log.result(outcome(probe, result, log.folder))


def train(probe: Probe, log: Log) -> None:
    """Train the epochs that are not done yet; best_model.pt becomes the best one in validation, or the last.

    Raises:
        InputError: the loss is not finite, or an image is bad and --on_bad_image is error.
        Interrupted: a signal has come; all is saved.
        RuntimeError: a frozen tensor has changed.
    """
    settings, world, run = probe.settings, probe.world, probe.run
    training, dataset, validates = probe.training(), probe.dataset, not of_last_epoch(settings.protocol)
    images = len(training.loader.sampler) * world.size
    shown = world.main and not settings.quiet
    bar = progress(settings.epochs * images, probe.done * images, f"{dataset.name} probe", shown)
    reporter = Reporter(log, bar, BadImages(settings.on_bad_image, log), settings.log_interval)
    for epoch in run.epochs(probe.done):
        train_epoch(training, epoch, reporter, run)
        due, score = epoch % settings.test_freq == 0 or epoch == settings.epochs, -1.0
        if due and validates:
            scores = training.network.evaluate(probe.sources.images("val", reporter.bad), dataset.classes)
            reporter.bad.report()
            log_validation(log, epoch, scores, probe.script)
            score = scores["top1" if supervised(settings.protocol) else dataset.best]
        if due:
            probe.best.save(run, epoch, score)
        run.save(epoch)
    bar.close()
    probe.frozen.check(probe.model)


def test(probe: Probe, log: Log) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores on the test images (features.accuracy), and the record of the tested epoch (BestModel.load).

    Raises:
        InputError: best_model.pt is missing, or an image is bad and --on_bad_image is error.
    """
    wait_for_all()
    if probe.on_features:
        return _test_on_features(probe, log), LAST_EPOCH
    settings, bad = probe.settings, BadImages(probe.settings.on_bad_image, log)
    if probe.trains or settings.test_only:
        best = probe.best.load(probe.run.saving.settings)
    else:  # post-hoc adjustment of a network that another run has trained
        adjust(probe.model.fc, probe.counts, settings.tau)
        best = LAST_EPOCH
    scores = evaluate(probe.model, probe.sources.images("test", bad), probe.dataset.classes, probe.compute)
    bad.report()
    return scores, best


def _test_on_features(probe: Probe, log: Log) -> dict[str, Any]:
    """Extract features with the frozen backbone, train a classifier on them, and score it on the test images."""
    settings, classes, bad = probe.settings, probe.dataset.classes, BadImages(probe.settings.on_bad_image, log)
    backbone, features = frozen_backbone(probe.model, *probe.compute.placement), []
    for name in (*(name for name in probe.sources.lists if name.startswith("train")), "test"):
        features.append(extract(backbone, probe.sources.images(name, bad), probe.world.device))
        bad.report()
    *training, testing = features
    selected, record = {}, {}
    if settings.select_wd:
        decay, scores = choose_decay(training[0], classes, settings.epochs, settings.seed)
        for value, score in scores.items():
            log.info(f"weight decay {value:g}: {score:.2f}% of a held-out tenth of the training images")
        selected = {"decay": decay}
        accuracies = {f"{value:g}": score for value, score in scores.items()}
        record = {"weight_decay": {"chosen": decay, "held_out_top1": accuracies}}
    classifier, shown = classifier_of(settings, **selected), probe.world.main and not settings.quiet
    return evaluate_classifier(training, testing, classes, classifier, settings.seed, shown) | record
