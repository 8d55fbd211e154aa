"""The methods of pre-training, one line each, and their names; without torch, so that tables need not import it.

A method is one file beside this one: an nn.Module with forward(views, index) -> loss of each sample (methods/base.py).
Its line has its name, its class, the options that are set for it, and what it adds to an experiment's name. A wrapper
goes around any method: `simclr+bcl` is BCL around SimCLR, `simclr+bcl+other` another one around that.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from utils.errors import InputError
from utils.files import load_object

if TYPE_CHECKING:
    from methods.base import Method


class Part(NamedTuple):
    """A part of an experiment's name: `text` with the value of `option` for {}.

    The first part of a line is in every name. Another one is left out if its option has the value `unless`, by default
    the one that the line sets.
    """

    text: str
    option: str = ""
    unless: str | None = None


class Line(NamedTuple):
    """A method or a wrapper.

    label: in tables and figures. where: 'module:Class', imported only if it is used. parts: what it adds to an
    experiment's name; SimCLR adds nothing. options: option -> its default, as text, if the method is chosen by its
    name. papers: paper -> options that replace these in its recipes. flag: the published flag that chooses it
    (`prune`), or an option of its own that chooses it by having a value (`temperature_schedule`); '' if only --method
    chooses it.
    """

    label: str
    where: str
    parts: tuple[Part, ...] = ()
    options: Mapping[str, str] = {}
    flag: str = ""
    papers: Mapping[str, Mapping[str, str]] = {}

    def part_of_name(self, settings: Mapping[str, str]) -> str:
        """What it adds to an experiment's name, with these settings."""
        shown = [part for part in self.parts if not part.option or settings[part.option] != self.left_out_at(part)]
        return "".join(part.text.format(_in_a_folder(settings.get(part.option, ""))) for part in shown)

    def left_out_at(self, part: Part) -> str | None:
        """The value of its option at which a part is left out of names; None for none."""
        if part == self.parts[0]:
            return None
        return self.options[part.option] if part.unless is None else part.unless


def _in_a_folder(value: str) -> str:
    """A value as it is in the name of a folder, without colons and commas, which cause trouble in paths."""
    return re.sub("[:,]", "-", value)


class Named(NamedTuple):
    """A name for a composition of methods: what it stands for, its label, and options that it sets besides."""

    composed: str
    label: str
    options: Mapping[str, str] = {}


METHODS = {
    "simclr": Line("SimCLR", "methods.simclr:SimCLR"),
    "focal": Line("Focal", "methods.focal:Focal", (Part("_focal{}", "focal_gamma"),), {"focal_gamma": "2"}, "focal"),
    "sdclr": Line(
        "SDCLR", "methods.sdclr:SDCLR",
        (Part("_pruneP{}", "prune_percent"), Part("DualBN", "prune_dual_bn", "False"),
         Part("RandomP{}", "random_prune_percent")),
        {"prune_percent": "0.9", "prune_dual_bn": "True", "random_prune_percent": "0"}, "prune",
        papers={"bcl": {"weight_decay": "1e-4"}},
    ),
    "moclr": Line("MoCLR", "methods.moclr:MoCLR", (Part("_moclr"),)),
    "dnc": Line(
        "DnC", "methods.dnc:DnC",
        (Part("_dncK{}", "dnc_clusters"), Part("{}", "dnc_base"), Part("S{}", "dnc_split"), Part("M{}", "dnc_min"),
         Part("N{}", "dnc_sample"), Part("P{}", "dnc_prune")),
        {"dnc_clusters": "5", "dnc_base": "moclr", "dnc_split": "1:3:1", "dnc_min": "32", "dnc_sample": "200000",
         "dnc_prune": "0.9"},
    ),
}  # fmt: skip

WRAPPERS = {
    "bcl": Line(
        "BCL", "methods.bcl:BCL",
        (Part("_bclK{}", "rand_k"), Part("S{}", "rand_strength"), Part("B{}", "momentum_loss_beta")),
        {"momentum_loss_beta": "0.97", "rand_k": "1", "rand_strength": "30"}, "bcl",
    ),
    "ts": Line(
        "TS", "methods.ts:TemperatureSchedule", (Part("_ts{}", "temperature_schedule"),),
        {"temperature_schedule": "0.1,1.0,0.2"}, "temperature_schedule",
    ),
    "rwsam": Line(
        "rwSAM", "methods.rwsam:RwSAM",
        (Part("_rwsamR{}", "sam_rho"), Part("Plain", "sam_adaptive"), Part("E{}", "rwsam_every"),
         Part("H{}", "rwsam_bandwidth"), Part("P{}", "rwsam_power"), Part("C{}", "rwsam_clip")),
        {"sam_rho": "0.5", "sam_adaptive": "True", "rwsam_every": "10", "rwsam_bandwidth": "0.25", "rwsam_power": "1",
         "rwsam_clip": "10"},
    ),
    "gh": Line(
        "GH", "methods.gh:GH",
        (Part("_ghK{}", "gh_classes"), Part("W{}", "gh_warmup"), Part("R{}", "gh_ramp"), Part("P{}", "gh_refresh"),
         Part("A{}", "gh_add")),
        {"gh_classes": "100", "gh_warmup": "0.5", "gh_ramp": "0.01", "gh_refresh": "20", "gh_add": "0"}, "gh",
    ),
}  # fmt: skip

# Compositions with their own names.
NAMED = {
    "untrained": Named("simclr", "untrained", {"epochs": "0"}),
    "bcl-i": Named("simclr+bcl", "BCL-I"),
    "bcl-d": Named("sdclr+bcl", "BCL-D", {"rand_k": "2"}),
    "ts": Named("simclr+ts", "TS"),
    "rwsam": Named("simclr+rwsam", "rwSAM"),
}

# The order of rows in tables and of bars in figures; other methods follow.
ORDER = (
    "untrained", "simclr", "focal", "moclr", "dnc", "sdclr", "bcl-i", "bcl-d", "rwsam", "ts", "simclr+gh",
)  # fmt: skip


class Chosen(NamedTuple):
    """A method by its name: name and label as in tables, the lines it is composed of, inner first, and its options."""

    name: str
    label: str
    lines: tuple[Line, ...]
    options: Mapping[str, str]


def method_names() -> list[str]:
    """The names that tables and recipes list; further compositions are possible."""
    return list(dict.fromkeys((*ORDER, *METHODS, *NAMED)))


def choose(name: str) -> Chosen:
    """The method of a name, such as `sdclr`, `bcl-d` (the same as `sdclr+bcl`) or `focal+bcl`.

    Raises:
        InputError: a part of it is unknown, or comes twice.
    """
    first, *around = name.split("+")
    base, *wrappers = "+".join([NAMED[first].composed if first in NAMED else first, *around]).split("+")
    if first == "untrained" and around:
        raise InputError(f"method {name!r}: what is not trained has no wrapper")
    for word, known in [(base, METHODS), *((wrapper, WRAPPERS) for wrapper in wrappers)]:
        if word not in known:
            names, others = ", ".join(method_names()), " or ".join(f"+{w}" for w in WRAPPERS)
            raise InputError(f"unknown method {word!r}: choose one of {names}, perhaps with {others}")
    if len(set(wrappers)) < len(wrappers):
        raise InputError(f"method {name!r} has a wrapper twice")
    lines = (METHODS[base], *(WRAPPERS[wrapper] for wrapper in wrappers))
    options = {key: value for line in lines for key, value in line.options.items()}
    # A beginning that has its own name is replaced by it: sdclr+bcl+gh is bcl-d+gh.
    words, labels = [base, *wrappers], [line.label for line in lines]
    for short, (composed, label, additional) in NAMED.items():
        covered = composed.split("+")
        if words[: len(covered)] == covered and (short != "untrained" or name == short):
            words[: len(covered)], labels[: len(covered)], options = [short], [label], options | additional
    return Chosen("+".join(words), "+".join(labels), lines, options)


def label_of(name: str) -> str:
    """The label of a method in tables and figures, such as `BCL-D`."""
    return choose(name).label


def method_of(settings: Mapping[str, Any]) -> str:
    """The name of a pre-training run's method, by the settings of its command line or checkpoint."""
    if settings.get("epochs") == 0:
        return "untrained"
    if name := settings.get("method"):
        return choose(name).name
    base = next((name for name, line in METHODS.items() if line.flag and settings.get(line.flag)), "simclr")
    around = [name for name, line in WRAPPERS.items() if line.flag and settings.get(line.flag)]
    return choose("+".join([base, *around])).name


def method_in(ending: str) -> str:
    """The name of the method by the end of an experiment's name, such as `_pruneP0.9DualBN`."""
    base = next((name for name, line in METHODS.items() if line.parts and _begin(line) in ending), "simclr")
    around = [name for name, line in WRAPPERS.items() if line.parts and _begin(line) in ending]
    return choose("+".join([base, *sorted(around, key=lambda name: ending.index(_begin(WRAPPERS[name])))])).name


def _begin(line: Line) -> str:
    """The beginning of its part of an experiment's name."""
    return line.parts[0].text.partition("{}")[0]


def load(line: Line) -> "type[Method]":
    """The class of a line; imports torch."""
    return load_object(line.where)
