"""Names of experiments, as the papers' scripts give them: what a run's folder says of its settings.

    <settings>_epoch<n>_<list>_newNT_s<seed><method>__<probe>     images in memory
    <list>_res<settings>_epoch<n>_batch<n><method>__<probe>       image files

What comes before `__` is the pre-training's name, the whole is the probe's. Data set and method are arguments; of their
rooms nothing is imported here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

# ---- writing

FIRST = "prune"  # flag of the method whose part stands before weight decay and head, as published: SDCLR's


class PartOfName(Protocol):
    """methods.Part."""

    text: str
    option: str
    unless: str | None


class LineOfMethod(Protocol):
    """methods.Line."""

    flag: str
    parts: Sequence[PartOfName]


class Method(Protocol):
    """methods.Chosen."""

    lines: Sequence[LineOfMethod]


class DataSet(Protocol):
    """data.sets.base.DataSet."""

    name: str
    style: str


# By DataSet.style: of a pre-training, and what follows __ in that of a linear and a few-shot probe of SDCLR's paper.
# Few-shot probes of image files say 30 epochs whatever they have, as published.
PRETRAINING = {
    "cifar": "{model}{data}_scheduling_sgd_temp{temp}_wd{weight_decay}_lr{lr}_b{batch_size}{output}_twolayerProj"
    "_epoch{epochs}_{split}_newNT_s{seed}",
    "imagenet": "{split}_{model}_scheduling_sgd_lr{lr}_temp{temp}_epoch{epochs}_batch{batch_size}",
}
LINEAR = {"cifar": "f2layer4_d10d20_wd0_lr30_freezeBN", "imagenet": "lr30_wd0_epoch{linear_epochs}_b512_d10d20"}
FEW_SHOT = {
    "cifar": "{few_shot}_f2layer4_d40d60_wd0_lr{lr}_freezeBN",
    "imagenet": "{few_shot}_lr{lr}_fix2layer4_wd0_epoch30_b512_d10d20",
}


def experiment_name(data_set: DataSet, method: Method, settings: Mapping[str, str]) -> str:
    """Name of a pre-training.

    Args:
        settings: of the recipe, as they are written on its command line, the method's among them.
    """
    s, published = settings, PRETRAINING[data_set.style]
    # CIFAR-10's names are older than the other data sets.
    data, output = ("", "") if data_set.name == "cifar10" else (f"_{data_set.name}", f"_o{s['output_ch']}")
    name = published.format(**{**s, "data": data, "output": output})
    name += "".join(_parts(line, s) for line in method.lines if line.flag == FIRST)
    if "{weight_decay}" not in published and s["weight_decay"] != "1e-4":
        name += f"_wd{s['weight_decay']}"
    if s["head_layers"] not in ("", usual_head_layers(s)):
        name += f"_head{s['head_layers']}"
    return name + "".join(_parts(line, s) for line in method.lines if line.flag != FIRST)


def usual_head_layers(settings: Mapping[str, str]) -> str:
    """Layers of the projection head where none are given: three with dual batch norm, as SDCLR's authors have it."""
    return "3" if settings.get("prune_dual_bn") == "True" else "2"


def _parts(line: LineOfMethod, settings: Mapping[str, str]) -> str:
    shown = [part for part in line.parts if not part.option or settings[part.option] != part.unless]
    return "".join(part.text.format(settings.get(part.option, "")) for part in shown)


def linear_probe_name(data_set: DataSet, experiment: str, settings: Mapping[str, str]) -> str:
    """Name of the linear probe of SDCLR's paper."""
    seed = settings["linear_eval_seed"]
    return f"{experiment}__{LINEAR[data_set.style].format(**settings)}" + (f"_s{seed}" if seed else "")


def few_shot_probe_name(data_set: DataSet, experiment: str, few_shot: str, lr: str) -> str:
    """Name of the few-shot probe of SDCLR's paper.

    Args:
        few_shot: name of the list. lr: learning rate.
    """
    return f"{experiment}__{FEW_SHOT[data_set.style].format(few_shot=few_shot, lr=lr)}"


def protocol_name(experiment: str, protocol: str) -> str:
    """Name of a probe that is called by its protocol, as BCL's."""
    return f"{experiment}__{protocol}"


def few_shot_split(split: str) -> str:
    """The few-shot list that goes with a long-tailed or balanced one: `split1_S_b` with `split1_D_i`."""
    before, found, _ = split.rpartition("_D_")
    return f"{before if found else split}_S_b"


# ---- reading

# By DataSet.style: the name of a pre-training, and what the papers' linear and few-shot probes add.
_PRETRAINING = {
    "cifar": r".+_epoch(?P<epochs>\d{1,9})_(?P<list>(?P<split>.*split\d+.*?)_D_[ib])_newNT_s\d+(?P<method>.*)",
    "imagenet": r"(?P<list>.+?)_res.+_epoch(?P<epochs>\d{1,9})_batch\d+(?P<method>(?:_(?!_).*)?)",
}
_PROBE = {
    "cifar": r"(?:(?P<labelled>(?P=split)_S_b)_)?f2layer4_.*",
    "imagenet": r"(?:(?P<labelled>(?!lr[\d.]).+?)_)?lr[\d.]+_.*",
}


class ProbeName(NamedTuple):
    """What the name of a probe tells.

    pretraining: its name. list: of pre-training. epochs: of pre-training. method: the end of its name. labelled: the
    probe's list where the name has one, else ''. protocol: of a probe that is named by it (BCL's), else ''.
    """

    pretraining: str
    list: str
    epochs: int
    method: str
    labelled: str
    protocol: str


def read_name(name: str, style: str) -> ProbeName | None:
    """The parts of a probe's name; None of a name that the papers' scripts do not give.

    Args:
        style: of the data set (DataSet.style).
    """
    before = f"(?P<pretraining>{_PRETRAINING[style]})"
    found = re.fullmatch(rf"{before}__(?:{_PROBE[style]}|(?P<protocol>[a-z][\w-]*))", name)
    parts = {part: found[part] or "" for part in ProbeName._fields} if found else {}
    return ProbeName(**parts | {"epochs": int(parts["epochs"])}) if parts else None
