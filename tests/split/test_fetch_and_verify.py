"""Fetching the authors' lists from a server of this machine, and what `split.verify` says of lists."""

import csv
import hashlib
import http.server
import re
import shutil
import socket
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import split.ensure
import split.lists
import split.make_splits
from data.sets.memory import load
from data.sets.registry import data_set
from split.ensure import ensure_list
from split.fetch_published import fetch
from split.lists import published_lists, read_list, write_lists
from split.make_splits import make_lists
from tests.conftest import PROJECT, one_line_error
from utils.errors import InputError

SHARED = PROJECT.parent / "shared"
PUBLISHED = SHARED / "published_splits"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the authors' lists are not here")
NUMBER = {"cifar10": 17, "cifar100": 27}


pytestmark = pytest.mark.usefixtures("ledger")


def theirs(name: str) -> dict[str, bytes]:
    """Path below split/ -> content of a data set's published lists."""
    paths = sorted(PUBLISHED.glob(f"{name}/*.npy")) + sorted(PUBLISHED.glob(f"{name}_imbSub_with_subsets/*.npy"))
    return {str(path.relative_to(PUBLISHED)): path.read_bytes() for path in paths}


def copy_published(name: str, root: Path) -> Path:
    for relative, content in theirs(name).items():
        (root / relative).parent.mkdir(parents=True, exist_ok=True)
        (root / relative).write_bytes(content)
    return root


def files_below(root: Path) -> dict[str, bytes]:
    found = (p for p in root.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(root)): p.read_bytes() for p in found}


class Server(http.server.ThreadingHTTPServer):
    """Serves `folder` at `url`, and keeps the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        self.server.asked.append(self.path)


@pytest.fixture
def server(tmp_path):
    """repository/commit/path, as raw.githubusercontent.com lays them out."""
    folder = tmp_path / "server"
    with (SHARED / "published_splits.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            source = PUBLISHED / row["path"].removeprefix("split/")
            if source.is_file():
                target = folder / row["repository"] / row["commit"] / row["path"]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
    with Server(folder) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


def spoil(server: Server, name: str, content: bytes | None) -> None:
    """Replace what the server gives for a list, in every repository; None removes it."""
    found = list(server.folder.rglob(name))
    assert found
    for path in found:
        path.unlink()
        if content is not None:
            path.write_bytes(content)


# ---- the table of hashes


@needs_published
def test_table_of_hashes_is_true_of_the_files():
    rows = published_lists()
    checked = 0
    for row in rows:
        assert set(row) == {"repository", "commit", "path", "git_blob_sha1", "bytes"}
        assert re.fullmatch("[0-9a-f]{40}", row["commit"])
        file = PUBLISHED / row["path"].removeprefix("split/")
        if file.is_file():
            content = file.read_bytes()
            blob = f"blob {len(content)}".encode() + b"\x00" + content
            assert row["git_blob_sha1"] == hashlib.sha1(blob).hexdigest()
            assert row["bytes"] in (str(len(content)), "unknown")
            checked += 1
    assert checked >= 50
    here = {row["path"] for row in rows}
    assert {f"split/{relative}" for name in NUMBER for relative in theirs(name)} <= here


def test_names_of_the_published_lists_are_the_data_sets():
    """Each list that the recipes name is one that the authors published."""
    here = {row["path"] for row in published_lists()}
    for name in NUMBER:
        dataset = data_set(name)
        splits = [
            dataset.split_list(f"{dataset.prefix}split{n}_{k}") for n in range(1, 6) for k in ("D_i", "D_b", "S_b")
        ]
        assert {f"split/{relative}" for relative in (dataset.train_list, dataset.val_list, *splits)} <= here


# ---- fetch


@needs_published
@pytest.mark.parametrize("name", list(NUMBER))
def test_fetch(tmp_path, server, name):
    root = tmp_path / "root"
    written = fetch(data_set(name), root, server.url)
    assert len(written) == len(set(written)) == NUMBER[name]
    assert files_below(root) == theirs(name)
    assert set(written) == set(theirs(name))
    assert len(server.asked) == NUMBER[name]  # each once, though two repositories hold some
    for relative in written:
        assert read_list(root / relative, data_set(name)).source == "published"
    assert fetch(data_set(name), root, "http://127.0.0.1:9") == []


@needs_published
def test_fetch_gets_what_is_missing(tmp_path, server):
    root = copy_published("cifar10", tmp_path / "root")
    gone = "cifar10_imbSub_with_subsets/split4_S_b.npy"
    (root / gone).unlink()
    assert fetch(data_set("cifar10"), root, server.url) == [gone]
    assert len(server.asked) == 1
    assert files_below(root) == theirs("cifar10")


@needs_published
@pytest.mark.parametrize("name", ["trainIdxList.npy", "split5_S_b.npy"])
@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: c[:-1] + b"\1", lambda c: b"", lambda c: b"<html></html>"]
)
def test_fetch_of_a_damaged_list_writes_nothing(tmp_path, server, name, damage):
    root, relative = tmp_path / "root", next(k for k in theirs("cifar10") if k.endswith(name))
    spoil(server, name, damage(theirs("cifar10")[relative]))
    with pytest.raises(InputError) as caught:
        fetch(data_set("cifar10"), root, server.url)
    assert relative in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_below(root) == {}


@needs_published
def test_fetch_of_a_list_that_is_gone_writes_nothing(tmp_path, server):
    spoil(server, "split3_D_b.npy", None)
    with pytest.raises(InputError, match=r"split3_D_b.npy.*404"):
        fetch(data_set("cifar10"), tmp_path / "root", server.url)
    assert files_below(tmp_path / "root") == {}


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}", "127.0.0.1", "", "http://127.0.0.1:port", "file:///nowhere"]
)
def test_server_that_cannot_be_reached(tmp_path, url):
    with pytest.raises(InputError) as caught:
        fetch(data_set("cifar10"), tmp_path / "root", url.format(port=closed_port()))
    assert "\n" not in str(caught.value)
    assert files_below(tmp_path / "root") == {}


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_server_that_answers_nonsense(tmp_path, answer):
    listener = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(answer)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        with pytest.raises(InputError) as caught:
            fetch(data_set("cifar10"), tmp_path / "root", f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        thread.join(10)
        listener.close()
    assert "\n" not in str(caught.value)
    assert files_below(tmp_path / "root") == {}


@needs_published
@pytest.mark.parametrize("relative", ["cifar10/trainIdxList.npy", "cifar10_imbSub_with_subsets/split5_S_b.npy"])
def test_fetch_does_not_replace_another_list(tmp_path, server, relative):
    root = tmp_path / "root"
    (root / relative).parent.mkdir(parents=True)
    np.save(root / relative, np.arange(5))
    before = files_below(root)
    with pytest.raises(InputError) as caught:
        fetch(data_set("cifar10"), root, server.url)
    assert str(root / relative) in str(caught.value)
    assert files_below(root) == before
    assert len(fetch(data_set("cifar10"), root, server.url, overwrite=True)) == 17
    assert files_below(root) == theirs("cifar10")


@needs_published
def test_fetch_command(tmp_path, server, call):
    root = tmp_path / "root"
    done = call("split/fetch_published.py", "--out", root, "--server", server.url)
    assert done.returncode == 0
    assert "cifar10: 17 lists fetched" in done.stdout
    assert "cifar100: 27 lists fetched" in done.stdout
    assert files_below(root) == theirs("cifar10") | theirs("cifar100")
    again = call("split/fetch_published.py", "--out", root, "--server", server.url, "--dataset", "cifar100")
    assert again.stdout.splitlines() == ["cifar100: 0 lists fetched and verified; the others were here"]
    one_line_error(call("split/fetch_published.py", "--dataset", "digits"), "digits")
    fresh = call("split/fetch_published.py", "--out", tmp_path / "b", "--server", f"http://127.0.0.1:{closed_port()}")
    one_line_error(fresh, "cannot fetch")


# ---- ensure_list fetches


@needs_published
def test_ensure_list_fetches_the_published_lists(tmp_path, server, monkeypatch, capsys):
    monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=server.url))
    dataset, root = data_set("cifar100"), tmp_path / "root"
    name = dataset.split_list("cifar100_split2_D_i")
    path = ensure_list(name, dataset, np.zeros(50_000, np.int64), root)
    assert path.read_bytes() == theirs("cifar100")[name]
    assert files_below(root) == theirs("cifar100")
    (line,) = capsys.readouterr().out.splitlines()
    assert name in line
    assert "published" in line


@needs_published
def test_ensure_list_stays_with_generated_lists(tmp_path, server, monkeypatch, capsys):
    """The lists were generated without a network; now there is one, and one list is lost."""
    monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=server.url))
    dataset, root = data_set("cifar10"), tmp_path / "root"
    labels = np.load(PUBLISHED / "cifar10_train_labels.npy")
    write_lists(make_lists(dataset, labels), root)
    before, name = files_below(root), dataset.split_list("split2_S_b")
    (root / name).unlink()
    assert ensure_list(name, dataset, labels, root) == root / name
    assert files_below(root) == before
    assert "generated 1 lists" in capsys.readouterr().out


@needs_published
def test_another_imbalance_is_generated_beside_the_fetched_lists(tmp_path, server, monkeypatch):
    monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=server.url))
    dataset, root = data_set("cifar10"), tmp_path / "root"
    labels = np.load(PUBLISHED / "cifar10_train_labels.npy")
    path = ensure_list(dataset.split_list("split1_imb50_D_i"), dataset, labels, root)
    val = read_list(root / dataset.val_list, dataset)
    assert val.source == "published"
    assert read_list(path, dataset, apart=(val,)).source == "generated"
    assert not any("imb50" in asked for asked in server.asked)


# ---- verify


def parse(output: str) -> dict[str, dict]:
    """What verify printed: path -> its numbers."""
    items, current = {}, {}
    for line in output.splitlines():
        if line.endswith(".npy") and not line.startswith(" "):
            current = items.setdefault(line, {})
        elif match := re.fullmatch(r"  size (\d+)  source (\w+)  hash (\w{40})", line):
            current.update(size=int(match[1]), source=match[2], hash=match[3])
        elif match := re.fullmatch(r"  class counts (\d+) in each of (\d+)", line):
            current["counts"] = [int(match[1])] * int(match[2])
        elif match := re.fullmatch(r"  class counts ([\d ]+)", line):
            current["counts"] = [int(word) for word in match[1].split()]
        elif match := re.fullmatch(r"  imbalance factor (.+)", line):
            current["factor"] = float(match[1])
        elif line == "  images shared with no other list":
            current["shared"] = {}
        elif match := re.fullmatch(r"  images shared with (.*)", line):
            words = (part.split(" ", 2) for part in match[1].split(", "))
            current["shared"] = {stem: (int(n), rest == ["(contained)"]) for stem, n, *rest in words}
        else:
            assert re.fullmatch(r"\d+ lists, all in order", line), line
    return items


def check_published(name: str, output: str) -> dict[str, dict]:
    """Every number that verify printed, against numpy's on the authors' files."""
    dataset, items = data_set(name), parse(output)
    lists = {relative: np.load(PUBLISHED / relative) for relative in theirs(name)}
    members = {relative: np.zeros(50_000, bool) for relative in lists}
    for relative, indices in lists.items():
        members[relative][indices] = True
    labels = np.load(PUBLISHED / f"{name}_train_labels.npy")
    assert items.keys() == lists.keys()
    assert output.splitlines()[-1] == f"{len(lists)} lists, all in order"
    with (SHARED / "published_splits.tsv").open() as file:
        hashes = {
            row["path"].removeprefix("split/"): row["git_blob_sha1"] for row in csv.DictReader(file, delimiter="\t")
        }
    for relative, item in items.items():
        counts = np.sort(np.bincount(labels[lists[relative]], minlength=dataset.classes))[::-1]
        assert (item["size"], item["source"]) == (len(lists[relative]), "published")
        assert item["hash"] == hashes[relative]
        assert item["counts"] == counts.tolist()
        assert item["factor"] == pytest.approx(counts[0] / counts[-1], rel=1e-3)
        family = re.search(r"split\d", Path(relative).stem)
        others = {}
        for other in lists:
            other_family = re.search(r"split\d", Path(other).stem)
            if other != relative and (not family or not other_family or family[0] == other_family[0]):
                shared = int(members[other][lists[relative]].sum())
                others[Path(other).stem] = (shared, shared == len(lists[relative]))
        if family:  # train and validation lists are compared with each other only
            assert item["shared"] == others
        else:
            assert item["shared"] == {k: v for k, v in others.items() if "split" not in k}
    return items


@needs_published
def test_verify_of_the_published_cifar10_lists(tmp_path, script):
    """As a user runs it, in a process of its own."""
    root = copy_published("cifar10", tmp_path / "root")
    labels = PUBLISHED / "cifar10_train_labels.npy"
    done = script("-m", "split.verify", "--root", root, "--dataset", "cifar10", "--labels", labels)
    assert (done.returncode, done.stderr) == (0, "")
    items = check_published("cifar10", done.stdout)
    for n in range(1, 6):  # METHODS, section 9
        D_i, D_b, S_b = (items[f"cifar10_imbSub_with_subsets/split{n}_{k}.npy"] for k in ("D_i", "D_b", "S_b"))
        assert D_i["counts"] == [4500, 2697, 1617, 969, 581, 348, 208, 125, 75, 45]
        assert (D_i["size"], D_i["factor"]) == (11165, 100)
        assert D_i["shared"][f"split{n}_D_b"] == (5699, False)
        assert D_i["shared"]["trainIdxList"] == (11165, True)
        assert D_i["shared"]["valIdxList"] == (0, False)
        assert S_b["shared"][f"split{n}_D_i"] == S_b["shared"][f"split{n}_D_b"] == (450, True)
        assert (D_b["size"], D_b["factor"]) == (11160, 1)


@pytest.mark.slow
@needs_published
def test_verify_of_the_published_cifar100_lists(tmp_path, call):
    root = copy_published("cifar100", tmp_path / "root")
    labels = PUBLISHED / "cifar100_train_labels.npy"
    done = call("split/verify.py", "--root", root, "--dataset", "cifar100", "--labels", labels)
    assert (done.returncode, done.stderr) == (0, "")
    items = check_published("cifar100", done.stdout)
    within = []
    for n in range(1, 6):
        D_i = items[f"cifar100_imbSub_with_subsets/cifar100_split{n}_D_i.npy"]
        assert (D_i["size"], D_i["factor"]) == (9754, 112.5)
        assert D_i["shared"][f"cifar100_split{n}_D_b"] == (5204, False)
        within.append(D_i["shared"]["cifar100_trainIdxList"][0])
    assert within == [8637, 8669, 8698, 8708, 8650]  # METHODS, section 0: D_i is not part of the training list


@pytest.fixture
def digit_lists(tmp_path) -> Path:
    root = tmp_path / "root"
    dataset = data_set("digits")
    write_lists(make_lists(dataset, load(data_set("digits"), "", train=True).labels), root)
    return root


def test_verify_of_generated_lists(digit_lists, call):
    """Digits need no --data; without labels there are no counts."""
    done = call("split/verify.py", "--root", digit_lists, "--dataset", "digits")
    items = parse(done.stdout)
    assert done.returncode == 0
    assert len(items) == 17
    assert {item["source"] for item in items.values()} == {"generated"}
    assert items["digits/digits_valIdxList.npy"]["counts"] == [14] * 10
    assert items["digits_imbSub_with_subsets/digits_split1_D_i.npy"]["factor"] == 20


def test_quiet_programs_print_their_result_alone(tmp_path, call, ledger):
    out = tmp_path / "lists"
    made = call("split/make_splits.py", "--dataset", "digits", "--out", out, "--quiet")
    count = len(list(out.rglob("*.npy")))
    assert made.stdout == f"{count} lists made below {out}, 0 unchanged\n"
    again = call("split/make_splits.py", "--dataset", "digits", "--out", out, "--quiet")
    assert again.stdout == f"0 lists made below {out}, {count} unchanged\n"
    done = call("split/verify.py", "--dataset", "digits", "--root", out, "--quiet")
    # BCL's few-shot lists are not looked at.
    assert done.returncode == 0 and re.fullmatch(r"\d+ lists, all in order\n", done.stdout), done.stdout


def test_verify_without_labels(tmp_path, call):
    root = tmp_path / "root"
    write_lists(make_lists(data_set("cifar10"), np.arange(50_000) % 10, (1,)), root)
    done = call("split/verify.py", "--root", root, "--dataset", "cifar10")
    assert done.returncode == 0
    assert done.stdout.count("class counts unknown") == 5


def test_verify_tells_of_empty_classes(digit_lists, call):
    labels = load(data_set("digits"), "", train=True).labels
    val = set(np.load(digit_lists / "digits/digits_valIdxList.npy").tolist())
    mine = [i for i in np.flatnonzero(labels < 3).tolist() if i not in val][:50]
    np.save(digit_lists / "digits_imbSub_with_subsets" / "mine.npy", np.array(mine))
    done = call("split/verify.py", "--root", digit_lists, "--dataset", "digits")
    after = done.stdout.split("digits_imbSub_with_subsets/mine.npy\n")[1].splitlines()
    counts = sorted((mine_count for mine_count in np.bincount(labels[mine]).tolist()), reverse=True)
    assert after[0].startswith("  size 50  source own  hash ")
    assert after[1] == f"  class counts {' '.join(map(str, counts))} (7 classes without an image)"


SPOIL = {
    "out of range": (lambda path, val: np.save(path, np.array([1, 1397])), "1397"),
    "twice": (lambda path, val: np.save(path, np.array([5, 6, 5])), "5"),
    "fractions": (lambda path, val: np.save(path, np.array([0.5])), "float64"),
    "truncated": (lambda path, val: path.write_bytes(path.read_bytes()[:-3]), ""),
    "overlap": (lambda path, val: np.save(path, val[:7]), "7"),
}


@pytest.mark.parametrize("kind", SPOIL)
@pytest.mark.parametrize("stem", ["digits/digits_trainIdxList", "digits_imbSub_with_subsets/digits_split3_D_b"])
def test_verify_fails_on_a_bad_list(digit_lists, call, kind, stem):
    damage, detail = SPOIL[kind]
    path = digit_lists / f"{stem}.npy"
    damage(path, np.load(digit_lists / "digits/digits_valIdxList.npy"))
    done = call("split/verify.py", "--root", digit_lists, "--dataset", "digits")
    one_line_error(done, str(path), "1 of 17", detail)
    assert len(parse(done.stdout)) == 16
    assert "all in order" not in done.stdout


@needs_published
def test_verify_fails_on_a_list_of_another_data_set(digit_lists, tmp_path, call):
    root = copy_published("cifar10", tmp_path / "cifar")
    path = root / "cifar10_imbSub_with_subsets" / "split1_D_i.npy"
    shutil.copy(PUBLISHED / "cifar100_imbSub_with_subsets" / "cifar100_split1_D_i.npy", path)
    one_line_error(call("split/verify.py", "--root", root, "--dataset", "cifar10"), str(path), "cifar100")


def test_verify_where_there_is_nothing(tmp_path, call):
    one_line_error(call("split/verify.py", "--root", tmp_path / "none"), str(tmp_path / "none"))
    one_line_error(call("split/verify.py", "--labels", "x.npy"), "--labels")


@pytest.mark.parametrize(
    "labels",
    [
        None,
        np.zeros(1396, np.int64),
        np.zeros((1397, 1), np.int64),
        np.full(1397, 10),
        np.full(1397, -1),
        np.full(1397, 0.5),
        "archive",
        "text",
    ],
)
def test_verify_with_wrong_labels(digit_lists, tmp_path, call, labels):
    file = tmp_path / "labels.npy"
    if isinstance(labels, np.ndarray):
        np.save(file, labels)
    elif labels == "archive":
        with file.open("wb") as out:
            np.savez(out, labels=np.zeros(1397, np.int64))
    elif labels == "text":
        file.write_text("0\n" * 1397)
    done = call("split/verify.py", "--root", digit_lists, "--dataset", "digits", "--labels", file)
    one_line_error(done, str(file))
