"""The settings of a recipe: published ones by paper, data set and method, and what scripts and users say besides.

All values are texts, as they stand in command lines and names of experiments. What belongs to a method alone is in its
line of methods/__init__.py.
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

# Of every recipe; '' leaves a setting to the programs that are called.
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

# By paper and style. BCL's: its section 4.1; of its ImageNet code only a later one is known, which has 1e-4 throughout.
PAPERS = {
    "sdclr": {"cifar": {}, "imagenet": {}},
    "bcl": {"cifar": {"weight_decay": "5e-4", "head_layers": "2"}, "imagenet": {"head_layers": "2"}},
}

# Of methods that are chosen by name, the exceptions to the options of their lines in methods/__init__.py.
# By style: BCL as that later ImageNet code has it, with k = 2 and no floor throughout; GH as its authors have it. By
# style and number of epochs, where the published number goes with the setting. By data set: on digits the networks are
# small, and have fewer weights to spare; on ImageNet and Places a tenth, as in that code; on ImageNet-100 the command
# of SDCLR's authors.
OF_STYLE = {"cifar": {}, "imagenet": {"bcl": {"rand_k": "2", "rand_floor": "0"}, "gh": {"gh_add": "100"}}}
OF_EPOCHS = {
    ("imagenet", "800"): {"ts": {"temperature_schedule": "0.1,1.0,400"}},
    ("imagenet", "500"): {"gh": {"gh_warmup": "400", "gh_ramp": "30", "stage_epochs": "400", "stage_decay": "0.2"}},
}
OF_DATA_SET = {
    "digits": {"sdclr": {"prune_percent": "0.5"}},
    "imagenet-100": {"sdclr": {"prune_percent": "0.3", "temp": "0.3"}},
    "imagenet": {"sdclr": {"prune_percent": "0.1"}},
    "places": {"sdclr": {"prune_percent": "0.1"}},
}

# What has an effect on one protocol alone, and the option of its probe; '' where that is not one for all scripts.
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
    """What a recipe runs.

    method: as chosen. lines: its lines, each with the names of its options in order. values: all settings by name, the
    method's options among them.
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
    def style(self) -> Style:
        """How the scripts of its family are called."""
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
        """Those that are asked for, those of supervised learning, or the paper's that the data set has lists for."""
        if wanted := self.values["protocols"]:
            return [PROTOCOLS[name] for name in wanted.split(",")]
        if self.on("supervised"):
            return [protocol for protocol in PROTOCOLS.values() if protocol.supervised]
        found = [p for p in PROTOCOLS.values() if p.paper == self.values["paper"] and self.dataset.style in p.styles]
        return [p for p in found if not p.classifier or self.dataset.probe_lists(p.shots)]

    def below(self, name: str) -> str:
        """The path of a name in the folder of all checkpoints folders."""
        return f"{self.values['root'].removesuffix('/')}/{name}"


def settle(script: Mapping[str, str], user: Mapping[str, str]) -> Recipe:
    """All settings of a recipe; what comes later counts: general, script's, paper's, method's, user's.

    Args:
        script, user: settings that the recipe's script and its user give; one of them names the data set, and a paper
            is one of PAPERS.

    Raises:
        InputError: an unknown data set or method.
    """
    said = {**script, **user}
    dataset = data_set(said["dataset"]).at(said.get("data", ""))
    paper, name = said.get("paper", "sdclr"), said.get("method", "")
    method = choose(name or method_of({"prune": said.get("prune") == "True"}))
    values = _of_data_set(dataset) | own_settings(dataset, said) | script | _of_paper(paper, dataset)
    options = _options(method, dataset, None if name else script)
    lines = []
    for line in method.lines:
        of_line = {key: options[key] for key in line.options} | line.papers.get(paper, {})
        if name:
            of_line |= _published(line, dataset, said.get("epochs", values["epochs"]))
        values |= of_line
        lines.append((line, [key for key in of_line if key not in GENERAL]))
    values |= {key: value for key, value in method.options.items() if key not in METHOD_OPTIONS} | user
    if values["image_size"] == str(dataset.size):
        values["image_size"] = ""  # as usual
    return Recipe(dataset, method, lines, values)


def _of_data_set(dataset: DataSet) -> dict[str, str]:
    """All settings but a method's, before anyone says anything."""
    of_lists = {"split": dataset.list_of(Split(dataset.splits[0], True, "")), "few_shot_split": dataset.few_shot_name}
    of_images = {"model": dataset.default_model, "data": dataset.default_folder}
    return {**GENERAL, **BY_STYLE[dataset.style], **of_images, **of_lists}


def _of_paper(paper: str, dataset: DataSet) -> dict[str, str]:
    found = PAPERS[paper][dataset.style]
    if paper == "bcl" and dataset.bcl_shape:
        # What this paper calls ImageNet-LT is another list than that of the script.
        return found | {"split": dataset.split_name(1, True, dataset.bcl_shape)}
    return found


def _options(method: Chosen, dataset: DataSet, script: Mapping[str, str] | None) -> dict[str, str]:
    """A method's options by name.

    Args:
        script: what the recipe's script says, where the authors' --prune chose the method: its values count then, and
            no switch is on unless it is given.
    """
    options = {**method.options, "prune_percent": str(dataset.prune_percent)}
    if script is None:
        return options
    return {key: script.get(key, "False" if value == "True" else value) for key, value in options.items()}


def _published(line: Line, dataset: DataSet, epochs: str) -> dict[str, str]:
    """The exceptions that are published for a line with this data set and number of epochs."""
    name, found = next(name for name, known in LINES.items() if known is line), {}
    of_epochs = (dataset.style, epochs)
    for table, at in ((OF_STYLE, dataset.style), (OF_EPOCHS, of_epochs), (OF_DATA_SET, dataset.name)):
        found |= table.get(at, {}).get(name, {})
    return found
