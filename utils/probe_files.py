"""The files of a probe: the backbone it starts from, its own checkpoints, the best one."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.mask import apply_masks, compute_masks
from models.published import from_published, has_dual_batch_norm, load_state, select_batch_norm, to_backbone
from utils.checkpoint import read_checkpoint, resume_optimizer, write_checkpoint
from utils.compute import Compute
from utils.errors import InputError
from utils.optim import sgd
from utils.probe import freeze

_HOW = {"precision", "memory_format", "tf32", "deterministic", "augment"}


class Files:
    """The experiment's model.pt, best_model.pt; each holds 'epoch', 'state_dict', 'optim', 'best_prec1'.

    Args:
        prefix: of the state dict's keys; `module.` in train_imagenet.py, as published. main: only one process writes.
        numbered: epochs between model_<epoch>.pt; 0 for none.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        model: nn.Module,
        compute: Compute,
        prefix: str = "",
        main: bool = True,
        numbered: int = 0,
    ) -> None:
        self.args, self.model, self.compute = args, model, compute
        self.prefix, self.main, self.numbered = prefix, main, numbered
        self.folder = Path(args.save_dir) / args.experiment
        self.best, self.message, self._resumed = -1.0, "backbone: random weights", None
        self.config: dict[str, Any] = {"config": vars(args)}

    def load(self) -> int:
        """Load the weights that the flags ask for; returns the epochs that are done.

        Raises:
            InputError: a file is missing, unreadable or of another model, or two flags contradict.
        """
        args, own = self.args, self.folder / "model.pt"
        if args.test_only:
            self.load_best()  # a bad one is told before the log begins
            self.message = f"evaluating {self.folder / 'best_model.pt'}"
            return 0
        if args.checkpoint:
            content = read_checkpoint(args.checkpoint)
            if args.cvt_state_dict:
                state = to_backbone(content["state_dict"], args.bnNameCnt)
            else:
                state = from_published(content["state_dict"])
                if any(k.startswith("fc.fc") for k in state):
                    raise InputError(f"{args.checkpoint} is of pre-training: add --cvt_state_dict")
            load_state(self.model, state, args.checkpoint, head=not args.cvt_state_dict)
            self.message = f"backbone: {args.checkpoint}, epoch {content.get('epoch')}"
        if args.prune:
            apply_masks(self.model, compute_masks(self.model, args.prune_percent))
        if not (args.resume and own.exists()):
            return args.start_epoch
        return self._load_own(own)

    def _load_own(self, own: Path) -> int:
        """Take up this experiment's run, unless the backbone under it was trained anew since."""
        content = read_checkpoint(own)
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        frozen = freeze(self.model, self.args.fixto, self.args.fixbn)
        load_state(self.model, from_published(content["state_dict"]), str(own))
        if self.args.checkpoint and frozen.moved(self.model):
            self.model.load_state_dict(before)
            self.message += f"; {own} is of another backbone: starting over"
            return self.args.start_epoch
        best = content.get("best_prec1")
        if not isinstance(best, int | float):
            raise InputError(f"cannot resume from {own}: its best_prec1 is {best!r}")
        epoch = resume_optimizer(self.optimizer(), content, own)
        if epoch > self.args.epochs:
            raise InputError(f"{own} is at epoch {epoch}, beyond --epochs {self.args.epochs}")
        self.best, self._resumed = best, content
        self.compute.load_scaler(content.get("scaler"))
        self.message = f"resuming from {own} after epoch {epoch}"
        return epoch

    def optimizer(self) -> torch.optim.Optimizer:
        """SGD on what is not frozen, in the state of the resumed run."""
        a, trained = self.args, [p for p in self.model.parameters() if p.requires_grad]
        optimizer = sgd(trained, a.lr, a.momentum, a.wd)
        if self._resumed is not None:
            resume_optimizer(optimizer, self._resumed, self.folder / "model.pt")
        return optimizer

    def save(self, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        """Write model.pt when --save-freq says so, and at the end; model_<epoch>.pt when it is due."""
        if epoch % self.args.save_freq == 0 or epoch == self.args.epochs:
            self._write("model.pt", epoch, optimizer)
        if self.numbered and epoch % self.numbered == 0:
            self._write(f"model_{epoch}.pt", epoch, optimizer)

    def save_best(self, epoch: int, score: float, optimizer: torch.optim.Optimizer) -> None:
        """Write best_model.pt if the validation `score` (percent) is the best so far; ties keep the first."""
        if score > self.best:
            self.best = score
            self._write("best_model.pt", epoch, optimizer)

    def _write(self, name: str, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if not self.main:
            return
        state = {f"{self.prefix}{k}": v for k, v in self.model.state_dict().items()}
        content = {"epoch": epoch, "state_dict": state, "optim": optimizer.state_dict(), "best_prec1": self.best}
        write_checkpoint(self.folder / name, {**content, **self.compute.state(), **self.config})

    def load_best(self) -> dict[str, Any]:
        """Load best_model.pt into the model; returns its 'epoch', 'val', 'config', 'lists', None where it has none.

        Raises:
            InputError: it is missing, unreadable, or of another model.
        """
        path = self.folder / "best_model.pt"
        if not path.is_file():
            raise InputError(f"{path} does not exist: run the probe without --test_only first, or get the file")
        content = read_checkpoint(path)
        state = from_published(content["state_dict"])
        if has_dual_batch_norm(state):
            state = select_batch_norm(state, self.args.bnNameCnt)
        load_state(self.model, state, str(path))
        config = content.get("config")
        best = {"epoch": content.get("epoch"), "val": content.get("best_prec1")}
        best = {k: _number(v) for k, v in best.items()}
        # Older ones of ours do not say how they computed, and the authors' say nothing.
        ours = isinstance(config, dict) and config.keys() >= vars(self.args).keys() - _HOW
        lists = content.get("lists") or {}
        if ours and not (_alike(config, vars(self.args)) and _are_origins(lists)):
            raise InputError(f"{path} is damaged: its settings or lists are none; get it again")
        return {
            **best,
            "config": {**dict.fromkeys(_HOW), **config} if ours else None,
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
