"""The authors' pretrained checkpoints: what there is, and get it to where the recipes look for it.

    python -m utils.pretrained list
    python -m utils.pretrained get sdclr-cifar10 sdclr-cifar10-tune
    python -m utils.pretrained get sdclr-cifar100 --from ~/Downloads/checkpoints_cifar100.zip

The archives lie on the authors' Google Drive, without sizes or checksums: the SHA-256 of the first one that was placed
is recorded in the folder's pretrained.tsv, and another one of that name is refused.
"""

import hashlib
import re
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from utils.archives import Member, check_space, install, opened, unpack
from utils.cli import Parser, not_negative
from utils.errors import InputError, run
from utils.files import locked, replace_file
from utils.log import PROJECT

MAX_FILES = 10_000
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # how torch.save began before it wrote zip files
TABLE = "pretrained.tsv"
COLUMNS = ("name", "sha256", "bytes", "date")


class Archive(NamedTuple):
    """A file of the authors' Google Drive; with `experiment`, it is the one checkpoint of that experiment."""

    name: str
    paper: str
    what: str
    drive: str
    folder: str
    experiment: str = ""

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"https://drive.google.com/file/d/{self.drive}"


def _sdclr(name: str, what: str, drive: str, folder: str) -> Archive:
    return Archive(f"sdclr-{name}", "SDCLR (Jiang et al., ICML 2021)", what, drive, folder)


def _bcl(method: str, drive: str) -> Archive:
    name, what = f"bcl-cifar100-{method.lower()}", f"CIFAR-100 split 1, ResNet-18, {method}"
    experiment = f"bcl_{method.lower().replace('-', '_')}_split1"
    return Archive(name, "BCL (Zhou et al., ICML 2022)", what, drive, "checkpoints_cifar100", experiment)


ARCHIVES = {
    a.name: a
    for a in (
        _sdclr("cifar10", "CIFAR-10 pre-training", "1zsm6hd7Hx_JOPERG6pChe5xnSAXViLOT", "checkpoints"),
        _sdclr("cifar10-tune", "CIFAR-10 fine-tuning", "1FV-_KFMy2LBqw46UcfxqkAvxIADQVnKt", "checkpoints_tune"),
        _sdclr("cifar100", "CIFAR-100 pre-training", "1e2GvLQCNooLUpf72lIOFkMvntXWQUMHg", "checkpoints_cifar100"),
        _sdclr("cifar100-tune", "CIFAR-100 fine-tuning", "1x-ZJGgNT-Cs0O1DUkPyndwXn5KOGa8sc",
               "checkpoints_cifar100_tune"),
        _sdclr("imagenet", "ImageNet-100 and ImageNet pre-training", "1LSvWHl0Qa_072c0EUddm4mg9ZykrVLFb",
               "checkpoints_imagenet"),
        _sdclr("imagenet-tune", "ImageNet-100 and ImageNet fine-tuning", "1yOGSrJpab3xZHnKPS6QYKwow5nmU8BrR",
               "checkpoints_imagenet_tune"),
        _bcl("SimCLR", "1gcVzeLDY1fCR1uUjwlrYyatByb3AP74W"),
        _bcl("SDCLR", "1MHH8K8mmCCPL6GOwR9g0TtjSJPPouRBZ"),
        _bcl("BCL-I", "1rPFCJfpW7Y092niXJK6BOEyEmAwVlFAy"),
        _bcl("BCL-D", "15wKUgG7u77mRw85fbEdsxjEsCAAunmQU"),
    )
}  # fmt: skip
FOLDERS = {a.folder for a in ARCHIVES.values()}


def is_checkpoint(name: str) -> bool:
    """Whether a file of an archive is a checkpoint, by its name."""
    return re.search(r"\.(pt|pth|pth\.tar|ckpt)$", name) is not None and not _hidden(name)


def _hidden(name: str) -> bool:
    """What systems leave in archives: .DS_Store, ._model.pt, __MACOSX/..."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def experiment_file(name: str) -> str | None:
    """EXPERIMENT/FILE of a checkpoint or a log, whatever folders lead there; None for anything else."""
    *_, experiment, file = ("", *name.split("/"))
    wanted = is_checkpoint(name) or (file in ("log.txt", "bash_log.txt") and not _hidden(name))
    return f"{experiment}/{file}" if wanted and experiment not in ("", *FOLDERS) else None


def get(archive: Archive, root: Path, source: Path | None, max_bytes: int, overwrite: bool = False) -> str:
    """Download an archive, or take it from the file `source`, and put its experiments into their folder below root.

    Returns:
        A line that says what was done.

    Raises:
        InputError: it cannot be had, is no such archive, has another hash than the recorded one, or other files are
            where its files go. Nothing of it is left then.
    """
    folder = root / archive.folder
    with ExitStack() as stack:
        file = source
        if file is None:
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix=".download-", dir=root))
            file = Path(temporary) / archive.name
            _download(archive, file, max_bytes)
        try:
            return _take(archive, file, folder, max_bytes, overwrite)
        except InputError as error:
            if source or str(file) not in str(error):
                raise
            # The name of the temporary file tells nobody anything.
            told = str(error).replace(str(file), archive.url)
            raise InputError(f"{archive.name}: {told}, or get it with a browser and give it as --from FILE") from error


def _take(archive: Archive, file: Path, folder: Path, max_bytes: int, overwrite: bool) -> str:
    if not file.is_file():
        raise InputError(f"--from {file} does not exist: download it from {archive.url}")
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    known = recorded(folder).get(archive.name, {}).get("sha256", sha256)
    if known != sha256 and not overwrite:
        raise InputError(
            f"{file} has SHA-256 {sha256}, but {known} is recorded for {archive.name} in {folder / TABLE}: the authors "
            "changed it, or it is another file; --overwrite True takes it all the same"
        )
    names: list[str] = []
    if archive.experiment and _is_bare(file, max_bytes):
        whole = Member(file.name, file.stat().st_size, partial(file.open, "rb"))
        placed = install(file, {f"{archive.experiment}/model.pt": whole}, folder, max_bytes, overwrite)
    else:

        def place(members: list[str]) -> dict[str, str]:
            names.extend(members)
            return _places(archive, file, members)

        placed = unpack(file, folder, place, max_bytes, MAX_FILES, overwrite)
    _record(folder, archive.name, sha256, file.stat().st_size)
    count, left_out = len({path.parent for path in placed}), max(len(names) - len(placed), 0)
    done = f"{archive.name}: {len(placed)} files of {count} experiments are in {folder}"
    return f"{done}; other files of the archive, left out: {left_out}; SHA-256 {sha256}"


def _is_bare(file: Path, max_bytes: int) -> bool:
    """Whether a file is a checkpoint of torch.save itself: a zip of one folder with data.pkl in it, or a pickle."""
    with file.open("rb") as stream:
        if stream.read(len(LEGACY)) == LEGACY:
            return True
    with opened(file, max_bytes, MAX_FILES) as members:
        return any(re.fullmatch(r"[^/]+/data\.pkl", member.name) for member in members)


def _places(archive: Archive, file: Path, names: list[str]) -> dict[str, str]:
    """Member -> path below the archive's folder, of those that are wanted. InputError if it is another archive."""
    if archive.experiment:
        found = [name for name in names if is_checkpoint(name)]
        if len(found) != 1:
            raise InputError(f"{file} holds {len(found)} checkpoints, not the one of {archive.name}: get the right one")
        return {found[0]: f"{archive.experiment}/model.pt"}
    places = {name: path for name in names if (path := experiment_file(name))}
    if not any(is_checkpoint(name) for name in places):
        raise InputError(f"{file} has no experiment, a folder with model_2000.pt or the like in it: get the right one")
    return places


def _download(archive: Archive, file: Path, max_bytes: int) -> None:
    advice = f"download {archive.url} with a browser and give it as --from FILE"
    try:
        import gdown  # nothing else needs it
    except ImportError as error:
        raise InputError(f"gdown is not installed: pip install gdown, or {advice}") from error

    def watch(done: int, total: int | None) -> None:
        if max(done, total or 0) > max_bytes:
            raise InputError(f"{archive.name} is larger than --max_gb: raise it if that is right, or {advice}")
        if not bar.n:
            check_space(file.parent, total or 0, archive.name)
        bar.total = total
        bar.update(done - bar.n)

    with tqdm(unit="B", unit_scale=True, desc=archive.name, disable=None) as bar:
        try:
            options = {"quiet": True, "use_cookies": False, "timeout": 60, "retries": 3}
            gdown.download(id=archive.drive, output=str(file), progress=watch, **options)
        except InputError:
            raise
        except Exception as error:  # gdown, requests and what these stand on raise anything
            raise InputError(f"{archive.name} could not be downloaded ({error}): {advice}") from error
    if not file.is_file():
        raise InputError(f"{archive.name} could not be downloaded (nothing came): {advice}")


def recorded(folder: Path) -> dict[str, dict[str, str]]:
    """Name -> row (name, sha256, bytes, date) of what was placed in a folder."""
    file = folder / TABLE
    lines = file.read_text(errors="replace").splitlines()[1:] if file.is_file() else []
    rows = [line.split("\t") for line in lines]
    return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in rows if len(row) == len(COLUMNS)}


def _record(folder: Path, name: str, sha256: str, size: int) -> None:
    with locked(folder):
        date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        row = dict(zip(COLUMNS, (name, sha256, str(size), date), strict=True))
        rows = {**recorded(folder), name: row}.values()
        lines = ["\t".join(values) + "\n" for values in (COLUMNS, *(row.values() for row in rows))]
        replace_file(folder / TABLE, "".join(lines).encode())


def _describe(archive: Archive, root: Path) -> str:
    row = recorded(root / archive.folder).get(archive.name)
    here = "here: {bytes} bytes, {date} UTC, SHA-256 {sha256}".format(**row) if row else "not here"
    where = f"{archive.folder}/{archive.experiment or '*'}"
    return f"{archive.name}\n    {archive.what}, {archive.paper}\n    {archive.url} -> {where}\n    {here}"


def main() -> None:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("command", choices=["list", "get"])
    add("names", nargs="*", metavar="NAME", help=", ".join(ARCHIVES))
    add("--from", dest="source", type=Path, help="the archive, downloaded otherwise; with one NAME")
    add(
        "--root", type=Path, default=PROJECT, help="folder of checkpoints, checkpoints_tune, ...; default the project's"
    )
    parser.add_flag("--overwrite", help="replace files of other content, and accept an archive of another hash")
    add("--max_gb", type=not_negative, default=50.0, help="the largest archive to take, unpacked")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in ARCHIVES]:
        raise InputError(f"unknown archive {unknown[0]!r}: choose from {', '.join(ARCHIVES)}")
    if args.command == "list":
        print("\n".join(_describe(ARCHIVES[name], args.root) for name in args.names or ARCHIVES))
        return
    if not args.names:
        raise InputError("name what to get; `python -m utils.pretrained list` shows what there is")
    if args.source and len(args.names) > 1:
        raise InputError("--from is one archive: give one NAME with it")
    if not args.root.is_dir():
        raise InputError(f"--root {args.root} is no folder")
    for name in args.names:
        print(get(ARCHIVES[name], args.root, args.source, int(args.max_gb * 1e9), args.overwrite), flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
