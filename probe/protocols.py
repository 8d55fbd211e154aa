"""The protocols of the probes, one entry each, and how a run departs from its protocol."""

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from data.sets.base import DataSet, Split

# Settings of the SDCLR paper's probes, as in its scripts, by DataSet.style.
_CIFAR = dict(
    lr=30.0, wd=0.0, momentum=0.9, batch_size=128, fixto="layer4", fixbn=True, seed=1, cosineLr=False, prune=False,
    start_epoch=0,
)  # fmt: skip
_IMAGENET = {**_CIFAR, "batch_size": 512}
_LINEAR, _FEW = {"epochs": 30, "decreasing_lr": [10, 20]}, {"epochs": 100, "decreasing_lr": [40, 60]}

# Of BCL's probes (probe/on_features.py).
_FEATURES = {"epochs": 500, "seed": 10, "prune": False}
_BCL = {"cifar": _FEATURES, "imagenet": _FEATURES}

# Of transfer (BCL's table 4; the paper gives no settings): our choice. On features, it is BCL's other probe; on
# augmented images, MoCo's linear classification (He et al., CVPR 2020, section 4.1).
_TRANSFER = {"imagenet": {**_FEATURES, "select_wd": False}}
_AUGMENTED = {"imagenet": {
    **_CIFAR, "batch_size": 256, "seed": 10, "epochs": 100, "decreasing_lr": [60, 80], "test_freq": 10,
}}  # fmt: skip


# Of supervised learning (probe/supervised/): defaults of the scripts' options.
_SHARED = {
    "momentum": 0.9, "wd": 5e-4, "init_lr_scale": 1.0, "select": "last", "test_freq": 10, "seed": 1, "prune": False,
    "start_epoch": 0,
}  # fmt: skip
_MEMORY = {**_SHARED, "lr": 0.1, "batch_size": 128, "nesterov": True}
_FILES = {**_SHARED, "lr": 0.2, "batch_size": 512, "nesterov": False, "jitter": 0.4}
_WHOLE = {"fixto": "nothing", "fixbn": False}
_CE = {
    "cifar": {**_MEMORY, **_WHOLE, "epochs": 200, "warmup": 5},
    "imagenet": {**_FILES, **_WHOLE, "epochs": 90, "warmup": 0},
}
_RETRAIN = {"epochs": 10, "warmup": 0, "fixto": "layer4", "fixbn": True, "crt_bn": "fixed"}
_CRT = {style: {**settings, **_RETRAIN, "ce_epochs": settings["epochs"]} for style, settings in _CE.items()}
_LA = {style: {**settings, "tau": 1.0} for style, settings in _CE.items()}
_POSTHOC = {style: {**settings, "tau": 1.0, "ce_epochs": settings["epochs"]} for style, settings in _CE.items()}
CHOSEN = "BCL's paper tells no settings of its table 3: all are chosen here"


@dataclass(frozen=True)
class Protocol:
    """A protocol: which labelled images are used, what is trained on them and how, and which epoch is tested.

    name: in results and on command lines. label: in tables, as in exp_analyse.py's --probe.
    settings: by DataSet.style, options of the probe's script and their values: what is frozen (fixto), optimizer (lr,
    wd, momentum), schedule (epochs, decreasing_lr), epochs between the validations that select the best epoch
    (test_freq; by Top-1, for image files by Top-5). A run with other values records them as departures in its result.
    few_shot: whether few labelled images are used. classifier: module and function of a classifier on features that are
    extracted once, (features.extract.Features, values [n, C], classes) -> scores [n, classes], without selection of an
    epoch. With '', SGD trains on augmented images. takes: options of the script that the function takes as keywords.
    shots: with a classifier, labelled images of each class, 0 for all; accuracy is the mean over all lists of that
    size. transfer: whether it is for the sets that a frozen network is transferred to, and for no others. last: without
    a classifier, whether the last epoch is tested, without validation.
    supervised: '' for probes of a frozen network. For supervised learning on a long-tailed list, what is trained: the
    'whole' network, a new 'classifier', or 'nothing', where only the logits are adjusted; the last two begin with a
    finished run of protocol ce. Then `settings` are the defaults of the options.
    adjusted: whether the logits are adjusted by the classes' shares, with factor tau.
    paper: whose recipes run it, on data sets of these `styles`. beside: of a few-shot protocol, labels of the protocols
    with all labels that figures compare it with; the first one that was run is taken.
    """

    name: str
    label: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    few_shot: bool = False
    classifier: str = ""
    takes: tuple[str, ...] = ()
    shots: int = 0
    transfer: bool = False
    last: bool = False
    supervised: str = ""
    adjusted: bool = False
    paper: str = ""
    styles: tuple[str, ...] = ("cifar", "imagenet")
    beside: tuple[str, ...] = ()

    @property
    def after_ce(self) -> bool:
        """Whether it begins with the network of a finished run of protocol ce."""
        return self.supervised in ("classifier", "nothing")


def _of_bcl(name: str, shots: int, **more: Any) -> Protocol:
    """A probe of BCL; 100-shot, the only one for image files, is in the paper's table 1 and in its authors' README."""
    common = {"classifier": "probe.on_features:linear", "takes": ("epochs",), "paper": "bcl"}
    beside = ("bcl-full", "linear") if shots else ()
    return Protocol(name, name, _BCL, bool(shots), shots=shots, beside=beside, **common, **more)


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
    Protocol("bcl-transfer", "bcl-transfer", _TRANSFER, classifier="probe.on_features:linear", takes=("epochs",),
             transfer=True, styles=("imagenet",)),
    Protocol("sgd-transfer", "sgd-transfer", _AUGMENTED, transfer=True, last=True, styles=("imagenet",)),
    Protocol("ce", "ce", _CE, supervised="whole"),
    Protocol("crt", "crt", _CRT, supervised="classifier"),
    Protocol("la", "la", _LA, supervised="whole", adjusted=True),
    Protocol("la-posthoc", "la-posthoc", _POSTHOC, supervised="nothing", adjusted=True),
)}  # fmt: skip

# exp_analyse.py's names of the protocols -> their names.
PROBES = {protocol.label: name for name, protocol in PROTOCOLS.items()}

# In place of the result of BestModel.load, where no epoch is selected.
LAST_EPOCH = {"epoch": None, "val": None, "config": None, "lists": None}

PROTOCOL_VERSION = 1

DEFAULT_LIST = "cifar10/trainIdxList.npy"


def for_set(dataset: DataSet) -> list[str]:
    """Names of the protocols that are for a data set of this kind."""
    return [name for name, protocol in PROTOCOLS.items() if protocol.transfer == dataset.transfer]


def of_last_epoch(name: str) -> bool:
    """Whether the protocol of this name tests the last epoch, so that it needs no validation images."""
    return name in PROTOCOLS and PROTOCOLS[name].last


def on_features(name: str) -> bool:
    """Whether the protocol of this name trains on features that are extracted once."""
    return name in PROTOCOLS and bool(PROTOCOLS[name].classifier)


def supervised(name: str) -> Protocol | None:
    """The protocol of this name if it is one of supervised learning, else None."""
    protocol = PROTOCOLS.get(name)
    return protocol if protocol and protocol.supervised else None


def trains_on_images(name: str) -> bool:
    """Whether a protocol trains for epochs on augmented images: neither on features nor by post-hoc adjustment."""
    protocol = supervised(name)
    return not on_features(name) and not (protocol and protocol.supervised == "nothing")


def options_of(protocol: Protocol, style: str) -> dict[str, str]:
    """The options, except for lists, that a protocol on images gives its script: name -> text.

    Args:
        style: of the data set (DataSet.style).
    """
    settings = protocol.settings[style]
    options = {name: f"{settings[name]:g}" for name in ("epochs", "lr", "wd", "test_freq", "seed")}
    options |= {"weight-decay": options["wd"], "batch-size": str(settings["batch_size"]), "fixto": settings["fixto"]}
    return options | {"fixbn": "True", "decreasing_lr": ",".join(map(str, settings["decreasing_lr"]))}


def labelled_list(config: dict[str, Any], dataset: DataSet) -> str:
    """The list of labelled images that a probe's settings name, or the data set's default; for supervised learning the
    default is the long-tailed list of the first split."""
    if config.get("fullset"):
        return dataset.train_list
    given = config.get("customSplit") or config.get("trainSplit")
    if supervised(config.get("protocol", "")) and not given:
        return dataset.tailed_list(Split(dataset.splits[0], True, dataset.bcl_shape))
    return dataset.probe_list if given in (None, "", DEFAULT_LIST) else given


def protocol_of(config: dict[str, Any], dataset: DataSet) -> tuple[str, dict[str, list]]:
    """The protocol's name, and the run's departures from it: setting -> [the run's value, the protocol's].

    Args:
        config: the settings of train_cifar.py or train_imagenet.py in the training.
    """
    train = labelled_list(config, dataset)
    few_shot, linear = dataset.is_few_shot(train), train.removesuffix(".txt") == dataset.train_list
    name = config["protocol"] or ("sdclr-fewshot" if few_shot else "sdclr-linear" if linear else "custom")
    if name not in PROTOCOLS:
        return name, {}
    wanted = PROTOCOLS[name].settings.get(dataset.style, {})
    departs = {setting: [config[setting], value] for setting, value in wanted.items() if config[setting] != value}
    split = dataset.split_of(train)
    if PROTOCOLS[name].supervised and not (split and split.long_tailed):
        departs["list"] = [PurePath(train).name, "a long-tailed one"]
    size = config.get("image_size") or dataset.size  # older runs on images in memory do not have the setting
    if size != dataset.size and not dataset.own:
        departs["image_size"] = [size, dataset.size]
    if config["valiSplit"] not in ("", dataset.val_list) and config.get("select") != "last":
        departs["valiSplit"] = [config["valiSplit"], dataset.val_list]
    if config["bnNameCnt"] == 1:
        departs["bnNameCnt"] = [1, 0]
    return name, departs
