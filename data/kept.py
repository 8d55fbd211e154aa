"""A scan of a folder, kept in a file beside a run: the next start reads it where no folder has changed since."""

import io
import json
from pathlib import Path

import numpy as np

from data.paths import Paths
from data.tree import Part, Tree
from utils.files import replace_file

NAME = "images.npz"
JUST_NOW = 3 * 10**9  # ns: what changed so shortly before a scan may change again and keep its time, by a coarse clock


def keep(tree: Tree, folder: Path) -> None:
    """Write a scan of folders to folder/images.npz; other trees are read as quickly as that."""
    if not tree.folders:
        return
    told = {"root": str(tree.root.absolute()), "classes": tree.classes, "told": tree.told, "unlisted": tree.unlisted,
            "folders": tree.folders, "taken": tree.taken, "parts": list(tree.parts)}  # fmt: skip
    arrays = {"told": np.frombuffer(json.dumps(told).encode(), np.uint8)}
    for name, part in tree.parts.items():
        arrays[f"{name}_paths"] = part.paths.text
        arrays[f"{name}_labels"] = part.labels
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    replace_file(folder / NAME, buffer.getvalue())


def kept(root: Path, folder: Path) -> Tree | None:
    """The scan of `root` that is kept in a folder; None where there is none, or it may no longer be right."""
    try:
        with np.load(folder / NAME, allow_pickle=False) as arrays:
            told = json.loads(arrays["told"].tobytes())
            parts = {
                name: Part(Paths(arrays[f"{name}_paths"].tobytes().decode().split("\n")), arrays[f"{name}_labels"])
                for name in told["parts"]
            }
        folders = tuple((str(name), int(changed)) for name, changed in told["folders"])
        same = told["root"] == str(root.absolute()) and all(
            (root / name).stat().st_mtime_ns == changed < told["taken"] - JUST_NOW for name, changed in folders
        )
        tree = Tree(root, tuple(told["classes"]), parts, tuple(told["told"]), tuple(told["unlisted"]), folders,
                    told["taken"])  # fmt: skip
    except Exception:  # a damaged one raises anything; the folder itself is there to be read
        return None
    return tree if same else None
