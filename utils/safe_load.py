"""torch.load of an untrusted file: nothing in it is executed, and it takes no more memory than the file has bytes."""

import argparse
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

MOST = 100_000  # values besides those within tensors
NUMBERS = "?bhilqBHILQefdFD"  # NumPy's codes of the dtypes of numbers


class Refused(ValueError):
    """The file is not damaged, but its content is not accepted; the message completes 'it has ...'."""


def safe_load(path: Path) -> Any:
    """The content of a torch.save file, on the CPU.

    Raises:
        Refused: it has more values than a checkpoint has (as lists that contain each other have), a tensor that is not
            dense or repeats its memory, or a huge number.
        Exception: it is damaged, would execute something, or is compressed and would expand.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        # torch.save does not compress, but torch.load expands a compressed part.
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its parts are larger than it is")
    with torch.serialization.safe_globals(_SAFE):
        content = torch.load(path, map_location="cpu", weights_only=True)
    _check(content)
    return content


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    """A NumPy number; not a text, whose length the file could claim at will."""
    if dtype.kind not in "biufc":
        raise ValueError(f"{dtype} is no number")
    return np.frombuffer(content, dtype, 1)[0]


# Older checkpoints have NumPy numbers (a best accuracy, say): these functions and types build nothing but a number.
_SAFE = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    argparse.Namespace,  # a command line, which other libraries save: attributes alone
    *{type(np.dtype(kind)) for kind in NUMBERS},
]


def _check(content: Any) -> None:
    """Raise Refused if there are too many values, counted at any depth, or a number or tensor of an odd kind."""
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
