"""What the checkpoint of a probe tells of the pre-training that it is of."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from data.sets.registry import trained_on
from run.checkpoint import read_checkpoint
from split.lists import origin_here
from utils.errors import InputError


def pretraining_of(probed: dict[str, Any]) -> dict[str, Any] | None:
    """The pre-training whose network a probe with these settings probes; None where its checkpoint does not tell.

    Returns:
        'precision' and 'augment'; and of a checkpoint of pre-training 'experiment', 'method' (None of older ones),
        'dataset', 'epochs' (done), its 'list' by name (with hash and source as it is here now), the number of its
        'split' (None of another list), and all 'settings'.
    """
    checkpoint = probed.get("checkpoint")
    settings, done = settings_in(checkpoint) if checkpoint else ({}, None)
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
    }


def settings_in(checkpoint: str | Path) -> tuple[dict[str, Any], int | None]:
    """The settings in a checkpoint, as JSON has them, and the epochs that are done; {} where the file has none."""
    try:
        content = read_checkpoint(checkpoint)
        config, done = content.get("config"), content.get("epoch")
        # The file may be anybody's.
        settings = json.loads(json.dumps(config, default=str, skipkeys=True)) if isinstance(config, dict) else {}
    except (InputError, OSError, TypeError, ValueError, RecursionError):
        return {}, None
    return settings, int(done) if isinstance(done, int | np.integer) else None
