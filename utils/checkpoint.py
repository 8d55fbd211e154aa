"""Checkpoints: written whole or not at all, read without executing anything."""

import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.errors import InputError

# Older checkpoints hold NumPy numbers (a best accuracy, say): these build a number and nothing else.
_SAFE = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype("float64")),
    type(np.dtype("float32")),
    type(np.dtype("int64")),
]


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Save to a temporary file beside `path`, sync it to the disk, rename: `path` is never half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU with weights_only=True: nothing in the file is executed.

    Returns:
        A dict with at least 'state_dict', a dict of name -> tensor.

    Raises:
        InputError: the file is missing, truncated, damaged, unsafe, or not a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist: pre-train first, or give the right file")
    try:
        with torch.serialization.safe_globals(_SAFE), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch.load raises anything from EOFError to UnpicklingError on a bad file.
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it would run {unsafe.group(1)}, which no checkpoint needs" if unsafe else "truncated or damaged"
        raise InputError(f"{path} is not a checkpoint that can be read: {why}; get it again") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise InputError(f"{path} is not a checkpoint: it has no 'state_dict' of tensors")
    return content
