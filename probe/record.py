"""The result of an evaluation: published log lines, results.json, and the name of the protocol."""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

from data.groups import summarise
from data.images import ImageList
from data.sets.base import DataSet
from probe.protocols import FEATURE_PROTOCOLS, PROTOCOL_VERSION, protocol_of
from probe.published import SCRIPTS, Script
from run.checkpoint import read_checkpoint
from run.folder import done_before
from run.log import Log, provenance
from utils.errors import InputError
from utils.files import replace_file


def log_validation(log: Log, epoch: int, scores: dict[str, Any], script: Script) -> None:
    """The published line of a validation during training, and its numbers."""
    log.detail(f"Epoch: {epoch} {script.per_class_line(scores)}")
    log.detail(f"Epoch: {epoch} validation tacc is {scores['top1']:.2f}, top5 {scores['top5']:.2f}")
    log.metrics(epoch=epoch, val_top1=scores["top1"], val_top5=scores["top5"])


def origin(lists: dict[str, ImageList | None]) -> dict[str, dict[str, str] | None]:
    """File name, hash and source of each list."""
    return {
        k: {"path": v.path.name, "sha1": v.sha1, "source": v.source} if v is not None else None
        for k, v in lists.items()
    }


def pretraining_of(checkpoint: str) -> dict[str, str] | None:
    """How a checkpoint's network was pre-trained, its 'precision' and 'augment'; None where the file has neither."""
    try:
        config = read_checkpoint(checkpoint).get("config")
    except (InputError, OSError):
        return None
    found = {name: config.get(name) for name in ("precision", "augment")} if isinstance(config, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, str)} or None


def report(
    args: argparse.Namespace,
    spec: DataSet,
    lists: dict[str, ImageList | None],
    counts: list[int] | None,
    precision: str,
    scores: dict[str, Any],
    best: dict[str, Any],
    seconds: float,
    log: Log,
) -> dict[str, Any]:
    """Print the published result lines and write results.json, the whole record of the evaluation; returns it.

    Args:
        counts: images per class of the grouping list, None where it is not known. precision: of the features.
        scores, best: from features.accuracy.evaluate and Files.load_best. seconds: wall time of the run.

    Returns:
        What results.json holds; {} in other processes than the main one.
    """
    for line in SCRIPTS[spec.style].result_lines(scores):
        log.info(line)
    # An evaluation alone reports the settings of the training; the authors' files do not have theirs.
    config = best["config"] or vars(args)
    protocol, departs = protocol_of(config, spec)
    if wanted := FEATURE_PROTOCOLS.get(protocol):
        # Digits have smaller lists, and so have trees with fewer images; all classes have equally many.
        shots = len(lists["train1"]) // spec.classes
        departs |= {"shots": [shots, wanted]} if shots != wanted else {}
    groups, test = None, lists.get("test")  # of files
    if counts is not None and None not in scores["per_class"]:
        groups = summarise(scores["per_class"], spec.groups(counts))
        log.info(_numbers(groups))
    if not log.main:
        return {}
    # An evaluation alone reports the lists of the training, too.
    trained_on = {k: v for k, v in (best["lists"] or {}).items() if k in ("train", "val")}
    result = {
        "experiment": args.experiment,
        "protocol": protocol,
        "protocol_version": PROTOCOL_VERSION,
        "departs": departs,
        "dataset": spec.name,
        "model": args.model,
        "lists": {**origin(lists), **trained_on},
        "checkpoint": config["checkpoint"],
        "pretraining": pretraining_of(config["checkpoint"]),
        "seed": config["seed"],
        **scores,
        "augment": None if protocol in FEATURE_PROTOCOLS and test is None else config["augment"],
        **({} if test is None else {"bad_images": len(test) - scores["images"]}),
        "groups": groups,
        "class_counts": counts,
        "best": {k: best[k] for k in ("epoch", "val")},
        "precision": precision,
        "provenance": {**provenance(), "machine": platform.machine()},
        "seconds": round(seconds, 1),
    }
    replace_file(log.folder / "results.json", json.dumps(result, indent=1).encode())
    return result


def _numbers(numbers: dict[str, float | None]) -> str:
    return "  ".join(f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in numbers.items())


def outcome(args: argparse.Namespace, done: int, result: dict[str, Any], folder: Path) -> str:
    """What a quiet probe says at its end, one line: the run, its protocol, its accuracies in percent, its log.

    Args:
        done: epochs that were done before. result: from report.
    """
    how = ", ".join(filter(None, [result["protocol"], done_before(done, args.epochs)]))
    found = _numbers(result["groups"] or {"top1": result["top1"], "top5": result["top5"]})
    verb = "evaluated" if args.test_only else "probed"
    return f"{verb} {args.experiment} ({how}): {found}, log in {folder / 'log.txt'}"
