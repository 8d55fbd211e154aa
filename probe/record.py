"""The result of an evaluation: published log lines, results.json, and the name of the protocol."""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

from data.groups import groups_of, summarise
from data.images import ImageList
from data.sets.base import ListSpec, Spec
from probe.protocols import FEATURE_PROTOCOLS, PROTOCOL_VERSION, protocol_of
from run.checkpoint import read_checkpoint
from run.folder import done_before
from run.log import Log, provenance
from utils.errors import InputError
from utils.files import replace_file


def _per_class(scores: dict[str, Any], files: bool) -> str:
    accuracies = scores["per_class"]
    if files:
        return "acc per class is " + " ".join("nan" if a is None else f"{a / 100:.4}" for a in accuracies) + " "
    return "Each class acc is " + " ".join("nan" if a is None else f"{a:.2f}" for a in accuracies) + " "


def log_validation(log: Log, epoch: int, scores: dict[str, Any], files: bool = False) -> None:
    """The published line of a validation during training, and its numbers."""
    log.detail(f"Epoch: {epoch} {_per_class(scores, files)}")
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
    spec: Spec | ListSpec,
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
    files = isinstance(spec, ListSpec)
    log.info(_per_class(scores, files))
    if files:
        log.info(f"test: Accuracy: top1 ({scores['top1']:.2f}%) top5 ({scores['top5']:.2f}%)")
        log.info(f"On the best_model, test top5 tacc is {scores['top5']:.4f}")
    else:
        log.info(f"On the best_model, test tacc is {scores['top1']:.2f}")
    # An evaluation alone reports the settings of the training; the authors' files do not have theirs.
    config = best["config"] or vars(args)
    protocol, departs = protocol_of(config, spec)
    if wanted := FEATURE_PROTOCOLS.get(protocol):
        # Digits have smaller lists, and so have trees with fewer images; all classes have equally many.
        shots = len(lists["train1"]) // spec.classes
        departs |= {"shots": [shots, wanted]} if shots != wanted else {}
    groups = None
    if counts is not None and None not in scores["per_class"]:
        groups = summarise(scores["per_class"], groups_of(counts, files))
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
        "augment": config["augment"] if files or protocol not in FEATURE_PROTOCOLS else None,
        **({"bad_images": len(lists["test"].paths) - scores["images"]} if files else {}),
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
