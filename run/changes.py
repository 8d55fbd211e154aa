"""Which settings of a resumed run differ from those that it had."""

from collections.abc import Collection
from typing import Any

# Settings that change no result: where things are, what is printed and kept, and how the run is started.
HARMLESS = frozenset([
    "experiment", "save_dir", "data", "download", "num_workers", "print_freq", "log_interval", "save_freq",
    "save_steps", "mask_save_freq", "protocol", "resume", "overwrite", "accept_changes", "start_epoch", "no_cuda",
    "local_rank", "world_size", "port", "testContrastiveAcc", "testContrastiveAccTest", "test_batch_size", "test_only",
    "monitor", "monitor_freq", "tensorboard", "wandb", "check", "untrained", "quiet",
    "cache",  # but what makes the views
    "format", "mean", "std",  # `encoder` says how it was read
    "on_bad_image",  # while there is none, `error` and `skip` do the same
    "trainSplit", "imagenetCustomSplit", "customSplit", "fullset", "valiSplit", "groupSplit",  # but what they hold
])  # fmt: skip
HASHES = {"images": "the training images are different ones", "lists": "a list of images has changed"}
OF_AN_EPOCH = {"batch_size", "processes", *HASHES}  # what its steps are counted in


def changed_settings(content: dict[str, Any], now: dict[str, Any], harmless: Collection[str]) -> dict[str, str]:
    """Name -> what is told of it, of the settings that change the result and are others than a checkpoint's.

    Args:
        now: this run's settings. harmless: those that may differ, besides HARMLESS.
    """
    before = content.get("config") if isinstance(content.get("config"), dict) else {}
    counts = {name: value for name, value in now.items() if name not in HARMLESS and name not in harmless}
    # Older ones do not say what stood for None and auto.
    changed = {name: value for name, value in counts.items() if before.get(name) not in (None, "auto", value)}
    names = {"processes": "the number of processes"}
    return {k: HASHES.get(k) or f"{names.get(k, k)} was {before[k]!r}, is {v!r}" for k, v in changed.items()}
