"""Millions of paths in little memory, which a loader's workers share, forked or spawned.

A Python list of strings takes about 100 bytes a path. Reading a string writes to its reference count, so that in time
every forked worker has copied the whole list (pytorch#13246), and a spawned one gets a copy at its start. Here the
bytes of all paths are in one unnamed file, in memory if the system has such files, which every process maps.
"""

import array
import mmap
import os
import tempfile
import unicodedata
import weakref
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import context, reduction
from typing import Any

import numpy as np

CODING = ("utf-8", "surrogateescape")  # for all names of files, also those that are not UTF-8
END = b"\n"  # after each path, for `text`; where a path ends is told by offsets, as a file's name may contain it, too
AT_ONCE = 4096  # paths that become Python objects together
BUFFER = 2**16  # bytes
CONTROL = {"Cc", "Cs", "Zl", "Zp"}  # Unicode categories: control characters, surrogates, line and paragraph separators


def has_control(text: str) -> bool:
    """Whether a text has characters that a line of a file cannot hold. str.isprintable would also reject unusual spaces
    and parts of emoji, which are allowed."""
    return not text.isprintable() and any(unicodedata.category(c) in CONTROL for c in text)


def _new_file() -> int:
    """Descriptor of an unnamed file: in memory on Linux, not limited by the size of /dev/shm, else on the disk."""
    try:
        return os.memfd_create("paths")
    except (AttributeError, OSError):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


class Paths(Sequence[str]):
    """N immutable paths, which become Python strings only when they are read.

    An index gives a string; a slice, or an array [n] of indices, gives Paths. Equal to another sequence of the same
    strings. A process that multiprocessing starts gets no copy, only the file.

    Args:
        paths: iterated over once; its strings are not kept.

    Raises:
        OSError: there is no room for them.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._take(_new_file())
        offsets, end = array.array("q", [0]), 0
        with open(self._file, "wb", BUFFER, closefd=False) as writer:
            for path in paths:
                end += writer.write(path.encode(*CODING) + END)
                offsets.append(end)
            writer.write(b"\0" * (-end % offsets.itemsize))
            writer.write(offsets)
        self._map(len(offsets) - 1)

    @classmethod
    def _received(cls, file: Any, count: int) -> "Paths":
        """In a process that multiprocessing has started: `count` paths of the file that was sent to it."""
        paths = cls.__new__(cls)
        paths._take(file.detach())
        paths._map(count)
        return paths

    def _take(self, descriptor: int) -> None:
        self._file = descriptor
        weakref.finalize(self, os.close, descriptor)

    def _map(self, count: int) -> None:
        """Map the file: the text, padded to 8 bytes, then the offsets of the paths in it, [count + 1] int64."""
        content = np.frombuffer(mmap.mmap(self._file, 0, access=mmap.ACCESS_READ), np.uint8)
        self._offsets = content[-8 * (count + 1) :].view(np.int64)
        self._text = content[: self._offsets[-1]]

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, which: int | slice | np.ndarray) -> "str | Paths":
        if isinstance(which, slice):
            return Paths(map(self._path, range(*which.indices(len(self)))))
        if isinstance(which, np.ndarray):
            return Paths(map(self._path, np.arange(len(self))[which].tolist()))
        if not -len(self) <= which < len(self):
            raise IndexError(f"there are {len(self)} paths, and none has the number {which}")
        return self._path(which % len(self))

    def __iter__(self) -> Iterator[str]:
        return (path.decode(*CODING) for path in self._bytes())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Paths):
            return np.array_equal(self._offsets, other._offsets) and np.array_equal(self._text, other._text)
        if isinstance(other, Sequence) and not isinstance(other, str):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None

    def __repr__(self) -> str:
        return f"<{len(self):,} paths>"

    def __reduce__(self) -> tuple[Any, ...]:
        if context.get_spawning_popen() is None:
            return Paths, (list(self),)
        return Paths._received, (reduction.DupFd(self._file), len(self))

    @property
    def text(self) -> np.ndarray:
        """All paths as bytes [n] uint8, joined by newlines: `"\\n".join(paths).encode()`."""
        return self._text[:-1]

    def repeated(self) -> str | None:
        """The first path that occurs a second time; None if each occurs once."""
        hashes = self._hashes()
        order = np.argsort(hashes, kind="stable")
        same = hashes[order[1:]] == hashes[order[:-1]]
        seen = set()
        # Hashes may be equal by chance, so the paths themselves are compared.
        for i in np.union1d(order[1:][same], order[:-1][same]).tolist():
            path = self._path(i)
            if path in seen:
                return path
            seen.add(path)
        return None

    def shared(self, other: "Paths") -> int:
        """How many different paths are in both."""
        mine, theirs = self._hashes(), other._hashes()
        here = _indices_among(mine, theirs)
        there = _indices_among(theirs, mine[here])
        return len(set(map(self._path, here.tolist())).intersection(map(other._path, there.tolist())))

    def places_in(self, other: "Paths") -> np.ndarray:
        """The index of each path in `other`, [N] int64, -1 if it is not in it; by hashes, without comparing paths."""
        mine, theirs = self._hashes(), other._hashes()
        if not len(theirs):
            return np.full(len(mine), -1)
        order = np.argsort(theirs, kind="stable")
        place = order[np.minimum(np.searchsorted(theirs, mine, sorter=order), len(theirs) - 1)]
        return np.where(theirs[place] == mine, place, -1)

    def _hashes(self) -> np.ndarray:
        """Hashes [N] int64: equal for equal paths, and for two different ones with probability 1 in 10^19."""
        return np.fromiter(map(hash, self._bytes()), np.int64, len(self))

    def _path(self, i: int) -> str:
        """Path `i`, in 0..N-1."""
        start, end = self._offsets[i : i + 2].tolist()
        return self._text[start : end - len(END)].tobytes().decode(*CODING)

    def _bytes(self) -> Iterator[bytes]:
        for first in range(0, len(self), AT_ONCE):
            ends = (self._offsets[first : first + AT_ONCE + 1] - self._offsets[first]).tolist()
            text = self._text[self._offsets[first] :][: ends[-1]].tobytes()
            yield from (text[a : b - len(END)] for a, b in zip(ends, ends[1:], strict=False))


def _indices_among(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Indices of those `values` that are among `others`; NumPy's isin would sort the values, too."""
    others = np.sort(others)
    place = np.searchsorted(others, values)
    return np.flatnonzero(others[np.minimum(place, len(others) - 1)] == values) if len(others) else place[:0]
