"""The result of an evaluation: published log lines, results.json, and the name of the protocol."""

import json
from pathlib import Path
from typing import Any

from data.groups import summarise
from probe.lists import origin
from probe.pretraining import pretraining_of, size_of
from probe.protocols import CHOSEN, PROTOCOL_VERSION, PROTOCOLS, on_features, protocol_of, supervised
from probe.published import Script
from probe.setup import Probe
from probe.supervised.ce import departures
from run.log import Log, done_before
from run.made import how_made
from split.lists import group_sizes
from utils.files import replace_file


def log_validation(log: Log, epoch: int, scores: dict[str, Any], script: Script) -> None:
    """Log the published line of a validation during training, and write its numbers to metrics.jsonl."""
    log.detail(f"Epoch: {epoch} {script.per_class_line(scores)}")
    log.detail(f"Epoch: {epoch} validation tacc is {scores['top1']:.2f}, top5 {scores['top5']:.2f}")
    log.metrics(epoch=epoch, val_top1=scores["top1"], val_top5=scores["top5"])


def report(probe: Probe, scores: dict[str, Any], best: dict[str, Any], seconds: float, log: Log) -> dict[str, Any]:
    """Log the published result lines, and write results.json, the record of the evaluation.

    Args:
        scores, best: from probe.stages.test. seconds: wall time of the run.

    Returns:
        The content of results.json; {} in other processes than the main one.
    """
    settings, dataset, lists = probe.settings, probe.dataset, probe.sources.lists
    for line in probe.script.result_lines(scores):
        log.info(line)
    # An evaluation alone records the settings of the training, which the authors' files do not have.
    config = best["config"] or probe.run.saving.settings
    protocol, departs = _protocol(probe, config)
    groups, test = None, lists.get("test")  # only image files have a test list
    counts = group_sizes(lists["group"], dataset.classes)
    if counts is not None and None not in scores["per_class"]:
        groups = summarise(scores["per_class"], dataset.groups(counts))
        log.info(_numbers(groups))
    if not log.main:
        return {}
    # An evaluation alone records the lists of the training, too.
    trained_on = {name: item for name, item in (best["lists"] or {}).items() if name in ("train", "val")}
    result = {
        "experiment": settings.experiment,
        "protocol": protocol,
        "protocol_version": PROTOCOL_VERSION,
        "departs": departs,
        "dataset": dataset.name,
        # Own images of several folders share a name, and perhaps a folder of checkpoints.
        **({"own_images": dataset.folder} if dataset.own else {}),
        "model": settings.model,
        "lists": {**origin(lists), **trained_on},
        "pixels": probe.sources.data.pixels,
        "checkpoint": config["checkpoint"],
        "encoder": config.get("encoder"),
        "pretraining": pretraining_of(config),
        "seed": config["seed"],
        **({"supervised": _supervised(probe, config)} if supervised(protocol) else {}),
        **scores,
        "augment": None if on_features(protocol) and test is None else config["augment"],
        **({} if test is None else {"bad_images": len(test) - scores["images"]}),
        **{"groups": groups, "class_counts": counts, "class_names": list(dataset.class_names) or None},
        "best": {k: best[k] for k in ("epoch", "val")},
        "precision": probe.compute.precision,
        "provenance": how_made(),
        "seconds": round(seconds, 1),
    }
    replace_file(log.folder / "results.json", json.dumps(result, indent=1).encode())
    return result


def _protocol(probe: Probe, config: dict[str, Any]) -> tuple[str, dict[str, list]]:
    """protocol_of with more departures: of the run of protocol ce before it, other images, another size of the images
    in pre-training, other numbers of shots."""
    protocol, departs = protocol_of(config, probe.dataset)
    departs |= departures(config["ce"]) if config.get("ce") else {}
    pixels = probe.sources.data.pixels
    if pixels and pixels["source"] == "own" and not probe.dataset.own:
        departs |= {"images": [f"own ones (SHA-256 {pixels['train'][:8]}, {pixels['test'][:8]})", "published ones"]}
    size, trained_at = config.get("image_size") or probe.dataset.size, size_of(pretraining_of(config), probe.dataset)
    if trained_at not in (None, size):
        departs |= {"pretraining_image_size": [trained_at, size]}
    if on_features(protocol) and (wanted := PROTOCOLS[protocol].shots):
        # The lists of digits, and of folders with few images, are smaller; all classes have equally many images.
        shots = len(probe.sources.lists["train1"]) // probe.dataset.classes
        departs |= {"shots": [shots, wanted]} if shots != wanted else {}
    return protocol, departs


def _supervised(probe: Probe, config: dict[str, Any]) -> dict[str, Any]:
    """All settings of supervised learning, which are recorded as none are published."""
    names = PROTOCOLS[config["protocol"]].settings[probe.dataset.style]
    return {"settings": {name: config.get(name) for name in names}, "ce": config.get("ce") or None, "note": CHOSEN}


def _numbers(numbers: dict[str, float | None]) -> str:
    """Accuracies in percent as a line: `Many 61.20  Medium -`."""
    return "  ".join(f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in numbers.items())


def outcome(probe: Probe, result: dict[str, Any], folder: Path) -> str:
    """The result line of a quiet probe: the run, its protocol, its accuracies in percent, its log."""
    settings = probe.settings
    summary = ", ".join(filter(None, [result["protocol"], done_before(probe.done, settings.epochs)]))
    accuracies = _numbers(result["groups"] or {"top1": result["top1"], "top5": result["top5"]})
    verb = "evaluated" if settings.test_only else "probed"
    return f"{verb} {settings.experiment} ({summary}): {accuracies}, log in {folder / 'log.txt'}"
