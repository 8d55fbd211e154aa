"""The files of a pre-training: weights it starts from, its checkpoints and masks."""

import argparse
from pathlib import Path
from typing import Any

import torch

from methods.base import Method
from models.published import from_published, load_state
from run.checkpoint import read_checkpoint, resume_optimizer, write_checkpoint
from run.compute import Compute
from run.folder import RunFiles
from run.log import provenance
from utils.distributed import World
from utils.errors import InputError


class Checkpoints(RunFiles):
    """The experiment's model.pt every so many epochs, within epochs as --save_steps says; model_<epoch>.pt as
    --save_freq and mask_<epoch>.pt as --mask_save_freq says.

    Each holds 'epoch', 'state_dict' (keys with `module.`, as published), 'optim', and what made it. Sample order,
    augmentation, learning rate and mask are functions of the seed and the epoch; what was drawn of random numbers
    is kept as well, and within an epoch its masks, scores and meters.

    Args:
        images: a hash of the training images and their order, which a resumed run must have, too; '' if not known.
        every: epochs between model.pt.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        method: Method,
        optimizer: torch.optim.Optimizer,
        compute: Compute,
        world: World,
        images: str,
        every: int = 2,
    ) -> None:
        super().__init__(args, compute, world, **({"images": images} if images else {}))
        self.method, self.optimizer, self.every, self.provenance = method, optimizer, every, provenance()

    def load(self) -> int:
        """Load what --checkpoint and --resume ask for; returns the epochs that are done.

        Raises:
            InputError: the file is missing, unreadable, of another model or of other settings, or further than
                --epochs; or the folder holds a run, and neither --resume nor --overwrite is given.
        """
        if found := self.own():
            self.compare(*found)
            return self._resume(*found)
        if not self.args.checkpoint:
            self.told.append("starting from random weights")
            return 0
        file = Path(self.args.checkpoint)
        content = read_checkpoint(file)
        if self.args.resume:
            self.compare(file, content, "checkpoint")
            return self._resume(file, content)
        load_state(self.method.encoder, from_published(content["state_dict"]), str(file))
        self.told.append(f"starting from the weights of {file}")
        return 0

    def _resume(self, file: Path, content: dict[str, Any]) -> int:
        load_state(self.method.encoder, from_published(content["state_dict"]), str(file))
        epoch = resume_optimizer(self.optimizer, content, file)
        if epoch > self.args.epochs:
            raise InputError(f"{file} is at epoch {epoch}, beyond the {self.args.epochs} epochs of this run")
        self.take_up(file, content)
        self.method.load_memory(content.get("memory"), str(file))
        self.compute.load_state_dict(content)
        finished = " (finished)" * (epoch == self.args.epochs)
        self.told.append(f"resuming from {file} after epoch {epoch}{self.steps_done}{finished}")
        return epoch

    def epoch_state(self) -> dict[str, torch.Tensor]:
        """Masks and scores of the running epoch."""
        return self.method.epoch_state()

    def load_epoch_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take them up, after the method's start_epoch."""
        self.method.load_epoch_state(state)

    def content(self, epoch: int) -> dict[str, Any]:
        """The published three, BCL's memory, and what made them."""
        state = {f"module.{k}": v for k, v in self.method.encoder.state_dict().items()}
        content = {"epoch": epoch, "state_dict": state, "optim": self.optimizer.state_dict()}
        memory = self.method.memory()
        return {**content, **({} if memory is None else {"memory": memory}), "provenance": self.provenance}

    def save(self, epoch: int) -> None:
        """Write the files that are due after `epoch`, in all processes; the main one writes.

        Raises:
            Interrupted: a signal has come; model.pt is of this epoch.
        """
        last, stopping = epoch == self.args.epochs, self.signalled()
        masks = {name: mask.cpu() for name, mask in self.method.masks().items()}
        if self.world.main and masks and epoch and (last or epoch % self.args.mask_save_freq == 0):
            write_checkpoint(self.folder / f"mask_{epoch}.pt", {"epoch": epoch, "pruneMask": masks})
        names = [f"model_{epoch}.pt"] if last or epoch % self.args.save_freq == 0 else []
        if names or epoch % self.every == 0 or stopping:
            self.write(self.content(epoch), *names, "model.pt")
        self.stop(f"epoch {epoch}")
