"""--check of a probe: times real steps of it and estimates the whole probe."""

import argparse
from pathlib import Path

import torch

from data.loader import whole_batches
from data.sets.base import DataSet
from features.extract import Features
from models.frozen import frozen_backbone
from probe.decay import DECAYS, HELD_OUT
from probe.epoch import step
from probe.on_features import classifier_of
from probe.protocols import PROTOCOLS
from probe.setup import Probe, set_up
from run.bad_images import BadImages
from run.check import check_folder, checkpoint_bytes, measure_step, memory_used
from run.log import Log
from split.open import lists_on_trial
from utils.distributed import join
from utils.errors import InputError
from utils.text import duration, size

BATCH = 1000  # features that the classifier is evaluated on while it is timed


def check(args: argparse.Namespace, dataset: DataSet) -> None:
    """Time real steps of the probe, and log their time and memory and an estimate for the probe. Nothing is written.

    For an evaluation alone and for protocols on features, a step is a batch of images through the frozen backbone.

    Raises:
        InputError: as probe.setup.set_up; or the loss is not finite, or the disk is too full.
    """
    args.download = None if args.download else False  # a download would write files
    missing = ""
    if args.untrained and not Path(args.checkpoint).exists():
        missing = args.checkpoint
        args.checkpoint, args.cvt_state_dict, args.bnNameCnt = "", False, -1
    with lists_on_trial() as lists:
        probe = set_up(args, dataset, lists)
    join(probe.world)
    log = Log(None, probe.world.main, quiet=args.quiet)
    log.info(str(probe))
    if missing:
        log.info(f"warning: {missing} is not there yet: checked with random weights")
    for name, item in probe.sources.lists.items():
        if item is not None:
            log.info(f"{name}: {item.path.name}, {len(item):,} images, {item.source}")
    log.info(probe.run.message)
    bad = BadImages(args.on_bad_image, log)
    time = (_check_training if probe.trains else _check_features)(probe, log, bad)
    log.info("nothing was written")
    log.result(f"checked {args.experiment}: {args.protocol or 'a probe'}, about {time}")


def _check_training(probe: Probe, log: Log, bad: BadImages) -> str:
    """Time steps of the training; returns the time that the probe would take, in words."""
    settings, world, training = probe.settings, probe.world, probe.training()
    network, loader, optimizer, step_size = training.network, training.loader, training.optimizer, training.batch
    network.train()
    loader.sampler.set_epoch(probe.done + 1)
    batches = whole_batches(loader, world.device, probe.compute.stream)

    def next_steps() -> int:
        batch = next(batches)
        bad.take(batch, training=True)
        inputs = network.inputs(batch.views[:, 0])
        for x, labels in zip(inputs.split(step_size), batch.labels.split(step_size), strict=True):
            losses, _ = step(network, x, labels, optimizer, training.loss)
            if not torch.isfinite(losses).all():
                raise InputError(f"the loss of a step is {losses.mean().item()}: lower the learning rate")
        return len(batch.labels)

    timed = measure_step(next_steps, world.device)
    images, epochs = len(loader.sampler), settings.epochs - probe.done
    log.info(
        f"{timed.images * world.size} images took {timed.seconds:.3g} s, the first ones {timed.first:.3g} s; "
        f"{memory_used(world.device)}"
    )
    numbered = settings.epochs // probe.script.numbered if probe.script.numbered else 0
    files = 4 + numbered  # model.pt, best_model.pt, the previous one of each, and model_<epoch>.pt
    needed = checkpoint_bytes(probe.run.content(probe.done)) * files
    time = duration(epochs * images / timed.images * timed.seconds)
    log.info(
        f"the probe: {epochs} epochs of {images * world.size:,} images, about {time} without validation; "
        f"{size(needed)} of checkpoints in {probe.run.folder}, {check_folder(probe.run.folder, needed)}"
    )
    return time


def _check_features(probe: Probe, log: Log, bad: BadImages) -> str:
    """Time batches through the frozen backbone, and the classifier on features; returns the time for all, in words."""
    world, dataset, sources = probe.world, probe.dataset, probe.sources
    backbone = frozen_backbone(probe.model, *probe.compute.placement)

    side = sources.views.size
    none = torch.zeros(1, 3, side, side), torch.zeros(1), torch.zeros(1)  # of a process that gets no test batch

    def next_batch() -> int:
        images, labels, _ = next(iter(sources.images("test", bad)), none)
        backbone.features(images.to(world.device))
        return len(labels)

    timed = measure_step(next_batch, world.device)
    log.info(
        f"features of {timed.images} images took {timed.seconds:.3g} s, the first ones {timed.first:.3g} s; "
        f"{memory_used(world.device)}"
    )
    training = [item for name, item in sources.lists.items() if name.startswith("train") and probe.on_features]
    images = sum(map(len, training)) + sources.test_images
    seconds = images / world.size / timed.images * timed.seconds
    if probe.on_features:
        one_epoch = {"epochs": 1} if "epochs" in PROTOCOLS[probe.settings.protocol].takes else {}
        classify = classifier_of(probe.settings, **one_epoch)
        for item in training:
            values = torch.randn(len(item), backbone.channels, device=world.device)
            labels = torch.arange(len(item), device=world.device) % dataset.classes
            tested, train = values[:BATCH], Features(values, labels, labels)
            timed = measure_step(lambda k=train, v=tested: len(classify(k, v, dataset.classes)), world.device)
            fits = 1 + len(DECAYS) * (1 - HELD_OUT) if probe.settings.select_wd else 1
            seconds += timed.seconds * (probe.settings.epochs if one_epoch else 1) * fits
    time = duration(seconds)
    log.info(f"the probe: {images:,} images, about {time}; {check_folder(probe.run.folder, 0)}")
    return time
