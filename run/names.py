"""Names of experiments, as the papers' scripts give them, which tell some of a run's settings.

    <settings>_epoch<n>_<list>_newNT_s<seed><method>__<probe>     images in memory
    <list>_res<settings>_epoch<n>_batch<n><method>__<probe>       image files

The part before `__` is the name of the pre-training, the whole is the name of the probe.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from run.schedule import TWO_STAGE

VIEWS = "views.png"  # the views of a pre-training's first batch, beside its log
LONGEST = 100  # characters that a folder's name takes from a checkpoint's

# ---- writing

# The flag of SDCLR. As published, its part of a name comes before weight decay and head, and its options end a command.
SDCLR_FLAG = "prune"

# Names of pre-trainings, by DataSet.style.
PRETRAINING = {
    "cifar": "{model}{data}_scheduling_sgd_temp{temp}_wd{weight_decay}_lr{lr}_b{batch_size}{output}_twolayerProj"
    "_epoch{epochs}_{split}_newNT_s{seed}",
    "imagenet": "{split}_{model}_scheduling_sgd_lr{lr}_temp{temp}_epoch{epochs}_batch{batch_size}",
}
# What follows __ in a probe's name, by protocol and DataSet.style; for other protocols, such as BCL's, it is the
# protocol's name. As published, few-shot probes of image files have 30 epochs in their name, whatever their number is.
PROBE_ENDINGS = {
    "sdclr-linear": {
        "cifar": "f2layer4_d10d20_wd0_lr30_freezeBN",
        "imagenet": "lr30_wd0_epoch{linear_epochs}_b512_d10d20",
    },
    "sdclr-fewshot": {
        "cifar": "{few_shot}_f2layer4_d40d60_wd0_lr{few_shot_lr}_freezeBN",
        "imagenet": "{few_shot}_lr{few_shot_lr}_fix2layer4_wd0_epoch30_b512_d10d20",
    },
}


def experiment_name(data: str, style: str, parts: Sequence[tuple[str, str]], settings: Mapping[str, str]) -> str:
    """Name of a pre-training.

    Args:
        data, style: name and style of the data set. parts: (flag, part of the name) of the method and of each wrapper.
        settings: of the recipe, as they are written on its command line; image_size is '' for the usual one.
    """
    s, published = settings, PRETRAINING[style]
    # As published, CIFAR-10's names have neither data set nor output channels.
    data_part, output = ("", "") if data == "cifar10" else (f"_{data}", f"_o{s['output_ch']}")
    name = published.format(**{**s, "data": data_part, "output": output})
    name += "".join(part for flag, part in parts if flag == SDCLR_FLAG)
    if "{weight_decay}" not in published and s["weight_decay"] != "1e-4":
        name += f"_wd{s['weight_decay']}"
    if (scheduler := s.get("scheduler", "cosine")) != "cosine":
        stages = [f"{letter}{s[key]}" for letter, key in (("E", "stage_epochs"), ("D", "stage_decay")) if s[key]]
        name += f"_{scheduler}{''.join(stages) if scheduler == TWO_STAGE else ''}"
    if head := unusual_head_layers(s):
        name += f"_head{head}"
    if s["head_width"] != "0":
        name += f"_width{s['head_width']}"
    if s["image_size"]:
        name += f"_px{s['image_size']}"
    return name + "".join(part for flag, part in parts if flag != SDCLR_FLAG)


def unusual_head_layers(settings: Mapping[str, str]) -> str:
    """Layers of the projection head, '' for the usual number: three with dual batch norm, as SDCLR's authors have it,
    else two."""
    usual = "3" if settings.get("prune_dual_bn") == "True" else "2"
    return "" if settings["head_layers"] == usual else settings["head_layers"]


def probe_name(experiment: str, protocol: str, style: str, settings: Mapping[str, str]) -> str:
    """Name of a probe.

    Args:
        experiment: name of the pre-training. style: of the data set. settings: of the recipe, and `few_shot`, the name
            of the few-shot list.
    """
    name = f"{experiment}__{PROBE_ENDINGS.get(protocol, {}).get(style, protocol).format(**settings)}"
    seed = settings["linear_eval_seed"] if protocol == "sdclr-linear" else ""
    return f"{name}_s{seed}" if seed else name


def few_shot_split(split: str) -> str:
    """The few-shot list that belongs to a long-tailed or balanced list: `split1_S_b` to `split1_D_i`."""
    base, separator, _ = split.rpartition("_D_")
    return f"{base if separator else split}_S_b"


# ---- reading

# By DataSet.style: the pattern of a pre-training's name, and of what the papers' linear and few-shot probes add.
_PRETRAINING = {
    "cifar": r".+_epoch(?P<epochs>\d{1,9})_(?P<list>(?P<split>.*split\d+.*?)_D_[ib])_newNT_s\d+(?P<method>.*)",
    "imagenet": r"(?P<list>.+?)_res.+_epoch(?P<epochs>\d{1,9})_batch\d+(?P<method>(?:_(?!_).*)?)",
}
_PROBE = {
    "cifar": r"(?:(?P<labelled>(?P=split)_S_b)_)?f2layer4_.*",
    "imagenet": r"(?:(?P<labelled>(?!lr[\d.]).+?)_)?lr[\d.]+_.*",
}


class ProbeName(NamedTuple):
    """The parts of a probe's name.

    pretraining: name of the pre-training. list: its list. epochs: its epochs. method: the end of its name.
    labelled: the probe's list where the name has one, else ''. protocol: where the name has it, as BCL's, else ''.
    """

    pretraining: str
    list: str
    epochs: int
    method: str
    labelled: str
    protocol: str


def read_name(name: str, style: str) -> ProbeName | None:
    """The parts of a probe's name; None for a name that the papers' scripts do not give.

    Args:
        style: of the data set (DataSet.style).
    """
    pretraining = f"(?P<pretraining>{_PRETRAINING[style]})"
    match = re.fullmatch(rf"{pretraining}__(?:{_PROBE[style]}|(?P<protocol>[a-z][\w-]*))", name)
    parts = {part: match[part] or "" for part in ProbeName._fields} if match else {}
    return ProbeName(**parts | {"epochs": int(parts["epochs"])}) if parts else None


def name_of_file(checkpoint: Path) -> str:
    """How the names of folders with results of a checkpoint begin: its name, and a part of its SHA-256, as files may
    share a name."""
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9._+]', '_', checkpoint.stem)[:LONGEST]}-{digest}"
