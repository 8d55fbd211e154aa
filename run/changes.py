"""Which settings of a resumed run differ from those in its checkpoint."""

from collections.abc import Collection
from typing import Any

# Settings that do not change the result: paths, what is printed and saved, and how the run is started.
HARMLESS = frozenset([
    "experiment", "save_dir", "data", "download", "num_workers", "print_freq", "log_interval", "save_freq",
    "save_steps", "mask_save_freq", "protocol", "resume", "overwrite", "accept_changes", "start_epoch", "no_cuda",
    "local_rank", "world_size", "port", "testContrastiveAcc", "testContrastiveAccTest", "test_batch_size", "test_only",
    "monitor", "monitor_freq", "tensorboard", "wandb", "check", "untrained", "quiet",
    "cache",  # where it decides what makes the views, `augment` differs
    "format", "mean", "std",  # the setting `encoder` records how the checkpoint was read
    "on_bad_image",  # without a bad image, `error` and `skip` do the same
    # Names of lists: what the lists hold is compared by hash (HASHES).
    "trainSplit", "imagenetCustomSplit", "customSplit", "fullset", "valiSplit", "groupSplit",
])  # fmt: skip
HASHES = {"images": "the training images are different ones", "lists": "a list of images has changed"}
OF_AN_EPOCH = {"batch_size", "processes", *HASHES}  # with other ones, an epoch is divided into other steps


def changed_settings(content: dict[str, Any], now: dict[str, Any], harmless: Collection[str]) -> dict[str, str]:
    """The settings that change the result and differ from a checkpoint's: name -> message.

    Args:
        content: of the checkpoint. now: this run's settings. harmless: those that may differ, besides HARMLESS.
    """
    before = content.get("config") if isinstance(content.get("config"), dict) else {}
    compared = {name: value for name, value in now.items() if name not in HARMLESS and name not in harmless}
    # Older checkpoints have None or 'auto' itself in place of the value that it stood for.
    changed = {name: value for name, value in compared.items() if not _same(before.get(name), value)}
    labels = {"processes": "the number of processes"}
    return {k: HASHES.get(k) or f"{labels.get(k, k)} was {before[k]!r}, is {v!r}" for k, v in changed.items()}


def _same(before: Any, now: Any) -> bool:
    """Whether a checkpoint's setting is this run's; something odd, such as a tensor, is not."""
    try:
        return bool(before in (None, "auto", now))
    except (RuntimeError, TypeError, ValueError):
        return False


def within_epoch(content: dict[str, Any]) -> bool:
    """Whether a checkpoint was written within an epoch, which a resumed run begins again."""
    return isinstance(content.get("within"), dict) and bool(content["within"])
