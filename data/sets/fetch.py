"""Fetch a fine-grained set and unpack it, or say where it is to be had.

    python -m data.sets.fetch cub dogs --out DIR

Archives are downloaded to DIR/.fetching, checked by the MD5 that their publisher gives (CUB; the others give none), and
unpacked into DIR, each set in the folder where it is looked for. Then the set is read, and so its numbers are checked.
Where the host asks for consent (NABirds) or has closed (Cars), what to get and from where is printed, exit code 2. An
archive that is there whole is not downloaded again; nothing of a set is at its place before all of it is unpacked.
"""

import hashlib
import http.client
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path

from data.flags import parse_fetch
from data.sets.registry import data_set
from data.sets.transfer import Archive, TransferSet
from utils.archives import check_space, place, unpack
from utils.errors import InputError, run_main
from utils.files import locked

TIMEOUT = 60  # seconds without a byte
BLOCK = 1 << 20
MOST_BYTES, MOST_FILES = 30_000_000_000, 200_000  # of an archive, unpacked; NABirds has 10 GB, 48,562 images


def fetch(dataset: TransferSet, out: Path) -> str:
    """Fetch, unpack and check a set; returns a line that says what was done.

    Raises:
        InputError: it cannot be fetched, an archive is another or damaged, or what it holds is not the set.
    """
    if summary := _here(dataset, out):
        return f"{dataset.name}: there already, {summary}"
    if not dataset.archives:
        raise InputError(f"{dataset.name} cannot be fetched for you: get {dataset.download}; unpack it in "
                         f"{str(out / dataset.folders[0])!r}")  # fmt: skip
    work = out / ".fetching"
    work.mkdir(parents=True, exist_ok=True)
    archives = [_download(archive, work) for archive in dataset.archives]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        files = {}
        for number, archive in enumerate(archives):
            (apart := Path(folder) / str(number)).mkdir()
            files |= {name.removeprefix("./"): path for name, path in unpack(archive, apart, MOST_BYTES, MOST_FILES)}
        _settle(dataset, files, Path(folder) / "tree", out)
    shutil.rmtree(work)
    return f"{dataset.name}: fetched, {_here(dataset, out)}"


def _settle(dataset: TransferSet, files: dict[str, Path], tree: Path, out: Path) -> None:
    """Move unpacked files (name in the archive -> path) to `tree`, check that they are the set, and move it to `out`.

    Raises:
        InputError: they are not the set, or something else is at its place.
    """
    # Some archives have all in the set's folder; several folders and files side by side are put into it here.
    has_folder = any(Path(name).parts[0] in Path(dataset.folders[0]).parts for name in files)
    target = tree if has_folder else tree / dataset.folders[0]
    target.mkdir(parents=True)
    place(files, target, overwrite=False)
    if not _here(dataset, tree):
        raise InputError(f"what was fetched holds no {dataset.name}: get {dataset.download}")
    taken = [out / entry.name for entry in tree.iterdir() if (out / entry.name).exists()]
    if taken:
        raise InputError(f"{taken[0]} is there, but not the whole set: move it, and run this again")
    for entry in tree.iterdir():
        entry.rename(out / entry.name)


def _here(dataset: TransferSet, out: Path) -> str:
    """The numbers of images of a set in `out`, as text; '' if it is not there.

    Raises:
        InputError: what is there is not the whole set.
    """
    try:
        folder = dataset.place(str(out))
    except InputError:
        return ""
    lists = dataset.lists(folder)
    return "{:,} training and {:,} test images in {}".format(*map(len, lists.values()), folder)


def _download(archive: Archive, work: Path) -> Path:
    """The file of an archive in `work`, downloaded unless it is there whole."""
    name = archive.url.rpartition("/")[2]
    file, part = work / name, work / f"{name}.part"
    if not file.is_file():
        try:
            with urllib.request.urlopen(archive.url, timeout=TIMEOUT) as response, part.open("wb") as out:
                size = int(response.headers.get("Content-Length") or 0)
                check_space(work, size, archive.url)
                shutil.copyfileobj(response, out, BLOCK)
        except (OSError, ValueError, http.client.HTTPException) as error:
            part.unlink(missing_ok=True)
            raise InputError(f"cannot fetch {archive.url} ({error}): try again, or get it otherwise") from error
        if size and part.stat().st_size != size:
            got = part.stat().st_size
            part.unlink()
            raise InputError(f"{archive.url} broke off after {got:,} of {size:,} bytes: try again")
        part.rename(file)
    with file.open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest() if archive.md5 else ""
    if md5 != archive.md5:
        file.unlink()
        raise InputError(f"{archive.url} has MD5 {md5}, not the publisher's {archive.md5}: it was removed, try again")
    return file


def main() -> None:
    args = parse_fetch(__doc__)
    with locked(args.out):
        for name in args.names:
            print(fetch(data_set(name), args.out), flush=True)


if __name__ == "__main__":
    sys.exit(run_main(main))
