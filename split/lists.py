"""Read, check and write lists: .npy files of indices, and text files of paths; each is checked when it is read.

A text file has a line `<path below the data folder> <label>` for each image.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from data.images import ImageList
from data.paths import Paths
from data.sets.base import DataSet, MemorySet
from data.sets.files import FileSet
from data.sets.registry import data_sets
from data.text_lists import count_lines, lines_of
from split.counts import imagenet_100
from split.flags import REMAKE, ROOT
from utils.errors import InputError, warn
from utils.files import read_file, replace_file

LARGEST = 500_000_000  # bytes of a list; that of all ImageNet has 50 million

PUBLISHED = ROOT / "published_splits.tsv"


def blob_sha1(content: bytes) -> str:
    """git's blob id of a file: SHA-1 of `blob <bytes>\\0` and the content."""
    digest = hashlib.sha1(b"blob %d\0" % len(content))
    digest.update(content)  # apart from the header, as joining them would copy a long content
    return digest.hexdigest()


def published_lists() -> list[dict[str, str]]:
    """Rows of published_splits.tsv: repository, commit, path, git_blob_sha1, bytes."""
    header, *rows = PUBLISHED.read_text("utf-8").splitlines()
    return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]


def generated_lists() -> dict[str, str]:
    """Hash -> path of the lists that write_lists has made here."""
    ledger = ROOT / "generated.tsv"
    rows = ledger.read_text("utf-8", "replace").splitlines() if ledger.exists() else []
    return dict(row.split("\t") for row in rows if row.count("\t") == 1)


def dataset_of(path: str) -> str:
    """The data set to which a path below split/ belongs, by its folder; '' if it belongs to none."""
    folder = Path(path).parent.name.removesuffix("_imbSub_with_subsets")
    by_folder = {dataset.folder: name for name, dataset in data_sets("imagenet").items()}
    return folder if folder in data_sets("cifar") else by_folder.get(folder, "")


def origin(sha1: str) -> tuple[str, str]:
    """('published' | 'generated' | 'own', data set or '') of a list with this hash."""
    for row in published_lists():
        if row["git_blob_sha1"] == sha1:
            return "published", dataset_of(row["path"])
    made = generated_lists().get(sha1)
    return ("generated", dataset_of(made)) if made else ("own", "")


def read_npy(path: Path) -> tuple[np.ndarray, bytes]:
    """The array of a .npy file, and the file's bytes; no pickle is loaded.

    Raises:
        InputError: the file is missing or not a complete .npy file.
    """
    try:
        content = read_file(path, LARGEST)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers of old versions
            return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False), content
    except FileNotFoundError as error:
        raise InputError(f"list {path} does not exist: `python -m split.make_splits` makes a data set's") from error
    except Exception as error:
        # NumPy parses a header as Python code: on a bad one it raises anything, such as a TokenError.
        raise InputError(f"list {path} is not a readable .npy file of integers; make or fetch it again") from error


def npy(indices: np.ndarray) -> bytes:
    """Content of the .npy file of a list of indices."""
    buffer = io.BytesIO()
    np.save(buffer, indices.astype(np.int64))
    return buffer.getvalue()


def write_lists(
    lists: dict[str, np.ndarray | bytes], root: Path, overwrite: bool = False, note: bool = True
) -> list[str]:
    """Note the hashes of lists in split/generated.tsv, then write those that are not there yet.

    Args:
        lists: path below root -> indices [n], or the content of a text file. note: False: the hashes are not noted.
            Below another folder than split/ they are noted if that file can be written.

    Returns:
        Paths below root that were written.

    Raises:
        InputError: a list of that name with other content is there, and overwrite is off.
    """
    contents = {name: listed if isinstance(listed, bytes) else npy(listed) for name, listed in lists.items()}
    here = {name for name in contents if (root / name).exists()}
    same = {name for name in here if (root / name).read_bytes() == contents[name]}
    if here != same and not overwrite:
        other = min(here - same)
        raise InputError(f"{root / other} is another list of the same name: keep it, or {REMAKE}")
    if note:
        _note(contents, root)
    written = [name for name in contents if name not in same]
    for name in written:
        replace_file(root / name, contents[name])
    return written


def _note(contents: dict[str, bytes], root: Path) -> None:
    """Add the hashes of generated lists below `root` to split/generated.tsv."""
    known = generated_lists()
    hashes = {blob_sha1(content): name for name, content in contents.items()}
    lines = [f"{sha1}\t{name}\n" for sha1, name in hashes.items() if sha1 not in known]
    if not lines:
        return
    try:
        ROOT.mkdir(parents=True, exist_ok=True)
        with (ROOT / "generated.tsv").open("a", encoding="utf-8") as ledger:
            ledger.write("".join(lines))
    except OSError as error:
        if root == ROOT:
            raise
        warn(f"results will call these lists 'own', as {ROOT / 'generated.tsv'} cannot be written ({error.strerror})")


def read_list(
    path: Path, dataset: MemorySet, apart: tuple[ImageList, ...] = (), labels: np.ndarray | None = None
) -> ImageList:
    """Read and check a list of indices into a data set's training images.

    Args:
        path: .npy file of integers. dataset: the data set.
        apart: lists that must share no image with this one, such as that of validation images.
        labels: [N] of all training images, from which the list gets those of its images.

    Raises:
        InputError: the file is missing or not a list of integers, an index is out of range or twice in it, the list
            belongs to another data set, or it shares an image with one of `apart`.
    """
    values, content = read_npy(path)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer) or len(values) == 0:
        raise InputError(f"list {path} must hold a row of integers, not {values.dtype} of shape {values.shape}")
    sha1 = blob_sha1(content)
    source, owner = origin(sha1)
    if owner not in ("", dataset.name):
        raise InputError(f"list {path} belongs to {owner}, not to {dataset.name}: choose a list of {dataset.name}")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= dataset.train_images:
        raise InputError(
            f"list {path} has index {low if low < 0 else high}, out of range 0..{dataset.train_images - 1} "
            f"of {dataset.name}: it is damaged or belongs to another data set"
        )
    unique, count = np.unique(values, return_counts=True)
    if len(unique) < len(values):
        raise InputError(f"list {path} has index {unique[count > 1][0]} more than once: make or fetch it again")
    for other in apart:
        if shared := len(np.intersect1d(values, other.ids)):
            raise InputError(
                f"list {path} shares {shared} images with {other.path}: it belongs to another data set, "
                "or the two were not made together"
            )
    ids = values.astype(np.int64)
    return ImageList(path, sha1, source, None if labels is None else labels[ids], ids=ids)


_LABEL = re.compile("-?[0-9]{1,9}")


def read_path_list(path: Path, dataset: FileSet, apart: tuple[ImageList, ...] = (), data: str = "") -> ImageList:
    """Read and check a list of image files.

    Args:
        path: text file. dataset: its data set. apart: lists that must share no image with this one.
        data: the data folder, below which absolute paths must be; '' if it is not known.

    Raises:
        InputError: the file is missing or not text, a line lacks its label, a label is out of range, a path leaves the
            data folder or is in the list twice, the list belongs to another data set, it shares an image with one of
            `apart`, or the user's own images are now in folders of other classes.
    """
    try:
        content = read_file(path, LARGEST)
        count = count_lines(content)
    except FileNotFoundError as error:
        raise InputError(f"list {path} does not exist: `python -m split.make_splits` makes a data set's") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list {path} is not a readable text file ({error}); make or fetch it again") from error
    sha1 = blob_sha1(content)
    source, owner = origin(sha1)
    if owner not in ("", dataset.name):
        raise InputError(f"list {path} belongs to {owner}, not to {dataset.name}: choose a list of {dataset.name}")
    labels = np.empty(count, np.int64)
    absolute = {Path(data).absolute(), Path(data).resolve()} if data else set()
    folders = tuple(f"{str(folder).rstrip('/')}/" for folder in absolute)

    def names() -> Iterator[str]:
        for i, line in enumerate(lines_of(content)):
            where = f"list {path}, line {i + 1}"
            name, labels[i] = _parse(line, where, dataset)
            yield _relative(name, where, folders)

    paths = Paths(names())
    if not paths:
        raise InputError(f"list {path} is empty; make or fetch it again")
    if (twice := paths.repeated()) is not None:
        last = max(i for i, name in enumerate(paths) if name == twice)
        raise InputError(f"list {path}, line {last + 1}: {twice} is in the list twice")
    current = dataset.labels_of(paths)
    if current is not None and (moved := np.flatnonzero((current >= 0) & (current != labels))).size:
        i = moved[0]
        raise InputError(f"list {path}, line {i + 1}: {paths[i]} has label {labels[i]}, and is of class {current[i]} "
                         f"now: the classes have changed since the list was made; {REMAKE}")  # fmt: skip
    for other in apart:
        if shared := paths.shared(other.paths):
            raise InputError(f"list {path} shares {shared} images with {other.path}: the two were not made together")
    return ImageList(path, sha1, source, labels, paths=paths)


def _parse(line: str, where: str, dataset: FileSet) -> tuple[str, int]:
    name, label = (line.strip().rsplit(maxsplit=1) + ["", ""])[:2]
    if not _LABEL.fullmatch(label):
        raise InputError(f"{where}: {line.strip()[:80]!r} is not `<path> <label>`")
    if not 0 <= int(label) < dataset.classes:
        raise InputError(f"{where}: label {label} is out of range 0..{dataset.classes - 1} of {dataset.name}")
    return name, int(label)


def _relative(name: str, where: str, folders: tuple[str, ...]) -> str:
    """The path of an image below the data folder, normalised, so that an image is recognised in two lists.

    `find .` writes `./train/...`, and Windows has backslashes.

    Args:
        name: as in the list. where: the list and its line, for messages.
        folders: absolute paths of the data folder, each with a `/` at its end.

    Raises:
        InputError: the path is not below the data folder.
    """
    spelt = name.replace("\\", "/")
    parts = [part for part in spelt.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in name:
        raise InputError(f"{where}: {name!r} leaves the data folder; paths are relative to it")
    path = "/" * spelt.startswith("/") + "/".join(parts)
    path = next((path.removeprefix(folder) for folder in folders if path.startswith(folder)), path)
    if path.startswith("/") or re.match("[A-Za-z]:/", path):
        raise InputError(f"{where}: {name!r} is an absolute path, and not below the data folder")
    return path


def lists_here(dataset: DataSet, root: Path) -> list[Path]:
    """Files below `root` in the folders of a data set's lists, sorted."""
    examples = [root / dataset.path(name) for name in (dataset.val_list, dataset.split_list("x"))]
    return sorted({path for example in examples for path in example.parent.glob(f"*{example.suffix}")})


def class_folders(images: ImageList) -> dict[int, set[str]]:
    """Label -> the names of the folders in which its images are; in a right list each label has one."""
    folders: dict[int, set[str]] = {}
    for name, label in zip(images.paths, images.labels.tolist(), strict=True):
        folders.setdefault(label, set()).add(PurePosixPath(name).parent.name)
    return folders


def group_sizes(item: ImageList | None, classes: int) -> list[int] | None:
    """Images per class of a list whose labels are known; None for None."""
    return None if item is None else np.bincount(item.labels, minlength=classes).tolist()


def origin_here(name: str, dataset: DataSet) -> dict[str, str]:
    """'path', 'sha1' and 'source' of the list of that name as it is here now; {} if there is none.

    Args:
        name: as on command lines, see split/open.py.
    """
    for path in (ROOT / dataset.path(name.removesuffix(".txt")), Path(name)):
        try:
            sha1 = blob_sha1(read_file(path, LARGEST))
        except (OSError, ValueError):  # not every name is one that a file can have
            continue
        return {"path": path.name, "sha1": sha1, "source": origin(sha1)[0]}
    return {}


def known_sizes(name: str, dataset: DataSet) -> list[int] | None:
    """Images per class of a published long-tailed list, if files in split/ have them; else None.

    Not of a generated list: its classes have other sizes than in the authors' list, so it cannot group their results.
    """
    if dataset.name == "imagenet-100":
        return imagenet_100()[1].tolist()
    path = ROOT / dataset.path(name)
    item = read_path_list(path, dataset) if dataset.labels_in_lists and path.is_file() else None
    return group_sizes(item, dataset.classes) if item and item.source == "published" else None
