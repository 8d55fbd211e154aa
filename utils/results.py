"""The result of an evaluation: published log lines, results.json, and the name of the protocol."""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

from data.datasets import Spec
from data.image_lists import ListSpec, PathList
from split.lists import IndexList
from utils.checkpoint import read_checkpoint
from utils.errors import InputError
from utils.files import replace_file
from utils.log import Log, provenance
from utils.metrics import groups_of, summarise

# Settings of the SDCLR paper's probes, as its scripts give them: on data sets in memory, and of image files.
_MEMORY = dict(
    lr=30.0, wd=0.0, momentum=0.9, batch_size=128, fixto="layer4", fixbn=True, seed=1, cosineLr=False, prune=False,
    start_epoch=0,
)  # fmt: skip
_FILES = {**_MEMORY, "batch_size": 512, "image_size": 224}
_LINEAR, _FEW = {"epochs": 30, "decreasing_lr": [10, 20]}, {"epochs": 100, "decreasing_lr": [40, 60]}
PROTOCOLS = {
    "sdclr-linear": ({**_MEMORY, **_LINEAR, "test_freq": 1}, {**_FILES, **_LINEAR, "test_freq": 2}),
    "sdclr-fewshot": ({**_MEMORY, **_FEW, "test_freq": 5}, {**_FILES, **_FEW, "test_freq": 10}),
}
# BCL's probes (utils/feature_probe.py) and their labelled images per class, 0 for all.
FEATURE_PROTOCOLS = {"bcl-full": 0, "bcl-100shot": 100, "bcl-50shot": 50}
FEATURE_EPOCHS, FEATURE_SEED = 500, 10
LAST_EPOCH = {"epoch": None, "val": None, "config": None, "lists": None}  # of BCL's probes, in place of a best one
PROTOCOL_VERSION = 1
DEFAULT_LIST = "cifar10/trainIdxList.npy"


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


def protocol_of(config: dict[str, Any], spec: Spec | ListSpec) -> tuple[str, dict[str, list]]:
    """The protocol's name, and where the run departs from it: setting -> [ours, the protocol's].

    Args:
        config: train_cifar.py's or train_imagenet.py's settings of the training.
    """
    files = isinstance(spec, ListSpec)
    if files:
        train = spec.train if config["fullset"] else config["customSplit"].removesuffix(".txt") or spec.default
        by_list = {spec.train: "sdclr-linear", spec.few_shot: "sdclr-fewshot"}.get(train, "custom")
        default_val = spec.val
    else:
        linear = config["trainSplit"] in (spec.train_list, DEFAULT_LIST)
        few_shot = Path(config["trainSplit"]).stem.endswith("_S_b")
        by_list = "sdclr-fewshot" if few_shot else "sdclr-linear" if linear else "custom"
        default_val = spec.val_list
    name = config["protocol"] or by_list
    if name in FEATURE_PROTOCOLS:
        pairs = {"epochs": [config["epochs"], FEATURE_EPOCHS], "seed": [config["seed"], FEATURE_SEED]}
        pairs["prune"] = [config["prune"], False]
        pairs["bnNameCnt"] = [max(config["bnNameCnt"], 0), 0]
        if files:
            pairs["image_size"] = [config["image_size"], 224]
        return name, {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if name not in PROTOCOLS:
        return name, {}
    departs = {k: [config[k], v] for k, v in PROTOCOLS[name][files].items() if config[k] != v}
    if config["valiSplit"] not in ("", default_val):
        departs["valiSplit"] = [config["valiSplit"], default_val]
    if config["bnNameCnt"] == 1:
        departs["bnNameCnt"] = [1, 0]
    return name, departs


def origin(lists: dict[str, IndexList | PathList | None]) -> dict[str, dict[str, str] | None]:
    """File name, hash and source of each list."""
    return {k: {"path": v.path.name, "sha1": v.sha1, "source": v.source} if v else None for k, v in lists.items()}


def pretraining_of(checkpoint: str) -> dict[str, str] | None:
    """How a checkpoint's network was pre-trained, its 'precision' and 'augment'; None where the file does not tell."""
    try:
        config = read_checkpoint(checkpoint).get("config")
    except (InputError, OSError):
        return None
    found = {name: config.get(name) for name in ("precision", "augment")} if isinstance(config, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, str)} or None


def report(
    args: argparse.Namespace,
    spec: Spec | ListSpec,
    lists: dict[str, IndexList | PathList | None],
    counts: list[int] | None,
    precision: str,
    scores: dict[str, Any],
    best: dict[str, Any],
    seconds: float,
    log: Log,
) -> None:
    """Print the published result lines and write results.json, the whole record of the evaluation.

    Args:
        counts: images per class of the grouping list, None where it is not known. precision: of the features.
        scores, best: from probe.evaluate and Files.load_best. seconds: wall time of the run.
    """
    files = isinstance(spec, ListSpec)
    log.info(_per_class(scores, files))
    if files:
        log.info(f"test: Accuracy: top1 ({scores['top1']:.2f}%) top5 ({scores['top5']:.2f}%)")
        log.info(f"On the best_model, test top5 tacc is {scores['top5']:.4f}")
    else:
        log.info(f"On the best_model, test tacc is {scores['top1']:.2f}")
    # An evaluation alone reports the settings of the training; the authors' files do not tell theirs.
    config = best["config"] or vars(args)
    protocol, departs = protocol_of(config, spec)
    if wanted := FEATURE_PROTOCOLS.get(protocol):
        # Digits have smaller lists, and so have trees with fewer images; all classes have equally many.
        shots = len(lists["train1"].paths if files else lists["train1"].indices) // spec.classes
        departs |= {"shots": [shots, wanted]} if shots != wanted else {}
    groups = None
    if counts is not None and None not in scores["per_class"]:
        groups = summarise(scores["per_class"], groups_of(counts, files))
        log.info("  ".join(f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in groups.items()))
    if not log.main:
        return
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
