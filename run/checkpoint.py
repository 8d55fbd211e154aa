"""Checkpoints: written whole or not at all, with a checksum, and read without executing anything.

The checksum is stored as the comment of the zip archive that torch.save writes, which every reader skips.
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

# The settings that tell the optimizers apart; their others differ between versions of PyTorch, and schedulers add some.
_MARKS = {"SGD": {"dampening"}, "LARS": {"eta"}, "Adam": {"betas", "amsgrad"}}
# Entries of an optimizer's state for each weight.
_STATE = {"SGD": {"momentum_buffer"}, "LARS": {"momentum_buffer"}, "Adam": {"step", "exp_avg", "exp_avg_sq"}}
# What other people's checkpoints hold beside the weights, by the module in a pickle's GLOBAL.
OBJECTS = {"numpy": "a NumPy array", "pathlib": "a path of pathlib"}
NO_WEIGHTS = "it has no 'state_dict' of tensors"
WEIGHTS_ALONE = "where you trust it, save its weights alone by torch.save({'state_dict': model.state_dict()}, FILE)"
_MARK = b"sha256:"
_LENGTH = len(_MARK) + 64


def write_checkpoint(path: Path, content: dict[str, Any], previous: Path | None = None) -> None:
    """Save `content` so that `path` is never half-written; the file that was there is moved to `previous`.

    Raises:
        InputError: it cannot be written, for example because the disk is full; the file that was there is unchanged.
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
    """Raise ValueError if the file has a checksum that is not that of its bytes; other people's files have none."""
    end = data.rfind(b"PK\5\6", -_LENGTH - 22)  # the archive's last record: 20 bytes, the comment's length, the comment
    expected = _MARK + hashlib.sha256(data[: end + 20] + b"\0\0").hexdigest().encode()
    trailer, sealed = data[end + 20 :], _LENGTH.to_bytes(2, "little") + expected
    # Either sign of a checksum is enough, as the other one may be the damage.
    has_checksum = end >= 0 and (trailer[2:].startswith(_MARK) or trailer[:2] == sealed[:2])
    if has_checksum and trailer != sealed:
        raise ValueError("checksum")


def previous_of(path: Path) -> Path:
    """Path of the checkpoint before the one at `path`: model.previous.pt beside model.pt."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any], str] | None:
    """The newest whole checkpoint of an experiment: model.pt, model.previous.pt, or a newer model_<epoch>.pt.

    One whose weights are not finite is damaged, too.

    Returns:
        Its path, its content, and a message on damaged ones; None if there is none at all.

    Raises:
        InputError: all are damaged.
    """
    problems = []

    def read_whole(path: Path) -> tuple[Path, dict[str, Any]] | None:
        try:
            return (path, _finite(path, read_checkpoint(path))) if path.is_file() else None
        except InputError as error:
            problems.append(str(error))
            return None

    latest = folder / "model.pt"
    newest = read_whole(latest) or read_whole(previous_of(latest))
    epoch = newest[1].get("epoch") if newest else -1
    numbered = {int(p.stem[6:]): p for p in folder.glob("model_*.pt") if p.stem[6:].isdecimal()}
    for n in sorted(numbered, reverse=True):
        if isinstance(epoch, int) and n > epoch and (newer := read_whole(numbered[n])):
            newest = newer
            break
    if problems and not newest:
        raise InputError("; ".join(problems))
    return (*newest, "; ".join(problems)) if newest else None


def _finite(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint; InputError if its weights are not finite, which no run writes."""
    for name, value in content["state_dict"].items():
        # Tensors of one byte per number, which no network here has, are left to Part.load_state_dict.
        if value.is_floating_point() and value.element_size() > 1 and not value.isfinite().all():
            raise InputError(f"{path} is damaged: {name} is not finite")
    return content


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU with weights_only=True, so that nothing in the file is executed.

    Returns:
        A dict with at least 'state_dict', a dict of name -> tensor.

    Raises:
        InputError: the file is missing, truncated, damaged, unsafe, or not a checkpoint.
    """
    content = read_content(path)
    foreign = content_kind(content)
    if foreign or not _is_state(content.get("state_dict")):
        raise InputError(f"{path} cannot be read as a checkpoint: {foreign or NO_WEIGHTS}")
    return content


def read_content(path: str | Path) -> dict[str, Any]:
    """Load a file of any library on the CPU without executing anything in it; a bare state_dict is put at 'state_dict'.

    Raises:
        InputError: the file is missing, truncated, damaged or unsafe, or holds no dict.
    """
    content = _load(Path(path))
    if not isinstance(content, dict):
        raise InputError(f"{path} cannot be read as a checkpoint: {NO_WEIGHTS}")
    # BCL's test.py takes a bare state_dict, too.
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
            harmless = next((words for module, words in OBJECTS.items() if unsafe[1].startswith(module)), "")
            item = harmless or f"an object of {unsafe[1]}, which would be run"
            raise InputError(f"{path} has {item}, and only tensors and numbers are read: {WEIGHTS_ALONE}") from error
        if kind := file_kind(path):
            raise InputError(f"{path} is {kind}") from error
        raise InputError(f"{path} is not a checkpoint that can be read: truncated or damaged; get it again") from error


def _safetensors(path: Path) -> dict[str, Any]:
    """Tensors of a safetensors file under 'state_dict', and 'stem', 'mean', 'std' where features.export wrote them."""
    try:
        from safetensors import safe_open  # here, as only such files need the package
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(f"{path} needs the package safetensors, which is not installed: install it") from error
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    settings = {"stem": metadata["stem"]} if "stem" in metadata else {}
    for name in metadata.keys() & {"mean", "std"}:
        with suppress(ValueError, RecursionError):
            settings[name] = json.loads(metadata[name])
    return {"state_dict": load_file(path), **settings}


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in value.items())


def load_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Load a checkpoint's state_dict into `optimizer`; its settings, such as learning rate and decay, stay as they are.

    Raises:
        InputError: it is of another kind of optimizer, or of other weights.
    """
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    kind, marks = type(optimizer).__name__, set().union(*_MARKS.values())
    try:
        same_kind = all(set(group) & marks == _MARKS[kind] for group in state["param_groups"])
        optimizer.load_state_dict(state)
        fits = same_kind and all(
            set(entries) in (set(), _STATE[kind])
            and all(v is None or v.ndim == 0 or v.shape == p.shape for v in entries.values())
            for p, entries in optimizer.state.items()
        )
        # The first step would fail where some weights have an entry and others do not.
        missing = {tuple(v is None for _, v in sorted(entries.items())) for entries in optimizer.state.values()}
        fits = fits and len(missing) <= 1
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError):
        fits = False
    if not fits:
        raise InputError("its optimizer is another one, or for other weights")
    for group, values in zip(optimizer.param_groups, settings, strict=True):
        params = group["params"]
        group.clear()
        group.update(values, params=params)
    for p, entries in optimizer.state.items():
        for name, value in entries.items():
            if not isinstance(value, torch.Tensor):
                continue
            # Fused steps read memory in order: the state needs the strides and the device of its weight, `step` too.
            if value.shape == p.shape and value.stride() != p.stride():
                entries[name] = torch.empty_like(p).copy_(value)
            elif value.device != p.device:
                entries[name] = value.to(p.device)
