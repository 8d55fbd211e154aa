"""The settings of a recipe: published ones by paper, data set and method, and those that scripts and users give.

All values are texts, as in command lines and names of experiments. The options of a method and their defaults are in
its line of methods/__init__.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.sets.base import DataSet, Split
from data.sets.registry import data_set
from methods import METHODS, WRAPPERS, Chosen, Line, choose, method_of
from probe.protocols import PROTOCOLS, Protocol
from recipes.own import own_settings
from recipes.styles import STYLES, Style
from run.names import experiment_name, few_shot_split

# Settings of every recipe and their defaults; '' leaves a setting to the programs that the recipe runs.
GENERAL = {
    "paper": "sdclr", "method": "", "protocols": "", "prune": "", "model": "", "split": "", "data": "", "root": ".",
    "epochs": "", "batch_size": "", "lr": "0.5", "temp": "0.2", "seed": "", "weight_decay": "1e-4", "head_layers": "",
    "scheduler": "cosine", "stage_epochs": "", "stage_decay": "", "head_width": "0",
    "output_ch": "128", "resizeLower": "", "workers": "", "port": "4833", "GPU_NUM": "1", "nodes": "1", "rdzv": "",
    "rdzv_wait": "600",
    "linear_epochs": "30", "linear_eval_seed": "", "few_shot_epochs": "100", "few_shot_lr": "30", "few_shot_split": "",
    "supervised": "False", "supervised_epochs": "", "crt_epochs": "",
    "only_pretraining": "False", "only_finetuning": "False", "few_shot_only": "False", "test_only": "False",
    "precision": "auto", "augment": "auto", "compile": "False", "image_size": "", "cache": "auto",
    "on_bad_image": "error",
    "download": "False", "monitor": "", "monitor_freq": "", "tensorboard": "", "wandb": "", "print_freq": "50",
    "quiet": "False",
    "resume": "False", "overwrite": "False", "accept_changes": "False", "save_steps": "0", "check": "False",
}  # fmt: skip

# By DataSet.style: the CIFAR and the ImageNet scripts of SDCLR's authors.
BY_STYLE = {
    "cifar": {"epochs": "2000", "batch_size": "512", "seed": "10", "workers": "5"},
    "imagenet": {"epochs": "500", "batch_size": "256", "seed": "1", "workers": "10"},
}

# By paper and style. BCL's are from its section 4.1; its authors' code for ImageNet is known only in a later version,
# which has weight decay 1e-4 throughout.
PAPERS = {
    "sdclr": {"cifar": {}, "imagenet": {}},
    "bcl": {"cifar": {"weight_decay": "5e-4", "head_layers": "2"}, "imagenet": {"head_layers": "2"}},
}

# Exceptions to the options in methods/__init__.py, for methods that are chosen by name.
# By style: BCL as in that later code for ImageNet, with k = 2 and no floor throughout; GH as in its authors' code.
# By style and number of epochs: settings that were published for this number of epochs.
# By data set, mostly the share of weights that SDCLR prunes: small on digits, where the networks are small; a tenth on
# ImageNet and Places, as in that code; on ImageNet-100 as in the command of SDCLR's authors.
OF_STYLE = {
    "cifar": {},
    "imagenet": {"bcl": {"rand_k": "2", "rand_floor": "0"}, "gh": {"gh_add": "100", "stage_decay": "0.2"}},
}
OF_EPOCHS = {
    ("imagenet", "800"): {"ts": {"temperature_schedule": "0.1,1.0,400"}},
    ("imagenet", "500"): {"gh": {"gh_warmup": "400", "gh_ramp": "30", "stage_epochs": "400"}},
}
OF_DATA_SET = {
    "digits": {"sdclr": {"prune_percent": "0.5"}},
    "imagenet-100": {"sdclr": {"prune_percent": "0.3", "temp": "0.3"}},
    "imagenet": {"sdclr": {"prune_percent": "0.1"}},
    "places": {"sdclr": {"prune_percent": "0.1"}},
}

# Protocol -> settings that apply to it -> option of the probe's command; '' where that depends on the script.
OF_PROTOCOLS = {
    "sdclr-linear": {"linear_epochs": "epochs", "linear_eval_seed": "seed"},
    "sdclr-fewshot": {"few_shot_epochs": "epochs", "few_shot_lr": "lr", "few_shot_split": ""},
    "ce": {"supervised_epochs": "epochs"},
    "crt": {"supervised_epochs": "ce_epochs", "crt_epochs": "epochs"},
    "la": {"supervised_epochs": "epochs"},
    "la-posthoc": {"supervised_epochs": "ce_epochs"},
}

LINES = {**METHODS, **WRAPPERS}
METHOD_OPTIONS = {name: value for line in LINES.values() for name, value in line.options.items() if name not in GENERAL}


@dataclass(frozen=True)
class Recipe:
    """A data set, a method and all settings, from which the commands follow.

    lines: those of the method (methods/__init__.py), each with the names of its options in order. values: all settings
    by name, the method's options among them.
    """

    dataset: DataSet
    method: Chosen
    lines: Sequence[tuple[Line, Sequence[str]]]
    values: Mapping[str, str]

    def on(self, name: str) -> bool:
        """Whether a setting is True."""
        return self.values.get(name) == "True"

    def count(self, name: str) -> int:
        """A setting that is a whole number."""
        return int(self.values[name])

    @property
    def supervised(self) -> bool:
        """Whether a protocol is one of supervised learning; then all are."""
        return any(protocol.supervised for protocol in self.protocols)

    @property
    def style(self) -> Style:
        """The family of the scripts that it runs."""
        return STYLES[self.dataset.style]

    @property
    def experiment(self) -> str:
        """Name of the pre-training."""
        parts = [(line.flag, line.part_of_name(self.values)) for line in self.method.lines]
        return experiment_name(self.dataset.name, self.dataset.style, parts, self.values)

    @property
    def few_shot_list(self) -> str:
        """Name of the list of few labelled images."""
        if given := self.values["few_shot_split"]:
            return given
        split = self.dataset.split_of(self.values["split"]) if self.dataset.own else None
        return self.dataset.few_shot_list(split) if split else few_shot_split(self.values["split"])

    @property
    def folder(self) -> str:
        """Folder of the pre-trainings of this data set; that of probes ends in _tune."""
        return f"{self.below('')}{self.dataset.checkpoints}".removeprefix("./")

    @property
    def protocols(self) -> list[Protocol]:
        """The given ones; else all of supervised learning; else the paper's that the data set has lists for."""
        if given := self.values["protocols"]:
            return [PROTOCOLS[name] for name in given.split(",")]
        if self.on("supervised"):
            return [p for p in PROTOCOLS.values() if p.supervised]
        of_paper = [p for p in PROTOCOLS.values() if p.paper == self.values["paper"] and self.dataset.style in p.styles]
        return [p for p in of_paper if not p.classifier or self.dataset.probe_lists(p.shots)]

    def below(self, name: str) -> str:
        """The path of a file or folder in `root`, which holds the folders of checkpoints."""
        return f"{self.values['root'].removesuffix('/')}/{name}"


def settle(script: Mapping[str, str], user: Mapping[str, str]) -> Recipe:
    """The recipe with all its settings. Later ones override earlier ones: general, script's, paper's, method's, user's.

    Args:
        script, user: settings that the recipe's script and its user give; one of them names the data set, and a paper
            is one of PAPERS.

    Raises:
        InputError: an unknown data set or method.
    """
    given = {**script, **user}
    dataset = data_set(given["dataset"]).at(given.get("data", ""))
    paper, name = given.get("paper", "sdclr"), given.get("method", "")
    method = choose(name or method_of({"prune": given.get("prune") == "True"}))
    values = _of_data_set(dataset) | own_settings(dataset, given) | script | _of_paper(paper, dataset)
    options = _options(method, dataset, None if name else script)
    lines = []
    for line in method.lines:
        of_line = {key: options[key] for key in line.options} | line.papers.get(paper, {})
        if name:
            of_line |= _exceptions(line, dataset, given.get("epochs", values["epochs"]))
        values |= of_line
        lines.append((line, [key for key in of_line if key not in GENERAL]))
    # A method's name may set more than the options of its lines: 'untrained' has 0 epochs.
    values |= {key: value for key, value in method.options.items() if key not in METHOD_OPTIONS} | user
    if values["image_size"] == str(dataset.size):
        values["image_size"] = ""  # the default
    return Recipe(dataset, method, lines, values)


def _of_data_set(dataset: DataSet) -> dict[str, str]:
    """All settings but a method's where neither script nor user gives any."""
    of_lists = {"split": dataset.list_of(Split(dataset.splits[0], True, "")), "few_shot_split": dataset.few_shot_name}
    of_images = {"model": dataset.default_model, "data": dataset.default_folder}
    return {**GENERAL, **BY_STYLE[dataset.style], **of_images, **of_lists}


def _of_paper(paper: str, dataset: DataSet) -> dict[str, str]:
    settings = PAPERS[paper][dataset.style]
    if paper == "bcl" and dataset.bcl_shape:
        # BCL's ImageNet-LT is another list than the script's.
        return settings | {"split": dataset.split_name(1, True, dataset.bcl_shape)}
    return settings


def _options(method: Chosen, dataset: DataSet, script: Mapping[str, str] | None) -> dict[str, str]:
    """A method's options by name.

    Args:
        script: None where the method is chosen by its name. Where the authors' --prune chooses it, the settings of the
            recipe's script: they override the defaults, and switches are off unless they are given.
    """
    options = {**method.options, "prune_percent": str(dataset.prune_percent)}
    if script is None:
        return options
    return {key: script.get(key, "False" if value == "True" else value) for key, value in options.items()}


def _exceptions(line: Line, dataset: DataSet, epochs: str) -> dict[str, str]:
    """Options of a method's line that differ from its defaults on this data set with this number of epochs."""
    name = next(name for name, known in LINES.items() if known is line)
    by_style = OF_STYLE.get(dataset.style, {})
    by_epochs = OF_EPOCHS.get((dataset.style, epochs), {})
    by_data_set = OF_DATA_SET.get(dataset.name, {})
    return {key: value for table in (by_style, by_epochs, by_data_set) for key, value in table.get(name, {}).items()}
