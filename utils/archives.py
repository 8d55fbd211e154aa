"""Unpack archives from strangers: nothing lands outside the target, nothing stays half done, nothing is executed.

zip, tar, tar.gz, tar.bz2 and tar.xz, with the standard library; only plain files, and of these only the content.
"""

import filecmp
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from utils.errors import InputError

_BLOCK = 1 << 20
_SPECIAL = "{} is not safe to unpack: {!r} is a link, a device or another special file"
Member = tuple[str, int, IO[bytes] | None]  # name, size that its header declares, content; None for a folder

LOGS = ("log.txt", "bash_log.txt")


class _Header(tarfile.TarInfo):
    """A tar header: a damaged or missing one, which tarfile takes for the archive's end, is an error.

    So is one that tarfile would loop on, or read into memory however large: a name, or a comment.
    """

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # a block of zeros: the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if info.size < 0 or (info.size > _BLOCK and not info.isreg()):
            raise tarfile.ReadError(f"a header declares {info.size} bytes")
        return info


@contextmanager
def reading(archive: Path) -> Iterator[None]:
    """Turn whatever unpacking a bad archive, or to a bad disk, raises into an InputError that names the archive."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # zipfile, tarfile and the decompressors raise anything from struct.error to an OSError without a number.
        why = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        if not getattr(error, "errno", None):
            why = f"it is truncated, damaged or unreadable ({why}), get it again"
        raise InputError(f"{archive} cannot be unpacked: {why}") from error


def check_space(folder: Path, needed: int, source: Path | str) -> None:
    """Raise InputError unless the disk of `folder` has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{source} needs {needed / 1e9:.3g} GB in {folder}, where {free / 1e9:.3g} GB are free")


def tar_members(archive: Path | str, file: IO[bytes] | None = None) -> Iterator[Member]:
    """The files and folders of a tar, compressed or not; with `file`, of a plain one that lies in there.

    Raises:
        InputError: one is a link or a device.
        Exception: it is damaged; to be read within `reading`.
    """
    with tarfile.open(archive, "r:" if file else "r:*", file, tarinfo=_Header) as tar:
        for info in tar:
            # A comment can make the size negative. The content of a sparse file is of any size that it likes.
            if info.size < 0 or not (info.isdir() or (info.isreg() and not info.issparse())):
                raise InputError(_SPECIAL.format(archive, info.name))
            if info.name != ".":
                yield info.name, info.size, tar.extractfile(info)
        tar.fileobj.read(_BLOCK)  # the padding, after which the decompressor checks its sum
        if tar.fileobj.read(1):
            raise tarfile.ReadError("it goes on after its end")


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as source:
        for info in source.infolist():
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InputError(_SPECIAL.format(archive, info.filename))
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile expands them in memory
                raise InputError(f"{archive} is not safe to unpack: {info.filename!r} is neither deflated nor stored")
            yield info.filename, info.file_size, None if info.is_dir() else source.open(info)


def unpack(archive: Path, folder: Path, max_bytes: int, max_files: int) -> list[tuple[str, Path]]:
    """Write the plain files of an archive to folder/0, folder/1, ..., whatever they are called.

    Returns:
        Name in the archive, and where it is now.

    Raises:
        InputError: it is missing, no archive, truncated, damaged, encrypted, too large for the bounds or for the disk,
            or has a member that is a link or a device, or that would land outside.
    """
    files, total = [], 0
    with reading(archive):
        with archive.open("rb") as stream:
            # Not zipfile.is_zipfile, which takes a tar that ends in a zip, as torch's checkpoints are, for a zip.
            zipped = stream.read(4) in (b"PK\3\4", b"PK\5\6")
        for count, (name, size, content) in enumerate(_zip_members(archive) if zipped else tar_members(archive), 1):
            total += size
            if total > max_bytes or count > max_files:
                raise InputError(f"{archive} is over the limit of {max_bytes / 1e9:g} GB, {max_files:,} files unpacked")
            if name.startswith("/") or ".." in name.split("/"):
                raise InputError(f"{archive} is not safe to unpack: {name!r} leads out of the folder")
            if content is None:
                continue
            check_space(folder, size, archive)
            files.append((name, folder / str(count)))
            with content, files[-1][1].open("xb") as out:
                shutil.copyfileobj(content, out)  # neither kind gives more than the size
                if out.tell() != size:
                    raise zipfile.BadZipFile(f"{name!r} has {out.tell()} bytes, not {size}")
    return files


def place(files: Mapping[str, Path], target: Path, overwrite: bool) -> None:
    """Move files to their places below `target`: all of them, or none.

    Args:
        files: path below target -> file, on the same disk.
        overwrite: replace files of other content; those of the same content are left as they are.
            Without it, logs are left, too.

    Raises:
        InputError: a path leads out of target, or something else is there.
    """
    base = target.resolve()
    with ExitStack() as undo:
        for path, file in files.items():
            there = base / path
            if there.resolve() != there or base not in there.parents or not path.isprintable():
                raise InputError(f"{str(target / path)!r} leads out of {target}, is behind a link, or unprintable")
            if there.is_file() and filecmp.cmp(file, there, shallow=False):
                continue
            if there.is_file() and there.name in LOGS and not overwrite:
                continue  # an evaluation has written to it since
            if there.exists():
                if there.is_dir() or not overwrite:
                    raise InputError(f"{there} is there with other content: move it, or replace it with overwrite True")
                old = file.with_suffix(".old")
                there.replace(old)
                undo.callback(old.replace, there)
            for folder in reversed(there.parents):
                if not folder.is_dir():
                    folder.mkdir()
                    undo.callback(folder.rmdir)
            file.replace(there)
            undo.callback(there.unlink)
        undo.pop_all()
