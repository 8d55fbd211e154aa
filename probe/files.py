"""The files of a probe: the backbone it starts from, its own checkpoints, the best one."""

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

# Settings that older checkpoints of ours do not name.
_NEW = {
    "precision", "memory_format", "tf32", "deterministic", "augment", "overwrite", "accept_changes", "save_steps",
    "check", "untrained", "quiet", "format", "mean", "std", "encoder", "select_wd", "select", "nesterov", "warmup",
    "init_lr_scale", "tau", "ce", "ce_epochs", "crt_bn", "jitter",
}  # fmt: skip


def origin_of(args: argparse.Namespace, source: Source | None, stem: str) -> dict[str, Any]:
    """How the encoder that a probe starts from was read, as features.encoder.Source.record says it.

    Where no checkpoint is given it is as its own run so far says, else of no format and with this stem.
    """
    if source is not None:
        return source.record()
    folder, kept = Path(args.save_dir) / args.experiment, "best_model.pt" if args.test_only else "model.pt"
    settings, _ = settings_in(folder / kept) if args.test_only or args.resume else ({}, None)
    told = settings.get("encoder")
    whole = isinstance(told, dict) and told.get("stem") in STEMS
    return told if whole else {"format": "", "stem": stem, "mean": None, "std": None}


def load_backbone(model: nn.Module, source: Source | None, convert: bool, batch_norm: int, pruned: float) -> str:
    """Load the weights that a probe starts from into the model; returns what they are.

    Args:
        source: None for random weights. convert: it is of pre-training, whose head is dropped; other libraries' heads
            are dropped anyway. batch_norm: of dual batch norm, 0 or 1. pruned: share of the weights to leave out, in
            [0, 1).

    Raises:
        InputError: the checkpoint is of another model.
    """
    told = "backbone: random weights"
    if source is not None:
        state, ours = source.encoder.state, source.encoder.ours
        if convert or not ours:
            state = to_backbone(state, batch_norm)
        elif any(k.startswith("fc.fc") for k in state):
            raise InputError(f"{source.path} is of pre-training: {CONVERT}")
        missing = load_state(model, state, source.path, head=ours and not convert)
        told = f"backbone: {source.path}, epoch {source.content.get('epoch')}{missing}"
        told += "" if ours else f"; {source.encoder}"
    if pruned:
        apply_masks(model, compute_masks(model, pruned))
    return told


def resume(run: Run, model: nn.Module, frozen: Frozen) -> int | None:
    """Take up this experiment's run, where there is one to resume; returns the epochs that are done.

    Args:
        frozen: of the backbone that the command line names.

    Raises:
        InputError: the backbone under it, or a setting, is another one now; or a file is damaged.
    """
    found = run.own()
    if not found:
        return None
    run.compare(*found, *(["checkpoint", "ce"] if frozen.before else []))  # its weights are compared below
    done = run.take_up(*found)
    if run.saving.checkpoint and frozen.moved(model):
        raise InputError(f"{found[0]} is of another backbone than {run.saving.checkpoint}: {START_OVER}")
    return done


class BestModel:
    """best_model.pt: the epoch with the best validation score so far, in percent; a part of the run's state.

    Args:
        model: that is trained. batch_norm: of a file with dual batch norm, 0 or 1. last: the last epoch counts in
            place of the best one.
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
        """Of a resumed run, find the best model so far: the file may be of an epoch that is run again, with another
        score perhaps.

        Raises:
            InputError: it is not there, or damaged.
        """
        if self.score < 0:
            return
        reasons = []
        for file in (self.path, previous_of(self.path)):
            try:
                if read_checkpoint(file).get("best_prec1") == self.score:
                    file.replace(self.path)
                    return
            except InputError as error:
                reasons.append(str(error))
        if reasons:
            raise InputError(f"{reasons[0]}; {START_OVER}")

    def save(self, run: Run, epoch: int, score: float) -> None:
        """Write it if the validation `score` (percent, -1 where nothing validates) is the best so far; ties keep the
        first. Where the last epoch counts, write that one alone."""
        if epoch == run.saving.epochs if self.last else score > self.score:
            self.score = score
            run.write(run.content(epoch), self.path.name)

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load it into the model; returns its 'epoch', 'val', 'config', 'lists', None where it has none.

        Args:
            settings: this run's, for the types of the file's.

        Raises:
            InputError: it is missing, unreadable, or of another model.
        """
        if not self.path.is_file():
            raise InputError(f"{self.path} does not exist: train the probe first, or get the file")
        content = read_checkpoint(self.path)
        state = from_published(content["state_dict"])
        if has_dual_batch_norm(state):
            state = select_batch_norm(state, self.batch_norm)
        load_state(self.model, state, str(self.path))
        val = _number(content.get("best_prec1"))
        # Older ones of ours do not say how they computed, and the authors' say nothing.
        config, lists = content.get("config"), content.get("lists") or {}
        ours = isinstance(config, dict) and config.keys() >= settings.keys() - _NEW
        if ours and not (_alike(config, settings) and _are_origins(lists)):
            raise InputError(f"{self.path} is damaged: its settings or lists are none; get it again")
        return {
            "epoch": _number(content.get("epoch")),
            "val": None if val == -1 else val,
            "config": {**dict.fromkeys(_NEW), **config} if ours else None,
            "lists": lists if ours else None,
        }


def _alike(config: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether settings are of the same types as today's; what may be left out may be None."""
    pairs = [(config.get(name, value), value) for name, value in now.items()]
    return all(v is None or isinstance(c, type(v)) or c is None and not isinstance(v, str) for c, v in pairs)


def _are_origins(lists: Any) -> bool:
    found = list(filter(None, lists.values())) if isinstance(lists, dict) else [None]
    return all(isinstance(item, dict) and all(isinstance(v, str) for v in item.values()) for item in found)


def _number(value: Any) -> float | None:
    """The authors keep a best accuracy as a tensor."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    return float(value) if isinstance(value, int | float | np.number) else None
