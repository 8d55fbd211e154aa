"""Names of experiments, as published: what a run's folder says of its settings.

Data set and method are arguments; of their rooms nothing is imported here.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

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


def experiment_name(data_set: DataSet, method: Method, settings: Mapping[str, str]) -> str:
    """Name of a pre-training.

    Args:
        settings: of the recipe, as they are written on its command line, the method's among them.
    """
    s = settings
    if data_set.style == "imagenet":
        name = f"{s['split']}_{s['model']}_scheduling_sgd_lr{s['lr']}_temp{s['temp']}"
        name += f"_epoch{s['epochs']}_batch{s['batch_size']}"
    else:
        # CIFAR-10's names are older than the other data sets.
        data, output = ("", "") if data_set.name == "cifar10" else (f"_{data_set.name}", f"_o{s['output_ch']}")
        name = f"{s['model']}{data}_scheduling_sgd_temp{s['temp']}_wd{s['weight_decay']}_lr{s['lr']}"
        name += f"_b{s['batch_size']}{output}_twolayerProj_epoch{s['epochs']}_{s['split']}_newNT_s{s['seed']}"
    name += "".join(_parts(line, s) for line in method.lines if line.flag == FIRST)
    if data_set.style == "imagenet" and s["weight_decay"] != "1e-4":
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
    if data_set.style == "cifar":
        return f"{experiment}__f2layer4_d10d20_wd0_lr30_freezeBN"
    seed = settings["linear_eval_seed"]
    return f"{experiment}__lr30_wd0_epoch{settings['linear_epochs']}_b512_d10d20" + (f"_s{seed}" if seed else "")


def few_shot_probe_name(data_set: DataSet, experiment: str, few_shot: str, lr: str) -> str:
    """Name of the few-shot probe of SDCLR's paper; of image files it says 30 epochs whatever they are, as published.

    Args:
        few_shot: name of the list. lr: learning rate.
    """
    if data_set.style == "cifar":
        return f"{experiment}__{few_shot}_f2layer4_d40d60_wd0_lr{lr}_freezeBN"
    return f"{experiment}__{few_shot}_lr{lr}_fix2layer4_wd0_epoch30_b512_d10d20"


def feature_probe_name(experiment: str, protocol: str) -> str:
    """Name of a probe of BCL's paper."""
    return f"{experiment}__{protocol}"


def few_shot_split(split: str) -> str:
    """The few-shot list that goes with a long-tailed or balanced one: `split1_S_b` with `split1_D_i`."""
    before, found, _ = split.rpartition("_D_")
    return f"{before if found else split}_S_b"
