"""The layouts of five fine-grained sets, as their archives unpack: training and test images, and the ids of classes.

A reader takes the folder of a set and gives paths below it and the publisher's ids of classes, for each part. A file
that is missing or cannot be read is an InputError that names it. See data/sets/transfer.py.
"""

import io
from pathlib import Path

import numpy as np

from utils.errors import InputError
from utils.files import read_file

LARGEST = 100_000_000  # bytes of a list or .mat file; the largest has 6 million
PARTS = ("train", "test")  # names of the two lists of a set

Part = list[tuple[str, int]]  # path below the folder of the set, the publisher's id of the class


# ---- text files


def _lines(path: Path) -> list[tuple[str, str]]:
    """(first word, rest of the line, which may have spaces) of each line of a text file that is not blank.

    Raises:
        InputError: the file is missing or cannot be read, or a line has only one word.
    """
    try:
        lines = read_file(path, LARGEST).decode("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): unpack the archive again") from error
    rows = []
    for number, line in enumerate(lines, 1):
        words = line.strip().split(maxsplit=1)
        if len(words) == 1:
            raise InputError(f"{path}, line {number}: {line.strip()[:80]!r} has one word: unpack the archive again")
        if words:
            rows.append((words[0], words[1]))
    return rows


def _whole(text: object, path: Path) -> int:
    """The number of a class in a file; in .mat files it may be a float."""
    try:
        if float(number := int(text)) == float(text):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{path} has label {str(text)[:80]!r}, which is no whole number: unpack the archive again")


def by_ids(place: Path) -> dict[str, Part]:
    """CUB and NABirds: lines `<id of an image> <path, class or split>`; 1 in train_test_split.txt is training."""
    files = [place / f"{name}.txt" for name in ("images", "image_class_labels", "train_test_split")]
    paths, labels, split = (dict(_lines(file)) for file in files)
    for file, other in zip(files[1:], (labels, split), strict=True):
        if odd := next(iter(paths.keys() ^ other.keys()), None):
            raise InputError(f"{files[0]} and {file} do not name the same images, {odd} say: unpack the archive again")
    if odd := next((value for value in split.values() if value not in ("0", "1")), None):
        raise InputError(f"{files[2]} has {odd!r}, neither 1 for training nor 0: unpack the archive again")
    kinds = {"train": "1", "test": "0"}
    known = place / "classes.txt"
    classes = {c for c, _ in _lines(known)} if known.is_file() else set(labels.values())
    if odd := next((label for label in labels.values() if label not in classes), None):
        raise InputError(f"{files[1]} has label {odd!r}, which is not in {known.name}: unpack the archive again")
    return {
        name: [(f"images/{paths[i]}", _whole(labels[i], files[1])) for i in paths if split[i] == kind]
        for name, kind in kinds.items()
    }


def aircraft(place: Path) -> dict[str, Part]:
    """FGVC-Aircraft: lines `<image> <variant>`; a variant's name may have spaces."""
    variants = {name.strip(): n for n, name in enumerate(_text(place / "variants.txt"), 1)}
    parts = {}
    for name, published in (("train", "trainval"), ("test", "test")):
        file = place / f"images_variant_{published}.txt"
        lines = _lines(file)
        if odd := next((variant for _, variant in lines if variant not in variants), None):
            raise InputError(f"{file} has variant {odd!r}, which is not in variants.txt: unpack the archive again")
        parts[name] = [(f"images/{image}.jpg", variants[variant]) for image, variant in lines]
    return parts


def _text(path: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    try:
        return [line for line in read_file(path, LARGEST).decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): unpack the archive again") from error


# ---- .mat files


def _mat(path: Path, name: str) -> list:
    """The array `name` of a MATLAB file, as a list; structs are dicts.

    Raises:
        InputError: the file is missing or damaged, or has no such array.
    """
    from scipy.io import loadmat

    try:
        array = loadmat(io.BytesIO(read_file(path, LARGEST)), simplify_cells=True)[name]
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: unpack the archive again") from error
    except Exception as error:
        # On a damaged file SciPy raises anything, from struct.error to zlib.error.
        raise InputError(f"{path} is not a whole .mat file with {name}: unpack the archive again") from error
    return list(array) if isinstance(array, list | np.ndarray) else [array]


def _first(place: Path, *names: str) -> Path:
    """The first of these files that exists; the first of all if none does."""
    return next((place / name for name in names if (place / name).is_file()), place / names[0])


def cars(place: Path) -> dict[str, Part]:
    """Stanford Cars: `annotations` with fname and class. For test images the devkit has no class, another file has."""
    files = {
        "train": _first(place, "devkit/cars_train_annos.mat", "cars_train_annos.mat"),
        "test": _first(place, *(f"{at}cars_test_annos_withlabels.mat" for at in ("", "devkit/"))),
    }
    parts = {}
    for name, file in files.items():
        if not file.is_file():
            raise InputError(f"{file} does not exist: get {file.name}, too, which has the labels of the {name} images")
        folder = f"cars_{name}"
        at = f"{folder}/{folder}" if (place / folder / folder).is_dir() else folder  # as some mirrors unpack
        entries = _mat(file, "annotations")
        if not all(isinstance(e, dict) and isinstance(e.get("fname"), str) and "class" in e for e in entries):
            raise InputError(f"{file} has images without a name or a class: get cars_test_annos_withlabels.mat")
        parts[name] = [(f"{at}/{e['fname']}", _whole(e["class"], file)) for e in entries]
    return parts


def dogs(place: Path) -> dict[str, Part]:
    """Stanford Dogs: `file_list` and `labels` of each part."""
    parts = {}
    for name in PARTS:
        file = _first(place, f"{name}_list.mat", f"lists/{name}_list.mat")
        paths, labels = _mat(file, "file_list"), _mat(file, "labels")
        if len(paths) != len(labels) or not all(isinstance(path, str) for path in paths):
            raise InputError(f"{file} has {len(paths):,} images and {len(labels):,} labels: unpack lists.tar again")
        parts[name] = [(f"Images/{path}", _whole(c, file)) for path, c in zip(paths, labels, strict=True)]
    return parts
