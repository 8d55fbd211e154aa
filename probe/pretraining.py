"""What is known of a pre-training from the checkpoint that is probed."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from data.sets.base import DataSet
from data.sets.registry import OF_PRETRAINING, trained_on
from run.checkpoint import read_checkpoint
from split.lists import origin_here
from utils.errors import InputError


def pretraining_of(probed: dict[str, Any]) -> dict[str, Any] | None:
    """The pre-training of the checkpoint that a probe with the settings `probed` starts from; None if it is not known.

    Returns:
        'precision' and 'augment' of the checkpoint's run. If that is one of pre-training, and no probe or supervised
        learning, also 'experiment', 'method' (None in older ones), 'dataset', 'epochs' (done), 'list' (its name, with
        hash and source as it is on this machine now), 'split' (its number; None for another list), 'settings' (all),
        and 'provenance', as run.made has it ({} in older ones).
    """
    checkpoint = probed.get("checkpoint")
    content = _content(checkpoint) if checkpoint else {}
    settings, done = _settings(content), _done(content)
    basics = {name: settings[name] for name in ("precision", "augment") if isinstance(settings.get(name), str)}
    listed = _listed(settings) if probed.get("cvt_state_dict") and settings.keys() >= OF_PRETRAINING else None
    if listed is None:
        return basics or None
    dataset, name = listed
    split = dataset.split_of(name)
    return {
        "experiment": settings.get("experiment"),
        "method": settings.get("method"),
        "dataset": dataset.name,
        "list": {"name": name, **origin_here(name, dataset)},
        "split": split.number if split else None,
        "epochs": done,
        **basics,
        "settings": settings,
        "provenance": _provenance(content),
    }


def tailed_list_of(probed: dict[str, Any], dataset: DataSet) -> str:
    """The long-tailed list of the split that the probed network was trained on, by pre-training or with labels.

    '' where its checkpoint does not say, or is of another data set.
    """
    settings = settings_in(probed["checkpoint"])[0] if probed.get("checkpoint") else {}
    listed = _listed(settings) if probed.get("cvt_state_dict") and settings else None
    split = dataset.split_of(listed[1]) if listed and listed[0].name == dataset.name else None
    return dataset.tailed_list(split) if split else ""


def _listed(settings: dict[str, Any]) -> tuple[DataSet, str] | None:
    """The data set and the list of the run with these settings; None for an unknown data set."""
    try:
        return trained_on(settings)
    except InputError:
        return None


def size_of(record: dict[str, Any] | None, dataset: DataSet) -> int | None:
    """Size in pixels of the views in pre-training; None where it is not known, or for pre-training on another data set,
    whose images have another size.

    Args:
        record: from pretraining_of.
    """
    if not record or record.get("dataset") != dataset.name:
        return None
    return record["settings"].get("image_size") or dataset.size  # in older checkpoints, None is the usual size


def settings_in(checkpoint: str | Path) -> tuple[dict[str, Any], int | None]:
    """The settings in a checkpoint as JSON values, {} if there are none, and the number of epochs that are done."""
    content = _content(checkpoint)
    settings = _settings(content)
    return settings, _done(content) if settings else None


def _content(checkpoint: str | Path) -> dict[str, Any]:
    """The content of a checkpoint; {} where it cannot be read, as it may come from anywhere."""
    try:
        return read_checkpoint(checkpoint)
    except (InputError, OSError, TypeError, ValueError, RecursionError):
        return {}


def _settings(content: dict[str, Any]) -> dict[str, Any]:
    """The settings in a checkpoint as JSON values; {} where there are none, or JSON cannot have them."""
    config = content.get("config")
    try:
        return json.loads(json.dumps(config, default=str, skipkeys=True)) if isinstance(config, dict) else {}
    except (TypeError, ValueError, RecursionError):
        return {}


def _done(content: dict[str, Any]) -> int | None:
    """The number of epochs that are done at a checkpoint; None where it does not say."""
    done = content.get("epoch")
    return int(done) if isinstance(done, int | np.integer) else None


def _provenance(content: dict[str, Any]) -> dict[str, str]:
    """The texts of a checkpoint's provenance; {} where it has none."""
    record = content.get("provenance")
    entries = record.items() if isinstance(record, dict) else ()
    return {name: value for name, value in entries if isinstance(name, str) and isinstance(value, str)}
