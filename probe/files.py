"""The files of a probe: the backbone it starts from, its own checkpoints, the best one."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.mask import apply_masks, compute_masks
from models.published import from_published, has_dual_batch_norm, load_state, select_batch_norm, to_backbone
from probe.flags import CONVERT
from probe.network import freeze
from probe.protocols import FEATURE_PROTOCOLS
from probe.published import Script
from run.checkpoint import previous_of, read_checkpoint, resume_optimizer
from run.compute import Compute
from run.flags import START_OVER
from run.folder import RunFiles
from run.optim import sgd
from utils.distributed import World
from utils.errors import InputError

# Settings that older checkpoints of ours do not name.
_NEW = {
    "precision", "memory_format", "tf32", "deterministic", "augment", "overwrite", "accept_changes", "save_steps",
    "check", "untrained", "quiet",
}  # fmt: skip


class Files(RunFiles):
    """The experiment's model.pt, best_model.pt; each holds 'epoch', 'state_dict', 'optim', 'best_prec1'.

    Args:
        lists: the run's (probe.lists.origin). script: whose files they are like.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        model: nn.Module,
        compute: Compute,
        world: World,
        lists: dict[str, dict[str, str] | None],
        script: Script,
    ) -> None:
        super().__init__(args, compute, world, lists={k: v["sha1"] for k, v in lists.items() if v and k != "group"})
        self.model, self.lists, self.script = model, lists, script
        self.best, self._resumed = -1.0, None
        self.resumable = args.protocol not in FEATURE_PROTOCOLS  # their classifiers are trained anew each time

    def load(self) -> int:
        """Load the weights that the flags ask for; returns the epochs that are done.

        Raises:
            InputError: a file is missing, unreadable or of another model, or two flags contradict.
        """
        args = self.args
        if args.test_only:
            self.load_best()  # a bad one is reported before the log begins
            self.told.append(f"evaluating {self.folder / 'best_model.pt'}")
            return 0
        found = self.own()
        if not args.checkpoint:
            self.told.append("backbone: random weights")
        else:
            content = read_checkpoint(args.checkpoint)
            if args.cvt_state_dict:
                state = to_backbone(content["state_dict"], args.bnNameCnt)
            else:
                state = from_published(content["state_dict"])
                if any(k.startswith("fc.fc") for k in state):
                    raise InputError(f"{args.checkpoint} is of pre-training: {CONVERT}")
            load_state(self.model, state, args.checkpoint, head=not args.cvt_state_dict)
            self.told.append(f"backbone: {args.checkpoint}, epoch {content.get('epoch')}")
        if args.prune:
            apply_masks(self.model, compute_masks(self.model, args.prune_percent))
        return self._load_own(*found) if found else args.start_epoch

    def _load_own(self, own: Path, content: dict[str, Any]) -> int:
        """Take up this experiment's run; InputError if the backbone under it, or a setting, is another one now."""
        frozen = freeze(self.model, self.args.fixto, self.args.fixbn)
        self.compare(own, content, *(["checkpoint"] if frozen.before else []))  # its weights are compared below
        load_state(self.model, from_published(content["state_dict"]), str(own))
        if self.args.checkpoint and frozen.moved(self.model):
            raise InputError(f"{own} is of another backbone than {self.args.checkpoint}: {START_OVER}")
        best = content.get("best_prec1")
        if not isinstance(best, int | float):
            raise InputError(f"cannot resume from {own}: its best_prec1 is {best!r}")
        epoch = resume_optimizer(self.optimizer(), content, own)
        if epoch > self.args.epochs:
            raise InputError(f"{own} is at epoch {epoch}, beyond the {self.args.epochs} epochs of this run")
        self.take_up(own, content)
        self.best, self._resumed = best, content
        self.compute.load_state_dict(content)
        self.told.append(f"resuming from {own} after epoch {epoch}{self.steps_done}")
        return epoch

    def prepare(self) -> None:
        """With --overwrite, remove what there is; of a resumed run, find its best model so far.

        Raises:
            InputError: it is not there, or damaged.
        """
        super().prepare()
        path, reasons = self.folder / "best_model.pt", []
        if self.best < 0:
            return
        # best_model.pt may be of an epoch that the resumed run repeats, perhaps with another accuracy.
        for file in (path, previous_of(path)):
            try:
                if read_checkpoint(file).get("best_prec1") == self.best:
                    file.replace(path)
                    return
            except InputError as error:
                reasons.append(str(error))
        if reasons:
            raise InputError(f"{reasons[0]}; {START_OVER}")

    def optimizer(self) -> torch.optim.Optimizer:
        """SGD on what is not frozen, in the state of the resumed run."""
        a, trained = self.args, [p for p in self.model.parameters() if p.requires_grad]
        self.trained = sgd(trained, a.lr, a.momentum, a.wd)
        if self._resumed is not None:
            resume_optimizer(self.trained, self._resumed, self.folder / "model.pt")
        return self.trained

    def content(self, epoch: int) -> dict[str, Any]:
        """The published four, and what made them."""
        state = {f"{self.script.prefix}{k}": v for k, v in self.model.state_dict().items()}
        content = {"epoch": epoch, "state_dict": state, "optim": self.trained.state_dict(), "best_prec1": self.best}
        return {**content, "lists": self.lists}

    def save(self, epoch: int) -> None:
        """Write model.pt when --save-freq says so, and at the end; model_<epoch>.pt when it is due.

        Raises:
            Interrupted: a signal has come; model.pt is of this epoch.
        """
        names = [f"model_{epoch}.pt"] if self.script.numbered and epoch % self.script.numbered == 0 else []
        if self.signalled() or epoch % self.args.save_freq == 0 or epoch == self.args.epochs:
            names.append("model.pt")
        if names:
            self.write(self.content(epoch), *names)
        self.stop(f"epoch {epoch}")

    def save_best(self, epoch: int, score: float) -> None:
        """Write best_model.pt if the validation `score` (percent) is the best so far; ties keep the first."""
        if score > self.best:
            self.best = score
            self.write(self.content(epoch), "best_model.pt")

    def load_best(self) -> dict[str, Any]:
        """Load best_model.pt into the model; returns its 'epoch', 'val', 'config', 'lists', None where it has none.

        Raises:
            InputError: it is missing, unreadable, or of another model.
        """
        path = self.folder / "best_model.pt"
        if not path.is_file():
            raise InputError(f"{path} does not exist: train the probe first, or get the file")
        content = read_checkpoint(path)
        state = from_published(content["state_dict"])
        if has_dual_batch_norm(state):
            state = select_batch_norm(state, self.args.bnNameCnt)
        load_state(self.model, state, str(path))
        config = content.get("config")
        best = {"epoch": content.get("epoch"), "val": content.get("best_prec1")}
        best = {k: _number(v) for k, v in best.items()}
        # Older ones of ours do not say how they computed, and the authors' say nothing.
        ours = isinstance(config, dict) and config.keys() >= vars(self.args).keys() - _NEW
        lists = content.get("lists") or {}
        if ours and not (_alike(config, vars(self.args)) and _are_origins(lists)):
            raise InputError(f"{path} is damaged: its settings or lists are none; get it again")
        return {
            **best,
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
