"""The run of protocol ce that cRT and post-hoc logit adjustment begin with: a finished one, or one that comes first."""

import argparse
import json
from pathlib import Path
from typing import Any

from data.sets.registry import data_set
from probe.pretraining import settings_in
from probe.protocols import PROTOCOLS, supervised
from utils.errors import InputError

BEST = "best_model.pt"
FOLDER = "ce"  # in the experiment's, of the run that comes first
# Settings that a run which comes first has of protocol ce; the others are those of the command line.
_OWN = ("lr", "wd", "momentum", "nesterov", "warmup", "fixto", "fixbn")


def settings_of_ce(folder: str, dataset: str) -> dict[str, Any]:
    """The settings of a finished run of protocol ce.

    Args:
        dataset: its name as a command line has it.

    Raises:
        InputError: there is no such run, or it is of another data set.
    """
    settings, _ = settings_in(Path(folder) / BEST)
    if settings.get("protocol") != "ce" or result_of_ce(folder).get("protocol") != "ce":
        raise InputError(f"{folder} holds no finished run of protocol ce: train it to its end, or name another folder")
    theirs = settings.get("dataset", "")
    if data_set(theirs).name != data_set(dataset).name:
        raise InputError(f"{folder} is of data set {theirs}, not {dataset}: name another folder")
    return settings


def result_of_ce(folder: str) -> dict[str, Any]:
    """What its results.json holds; {} where it has none."""
    try:
        found = json.loads((Path(folder) / "results.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def departures(folder: str) -> dict[str, list]:
    """Where it departs from protocol ce, named as a part of what comes after it."""
    found = result_of_ce(folder).get("departs")
    return {f"ce_{name}": pair for name, pair in found.items()} if isinstance(found, dict) else {}


def network_of(args: argparse.Namespace) -> str:
    """The file whose network a run begins with; '' where it has none of protocol ce, or a check has none yet."""
    protocol = supervised(args.protocol)
    path = Path(args.ce) / BEST if protocol and protocol.after_ce and args.ce and not args.test_only else None
    return str(path) if path and (path.is_file() or not args.check) else ""


def run_before(args: argparse.Namespace) -> argparse.Namespace | None:
    """The command line of the run of protocol ce that comes first; None where none does."""
    protocol = supervised(args.protocol)
    if not protocol or not protocol.after_ce or args.ce or args.test_only:
        return None
    own = PROTOCOLS["ce"].settings[data_set(args.dataset).style]
    first = {"protocol": "ce", "experiment": f"{args.experiment}/{FOLDER}", "epochs": args.ce_epochs, "ce": ""}
    first |= {"tau": 0.0, "ce_epochs": 0, "crt_bn": "fixed"}
    return argparse.Namespace(**{**vars(args), **first, **{name: own[name] for name in _OWN}})
