"""Lists of image files, `<path below the data folder> <label>` a line: the checks that each passes when it is read."""

import re
from pathlib import Path, PurePosixPath

import numpy as np

from data.image_lists import ListSpec, PathList
from split.lists import LARGEST, blob_sha1, origin
from utils.errors import InputError
from utils.files import read_file

_LABEL = re.compile("-?[0-9]{1,9}")


def read_path_list(path: Path, spec: ListSpec, apart: tuple[PathList, ...] = ()) -> PathList:
    """Read and check a list of image files.

    Args:
        path: text file. spec: its data set. apart: lists that must share no image with this one.

    Raises:
        InputError: the file is missing or not text, a line lacks its label, a label is out of range, a path leaves the
            data folder or stands there twice, the list belongs to another data set, or it overlaps.
    """
    try:
        content = read_file(path, LARGEST)
        lines = content.decode("utf-8-sig").splitlines()  # some editors put a mark before the first line
    except FileNotFoundError as error:
        raise InputError(f"list {path} does not exist: see `python -m split.make_splits --help`") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list {path} is not a readable text file ({error}); make or fetch it again") from error
    sha1 = blob_sha1(content)
    source, owner = origin(sha1)
    if owner not in ("", spec.name):
        raise InputError(f"list {path} belongs to {owner}, not to {spec.name}: choose a list of {spec.name}")
    paths, labels = [], np.empty(len(lines), np.int64)
    for i, line in enumerate(lines):
        name, label = _parse(line, f"list {path}, line {i + 1}", spec)
        paths.append(name)
        labels[i] = label
    if not paths:
        raise InputError(f"list {path} is empty; make or fetch it again")
    if len(unique := set(paths)) < len(paths):
        twice = next(p for i, p in enumerate(paths) if p not in unique or unique.discard(p))
        raise InputError(f"list {path}, line {len(paths) - paths[::-1].index(twice)}: {twice} is in the list twice")
    result = PathList(path, paths, labels, sha1, source)
    for other in apart:
        if shared := len(unique.intersection(other.paths)):
            raise InputError(f"list {path} shares {shared} images with {other.path}: the two were not made together")
    return result


def _parse(line: str, where: str, spec: ListSpec) -> tuple[str, int]:
    name, _, label = line.strip().rpartition(" ")
    name = name.strip()
    if not name or not _LABEL.fullmatch(label):
        raise InputError(f"{where}: {line.strip()[:80]!r} is not `<path> <label>`")
    if not 0 <= int(label) < spec.classes:
        raise InputError(f"{where}: label {label} is out of range 0..{spec.classes - 1} of {spec.name}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"{where}: {name!r} leaves the data folder; paths are below --data")
    # One name for one image, so that it is seen to be in two lists: `find .` writes ./train/...
    return "/".join(parts), int(label)


def class_folders(images: PathList) -> dict[int, set[str]]:
    """Label -> the folders in which its images lie; a class has one folder name."""
    folders: dict[int, set[str]] = {}
    for name, label in zip(images.paths, images.labels.tolist(), strict=True):
        folders.setdefault(label, set()).add(PurePosixPath(name).parent.name)
    return folders
