"""The user's own images: all below a folder, by their file names, or those of a text file of paths or an .npz file.

The sub-folders of `train/`, or of the folder itself, are classes if there are at least two and each image is in one.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from data.images import LEFT_BEHIND, folder_of
from data.paths import Paths, has_control
from data.sets.npz import read_npz
from utils.errors import InputError

ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
# Parts of a data set -> names of their folders, in lower or upper case.
PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
FEW = 3  # files that a message names
LONGEST_LINE = 4096
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Part:
    """paths [N] below the tree's root, in order; labels [N] int64, all 0 without classes."""

    paths: Paths
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Tree:
    """The images that were found.

    root: the folder that paths begin in. classes: names in the order of labels, () if there are none. parts: the images
    of 'train', and of 'test' and 'val' if these have folders. notes: lines on what was not taken. unlisted: files whose
    names no list can hold. folders: (path below root, time of its last change in ns) of all that were read. taken: time
    of the scan in ns. pixels: of an .npz file, part -> images [N, H, W, 3] uint8; its paths are no files, names alone.
    """

    root: Path
    classes: tuple[str, ...]
    parts: dict[str, Part]
    notes: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    folders: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    taken: int = 0
    pixels: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


@dataclass
class _Walk:
    """A walk through folders; `show`: a progress bar on a terminal if it takes longer than a second."""

    root: Path
    show: bool
    others: Counter[str] = field(default_factory=Counter)  # files that are no images, by the endings of their names
    unlisted: list[str] = field(default_factory=list)
    folders: list[tuple[str, int]] = field(default_factory=list)

    def images(self, part: str = "") -> Iterator[str]:
        """The images below root/part, as paths below root, folder by folder and sorted within each."""
        with tqdm(desc=f"looking for images in {self.root}", unit=" images", unit_scale=True, delay=1,
                  disable=None if self.show else True) as bar:  # fmt: skip
            for path in self._below(part, ()):
                bar.update()
                yield path

    def _below(self, folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
        """Args:
        folder: its path below root. above: (device, inode) of the folders that it is in, against endless links.
        """
        place = self.root / folder
        try:
            status = place.stat()
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"folder {str(place)!r} cannot be read: {error.strerror}") from error
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise InputError(f"{str(place)!r} is a link to a folder that it lies in: remove it, or give a folder below")
        self.folders.append((folder, status.st_mtime_ns))
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or entry.name in LEFT_BEHIND:
                continue
            if entry.is_dir():
                yield from self._below(path, (*above, here))
            elif (ending := PurePosixPath(entry.name).suffix.lower()) not in ENDINGS:
                self.others[ending or "no ending"] += 1
            elif can_be_listed(path):
                yield path
            else:
                self.unlisted.append(path)


def name_unlisted(paths: Sequence[str]) -> str:
    """What is wrong with the names of files that no list can hold, and what to do, as the end of an error message."""
    return f"names that are not UTF-8, have control characters, or look like a drive's: {first_few(paths)}; rename them"


def can_be_listed(path: str) -> bool:
    """Whether a line of a list can hold a path: UTF-8, without backslash, leading space or control characters, and not
    like one of a Windows drive, `a:/`."""
    return not has_control(path) and "\\" not in path and not path[0].isspace() and not re.match("[A-Za-z]:/", path)


def scan(given: str | Path, show: bool = False) -> Tree:
    """All images below a folder; links are followed, hidden files and what other programs leave behind are not taken.

    Args:
        given: the folder. If it has `train/`, and perhaps `val/` or `test/`, these are its parts, and other folders are
            noted but not read. show: a progress bar on a terminal.

    Raises:
        InputError: there is no image, a folder cannot be read, or a link leads to a folder that it lies in.
    """
    root, taken = Path(given), time.time_ns()
    if not root.is_dir():
        raise InputError(f"{str(given)!r} is neither a folder nor a file")
    walk, notes = _Walk(root, show), []
    folders = _folders_of_parts(root)
    if "train" in folders:
        paths = {part: Paths(walk.images(name)) for part, name in folders.items()}
        walk.folders.append(("", root.stat().st_mtime_ns))
        if beside := sorted(e.name for e in os.scandir(root) if _is_other(e) and e.name not in folders.values()):
            read = ", ".join(f"{name}/" for name in folders.values())
            notes.append(f"beside {read} these are not read: {', '.join(beside)}")
    else:
        paths = {"train": Paths(walk.images())}
    if not paths["train"] and walk.unlisted:
        raise InputError(f"all {len(walk.unlisted):,} images below {str(root)!r} have {name_unlisted(walk.unlisted)}")
    if not paths["train"]:
        where, known = root / folders.get("train", ""), ", ".join(sorted(ENDINGS))
        raise InputError(f"there is no image below {str(where)!r}: files that end in {known} are taken")
    if walk.others:
        most = ", ".join(f"{count:,} {ending}" for ending, count in walk.others.most_common(FEW))
        notes.append(f"{walk.others.total():,} files are no images by their names: {most}")
    depth = 1 if "train" in folders else 0
    classes, parts = _labelled(root, {part: listed for part, listed in paths.items() if listed}, depth)
    if len(parts) == 2 and "val" in parts:  # without test/, val/ is the test set, as in ImageNet
        parts["test"] = parts.pop("val")
    return Tree(root, classes, parts, tuple(notes), tuple(walk.unlisted), tuple(walk.folders), taken)


def _folders_of_parts(root: Path) -> dict[str, str]:
    """Part -> the name of its folder, for the parts that exist.

    Raises:
        InputError: a part has two folders.
    """
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    found = {part: [name for name in folders if name.lower() in names] for part, names in PARTS.items()}
    if found["train"]:
        for part, names in found.items():
            if len(names) > 1:
                raise InputError(f"{str(root)!r} has {' and '.join(f'{n}/' for n in names)}: which is its {part} part?")
    return {part: names[0] for part, names in found.items() if names}


def _is_other(entry: os.DirEntry) -> bool:
    return entry.is_dir() and not entry.name.startswith(".") and entry.name not in LEFT_BEHIND


def _labelled(root: Path, paths: dict[str, Paths], depth: int) -> tuple[tuple[str, ...], dict[str, Part]]:
    """Classes, and the parts with labels. depth: the folder of a class is this component of a path, from 0."""

    def class_of(path: str) -> str:
        components = path.split("/", depth + 1)
        return components[depth] if len(components) > depth + 1 else ""

    classes = tuple(sorted(set(map(class_of, paths["train"]))))
    if len(classes) < 2 or "" in classes:
        return (), {part: Part(listed, np.zeros(len(listed), np.int64)) for part, listed in paths.items()}
    number = {name: i for i, name in enumerate(classes)}
    for part, listed in paths.items():
        unknown = next((name for name in map(class_of, listed) if name not in number), None)
        if unknown is not None:
            what = f"the class {unknown!r}, which" if unknown else "an image in no folder of a class, and that"
            raise InputError(
                f"{str(root / part)!r} has {what} train/ does not have: both must have the same folders of classes"
            )

    def labelled(listed: Paths) -> Part:
        return Part(listed, np.fromiter((number[class_of(path)] for path in listed), np.int64, len(listed)))

    return classes, {part: labelled(listed) for part, listed in paths.items()}


def read_paths(given: Path) -> Tree:
    """The images that a text file names, one path in each line, which may be followed by a label.

    Paths are absolute, or relative to the file's folder or to the working folder.

    Raises:
        InputError: it is no text, a line is no path, a path is there twice, or none of the images exists.
    """
    try:
        with given.open(encoding="utf-8-sig", newline=None) as file:
            numbered = [(number, line.strip()) for number, line in enumerate(file, 1)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{given} is not a readable text file of paths ({error})") from error
    numbered = [(number, line) for number, line in numbered if line]
    if not numbered:
        raise InputError(f"{given} is empty: it must name an image in each line")
    for number, line in numbered:
        if not can_be_listed(line) or len(line) > LONGEST_LINE:
            raise InputError(f"{given}, line {number}: {line[:80]!r} is no path of an image")
    lines = [line for _, line in numbered]
    # A last word of digits is a label, unless a whole line names a file: names may end in a space and digits.
    last_words = [line.rpartition(" ")[2] for line in lines]
    labelled = not any(_exists(given, line) for line in lines[:100]) and all(
        word.isdecimal() and len(word) < 8 for word in last_words
    )
    paths = [line.rpartition(" ")[0].strip() for line in lines] if labelled else lines
    labels = np.array([int(word) for word in last_words] if labelled else [0] * len(lines), np.int64)
    root, below = _rooted(given, paths)
    if not any((root / path).exists() for path in below[:100]):
        raise InputError(f"{given} names images that are not there, {paths[0]} say: paths are absolute, or begin in "
                         "its folder or in the working one")  # fmt: skip
    if len(set(below)) < len(below):
        twice = Counter(below).most_common(1)[0][0]
        raise InputError(f"{given} names {root / twice} twice")
    classes = _numbered(given, labels) if labelled and labels.max() else ()
    return Tree(root, classes, {"train": Part(Paths(below), labels)})


def _rooted(given: Path, paths: list[str]) -> tuple[Path, list[str]]:
    """The folder that the paths of a text file begin in, and the paths below it, normalised to compare equal."""
    relative = [path for path in paths[:100] if not path.startswith("/")]
    folder = next((folder for folder in (given.parent, Path()) if folder_of(folder, relative) == folder), given.parent)
    if not any(path.startswith("/") or ".." in path.split("/") for path in paths):
        return folder, [str(PurePosixPath(path)) for path in paths]
    absolute = folder.absolute()

    def below(path: str) -> str:
        place = absolute / path
        # `..` is resolved in the folders alone: an image that is itself a link keeps its name.
        place = place.parent.resolve() / place.name if ".." in place.parts else place
        return str(place).lstrip("/")

    return Path("/"), [below(path) for path in paths]


def _numbered(given: Path, labels: np.ndarray) -> tuple[str, ...]:
    """The class names '0', '1', ... up to the largest label.

    Raises:
        InputError: the largest label is MOST_CLASSES or more.
    """
    if (last := int(labels.max())) >= MOST_CLASSES:
        raise InputError(f"{given} has a label {last}: labels are the numbers of classes from 0 on, of at most "
                         f"{MOST_CLASSES:,} classes")  # fmt: skip
    return tuple(map(str, range(last + 1)))


def _exists(given: Path, line: str) -> bool:
    return (given.parent / line).exists() or Path(line).exists()


def arrays_of(given: Path) -> Tree:
    """The images of an .npz file (data/sets/npz.py), with names such as `train/3/000041`: part, label, number.

    Raises:
        InputError: it is no such file.
    """
    parts, pixels = {}, {}
    for part in ("train", "test"):
        pixels[part], labels = read_npz(given, train=part == "train")
        paths = Paths(f"{part}/{label}/{number:06d}" for number, label in enumerate(labels.tolist()))
        parts[part] = Part(paths, labels)
    classes = _numbered(given, parts["train"].labels)
    if (beyond := int(parts["test"].labels.max())) >= len(classes):
        raise InputError(f"{given} has test images of class {beyond}, and its training images go up to {classes[-1]}")
    if pixels["train"].shape[1:] != pixels["test"].shape[1:]:
        raise InputError(f"{given} has training and test images of two sizes")
    return Tree(Path(), classes if len(classes) > 1 else (), parts, pixels=pixels)


def first_few(names: Sequence[str], between: str = ", ") -> str:
    """The first few of many names and how many more there are, as text."""
    more = f" and {len(names) - FEW:,} more" if len(names) > FEW else ""
    return between.join(map(repr, names[:FEW]) if between == ", " else names[:FEW]) + more
