"""The result of an evaluation: published log lines, results.json, and the name of the protocol."""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets import ImageSet, Spec
from split.lists import IndexList
from utils.files import replace_file
from utils.log import Log, provenance
from utils.metrics import summarise, thirds

_SHARED = dict(
    lr=30.0, wd=0.0, momentum=0.9, batch_size=128, fixto="layer4", fixbn=True, seed=1, cosineLr=False, prune=False,
    start_epoch=0,
)  # fmt: skip
# Settings of the SDCLR paper's probes on CIFAR, as its scripts give them.
PROTOCOLS = {
    "sdclr-linear": {**_SHARED, "epochs": 30, "decreasing_lr": [10, 20], "test_freq": 1},
    "sdclr-fewshot": {**_SHARED, "epochs": 100, "decreasing_lr": [40, 60], "test_freq": 5},
}
PROTOCOL_VERSION = 1
DEFAULT_LIST = "cifar10/trainIdxList.npy"


def _per_class_line(scores: dict[str, Any]) -> str:
    return "Each class acc is " + " ".join("nan" if a is None else f"{a:.2f}" for a in scores["per_class"]) + " "


def log_validation(log: Log, epoch: int, scores: dict[str, Any]) -> None:
    """The published line of a validation during training, and its numbers."""
    log.detail(f"Epoch: {epoch} {_per_class_line(scores)}")
    log.detail(f"Epoch: {epoch} validation tacc is {scores['top1']:.2f}")
    log.metrics(epoch=epoch, val_top1=scores["top1"], val_top5=scores["top5"])


def protocol_of(config: dict[str, Any], spec: Spec) -> tuple[str, dict[str, list]]:
    """The protocol's name, and where the run departs from it: setting -> [ours, the protocol's].

    Args:
        config: train_cifar.py's settings of the training.
    """
    name = config["protocol"]
    if not name and Path(config["trainSplit"]).stem.endswith("_S_b"):
        name = "sdclr-fewshot"
    elif not name and config["trainSplit"] in (spec.train_list, DEFAULT_LIST):
        name = "sdclr-linear"
    departs = {k: [config[k], v] for k, v in PROTOCOLS.get(name, {}).items() if config[k] != v}
    if name in PROTOCOLS and config["valiSplit"] not in ("", spec.val_list):
        departs["valiSplit"] = [config["valiSplit"], spec.val_list]
    if name in PROTOCOLS and config["bnNameCnt"] == 1:
        departs["bnNameCnt"] = [1, 0]
    return name or "custom", departs


def report(
    args: argparse.Namespace,
    lists: dict[str, IndexList | None],
    scores: dict[str, Any],
    best: dict[str, Any],
    seconds: float,
    log: Log,
    data: ImageSet,
) -> None:
    """Print the published result lines and write results.json, the whole record of the evaluation."""
    log.info(_per_class_line(scores))
    log.info(f"On the best_model, test tacc is {scores['top1']:.2f}")
    # An evaluation alone reports the settings of the training; the authors' files do not tell theirs.
    config = best.pop("config") or vars(args)
    protocol, departs = protocol_of(config, data.spec)
    counts = groups = None
    if lists["group"] is not None:
        counts = np.bincount(data.labels[lists["group"].indices], minlength=data.spec.classes).tolist()
        groups = summarise(scores["per_class"], thirds(counts))
        log.info("  ".join(f"{name} {value:.2f}" for name, value in groups.items()))
    origin = {k: {"path": v.path.name, "sha1": v.sha1, "source": v.source} if v else None for k, v in lists.items()}
    result = {
        "experiment": args.experiment,
        "protocol": protocol,
        "protocol_version": PROTOCOL_VERSION,
        "departs": departs,
        "dataset": data.spec.name,
        "model": args.model,
        "lists": origin,
        "checkpoint": config["checkpoint"],
        "seed": config["seed"],
        "top1": scores["top1"],
        "top5": scores["top5"],
        "per_class": scores["per_class"],
        "groups": groups,
        "class_counts": counts,
        "best": best,
        "precision": "fp32",
        "provenance": {**provenance(), "machine": platform.machine()},
        "seconds": round(seconds, 1),
    }
    replace_file(log.folder / "results.json", json.dumps(result, indent=1).encode())
