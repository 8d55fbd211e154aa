"""Files of other programs: what they are, in words, and how to make a checkpoint of this project from them."""

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
# A key at the top level of the file -> the library.
_KEYS = {"classy_state_dict": "VISSL", "teacher": "DINO"}
# Prefixes of the names of weights, all of which are there -> the library.
_PREFIXES = {
    ("encoder_q.",): "MoCo",
    ("base_encoder.",): "MoCo v3",
    ("encoder.", "head."): "SupContrast",
    ("backbone.", "classifier."): "solo-learn",
    ("backbone.", "projection_head."): "lightly",
    ("blocks.0.attn.",): "a vision transformer",
}
_USUAL = ("model", "model_state_dict", "net", "network", "weights", "params")  # keys that others put weights under


def is_safetensors(path: Path) -> bool:
    """Whether a file is in safetensors format, by its name or by how it begins: the length of a JSON header in eight
    bytes, and the header. The name alone is enough, as a truncated file may have no header."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or bool(re.match(rb".{8}\{\s*[\"}]", file.read(300), re.S))


def file_kind(path: Path) -> str:
    """What a file is that torch.load cannot read, with what to do; '' for a damaged checkpoint."""
    try:
        names = _members(path)
    except Exception:  # on a damaged one zipfile raises anything, from BadZipFile to UnicodeDecodeError
        return ""
    for pattern, kind in _MEMBERS.items():
        if any(re.search(pattern, name) for name in names):
            return kind
    if names:
        return "" if any(name.endswith("data.pkl") for name in names) else "an archive: unpack it"
    with path.open("rb") as file:
        head = file.read(300)
    return next((kind for pattern, kind in _HEADS.items() if re.match(pattern, head, re.I | re.S)), "")


def _members(path: Path) -> list[str]:
    """Names of the files in a zip archive; [] for another file."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def content_kind(content: Mapping[str, Any]) -> str:
    """Which other library saved a file, by its keys and the names of its weights, with what to do; '' if unknown."""
    weights_key = next((key for key in ("state_dict", *_USUAL) if isinstance(content.get(key), Mapping)), "")
    names = [str(name).removeprefix("module.") for name in (content[weights_key] if weights_key else content)]
    libraries = [library for key, library in _KEYS.items() if key in content]
    for prefixes, library in _PREFIXES.items():
        if all(any(name.startswith(prefix) for name in names) for prefix in prefixes):
            libraries.append(library)
    if libraries:
        return f"it is of {libraries[0]}: where that is a ResNet, take its encoder's weights, and {SAVE}"
    return f"its weights are under {weights_key!r}: {SAVE}" if weights_key in _USUAL else ""
