"""The protocols of the probes by name, their settings, and where a run departs from its protocol."""

from pathlib import Path
from typing import Any

from data.sets.base import ListSpec, Spec

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

# BCL's probes (probe/on_features.py) and their labelled images per class, 0 for all.
FEATURE_PROTOCOLS = {"bcl-full": 0, "bcl-100shot": 100, "bcl-50shot": 50}

FEATURE_EPOCHS, FEATURE_SEED = 500, 10

LAST_EPOCH = {"epoch": None, "val": None, "config": None, "lists": None}  # of BCL's probes, in place of a best one

PROTOCOL_VERSION = 1

DEFAULT_LIST = "cifar10/trainIdxList.npy"


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


# What exp_analyse.py calls the protocols.
PROBES = {
    "linear": "sdclr-linear",
    "fewShot": "sdclr-fewshot",
    **{name: name for name in FEATURE_PROTOCOLS},
}
