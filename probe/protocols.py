"""The protocols of the probes, one entry each, and where a run departs from its protocol."""

from dataclasses import dataclass, field
from typing import Any

from data.sets.base import DataSet

# Settings of the SDCLR paper's probes, as its scripts give them, by DataSet.style.
_CIFAR = dict(
    lr=30.0, wd=0.0, momentum=0.9, batch_size=128, fixto="layer4", fixbn=True, seed=1, cosineLr=False, prune=False,
    start_epoch=0,
)  # fmt: skip
_IMAGENET = {**_CIFAR, "batch_size": 512, "image_size": 224}
_LINEAR, _FEW = {"epochs": 30, "decreasing_lr": [10, 20]}, {"epochs": 100, "decreasing_lr": [40, 60]}

# Of BCL's probes (probe/on_features.py).
_FEATURES = {"epochs": 500, "seed": 10, "prune": False}
_BCL = {"cifar": _FEATURES, "imagenet": {**_FEATURES, "image_size": 224}}


@dataclass(frozen=True)
class Protocol:
    """One protocol: labelled images, what is trained on them and how, which epoch counts.

    name: in results and on command lines. label: in tables, as exp_analyse.py's --probe.
    settings: by DataSet.style, options of the probe's script and their values: what is trained (fixto), optimizer (lr,
    wd, momentum), schedule (epochs, decreasing_lr), how often epochs are validated to select the best (test_freq; by
    Top-1, image files by Top-5). A run that has others says so in its result.
    few_shot: on few labelled images. classifier: module and function of what is trained on features that are extracted
    once, (features.extract.Features, values [n, C], classes) -> scores [n, classes]; its last state counts. Without
    one, SGD trains on augmented images. takes: options of the script that the function has as keywords.
    shots: with a classifier, labelled images of each class, 0 for all; accuracy is the mean over the lists of so many.
    paper: whose recipes run it, on data sets of these styles. beside: labels of those with all labels that figures show
    it against, the first that there is.
    """

    name: str
    label: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    few_shot: bool = False
    classifier: str = ""
    takes: tuple[str, ...] = ()
    shots: int = 0
    paper: str = ""
    styles: tuple[str, ...] = ("cifar", "imagenet")
    beside: tuple[str, ...] = ()


def _of_bcl(name: str, shots: int, **more: Any) -> Protocol:
    """Table 1 of BCL's paper and its authors' README have the 100-shot one; of image files they have no other."""
    how = {"classifier": "probe.on_features:linear", "takes": ("epochs",), "paper": "bcl"}
    beside = ("bcl-full", "linear") if shots else ()
    return Protocol(name, name, _BCL, bool(shots), shots=shots, beside=beside, **how, **more)


PROTOCOLS = {protocol.name: protocol for protocol in (
    Protocol("sdclr-linear", "linear", paper="sdclr", settings={
        "cifar": {**_CIFAR, **_LINEAR, "test_freq": 1}, "imagenet": {**_IMAGENET, **_LINEAR, "test_freq": 2},
    }),
    Protocol("sdclr-fewshot", "fewShot", few_shot=True, paper="sdclr", beside=("linear", "bcl-full"), settings={
        "cifar": {**_CIFAR, **_FEW, "test_freq": 5}, "imagenet": {**_IMAGENET, **_FEW, "test_freq": 10},
    }),
    _of_bcl("bcl-full", 0, styles=("cifar",)),
    _of_bcl("bcl-100shot", 100),
    _of_bcl("bcl-50shot", 50, styles=("cifar",)),
)}  # fmt: skip

# What exp_analyse.py calls the protocols.
PROBES = {protocol.label: name for name, protocol in PROTOCOLS.items()}

LAST_EPOCH = {"epoch": None, "val": None, "config": None, "lists": None}  # of a classifier, in place of a best one

PROTOCOL_VERSION = 1

DEFAULT_LIST = "cifar10/trainIdxList.npy"


def on_features(name: str) -> bool:
    """Whether the protocol of this name trains on features that are extracted once."""
    return name in PROTOCOLS and bool(PROTOCOLS[name].classifier)


def labelled_list(config: dict[str, Any], dataset: DataSet) -> str:
    """The list of labelled images that a probe's settings name, or the data set's."""
    if config.get("fullset"):
        return dataset.train_list
    given = config.get("customSplit") or config.get("trainSplit")
    return dataset.probe_list if given in (None, "", DEFAULT_LIST) else given


def protocol_of(config: dict[str, Any], dataset: DataSet) -> tuple[str, dict[str, list]]:
    """The protocol's name, and where the run departs from it: setting -> [ours, the protocol's].

    Args:
        config: train_cifar.py's or train_imagenet.py's settings of the training.
    """
    train = labelled_list(config, dataset)
    few_shot, linear = dataset.is_few_shot(train), train.removesuffix(".txt") == dataset.train_list
    name = config["protocol"] or ("sdclr-fewshot" if few_shot else "sdclr-linear" if linear else "custom")
    if name not in PROTOCOLS:
        return name, {}
    wanted = PROTOCOLS[name].settings.get(dataset.style, {})
    departs = {k: [config[k], v] for k, v in wanted.items() if config[k] != v}
    if config["valiSplit"] not in ("", dataset.val_list):
        departs["valiSplit"] = [config["valiSplit"], dataset.val_list]
    if config["bnNameCnt"] == 1:
        departs["bnNameCnt"] = [1, 0]
    return name, departs
