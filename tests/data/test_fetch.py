"""data.sets.fetch from a server here: archives packed as the publishers' are; a damaged one leaves nothing in place."""

import functools
import hashlib
import http.server
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from data.sets.transfer import Archive
from tests.conftest import one_line_error
from tests.transfer_trees import Small, make, take

PACKED = {  # set -> archive -> members, from the folder that is packed
    "cub": {"CUB_200_2011.tgz": ["CUB_200_2011"]},
    "aircraft": {"fgvc-aircraft-2013b.tar.gz": ["fgvc-aircraft-2013b"]},
    "dogs": {"images.tar": ["Images"], "lists.tar": ["train_list.mat", "test_list.mat"]},
}


@pytest.fixture
def server(tmp_path):
    """URL of a folder, `served`."""
    (tmp_path / "served").mkdir()
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=tmp_path / "served")
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_address[1]}"
    found.shutdown()


def serve(name: str, tmp_path: Path, server: str, monkeypatch, md5: bool = True) -> Small:
    """A small set whose archives are served."""
    small, archives = make(name, tmp_path / "source"), []
    base = small.place if name == "dogs" else small.root
    for file, members in PACKED[name].items():
        packed = tmp_path / "served" / file
        with tarfile.open(packed, "w:gz" if file.endswith("gz") else "w") as tar:
            for member in members:
                tar.add(base / member, member)
        archives.append(Archive(f"{server}/{file}", hashlib.md5(packed.read_bytes()).hexdigest() if md5 else ""))
    small = small._replace(dataset=replace(small.dataset, archives=tuple(archives)))
    take(small, monkeypatch.setattr)
    return small


@pytest.mark.parametrize("name", PACKED)
def test_a_set_is_fetched_unpacked_and_found(call, tmp_path, server, monkeypatch, name):
    small, out = serve(name, tmp_path, server, monkeypatch), tmp_path / "out"
    done = call("data/sets/fetch.py", name, "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"{name}: fetched, 21 training and 14 test images in " in done.stdout
    place = out / small.dataset.folders[0]
    found = small.dataset.lists(small.dataset.place(str(out)))
    assert small.dataset.place(str(out)) == place
    for part, item in found.items():
        assert list(zip(item.paths, item.labels.tolist(), strict=True)) == small.parts[part]
    for path in (p for p in small.place.rglob("*") if p.is_file()):
        assert (place / path.relative_to(small.place)).read_bytes() == path.read_bytes()
    assert [p.name for p in out.iterdir()] == [Path(small.dataset.folders[0]).parts[0]]
    for file in (tmp_path / "served").iterdir():
        file.unlink()
    again = call("data/sets/fetch.py", name, "--out", out)
    assert again.returncode == 0 and "there already" in again.stdout


def test_an_archive_of_another_md5_or_cut_leaves_nothing_in_place(call, tmp_path, server, monkeypatch):
    small, out = serve("cub", tmp_path, server, monkeypatch), tmp_path / "out"
    packed = tmp_path / "served" / "CUB_200_2011.tgz"
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-10] + bytes(10))
    one_line_error(call("data/sets/fetch.py", "cub", "--out", out), "has MD5", "not the publisher's")
    assert not list(out.glob("[!.]*"))
    packed.unlink()
    one_line_error(call("data/sets/fetch.py", "cub", "--out", out), "cannot fetch", "404")
    cut = replace(small.dataset, archives=(Archive(f"{server}/CUB_200_2011.tgz"),))
    take(small._replace(dataset=cut), monkeypatch.setattr)
    packed.write_bytes(whole[: len(whole) // 2])
    one_line_error(call("data/sets/fetch.py", "cub", "--out", out), "CUB_200_2011.tgz", "damaged")
    assert not list(out.glob("[!.]*"))


def test_a_download_that_was_whole_is_not_made_again(call, tmp_path, server, monkeypatch):
    serve("cub", tmp_path, server, monkeypatch)
    packed, work = tmp_path / "served" / "CUB_200_2011.tgz", tmp_path / "out" / ".fetching"
    work.mkdir(parents=True)
    packed.rename(work / packed.name)
    assert call("data/sets/fetch.py", "cub", "--out", tmp_path / "out").returncode == 0
    assert not work.exists()


def test_an_archive_that_holds_another_set_is_told(call, tmp_path, server, monkeypatch):
    small = serve("dogs", tmp_path, server, monkeypatch)
    cub = replace(make("cub", tmp_path / "x").dataset, archives=small.dataset.archives)
    monkeypatch.setattr("data.sets.transfer.CUB", cub)
    one_line_error(call("data/sets/fetch.py", "cub", "--out", tmp_path / "out"), "holds no cub", "CUB_200_2011.tgz")
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_an_archive_that_leaves_the_folder_is_refused(call, tmp_path, server, monkeypatch):
    serve("cub", tmp_path, server, monkeypatch, md5=False)
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / "served" / "CUB_200_2011.tgz", "w:gz") as tar:
        tar.add(tmp_path / "evil", "../evil")
    one_line_error(call("data/sets/fetch.py", "cub", "--out", tmp_path / "out"), "not safe")
    assert not list((tmp_path / "out").glob("[!.]*"))


@pytest.mark.parametrize(
    ("name", "where"), [("nabirds", "dl.allaboutbirds.org"), ("cars", "cars_test_annos_withlabels")]
)
def test_what_cannot_be_fetched_says_where_it_is(call, tmp_path, name, where):
    one_line_error(call("data/sets/fetch.py", name, "--out", tmp_path / "out"), f"{name} cannot be fetched", where)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_replaced(call, tmp_path, server, monkeypatch):
    serve("cub", tmp_path, server, monkeypatch)
    (tmp_path / "out" / "CUB_200_2011").mkdir(parents=True)
    (tmp_path / "out" / "CUB_200_2011" / "notes").write_text("mine")
    one_line_error(call("data/sets/fetch.py", "cub", "--out", tmp_path / "out"), "is there, but not the whole set")
    assert (tmp_path / "out" / "CUB_200_2011" / "notes").read_text() == "mine"


def test_unknown_names(call, tmp_path):
    one_line_error(call("data/sets/fetch.py", "cats", "--out", tmp_path), "cats")
    one_line_error(call("data/sets/fetch.py", "cub"), "--out")
