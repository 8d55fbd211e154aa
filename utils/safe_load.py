"""torch.load of a file from a stranger: nothing in it is executed, and it takes no more memory than it is long."""

import argparse
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

MOST = 100_000  # values besides the numbers in tensors
NUMBERS = "?bhilqBHILQefdFD"  # NumPy's kinds of them


class Refused(ValueError):
    """The file is not damaged, but has something that is not accepted; the message completes 'it has ...'."""


def safe_load(path: Path) -> Any:
    """What torch.save wrote to `path`, on the CPU.

    Raises:
        Refused: it has more values than a checkpoint has, or a tensor or number of an odd kind.
        Exception: it is damaged, would execute something, or would expand: by compression, tensors that repeat their
            memory, or lists that hold each other.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        # torch.save compresses nothing, but torch.load expands what is compressed.
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its parts are larger than it is")
    with torch.serialization.safe_globals(_SAFE):
        content = torch.load(path, map_location="cpu", weights_only=True)
    _check(content)
    return content


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    """A NumPy number, never a text of the length that a file claims."""
    if dtype.kind not in "biufc":
        raise ValueError(f"{dtype} is no number")
    return np.frombuffer(content, dtype, 1)[0]


# Older checkpoints hold NumPy numbers (a best accuracy, say): these build a number and nothing else.
_SAFE = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    argparse.Namespace,  # of a command line, which others save: attributes and nothing else
    *{type(np.dtype(kind)) for kind in NUMBERS},
]


def _check(content: Any) -> None:
    """Raise Refused if there are too many values, counted at any depth, or a tensor without numbers."""
    stack, count = [content], 0
    while stack:
        value = vars(v) if isinstance(v := stack.pop(), argparse.Namespace) else v
        if isinstance(value, dict):
            children = [*value.keys(), *value.values()]
        else:
            children = list(value) if isinstance(value, list | tuple | set | frozenset) else []
        count += 1 + len(children)
        if count > MOST:
            raise Refused(f"more than {MOST:,} values besides its tensors, a history perhaps")
        stack += children
        if isinstance(value, int) and value.bit_length() > 64:  # Python prints no number of 5000 digits
            raise Refused("a number of more than 64 bits")
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_meta or value.is_quantized:
                raise Refused("a tensor that is not dense")
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise Refused("a tensor that is larger than its memory")
