"""Options of the recipes, of recipes.reproduce and of recipes.pretrained."""

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Never

from data.sets.registry import data_set
from methods import choose
from probe.protocols import PROTOCOLS, for_set
from recipes.effects import without_effect
from recipes.settings import GENERAL, METHOD_OPTIONS, PAPERS, Recipe, settle
from utils.cli import Parser, check_text, home_expanded, not_negative
from utils.errors import InputError
from utils.files import PROJECT

ANY_HASH = "--overwrite True takes it all the same"
FROM_FILE = "--from FILE"
RAISE_LIMIT = "raise --max_gb if that is right"

# ---- recipes

_SWITCHES = [name for name, value in {**GENERAL, **METHOD_OPTIONS}.items() if value in ("True", "False")]
BOOLEANS = {"prune", "tensorboard", *_SWITCHES}
WHOLE = {
    "epochs", "batch_size", "workers", "port", "GPU_NUM", "nodes", "linear_epochs", "few_shot_epochs", "image_size",
    "save_steps", "monitor_freq", "head_width", "supervised_epochs", "crt_epochs", "rdzv_wait",
}  # fmt: skip
# Names of their own that the published scripts have for some.
SPELLINGS = {
    "-e": "epochs", "-s": "split", "-p": "port", "-w": "workers", "-g": "GPU_NUM", "-n": "nodes",
    "--pretrain_batch_size": "batch_size", "--pretrain_lr": "lr", "--only_few_shot": "few_shot_only",
    "--init": "method",
}  # fmt: skip
PATHS = {"data", "root"}
FIXED = {"output_ch", "print_freq"}
OF_SCRIPTS = {"dataset", "resizeLower"}  # what a script says, and its user does not
OPTIONS = [*(name for name in GENERAL if name not in FIXED | OF_SCRIPTS), *METHOD_OPTIONS]


class Given(NamedTuple):
    """What a command line says: setting -> value, and how its option was written."""

    values: dict[str, str]
    written: dict[str, str]

    def words(self, without: Collection[str] = ()) -> list[str]:
        """The command line again, perhaps without some settings."""
        return [word for name in self.values if name not in without for word in (self.written[name], self.values[name])]


def parse_recipe(words: Sequence[str], description: str) -> Recipe:
    """A recipe's settings: a script's, then `--`, then its user's; without `--`, all are the user's.

    Raises:
        InputError: a value is of the wrong kind, or settings do not go together or have no effect.
        SystemExit: help was asked for (0), or an option is unknown (125, as published).
    """
    everything, at = [*OPTIONS, *OF_SCRIPTS], words.index("--") if "--" in words else None
    script = {} if at is None else _read(words[:at], everything, description).values
    user = _read(words, everything, description) if at is None else _read(words[at + 1 :], OPTIONS, description)
    _from_the_callers_folder(user)
    recipe = _settled(script, user)
    if refused := refusals(recipe, user):
        raise InputError(next(iter(refused.values())))
    _check(recipe)
    return recipe


def _read(words: Sequence[str], known: Collection[str], description: str) -> Given:
    """Options and values in pairs; the last one of a setting counts."""
    check_text(words)
    given, rest = Given({}, {}), [home_expanded(word) for word in words]
    while rest:
        option, value = rest[0], rest[1] if len(rest) > 1 else ""
        if option in ("-h", "--help"):
            _help(description)
        name = SPELLINGS.get(option, option[2:] if option.startswith("--") else "")
        if name not in known:
            print(f"{option} is not found", file=sys.stderr)
            raise SystemExit(125)
        if name == "supervised" and value not in ("True", "False") and (not value or value.startswith("-")):
            rest.insert(1, value := "True")
        value = "untrained" if (option, value) == ("--init", "none") else value
        if name in BOOLEANS and value not in ("True", "False"):
            raise InputError(f"{option} takes True or False, not '{value}'")
        if not value:
            raise InputError(f"{option} needs a value")
        if name in WHOLE and not re.fullmatch("[0-9]+", value):
            raise InputError(f"{option} takes a whole number, not '{value}'")
        given.values[name], given.written[name] = value, option
        rest = rest[2:]
    return given


def _from_the_callers_folder(user: Given) -> None:
    """Relative paths of a script's user mean the folder that the script was called in; it has gone to the project's."""
    caller = Path(os.environ.get("RECIPE_CALLER", "."))
    if caller.resolve() != Path.cwd().resolve():
        for name in PATHS & user.values.keys():
            user.values[name] = str(caller / user.values[name])


def _help(description: str | None) -> Never:
    """Print a description and all options; the scripts print the comment at their top themselves.

    Args:
        description: a docstring, None under `python -OO`.
    """
    short = {name: option for option, name in SPELLINGS.items() if option[1] != "-"}
    names = [f"{short[name]}, --{name}" if name in short else f"--{name}" for name in ["dataset", *OPTIONS]]
    print((description or "").strip(), textwrap.fill("; ".join(names), 118, break_on_hyphens=False), sep="\n\n")
    print("\nOptions: docs/recipes.md")
    raise SystemExit(0)


def _settled(script: Mapping[str, str], user: Given) -> Recipe:
    """All settings, looked at together."""
    said = {**script, **user.values}
    if "dataset" not in said:
        raise InputError("name a data set by --dataset (see --help)")
    if data_set(said["dataset"]).transfer:
        raise InputError(
            f"{said['dataset']} is for transfer, by cmds/shell_scrips/transfer.sh --sets {said['dataset']}"
        )
    if said.get("paper", "sdclr") not in PAPERS:
        raise InputError(f"unknown --paper {said['paper']}: choose {' or '.join(PAPERS)}")
    protocols = said["protocols"].split(",") if "protocols" in said else []
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise InputError(f"unknown protocol {unknown[0]!r}: choose from {','.join(PROTOCOLS)}")
    if len(set(protocols)) < len(protocols):
        raise InputError(f"--protocols {said['protocols']} has one twice")
    if "method" in said:
        try:
            choose(said["method"])
        except InputError as error:
            raise InputError(f"--method {said['method']}: {error}") from error
    if said.get("supervised") == "True" and "paper" not in said:  # whose table it is
        script = {**script, "paper": "bcl"}
    return settle(script, user.values)


def _check(recipe: Recipe) -> None:
    values, dataset, protocols = recipe.values, recipe.dataset, recipe.protocols
    _check_processes(recipe)
    if dataset.own and not dataset.tree.classes:
        if any(protocol.supervised for protocol in protocols):
            raise InputError("supervised learning needs labels: a folder of images for each class")
        if values["protocols"] or recipe.on("only_finetuning") or recipe.on("few_shot_only"):
            raise InputError("probes need labels: a folder of images for each class")
        return
    if other := [p.name for p in protocols if p.name not in for_set(dataset)]:
        raise InputError(f"protocol {other[0]} is not for {dataset.name}: choose other --protocols")
    if recipe.on("only_pretraining") and recipe.on("only_finetuning") and not recipe.on("few_shot_only"):
        raise InputError("--only_pretraining True and --only_finetuning True leave nothing to do: choose one")
    if not protocols:
        raise InputError(f"BCL's probes have no lists of {dataset.name}: leave out --paper bcl")
    if without := [p.name for p in protocols if p.classifier and not dataset.probe_lists(p.shots)]:
        raise InputError(f"{dataset.name} has no lists for protocol {without[0]}: choose other --protocols")
    if recipe.on("few_shot_only") and not any(protocol.few_shot for protocol in protocols):
        raise InputError(f"--few_shot_only True leaves nothing of --protocols {values['protocols']}")
    if recipe.on("test_only") and any(protocol.classifier for protocol in protocols):
        raise InputError(
            "probes on features train their classifier each time: --only_finetuning True, without --test_only"
        )
    if recipe.on("test_only") and (anew := [p.name for p in protocols if p.supervised == "nothing"]):
        raise InputError(f"{anew[0]} is evaluated anew each time: choose other --protocols with --test_only True")


def _check_processes(recipe: Recipe) -> None:
    if not recipe.count("GPU_NUM"):
        raise InputError("-g counts processes, one for each GPU or one on a CPU: it is at least 1")
    if not recipe.count("nodes"):
        raise InputError("-n counts machines: it is at least 1")
    if recipe.count("nodes") > 1 and not recipe.values["rdzv"]:
        raise InputError(f"-n {recipe.values['nodes']} needs --rdzv HOST:PORT, the same on all machines")


def refusals(recipe: Recipe, user: Given) -> dict[str, str]:
    """Setting -> what to tell the user, of those that were given and have no effect in this recipe."""
    reasons = {name: without_effect(recipe, name, value) for name, value in user.values.items()}
    return {name: f"{user.written[name]} {reason}" for name, reason in reasons.items() if reason}


# ---- recipes.reproduce


class Reproduction(NamedTuple):
    """What recipes.reproduce is to run.

    data: the data set as the user calls it. methods: as the user calls them, each with the options of its recipe.
    recipe: of the first method, without a script.
    """

    data: str
    methods: dict[str, list[str]]
    recipe: Recipe

    def folder(self, kind: str) -> str:
        """Where what is made of all runs goes: 'tables', 'figures', 'report' or 'tail'."""
        return self.recipe.below(f"{kind}_{self.data}")


def parse_reproduce(words: Sequence[str], description: str) -> Reproduction:
    """`DATASET [METHOD ...] [-- RECIPE OPTIONS]`; a method gets those of the options that it takes.

    Raises:
        InputError: as parse_recipe, or an unknown data set or method, or no method takes an option.
        SystemExit: as parse_recipe.
    """
    if words[:1] in (["-h"], ["--help"]):
        _help(description)
    if not words:
        raise InputError("name a data set (see --help)")
    dataset, at = data_set(words[0]).name, words.index("--") if "--" in words else len(words)
    methods = words[1:at] or ["simclr", "sdclr"]
    try:
        for name in methods:
            choose(name)
    except InputError as error:
        raise InputError(f"{error}; recipe's options go behind --") from error
    user = _read(words[at + 1 :], OPTIONS, description)
    _from_the_callers_folder(user)
    if "method" in user.values:
        raise InputError("methods are named before --, not by --method")
    if "split" in user.values and (len(data_set(dataset).splits) > 1 or data_set(dataset).own):
        raise InputError("splits are named by SPLITS in the environment, not by --split: SPLITS='1 2', say")
    recipes = {name: _settled({"dataset": dataset, "method": name}, user) for name in methods}
    for recipe in recipes.values():
        _check(recipe)
    refused = {name: refusals(recipe, user) for name, recipe in recipes.items()}
    first, *others = refused.values()
    for name, message in first.items():
        if all(name in other for other in others):
            raise InputError(message)
    options = {name: user.words(without=refused[name]) for name in methods}
    return Reproduction(words[0], options, next(iter(recipes.values())))


# ---- recipes.pretrained


def parse(description: str, archives: list[str]) -> argparse.Namespace:
    """The command, the archives and where they go.

    Args:
        archives: the names that there are.

    Raises:
        InputError: an unknown flag, archive or folder, or nothing to get.
    """
    parser = Parser(description)
    add = parser.add_argument
    add("command", choices=["list", "get"])
    add("names", nargs="*", metavar="NAME", help=", ".join(archives))
    add("--from", dest="source", type=Path, help="the archive, downloaded otherwise; with one NAME")
    add("--root", type=Path, default=PROJECT, help="folder of checkpoints, ...; default the project's")
    parser.add_flag("--overwrite", help="replace files of other content, and accept an archive of another hash")
    add("--max_gb", type=not_negative, default=50.0, help="the largest archive to take, unpacked")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in archives]:
        raise InputError(f"unknown archive {unknown[0]!r}: choose from {', '.join(archives)}")
    if not args.root.is_dir():
        raise InputError(f"--root {args.root} is no folder")
    if args.command == "get" and (not args.names or (args.source and len(args.names) > 1)):
        raise InputError("name what to get, one NAME if it is --from a file; the command list shows what there is")
    return args
