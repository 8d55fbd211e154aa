"""What a pre-training keeps and takes up: its network, its method's memory, masks."""

from pathlib import Path
from typing import Any

import torch

from methods.base import Method
from models.published import NetworkPart
from run.checkpoint import read_checkpoint, write_checkpoint
from run.folder import Run


class Memory:
    """What a method keeps from epoch to epoch besides its encoder, as a part of the run's state (run/parts.py)."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def state_dict(self) -> dict[str, torch.Tensor] | None:
        return self.method.memory() or None

    def load_state_dict(self, state: Any) -> None:
        """A method without memory leaves another one's alone."""
        own = self.method.memory()
        if own and (not isinstance(state, dict) or state.keys() != own.keys()):
            raise ValueError("it has no memory of this method: it was trained by another one")
        for name, value in own.items():
            _copy(value, state[name], f"its memory, {name},")


class WithinEpoch:
    """What a method's epoch began with and that has moved since: masks, scores."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.method.within_epoch()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        own = self.method.within_epoch()
        found = {_name_now(name, own): value for name, value in state.items()}
        for name, value in own.items():
            _copy(value, found[name], name)


def _name_now(name: str, own: dict[str, torch.Tensor]) -> str:
    """A name of the first versions, which had BCL's scores as `bcl.score` and each mask under its convolution's."""
    if name in own or name == "bcl.score":
        return name.removeprefix("bcl.")
    return next((key for key in own if key.endswith(f"encoder.{name}.mask")), name)


def _copy(own: torch.Tensor, new: Any, what: str) -> None:
    if not isinstance(new, torch.Tensor) or new.shape != own.shape or not torch.isfinite(new).all():
        raise ValueError(f"{what} is damaged, or of another list of images or another network")
    own.copy_(new)


def load(run: Run, network: NetworkPart, resume: bool) -> tuple[Path, dict[str, Any]] | None:
    """Load the weights that the run starts from; of one that is resumed, find the checkpoint, for Run.take_up.

    Args:
        network: what a checkpoint's weights go to. resume: with a checkpoint that is named, go on from that.

    Raises:
        InputError: the file is missing, unreadable, of another model or of other settings; or the folder holds a run,
            and is neither to be resumed nor overwritten.
    """
    if found := run.own():
        run.compare(*found)
        return found
    if not run.saving.checkpoint:
        run.told.append("starting from random weights")
        return None
    file = Path(run.saving.checkpoint)
    content = read_checkpoint(file)
    if resume:
        run.compare(file, content, "checkpoint")
        return file, content
    network.load(content["state_dict"], str(file))
    run.told.append(f"starting from the weights of {file}")
    return None


def write_masks(run: Run, method: Method, epoch: int, every: int) -> None:
    """Write mask_<epoch>.pt every so many epochs and after the last, of a method that has masks."""
    masks = {name: mask.cpu() for name, mask in method.masks().items()}
    due = epoch and (epoch == run.saving.epochs or epoch % every == 0)
    if run.world.main and masks and due:
        write_checkpoint(run.folder / f"mask_{epoch}.pt", {"epoch": epoch, "pruneMask": masks})
