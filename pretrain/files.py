"""What a pre-training saves and loads besides what every run does: the method's buffers, first weights, masks."""

from pathlib import Path
from typing import Any

import torch

from methods.base import Method
from models.published import NetworkPart
from run.checkpoint import read_checkpoint, write_checkpoint
from run.folder import Run


def memory_of(method: Method) -> dict[str, torch.Tensor]:
    """A method's state_dict without its encoder, which it keeps from epoch to epoch; the tensors are not copied."""
    return {k: v for k, v in method.state_dict().items() if not k.startswith(method.encoder_prefix)}


class Memory:
    """memory_of, as a part of the run's state (run/parts.py)."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def state_dict(self) -> dict[str, torch.Tensor] | None:
        return memory_of(self.method) or None

    def load_state_dict(self, state: Any) -> None:
        """Copy the state into the method; a method without memory ignores it."""
        memory = memory_of(self.method)
        if memory and (not isinstance(state, dict) or state.keys() != memory.keys()):
            raise ValueError("it has no memory of this method: it was trained by another one")
        for name, value in memory.items():
            saved = state[name]
            if not isinstance(saved, torch.Tensor) or saved.shape != value.shape:
                raise ValueError(f"its memory, {name}, is damaged, or of another list of images")
            value.copy_(saved)
        if memory:
            self.method.check_memory()


class WithinEpoch:
    """What start_epoch computed for the running epoch, such as masks and scores, in buffers that are not persistent."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def state_dict(self) -> dict[str, torch.Tensor]:
        persistent = self.method.state_dict()
        buffers = {name: value for name, value in self.method.named_buffers() if name not in persistent}
        return {name: value for name, value in buffers.items() if not name.rpartition(".")[2].startswith("_")}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Replace what start_epoch has just computed again, with weights that have changed since the epoch began.

        A buffer outside the encoder may have another size than the saved one, where it depends on the weights, as a
        choice of images may; of the methods here, none has such a buffer.
        """
        buffers = self.state_dict()
        saved = {_current_name(name, buffers): value for name, value in state.items()}
        for name, value in buffers.items():
            new = saved[name]
            same_shape = isinstance(new, torch.Tensor) and new.shape == value.shape
            if not same_shape and (name.startswith(self.method.encoder_prefix) or not isinstance(new, torch.Tensor)):
                raise ValueError(f"{name} is damaged, or of another network")
            if same_shape:
                value.copy_(new)
            else:
                module, _, leaf = name.rpartition(".")
                setattr(self.method.get_submodule(module), leaf, new.to(value))


def _current_name(name: str, buffers: dict[str, torch.Tensor]) -> str:
    """Today's name of a saved buffer: the first versions named BCL's scores `bcl.score`, a mask as its convolution."""
    if name in buffers or name == "bcl.score":
        return name.removeprefix("bcl.")
    return next((key for key in buffers if key.endswith(f"encoder.{name}.mask")), name)


def load(run: Run, network: NetworkPart, resume: bool) -> tuple[Path, dict[str, Any]] | None:
    """Load the weights that a new run starts from, or find the checkpoint of a resumed run, for Run.load_checkpoint.

    Args:
        network: where the weights are loaded. resume: go on from the experiment's newest checkpoint, or where it has
            none from the one that is named (`run.saving.checkpoint`).

    Returns:
        Path and content of the checkpoint of a resumed run; None for a new run.

    Raises:
        InputError: the file is missing, unreadable, of another model or of other settings; or the folder holds a run,
            and is neither to be resumed nor overwritten.
    """
    if newest := run.newest_checkpoint():
        run.compare(*newest)
        return newest
    if not run.saving.checkpoint:
        run.notes.append("starting from random weights")
        return None
    file = Path(run.saving.checkpoint)
    content = read_checkpoint(file)
    if resume:
        run.compare(file, content, "checkpoint")
        return file, content
    missing = network.load(content["state_dict"], str(file))
    run.notes.append(f"starting from the weights of {file}{missing}")
    return None


def write_masks(run: Run, method: Method, epoch: int, every: int) -> None:
    """Write mask_<epoch>.pt every `every` epochs and after the last one, if the method has masks."""
    masks = {name: mask.cpu() for name, mask in method.masks().items()}
    due = epoch and (epoch == run.saving.epochs or epoch % every == 0)
    if run.world.main and masks and due:
        write_checkpoint(run.folder / f"mask_{epoch}.pt", {"epoch": epoch, "pruneMask": masks})
