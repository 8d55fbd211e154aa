"""Paths against Python's lists and sets of strings; and that neither workers nor reading cost the memory of a list."""

import hashlib
import multiprocessing
import os
import pickle
import re
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.paths
from data.paths import Paths
from data.sets.imagenet import IMAGENET
from data.workers import WorkerLoader
from split.lists import read_path_list
from tests.data.mapped import mapped, tell

quick = settings(database=None, deadline=None, max_examples=60)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)  # newlines and what is not ASCII included
NAMES |= st.binary(max_size=6).map(os.fsdecode)  # names of files that are not UTF-8
LISTS = st.lists(NAMES, max_size=12)
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="what processes share is told by Linux")
pytestmark = pytest.mark.usefixtures("ledger")


def listed(folder: Path, images: int) -> Path:
    """A list of so many images with names as long as ImageNet's."""
    lines = (f"train/n{i % 1000:08}/n{i:08}_{i // 1000:05}.JPEG {i % 1000}\n" for i in range(images))
    path = folder / "list.txt"
    path.write_text("".join(lines))
    return path


@quick
@given(LISTS, st.data())
def test_as_a_list(names, draw):
    names = [os.fsdecode(os.fsencode(name)) for name in names]  # as the system spells them
    paths = Paths(iter(names))
    assert (len(paths), list(paths), list(reversed(paths)), bool(paths)) == (
        len(names), names, names[::-1], bool(names)
    )  # fmt: skip
    assert paths == names == paths == Paths(names)
    assert [paths[i] for i in range(-len(names), len(names))] == names + names
    for i in (len(names), -len(names) - 1):
        with pytest.raises(IndexError):
            paths[i]
    some = draw.draw(st.slices(len(names)))
    assert paths[some] == names[some]
    ids = draw.draw(st.lists(st.integers(-len(names), len(names) - 1), max_size=9)) if names else []
    assert paths[np.array(ids, np.int64)] == [names[i] for i in ids]
    chosen = np.array(draw.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names))), bool)
    assert paths[chosen] == [name for name, wanted in zip(names, chosen, strict=True) if wanted]
    assert pickle.loads(pickle.dumps(paths)) == names
    assert paths.text.tobytes() == "\n".join(names).encode("utf-8", "surrogateescape")
    assert paths != [*names, "x"] and paths != "x" and (not names or paths != [*names[:-1], names[-1] + "x"])


@quick
@given(LISTS, LISTS, st.booleans())
def test_repeated_and_shared(mine, theirs, by_chance):
    """Also where hashes are equal by chance."""
    with pytest.MonkeyPatch.context() as patch:
        if by_chance:
            patch.setattr(data.paths, "hash", lambda path: len(path), raising=False)
        first = next((name for i, name in enumerate(mine) if name in mine[:i]), None)
        assert Paths(mine).repeated() == first
        assert Paths(mine).shared(Paths(theirs)) == len(set(mine) & set(theirs))


def test_they_cannot_be_changed():
    paths = Paths(["a"])
    with pytest.raises(TypeError):
        paths[0] = "b"
    with pytest.raises(ValueError):
        paths.text[0] = 0


def test_many_at_once_are_as_one_by_one():
    """More than become Python objects together, of different lengths."""
    names = [f"{'x' * (i % 7)}{i}" for i in range(3 * data.paths.AT_ONCE + 5)]
    assert Paths(names) == names
    assert Paths([*names, names[9]]).repeated() == names[9]


@pytest.mark.parametrize("gone", [AttributeError, OSError])
def test_without_files_in_memory(monkeypatch, gone):
    def none(name):
        raise gone

    monkeypatch.setattr(os, "memfd_create", none, raising=False)
    assert Paths(["a", "b"]) == ["a", "b"]


def test_files_are_closed():
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(UnicodeEncodeError):
            Paths(["a", "\ud800"])  # no name of a file
    assert len([Paths(["a"]) for _ in range(5)]) == 5
    assert len(list(Path("/dev/fd").iterdir())) <= before + 1


# ---- memory


class Reader:
    """For a loader: sample i reads all paths, and is the bytes of memory that this has taken from the worker alone."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return 2

    def __getitem__(self, i):
        before = private()
        for name in self.paths:
            hash(name)
        return private() - before


def private() -> int:
    """Bytes of this process's memory that it shares with no other one."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(map(int, re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.MULTILINE)))


@pytest.mark.slow
@needs_proc
def test_forked_workers_that_read_all_paths_copy_none(tmp_path):
    """Two workers; of strings each would copy 90 bytes a path, here 27 MB; what else a fork touches is below 3 MB."""
    found = read_path_list(listed(tmp_path, 300_000), IMAGENET)
    loader = WorkerLoader(Reader(found.paths), batch_size=1, num_workers=2, prefetch_factor=1, collate_fn=list)
    assert max(taken for batch in loader for taken in batch) < 9e6


@needs_proc
@pytest.mark.parametrize("how", ["spawn", "forkserver"])
def test_processes_that_start_anew_map_the_same_file(how):
    names, context = [f"{i}.jpg" for i in range(1000)], multiprocessing.get_context(how)
    paths = Paths(names)
    ours, theirs = context.Pipe()
    process = context.Process(target=tell, args=(paths, theirs))
    process.start()
    assert ours.poll(60)
    there, *found = ours.recv()
    process.join(60)
    assert found == [1000, names[-1], True]
    assert len(there) == 1 and there[0] in mapped()


def test_reading_a_list_takes_little_more_than_its_file(tmp_path):
    """Bytes a path, the file's 43 included: one of Python's strings alone takes 80, in a list of lines 93."""
    file, images = listed(tmp_path, 10_000), 10_000
    read_path_list(file, IMAGENET)
    tracemalloc.start()
    try:
        found = read_path_list(file, IMAGENET)
        left, most = (size / images for size in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert len(found) == images
    assert left < 12  # the label
    assert most < 130


def test_the_fingerprint_of_older_checkpoints(tmp_path):
    """SHA-256 of labels and names, as runs before have saved it."""
    from data.images import ImageFiles
    from data.loader import AugmentedImages, fingerprint

    names = ["train/\u00e9t\u00e9/1.JPEG", "train/a b/2.JPEG"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text(f"{names[0]} 7\n{names[1]} 3\n", encoding="utf-8")
    found = read_path_list(tmp_path / "list.txt", IMAGENET)
    images = AugmentedImages(ImageFiles(str(tmp_path), found, as_array=True), found.labels, None, seed=0)
    expected = hashlib.sha256(np.array([7, 3], np.int64).tobytes() + "\n".join(names).encode()).hexdigest()
    assert fingerprint(images) == expected


@settings(deadline=None)
@given(
    st.lists(st.text("ab/", max_size=3), max_size=12, unique=True), st.lists(st.text("ab/", max_size=3), max_size=12)
)
def test_places_in_other_paths(there, wanted):
    expected = [there.index(path) if path in there else -1 for path in wanted]
    assert Paths(wanted).places_in(Paths(there)).tolist() == expected
