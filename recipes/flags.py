"""Options of the recipes and of recipes.pretrained."""

import argparse
import difflib
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
from recipes.settings import GENERAL, LINES, METHOD_OPTIONS, OF_PROTOCOLS, PAPERS, Recipe, settle
from run.schedule import TWO_STAGE
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
# Options that the published scripts spell in another way than their settings.
SPELLINGS = {
    "-e": "epochs", "-s": "split", "-p": "port", "-w": "workers", "-g": "GPU_NUM", "-n": "nodes",
    "--pretrain_batch_size": "batch_size", "--pretrain_lr": "lr", "--only_few_shot": "few_shot_only",
    "--init": "method",
}  # fmt: skip
PATHS = {"data", "root"}
FIXED = {"output_ch", "print_freq"}  # settings that nobody can give
OF_SCRIPTS = {"dataset", "resizeLower"}  # settings that only scripts give, not their users
# Setting -> another one, and its value without which the setting has no effect.
NEEDED = {
    "stage_epochs": ("scheduler", TWO_STAGE),
    "stage_decay": ("scheduler", TWO_STAGE),
    "dnc_prune": ("dnc_base", "sdclr"),
}
OPTIONS = [*(name for name in GENERAL if name not in FIXED | OF_SCRIPTS), *METHOD_OPTIONS]


class Given(NamedTuple):
    """The settings of a command line. values: setting -> value. written: setting -> its option as it was spelled."""

    values: dict[str, str]
    written: dict[str, str]

    def words(self, without: Collection[str] = ()) -> list[str]:
        """The command line again, without some of the settings."""
        return [word for name in self.values if name not in without for word in (self.written[name], self.values[name])]


def parse_recipe(words: Sequence[str], description: str) -> Recipe:
    """A recipe by its command line: the script's settings, `--`, the user's; without `--`, all are the user's.

    Raises:
        InputError: a value is of the wrong kind, or settings do not go together or have no effect.
        SystemExit: help was asked for (0), or an option is unknown (125, as published).
    """
    known = [*OPTIONS, *OF_SCRIPTS]
    if "--" in words:
        at = words.index("--")
        script = read(words[:at], known, description).values
        user = read(words[at + 1 :], OPTIONS, description)
    else:
        script, user = {}, read(words, known, description)
    relative_to_caller(user)
    recipe = recipe_of(script, user)
    if messages := refusals(recipe, user):
        raise InputError(next(iter(messages.values())))
    check(recipe)
    return recipe


def read(words: Sequence[str], known: Collection[str], description: str) -> Given:
    """Options and their values; of an option that is given twice, the last value counts."""
    check_text(words)
    given, rest = Given({}, {}), [home_expanded(word) for word in words]
    while rest:
        option, value = rest[0], rest[1] if len(rest) > 1 else ""
        if option in ("-h", "--help"):
            print_help(description)
        name = SPELLINGS.get(option, option[2:] if option.startswith("--") else "")
        if name not in known:
            similar = difflib.get_close_matches(option, [f"--{name}" for name in known], 1)
            hint = f"; there is {similar[0]}" if similar else ""
            print(f"{option} is not found{hint}", file=sys.stderr)
            raise SystemExit(125)
        if name == "supervised" and (not value or value.startswith("-")):  # the one option without a value
            rest.insert(1, value := "True")
        value = "untrained" if (option, value) == ("--init", "none") else value
        _check_value(option, name, value)
        if name in given.values and given.written[name] != option and given.values[name] != value:
            raise InputError(f"{given.written[name]} and {option} are one setting: give one of them")
        given.values[name], given.written[name] = value, option
        rest = rest[2:]
    return given


def _check_value(option: str, name: str, value: str) -> None:
    if name in BOOLEANS and value not in ("True", "False"):
        raise InputError(f"{option} takes True or False, not '{value}'")
    if not value:
        raise InputError(f"{option} needs a value")
    if name in WHOLE and not re.fullmatch("[0-9]+", value):
        raise InputError(f"{option} takes a whole number, not '{value}'")


def relative_to_caller(user: Given) -> None:
    """Let the user's relative paths start at the folder that the script was called in: it has left that folder."""
    caller = Path(os.environ.get("RECIPE_CALLER", "."))
    if caller.resolve() != Path.cwd().resolve():
        for name in PATHS & user.values.keys():
            user.values[name] = str(caller / user.values[name])


def print_help(description: str | None) -> Never:
    """Print a description and all options; the scripts print the comment at their top themselves.

    Args:
        description: a docstring, None under `python -OO`.
    """
    short = {name: option for option, name in SPELLINGS.items() if option[1] != "-"}
    names = [f"{short[name]}, --{name}" if name in short else f"--{name}" for name in ["dataset", *OPTIONS]]
    print((description or "").strip(), textwrap.fill("; ".join(names), 118, break_on_hyphens=False), sep="\n\n")
    print("\nOptions: docs/recipes.md")
    raise SystemExit(0)


def recipe_of(script: Mapping[str, str], user: Given) -> Recipe:
    """The recipe with a script's and a user's settings; raises InputError where these have an unknown name."""
    given = {**script, **user.values}
    if "dataset" not in given:
        raise InputError("name a data set by --dataset (see --help)")
    name = given["dataset"]
    if data_set(name).transfer:
        raise InputError(f"{name} is for transfer, by cmds/shell_scrips/transfer.sh --sets {name}")
    if given.get("paper", "sdclr") not in PAPERS:
        raise InputError(f"unknown --paper {given['paper']}: choose {' or '.join(PAPERS)}")
    protocols = given["protocols"].split(",") if "protocols" in given else []
    if unknown := [protocol for protocol in protocols if protocol not in PROTOCOLS]:
        raise InputError(f"unknown protocol {unknown[0]!r}: choose from {','.join(PROTOCOLS)}")
    if len(set(protocols)) < len(protocols):
        raise InputError(f"--protocols {given['protocols']} has one twice")
    if "method" in given:
        try:
            choose(given["method"])
        except InputError as error:
            raise InputError(f"--method {given['method']}: {error}") from error
    if given.get("supervised") == "True" and "paper" not in given:
        script = {**script, "paper": "bcl"}  # supervised learning is a table of BCL's paper
    return settle(script, user.values)


def check(recipe: Recipe) -> None:
    """Raise InputError where settings do not go together."""
    values, dataset, protocols = recipe.values, recipe.dataset, recipe.protocols
    _check_processes(recipe)
    if dataset.own and not dataset.tree.classes:
        if recipe.supervised:
            raise InputError("supervised learning needs labels: a folder of images for each class")
        if values["protocols"] or recipe.on("only_finetuning") or recipe.on("few_shot_only"):
            raise InputError("probes need labels: a folder of images for each class")
        return
    frozen = [p.name for p in protocols if not p.supervised]
    if frozen and recipe.supervised:
        raise InputError(f"supervised learning has a table of its own: run {','.join(frozen)} in another recipe")
    if other := [p.name for p in protocols if p.name not in for_set(dataset)]:
        raise InputError(f"protocol {other[0]} is not for {dataset.name}: choose other --protocols")
    if recipe.on("only_pretraining") and recipe.on("only_finetuning") and not recipe.on("few_shot_only"):
        raise InputError("--only_pretraining True and --only_finetuning True leave nothing to do: choose one")
    if not protocols:
        raise InputError(f"BCL's probes have no lists of {dataset.name}: leave out --paper bcl")
    if without_lists := [p.name for p in protocols if p.classifier and not dataset.probe_lists(p.shots)]:
        raise InputError(f"{dataset.name} has no lists for protocol {without_lists[0]}: choose other --protocols")
    if recipe.on("few_shot_only") and not any(protocol.few_shot for protocol in protocols):
        raise InputError(f"--few_shot_only True leaves nothing of --protocols {values['protocols']}")
    if recipe.on("test_only"):
        _check_evaluation(recipe)


def _check_evaluation(recipe: Recipe) -> None:
    """Raise InputError where a protocol has no trained state that could be evaluated alone."""
    if any(protocol.classifier for protocol in recipe.protocols):
        raise InputError(
            "probes on features train their classifier each time: --only_finetuning True, without --test_only"
        )
    if post_hoc := [p.name for p in recipe.protocols if p.supervised == "nothing"]:
        raise InputError(f"{post_hoc[0]} is evaluated anew each time: choose other --protocols with --test_only True")


def _check_processes(recipe: Recipe) -> None:
    if not recipe.count("GPU_NUM"):
        raise InputError("-g counts processes, one for each GPU or one on a CPU: it is at least 1")
    if not recipe.count("nodes"):
        raise InputError("-n counts machines: it is at least 1")
    if recipe.count("nodes") > 1 and not recipe.values["rdzv"]:
        raise InputError(f"-n {recipe.values['nodes']} needs --rdzv HOST:PORT, the same on all machines")


def refusals(recipe: Recipe, user: Given) -> dict[str, str]:
    """Setting -> message, for each setting of the user's that has no effect in this recipe."""
    reasons = {name: _without_effect(recipe, name, value) for name, value in user.values.items()}
    return {name: f"{user.written[name]} {reason}" for name, reason in reasons.items() if reason}


def _without_effect(recipe: Recipe, name: str, value: str) -> str:
    """Why a setting that the user gave has no effect: the end of a sentence that begins with its option.

    Returns:
        '' where it has an effect, or its value asks for nothing (the default, or False).
    """
    dataset, values, method = recipe.dataset, recipe.values, recipe.method.name
    if name in METHOD_OPTIONS and not any(name in names for _, names in recipe.lines):
        return _of_other_method(recipe, name, value)
    if name in NEEDED:
        needed, wanted = NEEDED[name]
        return "" if values[needed] == wanted else f"has no effect without --{needed} {wanted}"
    if name == "temp" and values.get("temperature_schedule"):
        return f"has no effect with --method {method}: its schedule sets the temperature"
    pruned = any(line.flag == "prune" for line, _ in recipe.lines)
    if name == "prune" and (value == "True") != pruned:
        return f"{value} contradicts --method {method}"
    if name == "epochs" and method == "untrained" and value != "0":
        return "has no effect with --method untrained"
    if name in recipe.style.without_effect and value != GENERAL[name]:
        return f"is of {recipe.style.effective_for}, not of {dataset.name}"
    owners = {protocol for protocol, settings in OF_PROTOCOLS.items() if name in settings}
    if owners and not owners & {protocol.name for protocol in recipe.protocols}:
        return f"has no effect {_chosen_protocols(recipe)}"
    if name == "cache" and value != GENERAL[name] and not dataset.own:
        return "is of own images"
    if name in ("rdzv", "rdzv_wait") and recipe.count("nodes") < 2:
        return "has no effect without -n 2 or more"
    if name == "monitor_freq" and "knn" not in values["monitor"]:
        return "has no effect without --monitor knn"
    return ""


def _chosen_protocols(recipe: Recipe) -> str:
    """The option that chose the recipe's protocols, in words."""
    if recipe.values["protocols"]:
        return f"with --protocols {recipe.values['protocols']}"
    if recipe.on("supervised"):
        return "with --supervised True"
    return "with --paper bcl" if recipe.values["paper"] == "bcl" else "without --supervised True"


def _of_other_method(recipe: Recipe, name: str, value: str) -> str:
    """Why an option of other methods than the recipe's has no effect; '' for a value that switches it off."""
    owners = {owner: line for owner, line in LINES.items() if name in line.options}
    off = [line.left_out_at(part) for line in owners.values() for part in line.parts if part.option == name]
    if value in ("False", *off):
        return ""
    chosen = f"with --method {recipe.values['method']}" if recipe.values["method"] else "without --method"
    hint = ", which --prune True chooses, too" if [line.flag for line in owners.values()] == ["prune"] else ""
    return f"has no effect {chosen}: it is of {' and '.join(owners)}{hint}"


# ---- recipes.pretrained


def parse(description: str, archives: list[str]) -> argparse.Namespace:
    """The command, the archives and where they go.

    Args:
        archives: names of the known archives.

    Raises:
        InputError: a flag, archive or folder is unknown, or no archive is named.
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
