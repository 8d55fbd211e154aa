"""A scan of a folder of images, kept in a file of the run: the next start reads it if no folder has changed since."""

import io
import json
from pathlib import Path

import numpy as np

from data.paths import Paths
from data.tree import Part, Tree
from utils.files import replace_file

NAME = "images.npz"
# ns. File systems store times of change coarsely: a folder that changed so shortly before the scan may change again
# after it and still show the same time, so such a scan is not used.
JUST_NOW = 3 * 10**9


def keep(tree: Tree, folder: Path) -> None:
    """Write a scan of folders to folder/images.npz. Text files of paths and .npz files are as quick to read again."""
    if not tree.folders:
        return
    record = {"root": str(tree.root.absolute()), "classes": tree.classes, "told": tree.notes, "unlisted": tree.unlisted,
              "folders": tree.folders, "taken": tree.taken, "parts": list(tree.parts)}  # fmt: skip
    arrays = {"told": np.frombuffer(json.dumps(record).encode(), np.uint8)}
    for name, part in tree.parts.items():
        arrays[f"{name}_paths"] = part.paths.text
        arrays[f"{name}_labels"] = part.labels
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    replace_file(folder / NAME, buffer.getvalue())


def kept(root: Path, folder: Path) -> Tree | None:
    """The scan of `root` that is kept in a folder; None if there is none, or folders may have changed since."""
    try:
        with np.load(folder / NAME, allow_pickle=False) as arrays:
            record = json.loads(arrays["told"].tobytes())
            parts = {
                name: Part(Paths(arrays[f"{name}_paths"].tobytes().decode().split("\n")), arrays[f"{name}_labels"])
                for name in record["parts"]
            }
        folders = tuple((str(name), int(changed)) for name, changed in record["folders"])
        same = record["root"] == str(root.absolute()) and all(
            (root / name).stat().st_mtime_ns == changed < record["taken"] - JUST_NOW for name, changed in folders
        )
        tree = Tree(root, tuple(record["classes"]), parts, tuple(record["told"]), tuple(record["unlisted"]), folders,
                    record["taken"])  # fmt: skip
    except Exception:  # a damaged file raises anything; then the images' folder is scanned again
        return None
    return tree if same else None
