"""What a pre-training keeps and takes up: its network, its method's memory, masks."""

from pathlib import Path
from typing import Any

import torch

from methods.base import Method
from models.published import NetworkPart
from run.checkpoint import read_checkpoint, write_checkpoint
from run.folder import Run


def memory_of(method: Method) -> dict[str, torch.Tensor]:
    """What a method keeps from epoch to epoch besides its encoder; the tensors themselves."""
    return {k: v for k, v in method.state_dict().items() if not k.startswith(method.encoder_prefix)}


class Memory:
    """memory_of, as a part of the run's state (run/parts.py)."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def state_dict(self) -> dict[str, torch.Tensor] | None:
        return memory_of(self.method) or None

    def load_state_dict(self, state: Any) -> None:
        """A method without memory leaves another one's alone."""
        own = memory_of(self.method)
        if own and (not isinstance(state, dict) or state.keys() != own.keys()):
            raise ValueError("it has no memory of this method: it was trained by another one")
        for name, value in own.items():
            new = state[name]
            if not isinstance(new, torch.Tensor) or new.shape != value.shape:
                raise ValueError(f"its memory, {name}, is damaged, or of another list of images")
            value.copy_(new)
        if own:
            self.method.check_memory()


class WithinEpoch:
    """What a method's epoch began with, in buffers that are not persistent: masks, scores."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def state_dict(self) -> dict[str, torch.Tensor]:
        kept = self.method.state_dict()
        made = {k: v for k, v in self.method.named_buffers() if k not in kept}
        return {k: v for k, v in made.items() if not k.rpartition(".")[2].startswith("_")}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Their sizes may be others than those that start_epoch has just made, with weights that have moved since."""
        own = self.state_dict()
        found = {_name_now(name, own): value for name, value in state.items()}
        for name, value in own.items():
            new = found[name]
            alike = isinstance(new, torch.Tensor) and new.shape == value.shape
            if not alike and (name.startswith(self.method.encoder_prefix) or not isinstance(new, torch.Tensor)):
                raise ValueError(f"{name} is damaged, or of another network")
            if alike:
                value.copy_(new)
            else:
                module, _, leaf = name.rpartition(".")
                setattr(self.method.get_submodule(module), leaf, new.to(value))


def _name_now(name: str, own: dict[str, torch.Tensor]) -> str:
    """A name of the first versions, which had BCL's scores as `bcl.score` and each mask under its convolution's."""
    if name in own or name == "bcl.score":
        return name.removeprefix("bcl.")
    return next((key for key in own if key.endswith(f"encoder.{name}.mask")), name)


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
    missing = network.load(content["state_dict"], str(file))
    run.told.append(f"starting from the weights of {file}{missing}")
    return None


def write_masks(run: Run, method: Method, epoch: int, every: int) -> None:
    """Write mask_<epoch>.pt every so many epochs and after the last, of a method that has masks."""
    masks = {name: mask.cpu() for name, mask in method.masks().items()}
    due = epoch and (epoch == run.saving.epochs or epoch % every == 0)
    if run.world.main and masks and due:
        write_checkpoint(run.folder / f"mask_{epoch}.pt", {"epoch": epoch, "pruneMask": masks})
