"""The files of a probe: the checkpoint it starts from, the one that it resumes, best_model.pt."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from features.encoder import Source
from models.mask import apply_masks, compute_masks
from models.published import from_published, has_dual_batch_norm, load_state, select_batch_norm, to_backbone
from models.resnet import STEMS
from probe.flags import CONVERT
from probe.network import Frozen
from probe.pretraining import settings_in
from run.checkpoint import previous_of, read_checkpoint
from run.flags import START_OVER
from run.folder import Run
from utils.errors import InputError

# Settings that older checkpoints of ours do not have.
_NEW = {
    "precision", "memory_format", "tf32", "deterministic", "augment", "overwrite", "accept_changes", "save_steps",
    "check", "untrained", "quiet", "format", "mean", "std", "encoder", "select_wd", "select", "nesterov", "warmup",
    "init_lr_scale", "tau", "ce", "ce_epochs", "crt_bn", "jitter",
}  # fmt: skip


def origin_of(args: argparse.Namespace, source: Source | None, stem: str) -> dict[str, Any]:
    """How the encoder that a probe starts from was read, as in features.encoder.Source.record.

    Without a checkpoint to start from, it is taken from the probe's own run, if there is one to resume or evaluate;
    else it has no format, and this stem.
    """
    if source is not None:
        return source.record()
    folder, file = Path(args.save_dir) / args.experiment, "best_model.pt" if args.test_only else "model.pt"
    settings, _ = settings_in(folder / file) if args.test_only or args.resume else ({}, None)
    record = settings.get("encoder")
    valid = isinstance(record, dict) and record.get("stem") in STEMS
    return record if valid else {"format": "", "stem": stem, "mean": None, "std": None}


def load_backbone(model: nn.Module, source: Source | None, convert: bool, batch_norm: int, pruned: float) -> str:
    """Load the weights that a probe starts from into the model; returns a note on them for the log.

    Args:
        source: None for random weights. convert: whether it is of pre-training, whose head is dropped; other libraries'
            heads are always dropped. batch_norm: the branch of dual batch norm, 0 or 1. pruned: share of the weights to
            prune, in [0, 1).

    Raises:
        InputError: the checkpoint is of another model.
    """
    note = "backbone: random weights"
    if source is not None:
        state, ours = source.encoder.state, source.encoder.ours
        if convert or not ours:
            state = to_backbone(state, batch_norm)
        elif any(k.startswith("fc.fc") for k in state):
            raise InputError(f"{source.path} is of pre-training: {CONVERT}")
        missing = load_state(model, state, source.path, head=ours and not convert)
        note = f"backbone: {source.path}, epoch {source.content.get('epoch')}{missing}"
        note += "" if ours else f"; {source.encoder}"
    if pruned:
        apply_masks(model, compute_masks(model, pruned))
    return note


def resume(run: Run, model: nn.Module, frozen: Frozen) -> int | None:
    """Load this experiment's newest checkpoint, where there is one to resume; returns the number of epochs done.

    Args:
        frozen: the frozen weights of the backbone that the command line names.

    Raises:
        InputError: the backbone or a setting differs from the checkpoint's; or a file is damaged.
    """
    newest = run.newest_checkpoint()
    if not newest:
        return None
    # The path of a frozen backbone may differ, as its weights are compared below.
    run.compare(*newest, *(["checkpoint", "ce"] if frozen.tensors else []))
    done = run.load_checkpoint(*newest)
    if run.saving.checkpoint and frozen.moved(model):
        raise InputError(f"{newest[0]} is of another backbone than {run.saving.checkpoint}: {START_OVER}")
    return done


class BestModel:
    """best_model.pt, the epoch with the best validation score so far; the score, in percent, is a part of the run.

    Args:
        model: the one that is trained. batch_norm: the branch that is read of a file with dual batch norm, 0 or 1.
        last: whether the last epoch is taken in place of the best one.
    """

    def __init__(self, folder: Path, model: nn.Module, batch_norm: int, last: bool = False) -> None:
        self.path, self.model, self.batch_norm, self.score = folder / "best_model.pt", model, batch_norm, -1.0
        self.last = last

    def state_dict(self) -> float:
        return self.score

    def load_state_dict(self, state: Any) -> None:
        if not isinstance(state, int | float):
            raise ValueError(f"its best_prec1 is {state!r}")
        self.score = state

    def find(self) -> None:
        """Make best_model.pt that of the score of a resumed run.

        It may be of a later epoch, which the resumed run repeats; then the previous file has the score.

        Raises:
            InputError: it is missing or damaged.
        """
        if self.score < 0:
            return
        problems = []
        for file in (self.path, previous_of(self.path)):
            try:
                if read_checkpoint(file).get("best_prec1") == self.score:
                    file.replace(self.path)
                    return
            except InputError as error:
                problems.append(str(error))
        if problems:
            raise InputError(f"{problems[0]}; {START_OVER}")

    def save(self, run: Run, epoch: int, score: float) -> None:
        """Write best_model.pt if the validation `score` (percent, -1 without validation) is higher than all before;
        with `last`, write it after the last epoch only."""
        due = epoch == run.saving.epochs if self.last else score > self.score
        if due:
            self.score = score
            run.write(run.content(epoch), self.path.name)

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load best_model.pt into the model.

        Args:
            settings: this run's, whose names and types those in the file must have.

        Returns:
            'epoch'; 'val', its validation score; 'config', its settings; 'lists'; each None where the file has none.

        Raises:
            InputError: the file is missing, unreadable, damaged, or of another model.
        """
        if not self.path.is_file():
            raise InputError(f"{self.path} does not exist: train the probe first, or get the file")
        content = read_checkpoint(self.path)
        state = from_published(content["state_dict"])
        if has_dual_batch_norm(state):
            state = select_batch_norm(state, self.batch_norm)
        load_state(self.model, state, str(self.path))
        val = _number(content.get("best_prec1"))
        # Our older files lack some settings, the authors' files have none.
        config, lists = content.get("config"), content.get("lists") or {}
        ours = isinstance(config, dict) and config.keys() >= settings.keys() - _NEW
        if ours and not (_same_types(config, settings) and _are_origins(lists)):
            raise InputError(f"{self.path} is damaged: its settings or lists are none; get it again")
        return {
            "epoch": _number(content.get("epoch")),
            "val": None if val == -1 else val,
            "config": {**dict.fromkeys(_NEW), **config} if ours else None,
            "lists": lists if ours else None,
        }


def _same_types(config: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a file's settings have the types of this run's. None fits all, but in a file not a text."""
    pairs = [(config.get(name, value), value) for name, value in now.items()]
    return all(v is None or isinstance(c, type(v)) or c is None and not isinstance(v, str) for c, v in pairs)


def _are_origins(lists: Any) -> bool:
    """Whether this is a dict as probe.lists.origin makes it."""
    records = list(filter(None, lists.values())) if isinstance(lists, dict) else [None]
    return all(isinstance(item, dict) and all(isinstance(v, str) for v in item.values()) for item in records)


def _number(value: Any) -> float | None:
    """A number of a file, None for anything else; the authors save the best accuracy as a tensor."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    return float(value) if isinstance(value, int | float | np.number) else None
