"""The protocols of the probes by name, their settings, and where a run departs from its protocol."""

from typing import Any

from data.sets.base import DataSet

# Settings of the SDCLR paper's probes, as its scripts give them, by DataSet.style.
_CIFAR = dict(
    lr=30.0, wd=0.0, momentum=0.9, batch_size=128, fixto="layer4", fixbn=True, seed=1, cosineLr=False, prune=False,
    start_epoch=0,
)  # fmt: skip

_IMAGENET = {**_CIFAR, "batch_size": 512, "image_size": 224}

_LINEAR, _FEW = {"epochs": 30, "decreasing_lr": [10, 20]}, {"epochs": 100, "decreasing_lr": [40, 60]}

PROTOCOLS = {
    "sdclr-linear": {
        "cifar": {**_CIFAR, **_LINEAR, "test_freq": 1},
        "imagenet": {**_IMAGENET, **_LINEAR, "test_freq": 2},
    },
    "sdclr-fewshot": {"cifar": {**_CIFAR, **_FEW, "test_freq": 5}, "imagenet": {**_IMAGENET, **_FEW, "test_freq": 10}},
}

# BCL's probes (probe/on_features.py) and their labelled images per class, 0 for all.
FEATURE_PROTOCOLS = {"bcl-full": 0, "bcl-100shot": 100, "bcl-50shot": 50}

FEATURE_EPOCHS, FEATURE_SEED = 500, 10

LAST_EPOCH = {"epoch": None, "val": None, "config": None, "lists": None}  # of BCL's probes, in place of a best one

PROTOCOL_VERSION = 1

DEFAULT_LIST = "cifar10/trainIdxList.npy"


def labelled_list(config: dict[str, Any], spec: DataSet) -> str:
    """The list of labelled images that a probe's settings name, or the data set's."""
    if config.get("fullset"):
        return spec.train_list
    given = config.get("customSplit") or config.get("trainSplit")
    return spec.probe_list if given in (None, "", DEFAULT_LIST) else given


def protocol_of(config: dict[str, Any], spec: DataSet) -> tuple[str, dict[str, list]]:
    """The protocol's name, and where the run departs from it: setting -> [ours, the protocol's].

    Args:
        config: train_cifar.py's or train_imagenet.py's settings of the training.
    """
    train = labelled_list(config, spec)
    few_shot, linear = spec.is_few_shot(train), train.removesuffix(".txt") == spec.train_list
    name = config["protocol"] or ("sdclr-fewshot" if few_shot else "sdclr-linear" if linear else "custom")
    if name in FEATURE_PROTOCOLS:
        pairs = {"epochs": [config["epochs"], FEATURE_EPOCHS], "seed": [config["seed"], FEATURE_SEED]}
        pairs["prune"] = [config["prune"], False]
        pairs["bnNameCnt"] = [max(config["bnNameCnt"], 0), 0]
        if spec.any_size:
            pairs["image_size"] = [config["image_size"], spec.size]
        return name, {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if name not in PROTOCOLS:
        return name, {}
    departs = {k: [config[k], v] for k, v in PROTOCOLS[name][spec.style].items() if config[k] != v}
    if config["valiSplit"] not in ("", spec.val_list):
        departs["valiSplit"] = [config["valiSplit"], spec.val_list]
    if config["bnNameCnt"] == 1:
        departs["bnNameCnt"] = [1, 0]
    return name, departs


# What exp_analyse.py calls the protocols.
PROBES = {
    "linear": "sdclr-linear",
    "fewShot": "sdclr-fewshot",
    **{name: name for name in FEATURE_PROTOCOLS},
}
