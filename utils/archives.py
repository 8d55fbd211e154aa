"""Unpack untrusted archives, zip and all that tarfile reads: only the content of regular files."""

import filecmp
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from utils.errors import InputError

LOGS = ("log.txt", "bash_log.txt")
_BLOCK = 1 << 20


class _Header(tarfile.TarInfo):
    """A damaged header is an error, not the archive's end; so is a size by which tarfile loops or fills the memory."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # a block of zeros, the archive's end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if info.size < 0 or (info.size > _BLOCK and not info.isreg()):
            raise tarfile.ReadError(f"a header declares {info.size} bytes")
        return info


def plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """tarfile's data filter, restricted to files and folders; raises FilterError for links, devices and unsafe names.

    In older versions of Python, links that pass tarfile's filter lead out of the folder (CVE-2025-4517).
    """
    # A header's comment can make the size negative, and a sparse file can claim content of any size.
    if member.size < 0 or member.issparse() or not (member.isreg() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, folder)


@contextmanager
def reading(archive: Path) -> Iterator[None]:
    """Turn any exception from a bad archive, or from a bad disk, into an InputError that names the archive."""
    try:
        yield
    except InputError:
        raise
    except tarfile.FilterError as error:
        raise InputError(f"{archive} is not safe to unpack: {error}") from error
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


def _members(archive: Path, folder: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    """Name, size and content of each member of an archive; content None for a folder. An unsafe member is an error."""
    with archive.open("rb") as stream:
        # Not zipfile.is_zipfile: a tar file that ends with a zip file, such as a checkpoint of torch, is a zip to it.
        zipped = stream.read(4) in (b"PK\3\4", b"PK\5\6")
    if zipped:
        with zipfile.ZipFile(archive) as source:
            for info in source.infolist():
                member = tarfile.TarInfo(info.filename)
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    member.type = tarfile.SYMTYPE
                plain(member, str(folder))
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise zipfile.BadZipFile(f"{info.filename!r} is of a kind that zipfile expands in memory")
                yield info.filename, info.file_size, None if info.is_dir() else source.open(info)
    else:
        with tarfile.open(archive, tarinfo=_Header) as tar:
            for info in tar:
                yield info.name, info.size, tar.extractfile(plain(info, str(folder)))
            tar.fileobj.read(_BLOCK)  # the padding; at its end the decompressor verifies its checksum


def unpack(archive: Path, folder: Path, max_bytes: int, max_files: int) -> list[tuple[str, Path]]:
    """Write the files of an archive to folder/1, folder/2, ...; returns (name in the archive, path) of each.

    Raises:
        InputError: it is missing, no archive, damaged, encrypted, not safe, over the limits, or too large for the disk.
    """
    files, total = [], 0
    with reading(archive):
        for count, (name, size, content) in enumerate(_members(archive, folder), 1):
            total += size
            if total > max_bytes or count > max_files:
                raise InputError(f"{archive} is over the limit of {max_bytes / 1e9:g} GB, {max_files:,} files unpacked")
            if content:
                check_space(folder, size, archive)
                with content, (folder / str(count)).open("xb") as out:
                    shutil.copyfileobj(content, out)  # neither zipfile nor tarfile gives more than the declared size
                files.append((name, folder / str(count)))
    return files


def place(files: Mapping[str, Path], target: Path, overwrite: bool) -> None:
    """Move files to their places below `target`, after a check that all of these places are free.

    Args:
        files: path below target -> file, on the same disk; a file that is there with the same content is left.
        overwrite: replace files of other content, and logs, to which an evaluation may have appended since.

    Raises:
        InputError: a path leads out of target, or another file or folder is there.
    """
    base, moves = target.resolve(), []
    for path, file in files.items():
        there = base / path
        name_valid = path.isprintable() and all(len(part.encode()) < 256 for part in Path(path).parts)
        if not name_valid or there.resolve() != there or base not in there.parents:
            raise InputError(f"{str(target / path)!r} leads out of it, is behind a link, unprintable, or too long")
        if there.is_file() and (filecmp.cmp(file, there, False) or (there.name in LOGS and not overwrite)):
            continue
        nearest = next(p for p in (there, *there.parents) if p.exists())
        free = (there.is_file() and overwrite) if nearest == there else nearest.is_dir()
        if not free:
            raise InputError(f"{nearest} is there with other content: move it, or have it overwritten")
        moves.append((file, there))
    for file, there in moves:
        there.parent.mkdir(parents=True, exist_ok=True)
        file.replace(there)
