"""What the checkpoint of a probe tells of the pre-training that it is of."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from data.sets.base import DataSet
from data.sets.registry import trained_on
from run.checkpoint import read_checkpoint
from split.lists import origin_here
from utils.errors import InputError


def pretraining_of(probed: dict[str, Any]) -> dict[str, Any] | None:
    """The pre-training whose network a probe with these settings probes; None where its checkpoint does not tell.

    Returns:
        'precision' and 'augment'; and of a checkpoint of pre-training 'experiment', 'method' (None of older ones),
        'dataset', 'epochs' (done), its 'list' by name (with hash and source as it is here now), the number of its
        'split' (None of another list), all 'settings', and its 'provenance', as run.made has it ({} of older ones).
    """
    checkpoint = probed.get("checkpoint")
    content = _content(checkpoint) if checkpoint else {}
    settings, done = _settings(content), _done(content)
    how = {name: settings[name] for name in ("precision", "augment") if isinstance(settings.get(name), str)}
    if not (probed.get("cvt_state_dict") and settings):
        return how or None
    try:
        dataset, name = trained_on(settings)
    except InputError:
        return how or None
    split = dataset.split_of(name)
    return {
        "experiment": settings.get("experiment"),
        "method": settings.get("method"),
        "dataset": dataset.name,
        "list": {"name": name, **origin_here(name, dataset)},
        "split": split.number if split else None,
        "epochs": done,
        **how,
        "settings": settings,
        "provenance": _provenance(content),
    }


def tailed_list_of(probed: dict[str, Any], dataset: DataSet) -> str:
    """The long-tailed list of the split that the network of a probe with these settings was pre-trained on; '' where
    its checkpoint does not tell, or tells of another data set."""
    told = pretraining_of(probed) or {}
    split = dataset.split_of(told["list"]["name"]) if told.get("dataset") == dataset.name else None
    return dataset.tailed_list(split) if split else ""


def size_of(told: dict[str, Any] | None, dataset: DataSet) -> int | None:
    """Pixels of the views of a pre-training, as pretraining_of tells of it; None where it does not, or it was of
    another data set, whose images have a size of their own."""
    if not told or told.get("dataset") != dataset.name:
        return None
    return told["settings"].get("image_size") or dataset.size  # older ones have None for the usual size


def settings_in(checkpoint: str | Path) -> tuple[dict[str, Any], int | None]:
    """The settings in a checkpoint, as JSON has them, and the epochs that are done; {} where the file has none."""
    content = _content(checkpoint)
    settings = _settings(content)
    return settings, _done(content) if settings else None


def _content(checkpoint: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, {} where it cannot be read; the file may be anybody's."""
    try:
        return read_checkpoint(checkpoint)
    except (InputError, OSError, TypeError, ValueError, RecursionError):
        return {}


def _settings(content: dict[str, Any]) -> dict[str, Any]:
    """As JSON has them; {} where there are none, or none that JSON can have."""
    config = content.get("config")
    try:
        return json.loads(json.dumps(config, default=str, skipkeys=True)) if isinstance(config, dict) else {}
    except (TypeError, ValueError, RecursionError):
        return {}


def _done(content: dict[str, Any]) -> int | None:
    done = content.get("epoch")
    return int(done) if isinstance(done, int | np.integer) else None


def _provenance(content: dict[str, Any]) -> dict[str, str]:
    told = content.get("provenance")
    return (
        {k: v for k, v in told.items() if isinstance(k, str) and isinstance(v, str)} if isinstance(told, dict) else {}
    )
