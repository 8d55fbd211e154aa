"""The run of protocol ce that cRT and post-hoc logit adjustment start from, a finished one or one that is run first."""

import argparse
import json
from pathlib import Path
from typing import Any

from data.sets.registry import data_set
from probe.pretraining import settings_in
from probe.protocols import PROTOCOLS, supervised
from utils.errors import InputError

BEST = "best_model.pt"
FOLDER = "ce"  # folder, in the experiment's, of a run of protocol ce that is run first
# Settings that such a run takes from protocol ce; the others are those of the command line.
_FROM_PROTOCOL = ("lr", "wd", "momentum", "nesterov", "warmup", "fixto", "fixbn")


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
    trained_on = str(settings.get("dataset"))
    if data_set(trained_on).name != data_set(dataset).name:
        raise InputError(f"{folder} is of data set {trained_on}, not {dataset}: name another folder")
    return settings


def result_of_ce(folder: str) -> dict[str, Any]:
    """The results.json of a run of protocol ce; {} where it has none."""
    try:
        result = json.loads((Path(folder) / "results.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return result if isinstance(result, dict) else {}


def departures(folder: str) -> dict[str, list]:
    """The departures of a run of protocol ce, with names for the result of the run that starts from it."""
    departs = result_of_ce(folder).get("departs")
    return {f"ce_{name}": pair for name, pair in departs.items()} if isinstance(departs, dict) else {}


def network_of(args: argparse.Namespace) -> str:
    """The file of a run of protocol ce whose network a run starts from.

    '' where the run does not start from one, or --check comes before that run.
    """
    protocol = supervised(args.protocol)
    starts_from_ce = protocol and protocol.after_ce and args.ce and not args.test_only
    path = Path(args.ce) / BEST if starts_from_ce else None
    return str(path) if path and (path.is_file() or not args.check) else ""


def run_before(args: argparse.Namespace) -> argparse.Namespace | None:
    """The command line of the run of protocol ce that must be run first; None if there is none."""
    protocol = supervised(args.protocol)
    if not protocol or not protocol.after_ce or args.ce or args.test_only:
        return None
    defaults = PROTOCOLS["ce"].settings[data_set(args.dataset).style]
    settings = {"protocol": "ce", "experiment": f"{args.experiment}/{FOLDER}", "epochs": args.ce_epochs, "ce": ""}
    settings |= {"tau": 0.0, "ce_epochs": 0, "crt_bn": "fixed"}
    settings |= {name: defaults[name] for name in _FROM_PROTOCOL}
    return argparse.Namespace(**{**vars(args), **settings})
