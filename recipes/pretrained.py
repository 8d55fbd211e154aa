"""The authors' pretrained checkpoints: what there is, and get it to where the recipes look for it.

    python -m recipes.pretrained list
    python -m recipes.pretrained get sdclr-cifar10 sdclr-cifar10-tune
    python -m recipes.pretrained get sdclr-cifar100 --from ~/Downloads/checkpoints_cifar100.zip

The archives lie on the authors' Google Drive, without sizes or checksums: the SHA-256 of the first one that was placed
is recorded in the folder's pretrained.tsv, and another one of that name is refused.
"""

import hashlib
import re
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from recipes.flags import ANY_HASH, FROM_FILE, RAISE_LIMIT, parse
from utils.archives import LOGS, check_space, place, reading, unpack
from utils.errors import InputError, run_main

MAX_FILES = 10_000
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the first bytes of a torch.save file that is no zip file
TABLE = "pretrained.tsv"  # lines of name, SHA-256, bytes, date; of several lines of a name the last counts
_PRE = "SDCLR (Jiang et al., ICML 2021), pre-training"
_TUNE = "SDCLR (Jiang et al., ICML 2021), fine-tuning"
_BOTH = ", ImageNet-100 and ImageNet"
_BCL = "BCL (Zhou et al., ICML 2022), CIFAR-100 split 1, ResNet-18"


class Archive(NamedTuple):
    """A file of the authors' Google Drive; with `experiment`, it holds the one checkpoint of that experiment.

    drive: the file's id there. folder: where its experiments go, below the root.
    """

    name: str
    description: str
    drive: str
    folder: str
    experiment: str = ""

    @property
    def url(self) -> str:
        """Its address for a browser."""
        return f"https://drive.google.com/file/d/{self.drive}"


ARCHIVES = {
    row[0]: Archive(*row)
    for row in (
        ("sdclr-cifar10", _PRE, "1zsm6hd7Hx_JOPERG6pChe5xnSAXViLOT", "checkpoints"),
        ("sdclr-cifar10-tune", _TUNE, "1FV-_KFMy2LBqw46UcfxqkAvxIADQVnKt", "checkpoints_tune"),
        ("sdclr-cifar100", _PRE, "1e2GvLQCNooLUpf72lIOFkMvntXWQUMHg", "checkpoints_cifar100"),
        ("sdclr-cifar100-tune", _TUNE, "1x-ZJGgNT-Cs0O1DUkPyndwXn5KOGa8sc", "checkpoints_cifar100_tune"),
        ("sdclr-imagenet", _PRE + _BOTH, "1LSvWHl0Qa_072c0EUddm4mg9ZykrVLFb", "checkpoints_imagenet"),
        ("sdclr-imagenet-tune", _TUNE + _BOTH, "1yOGSrJpab3xZHnKPS6QYKwow5nmU8BrR", "checkpoints_imagenet_tune"),
        ("bcl-cifar100-simclr", _BCL, "1gcVzeLDY1fCR1uUjwlrYyatByb3AP74W", "checkpoints_cifar100", "bcl_simclr_split1"),
        ("bcl-cifar100-sdclr", _BCL, "1MHH8K8mmCCPL6GOwR9g0TtjSJPPouRBZ", "checkpoints_cifar100", "bcl_sdclr_split1"),
        ("bcl-cifar100-bcl-i", _BCL, "1rPFCJfpW7Y092niXJK6BOEyEmAwVlFAy", "checkpoints_cifar100", "bcl_bcl_i_split1"),
        ("bcl-cifar100-bcl-d", _BCL, "15wKUgG7u77mRw85fbEdsxjEsCAAunmQU", "checkpoints_cifar100", "bcl_bcl_d_split1"),
    )
}
FOLDERS = {archive.folder for archive in ARCHIVES.values()}


def place_of(archive: Archive, name: str) -> str | None:
    """EXPERIMENT/FILE of a checkpoint or a log in an archive, without the folders above; None for anything else."""
    parts = PurePosixPath(name).parts
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):  # .DS_Store, ._model.pt
        return None
    *_, experiment, file = ("", "", *parts)
    checkpoint = re.search(r"\.(pt|pth|pth\.tar|ckpt)$", file)
    if archive.experiment:
        return f"{archive.experiment}/model.pt" if checkpoint else None
    taken = checkpoint or file in LOGS
    return f"{experiment}/{file}" if taken and experiment not in ("", *FOLDERS) else None


def _places(archive: Archive, file: Path, temporary: Path, max_bytes: int) -> tuple[dict[str, Path], int]:
    """EXPERIMENT/FILE -> unpacked file, and the number of other files in the archive."""
    with reading(file), file.open("rb") as stream:
        legacy = bool(archive.experiment) and stream.read(len(LEGACY)) == LEGACY
    members = [] if legacy else unpack(file, temporary, max_bytes, MAX_FILES)
    # A zip file with data.pkl in its one folder is torch.save's: not an archive, but the checkpoint itself.
    if legacy or (archive.experiment and any(re.fullmatch(r"[^/]+/data\.pkl", name) for name, _ in members)):
        return {f"{archive.experiment}/model.pt": Path(shutil.copyfile(file, temporary / "whole"))}, 0
    places: dict[str, Path] = {}
    for name, path in members:
        if target := place_of(archive, name):
            if target in places:
                raise InputError(f"{file} holds {name!r} and another one for {target}: get the right archive")
            places[target] = path
    if all(target.endswith(".txt") for target in places):
        raise InputError(f"{file} has no experiment, a folder with model_2000.pt or the like in it: get the right one")
    return places, len(members) - len(places)


def get(
    archive: Archive, root: Path, source: Path | None, max_bytes: int, overwrite: bool = False, quiet: bool = False
) -> str:
    """Download an archive, or take it from the file `source`, and put its experiments into their folder below root.

    Args:
        quiet: without a progress bar.

    Returns:
        A line for the user: how many files were placed where, and the archive's SHA-256.

    Raises:
        InputError: it cannot be downloaded or unpacked, is no such archive, has another hash than the recorded one, or
            there are other files where its files go. No file is placed then.
    """
    folder = root / archive.folder
    # Below the folder, which may be a link to another disk: files are then moved without a copy.
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder if folder.is_dir() else root) as name:
        file = source or Path(name) / archive.name
        try:
            if not source:
                _download(archive, file, max_bytes, quiet or not sys.stderr.isatty())
            with reading(file), file.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            known = recorded(folder).get(archive.name, [sha256])[0]
            if known != sha256 and not overwrite:
                raise InputError(
                    f"{file} has SHA-256 {sha256}, but {known} is recorded in {folder / TABLE}: the authors changed "
                    f"it, or it is another file; {ANY_HASH}"
                )
            places, others = _places(archive, file, Path(name), max_bytes)
            with reading(file):
                place(places, folder, overwrite)
        except InputError as error:
            raise InputError(f"{archive.name}: {error} (browser: {archive.url}, then {FROM_FILE})") from error
        size = file.stat().st_size
    with (folder / TABLE).open("a", encoding="utf-8") as table:
        table.write(f"{archive.name}\t{sha256}\t{size}\t{datetime.now(UTC):%Y-%m-%d %H:%M}\n")
    done = f"{archive.name}: {len(places)} files of {len({Path(p).parent for p in places})} experiments are in {folder}"
    return f"{done}; other files of the archive, left out: {others}; SHA-256 {sha256}"


def _download(archive: Archive, file: Path, max_bytes: int, quiet: bool) -> None:
    def check_size(done: int, total: int | None) -> None:
        if max(done, total or 0) > max_bytes:
            raise InputError(f"it is larger than {max_bytes / 1e9:g} GB: {RAISE_LIMIT}")
        check_space(file.parent, (total or 0) - done, "the rest of it")

    try:
        import gdown  # nothing else needs it

        options = {"quiet": quiet, "use_cookies": False, "timeout": 60, "retries": 3}
        gdown.download(id=archive.drive, output=str(file), progress=check_size, **options)
    except InputError:
        raise
    except Exception as error:  # gdown, requests and their dependencies raise anything
        raise InputError(f"it could not be downloaded ({error})") from error


def recorded(folder: Path) -> dict[str, list[str]]:
    """Name -> SHA-256, bytes and date of each archive that was placed in a folder."""
    file = folder / TABLE
    lines = file.read_text("utf-8", "replace").splitlines() if file.is_file() else []
    rows = (line.split("\t") for line in lines)
    return {row[0]: row[1:] for row in rows if len(row) == 4}


def _describe(archive: Archive, root: Path) -> str:
    row = recorded(root / archive.folder).get(archive.name)
    here = "here: {1} bytes, {2} UTC, SHA-256 {0}".format(*row) if row else "not here"
    where = f"{archive.folder}/{archive.experiment or '*'}"
    return f"{archive.name}\n    {archive.description}\n    {archive.url} -> {where}\n    {here}"


def main() -> None:
    args = parse(__doc__, list(ARCHIVES))
    if args.command == "list":
        print("\n".join(_describe(ARCHIVES[name], args.root) for name in args.names or ARCHIVES))
        return
    for name in args.names:
        largest = int(args.max_gb * 1e9)
        print(get(ARCHIVES[name], args.root, args.source, largest, args.overwrite, args.quiet), flush=True)


if __name__ == "__main__":
    sys.exit(run_main(main))
