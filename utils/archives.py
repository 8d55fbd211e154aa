"""Unpack archives from strangers: nothing lands outside the target, nothing stays half done, nothing is executed.

zip, tar, tar.gz, tar.bz2 and tar.xz, with the standard library; only plain files, and of these only the content.
"""

import filecmp
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from utils.errors import InputError

_BLOCK = 1 << 20
_PLAIN, _FOLDER, _OTHER = "plain file", "folder", "link, a device or a sparse file"
# tarfile reads these members into memory: names and comments of the member that follows.
_LONG_NAMES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Member(NamedTuple):
    """A plain file of an archive; size is what its header declares, open() gives the content."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


class Header(tarfile.TarInfo):
    """A tar header, for tarfile's `tarinfo=`: a damaged or missing one, which tarfile takes for the end, is an error.

    Raises:
        tarfile.ReadError: also for headers that tarfile would loop on, or read into memory however large.
    """

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "Header":
        info = super().frombuf(buf, encoding, errors)
        if info.type in _LONG_NAMES and not 0 <= info.size <= _BLOCK:
            raise tarfile.ReadError(f"a name or comment of {info.size} bytes")
        return info

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "Header":
        try:
            info = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # a block of zeros: the archive's end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if info.size < 0:  # a comment may have set it
            raise tarfile.ReadError(f"{info.name!r} has a negative size")
        return info

    def is_plain(self) -> bool:
        """Whether it is a file whose bytes are all in the archive; a sparse one is of any size that it likes."""
        return self.isreg() and not self.issparse()


@contextmanager
def reading(archive: Path | str) -> Iterator[None]:
    """Turn whatever reading a bad archive raises into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # zipfile, tarfile and the decompressors raise anything from struct.error to NotImplementedError.
        why = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise InputError(
            f"{archive} is no archive that can be read: truncated or damaged ({why}); get it again"
        ) from error


def open_tar(archive: Path | str, file: IO[bytes] | None = None) -> tarfile.TarFile:
    """Open a tar, compressed or not; with `file`, a plain one that lies in there. InputError if it is none."""
    with reading(archive):
        if file is not None:
            return tarfile.open(fileobj=file, mode="r:", tarinfo=Header)
        return tarfile.open(archive, "r:*", tarinfo=Header)


def read_to_end(tar: tarfile.TarFile, max_bytes: int) -> None:
    """Read what follows the last member: padding, and then the decompressor checks its sum."""
    while block := tar.fileobj.read(_BLOCK):
        max_bytes -= len(block)
        if max_bytes < 0:
            raise tarfile.ReadError("it goes on after its end")


def check_space(folder: Path, needed: int, source: Path | str) -> None:
    """Raise InputError unless the disk of `folder` has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{source} needs {needed / 1e9:.3g} GB in {folder}, where {free / 1e9:.3g} GB are free")


def _safe(name: str) -> bool:
    """Whether a member's name stays below the folder that it is unpacked to, on any system."""
    return not (re.match(r"/|[A-Za-z]:", name) or "\\" in name or "\0" in name or ".." in name.split("/"))


def _zip_entries(archive: Path, source: zipfile.ZipFile) -> Iterator[tuple[str, Member]]:
    kinds = {0: _PLAIN, stat.S_IFREG: _PLAIN, stat.S_IFDIR: _FOLDER}
    for info in source.infolist():
        if info.flag_bits & 0x41:
            raise InputError(f"{archive} is encrypted ({info.filename!r}): this program has no password for it")
        kind = kinds.get(stat.S_IFMT(info.external_attr >> 16), _OTHER)
        # zipfile cuts `filename` at a NUL; the original name shows it.
        member = Member(info.orig_filename, info.file_size, partial(source.open, info))
        yield (_FOLDER if kind == _PLAIN and info.is_dir() else kind), member


def _tar_entries(source: tarfile.TarFile, max_bytes: int) -> Iterator[tuple[str, Member]]:
    for info in source:
        kind = _PLAIN if info.is_plain() else _FOLDER if info.isdir() else _OTHER
        yield kind, Member(info.name, info.size if kind == _PLAIN else 0, partial(source.extractfile, info))
    read_to_end(source, max(max_bytes, _BLOCK))  # it is padded to tens of kilobytes


@contextmanager
def opened(archive: Path, max_bytes: int, max_files: int) -> Iterator[list[Member]]:
    """The plain files of an archive, after all of its headers were read and found harmless.

    Raises:
        InputError: it is missing, no archive, truncated, damaged, encrypted, too large, has too many members, or one
            that is a link or a device, or that would land outside.
    """
    if not archive.is_file():
        raise InputError(f"archive {archive} does not exist")
    with ExitStack() as stack:
        members, total, count = [], 0, 0
        with reading(archive):
            with archive.open("rb") as file:
                # Not zipfile.is_zipfile, which takes a tar that ends in a zip, as torch's checkpoints are, for a zip.
                zipped = file.read(4) in (b"PK\3\4", b"PK\5\6")
            if zipped:
                entries = _zip_entries(archive, stack.enter_context(zipfile.ZipFile(archive)))
            else:
                entries = _tar_entries(stack.enter_context(open_tar(archive)), max_bytes)
            for kind, member in entries:
                total, count = total + member.size, count + 1
                if total > max_bytes or count > max_files:
                    raise InputError(
                        f"{archive} is over the limit of {max_bytes / 1e9:g} GB, {max_files:,} files unpacked"
                    )
                if kind == _OTHER or not _safe(member.name):
                    what = f"is a {kind}" if kind == _OTHER else "leads out of the folder that it is unpacked to"
                    raise InputError(f"{archive} is not safe to unpack: its member {member.name!r} {what}")
                if kind == _PLAIN:
                    members.append(member._replace(name=str(PurePosixPath(member.name))))
        yield members


def unpack(
    archive: Path,
    target: Path,
    place: Callable[[list[str]], Mapping[str, str]],
    max_bytes: int,
    max_files: int,
    overwrite: bool = False,
) -> list[Path]:
    """Unpack plain files below `target`: all of them, or none.

    Args:
        place: gives the members that are wanted of those with these names: name -> path below target.
        max_bytes, max_files: bounds of the whole archive, unpacked.
        overwrite: replace files of other content; those of the same content are left as they are.

    Returns:
        Where the files are.

    Raises:
        InputError: see `opened` and `install`; or two members have one place.
    """
    with opened(archive, max_bytes, max_files) as members:
        places = place([member.name for member in members])
        chosen: dict[str, Member] = {}
        for member in members:
            path = places.get(member.name)
            if path in chosen:
                raise InputError(f"{archive} holds {chosen[path].name!r} and {member.name!r}, both for {target / path}")
            if path is not None:
                chosen[path] = member
        return install(archive, chosen, target, max_bytes, overwrite)


def install(
    source: Path, chosen: dict[str, Member], target: Path, max_bytes: int, overwrite: bool = False
) -> list[Path]:
    """Write members to their paths below `target`: all of them, or none. Arguments, result: see `unpack`.

    Raises:
        InputError: a path leads out of target, a file of other content is there, the disk is full, or the content is
            damaged or larger than max_bytes.
    """
    base = target.resolve()
    nearest = next(folder for folder in (base, *base.parents) if folder.is_dir())
    try:
        for path in chosen:
            if not _safe(path) or not path.isprintable() or not (base / path).resolve().is_relative_to(base):
                raise InputError(f"{source} is not safe to unpack: {str(target / path)!r} leads out of {target}")
        check_space(nearest, sum(member.size for member in chosen.values()), source)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=nearest) as name, ExitStack() as undo:
            fresh = [Path(name) / str(i) for i in range(len(chosen))]
            for file, member in zip(fresh, chosen.values(), strict=True):
                max_bytes -= _write(source, member, file, max_bytes)
            for file, path in zip(fresh, chosen, strict=True):
                _move(file, base / path, overwrite, undo)
            undo.pop_all()
    except (OSError, RuntimeError) as error:  # a full disk, a name too long, links in a circle
        raise InputError(f"{source} cannot be unpacked to {target}: {error}") from error
    return [target / path for path in chosen]


def _write(source: Path, member: Member, file: Path, max_bytes: int) -> int:
    """Write a member to a new file; counts the bytes that really come, whatever its header declares."""
    written = 0
    with reading(source):
        content = member.open()
    with content, file.open("xb") as out:
        while True:
            with reading(source):
                block = content.read(_BLOCK)
            written += len(block)
            if written > max_bytes:
                raise InputError(f"{source} unpacks to more than the limit: its member {member.name!r} does not end")
            if not block:
                break
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if written != member.size:
        raise InputError(f"{source} is truncated or damaged: {member.name!r} has {written} bytes, not {member.size}")
    return written


def _move(file: Path, target: Path, overwrite: bool, undo: ExitStack) -> None:
    """Move a file into its place; `undo` takes what would put things back."""
    if target.exists():
        if target.is_file() and filecmp.cmp(file, target, shallow=False):
            return
        if not target.is_file():
            raise InputError(f"{target} is there and is no file: move it out of the way")
        if not overwrite:
            raise InputError(f"{target} is there with other content: keep it, or replace it with --overwrite True")
        old = file.with_suffix(".old")
        target.replace(old)
        undo.callback(old.replace, target)
    for folder in reversed(target.parents):
        if not folder.is_dir():
            folder.mkdir()
            undo.callback(folder.rmdir)
    file.replace(target)
    undo.callback(target.unlink)
