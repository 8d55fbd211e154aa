"""Checkpoints: written whole or not at all, with a checksum, read without executing anything.

The checksum is the comment of the zip archive that torch.save writes: every reader of checkpoints skips it.
"""

import hashlib
import io
import json
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from run.foreign import content_kind, file_kind, is_safetensors
from utils.errors import InputError
from utils.files import replace_file
from utils.safe_load import Refused, safe_load

# What an optimizer keeps of each weight.
_STATE = {"SGD": {"momentum_buffer"}, "LARS": {"momentum_buffer"}, "Adam": {"step", "exp_avg", "exp_avg_sq"}}
# What other people's checkpoints have beside the weights, by the names in the file.
OBJECTS = {"numpy": "a NumPy array", "pathlib": "a path of pathlib"}
NO_WEIGHTS = "it has no 'state_dict' of tensors"
WEIGHTS_ALONE = "where you trust it, save its weights alone by torch.save({'state_dict': model.state_dict()}, FILE)"
_MARK = b"sha256:"
_LENGTH = len(_MARK) + 64


def write_checkpoint(path: Path, content: dict[str, Any], previous: Path | None = None) -> None:
    """Save `content` so that `path` is never half-written; what was there goes to `previous`.

    Raises:
        InputError: it cannot be written, because the disk is full, say; what was there is as it was.
    """
    replace_file(path, packed(content), previous)


def packed(content: dict[str, Any]) -> bytes:
    """The bytes of a checkpoint with its checksum."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    archive = buffer.getvalue()
    comment = _MARK + hashlib.sha256(archive).hexdigest().encode()
    # An archive without comment ends with the comment's length, 0.
    return archive[:-2] + _LENGTH.to_bytes(2, "little") + comment


def _check(data: bytes) -> None:
    """Raise ValueError if the file has a checksum, and another one than its bytes; other people's files have none."""
    end = data.rfind(b"PK\5\6", -_LENGTH - 22)  # the archive's last record: 20 bytes, the comment's length, the comment
    ours = _MARK + hashlib.sha256(data[: end + 20] + b"\0\0").hexdigest().encode()
    found, seal = data[end + 20 :], _LENGTH.to_bytes(2, "little") + ours
    if end >= 0 and (found[2:].startswith(_MARK) or found[:2] == seal[:2]) and found != seal:
        raise ValueError("checksum")


def previous_of(path: Path) -> Path:
    """Path of the previous checkpoint of the one at `path`: model.previous.pt beside model.pt."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any], str] | None:
    """The newest whole checkpoint of an experiment: model.pt, model.previous.pt, or a newer model_<epoch>.pt.

    Returns:
        Its path, its content, and a message on others that are damaged; None if there is none at all.

    Raises:
        InputError: all are damaged.
    """
    reasons, found = [], None

    def whole(path: Path) -> tuple[Path, dict[str, Any]] | None:
        try:
            return (path, read_checkpoint(path)) if path.is_file() else None
        except InputError as error:
            reasons.append(str(error))
            return None

    own = folder / "model.pt"
    found = whole(own) or whole(previous_of(own))
    epoch = found[1].get("epoch") if found else -1
    numbered = {int(p.stem[6:]): p for p in folder.glob("model_*.pt") if p.stem[6:].isdecimal()}
    for n in sorted(numbered, reverse=True):
        if isinstance(epoch, int) and n > epoch and (newer := whole(numbered[n])):
            found = newer
            break
    if reasons and not found:
        raise InputError("; ".join(reasons))
    return (*found, "; ".join(reasons)) if found else None


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU with weights_only=True: nothing in the file is executed.

    Returns:
        A dict with at least 'state_dict', a dict of name -> tensor.

    Raises:
        InputError: the file is missing, truncated, damaged, unsafe, or not a checkpoint.
    """
    content = read_content(path)
    what = content_kind(content)
    if what or not _is_state(content.get("state_dict")):
        raise InputError(f"{path} cannot be read as a checkpoint: {what or NO_WEIGHTS}")
    return content


def read_content(path: str | Path) -> dict[str, Any]:
    """What a file of any library holds, on the CPU, nothing in it executed; a state dict alone is at 'state_dict'.

    Raises:
        InputError: the file is missing, truncated, damaged or unsafe, or holds something else than a dict.
    """
    content = _load(Path(path))
    if not isinstance(content, dict):
        raise InputError(f"{path} cannot be read as a checkpoint: {NO_WEIGHTS}")
    # BCL's test.py takes a state dict alone, too.
    return {"state_dict": dict(content)} if _is_state(content) and content else content


def read_masks(path: str | Path) -> dict[str, torch.Tensor]:
    """Load the pruning masks of a mask_<epoch>.pt as read_checkpoint does: name of a convolution -> its mask.

    Raises:
        InputError: the file is missing, truncated, damaged, unsafe, or holds no masks.
    """
    content = _load(Path(path))
    masks = content.get("pruneMask") if isinstance(content, dict) else None
    if not _is_state(masks):
        raise InputError(f"{path} has no pruning masks, 'pruneMask': give a mask_<epoch>.pt of SDCLR")
    return masks


def _load(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist: pre-train first, or give the right file")
    try:
        _check(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _safetensors(path) if is_safetensors(path) else safe_load(path)
    except Refused as error:
        raise InputError(f"{path} has {error}: {WEIGHTS_ALONE}") from error
    except InputError:
        raise
    except Exception as error:
        # torch.load raises anything from EOFError to UnpicklingError on a bad file.
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        if unsafe:
            what = next((what for start, what in OBJECTS.items() if unsafe[1].startswith(start)), "")
            has = what or f"an object of {unsafe[1]}, which would be run"
            raise InputError(f"{path} has {has}, and only tensors and numbers are read: {WEIGHTS_ALONE}") from error
        if what := file_kind(path):
            raise InputError(f"{path} is {what}") from error
        raise InputError(f"{path} is not a checkpoint that can be read: truncated or damaged; get it again") from error


def _safetensors(path: Path) -> dict[str, Any]:
    """Its tensors under 'state_dict', and 'stem', 'mean' and 'std' where features.export has written them."""
    try:
        from safetensors import safe_open  # here, as only such files need it
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(f"{path} needs the package safetensors, which is not installed: install it") from error
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    told = {"stem": metadata["stem"]} if "stem" in metadata else {}
    for name in metadata.keys() & {"mean", "std"}:
        with suppress(ValueError, RecursionError):
            told[name] = json.loads(metadata[name])
    return {"state_dict": load_file(path), **told}


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in value.items())


def load_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Put a checkpoint's optimizer state into `optimizer`; learning rate and decay stay the command line's.

    Raises:
        InputError: it is of another kind of optimizer, or of other weights.
    """
    ours = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    try:
        theirs = [set(group) - {"params"} for group in state["param_groups"]]
        optimizer.load_state_dict(state)
        fits = theirs == [set(group) for group in ours] and all(
            set(entries) in (set(), _STATE[type(optimizer).__name__])
            and all(v is None or v.ndim == 0 or v.shape == p.shape for v in entries.values())
            for p, entries in optimizer.state.items()
        )
        # A weight without a state among others that have one would end the first step.
        fits = fits and len({tuple(v is None for _, v in sorted(e.items())) for e in optimizer.state.values()}) <= 1
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError):
        fits = False
    if not fits:
        raise InputError("its optimizer is another one, or for other weights")
    for group, values in zip(optimizer.param_groups, ours, strict=True):
        group.update(values)
    for p, entries in optimizer.state.items():
        for name, value in entries.items():
            if not isinstance(value, torch.Tensor):
                continue
            # Fused steps go through memory in order: the state lies there as its weight does, steps' counts included.
            if value.shape == p.shape and value.stride() != p.stride():
                entries[name] = torch.empty_like(p).copy_(value)
            elif value.device != p.device:
                entries[name] = value.to(p.device)
