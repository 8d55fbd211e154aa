"""Checkpoints of other programs: what a file is that is none of ours, in words, and what makes one of ours of it."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SAVE = "torch.save({'state_dict': WEIGHTS}, FILE), named as torchvision's ResNet names them"

# The first bytes of a file -> what it is, and what to do.
_HEADS = {
    rb"\x89HDF\r\n": f"an HDF5 file, of Keras perhaps: load it there, and {SAVE}",
    rb"version https://git-lfs": "a pointer of Git LFS, not the file itself: get that by `git lfs pull`",
    rb"\s*<(!doctype|html)": "a web page, not the file that a link on it leads to: get that",
    rb"\x1f\x8b|.{257}ustar|BZh|\xfd7zXZ|7z\xbc\xaf": "an archive: unpack it",
    rb"\x93NUMPY": f"a NumPy array: name its weights, and {SAVE}",
    rb"\x08.\x12.{1,40}(pytorch|onnx|tf2onnx|keras)": "an ONNX file: export the PyTorch model that it was made of",
}
_MEMBERS = {
    r"(^|/)constants\.pkl": f"a TorchScript program: read it by torch.jit.load, and {SAVE}",
    r"\.npy$": f"an archive of NumPy arrays: read it by numpy.load, and {SAVE}",
}
# A key at the top of the file -> the library; how names of weights begin, all of these -> the library.
_KEYS = {"classy_state_dict": "VISSL", "teacher": "DINO"}
_PREFIXES = {
    ("encoder_q.",): "MoCo",
    ("base_encoder.",): "MoCo v3",
    ("encoder.", "head."): "SupContrast",
    ("backbone.", "classifier."): "solo-learn",
    ("backbone.", "projection_head."): "lightly",
    ("blocks.0.attn.",): "a vision transformer",
}
_USUAL = ("model", "model_state_dict", "net", "network", "weights", "params")  # where others have their weights


def is_safetensors(path: Path) -> bool:
    """Whether a file is of safetensors: the length of a header of JSON in eight bytes, and the header; or by its name,
    so that what is left of one, cut to nothing, is not taken for another format."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or bool(re.match(rb".{8}\{\s*[\"}]", file.read(300), re.S))


def file_kind(path: Path) -> str:
    """What a file is that torch.load does not read, with what to do; '' for a damaged one."""
    try:
        names = _members(path)
    except Exception:  # on a damaged one zipfile raises anything, from BadZipFile to UnicodeDecodeError
        return ""
    for pattern, what in _MEMBERS.items():
        if any(re.search(pattern, name) for name in names):
            return what
    if names:
        return "" if any(name.endswith("data.pkl") for name in names) else "an archive: unpack it"
    with path.open("rb") as file:
        head = file.read(300)
    return next((what for start, what in _HEADS.items() if re.match(start, head, re.I | re.S)), "")


def _members(path: Path) -> list[str]:
    """Names in a zip archive; none of another file."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def content_kind(content: Mapping[str, Any]) -> str:
    """What another library has saved, by the keys of the file and of its weights, with what to do; '' if unknown."""
    under = next((key for key in ("state_dict", *_USUAL) if isinstance(content.get(key), Mapping)), "")
    names = [str(name).removeprefix("module.") for name in (content[under] if under else content)]
    known = [library for key, library in _KEYS.items() if key in content]
    for prefixes, library in _PREFIXES.items():
        if all(any(name.startswith(prefix) for name in names) for prefix in prefixes):
            known.append(library)
    if known:
        return f"it is of {known[0]}: where that is a ResNet, take its encoder's weights, and {SAVE}"
    return f"its weights are under {under!r}: {SAVE}" if under in _USUAL else ""
