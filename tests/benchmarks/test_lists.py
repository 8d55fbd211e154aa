"""The memory of long lists, at a tiny size: all images of the list are looked up, all processes are counted."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks.lists
from benchmarks.lists import LookedUp, an_epoch, make_tree, memory_of, processes
from data.sets.imagenet import IMAGENET
from split.lists import read_path_list

pytestmark = [
    pytest.mark.usefixtures("ledger"),
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells what processes share"),
]


def test_every_line_is_an_image_of_its_own(tmp_path):
    make_tree(tmp_path, 2500)
    images = read_path_list(tmp_path / "list.txt", IMAGENET)
    files = LookedUp(str(tmp_path), images, as_array=True)
    assert len(images) == 2500 and len(os.fsencode(images.paths[0])) == 36  # as most of ImageNet's
    assert {files[i] for i in (0, 999, 1000, 2499)} == {0}


def test_memory_is_of_all_processes():
    """A process with 50 MB of its own, started by one with little."""
    inner = "x = b'x' * 50_000_000; print(flush=True); input()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", outer], **pipes) as process:
        process.stdout.readline()
        together, alone = memory_of(process.pid)
        assert len(list(processes(process.pid))) == 2
        process.communicate(b"\n")
    assert alone < 50 < together - alone < 80


def test_an_epoch_reads_all_images_in_as_many_workers_as_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks.lists, "keep_memory", lambda: None)
    make_tree(tmp_path, 1000)
    here = len(list(processes(os.getpid())))
    step = an_epoch(str(tmp_path), workers=3, start="fork")
    first = step()
    assert len(list(processes(os.getpid()))) == here + 3
    assert all(together > alone > 10 for together, alone in (first, step()))


def test_each_file_is_looked_up(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks.lists, "keep_memory", lambda: None)
    make_tree(tmp_path, 2000)
    (tmp_path / "files" / "n00000000_00001.JPEG").unlink()  # the second half of the list has this name
    with pytest.raises(FileNotFoundError, match=r"train/n00000\d\d\d/n00000000_00001.JPEG"):
        an_epoch(str(tmp_path), workers=1, start="fork")()


def test_table(call, tmp_path, monkeypatch):
    sizes = {("short", "fork"): [(300, 100), (310, 105)], ("long", "fork"): [(420, 180), (450.6, 190)]}
    monkeypatch.setattr(benchmarks.lists, "make_tree", lambda folder, images: None)
    monkeypatch.setattr(benchmarks.lists, "provenance", lambda: {"git": "abcdef", "torch": "2"})
    monkeypatch.setattr(benchmarks.lists, "measured", lambda folder, workers, start: sizes[folder.name, start])
    done = call(
        "benchmarks/lists.py", "--images", 1500, "--workers", 2, "--starts", "fork", "--out", tmp_path / "t.txt"
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "t.txt").read_text()
    assert text == done.stdout and text.endswith("revision abcdef, torch 2\n")
    assert "1,000 and 1,500 images, 2 workers" in text
    rows = re.findall(r"^fork +(\w+) +(\d+) +(\d+) +(\d+) +(\d+)$", text, re.MULTILINE)
    assert rows == [
        ("short", "300", "100", "310", "105"),
        ("long", "420", "180", "451", "190"),
        ("difference", "120", "80", "141", "85"),
    ]


@pytest.mark.slow
def test_a_measurement(call):
    """The program as it is: workers take memory, and 500 more images hardly any."""
    done = call("benchmarks/lists.py", "--images", 1500, "--workers", 2, "--starts", "fork")
    assert done.returncode == 0, done.stderr
    rows = {row.split()[1]: list(map(int, row.split()[2:])) for row in done.stdout.splitlines() if "fork  " in row}
    assert all(together > alone for together, alone in zip(rows["long"][::2], rows["long"][1::2], strict=True))
    assert max(map(abs, rows["difference"])) < 60
