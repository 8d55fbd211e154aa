"""BCL's few-shot lists: the published ones, those that are generated, finding or making them, `split.verify`."""

import hashlib
import re
import threading
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

import split.ensure
import split.lists
import split.make_image_lists
from data.sets.memory import load
from data.sets.registry import data_set, data_sets
from split.ensure import ensure_list, ensure_path_list
from split.fetch_published import fetch
from split.lists import npy, published_lists, read_list, read_path_list, write_lists
from split.make_image_lists import Tree, make_image_lists
from split.make_splits import make_lists, make_shots
from tests.conftest import PROJECT, one_line_error
from tests.split.test_fetch_and_verify import (
    Server,
    closed_port,
    copy_published,
    files_below,
    needs_published,
    parse,
    theirs,
)
from utils.errors import InputError

SHARED = PROJECT.parent / "shared"
PUBLISHED = SHARED / "published_splits"
NAMES = list(data_sets("cifar"))
CIFAR100, DIGITS = data_set("cifar100"), data_set("digits")
# Labelled images per class: METHODS, section 9; of digits a fifth, for they are few.
SHOTS = {name: (20, 10) if name == "digits" else (100, 50) for name in NAMES}
FILE_SETS = [data_set("imagenet"), data_set("places")]

pytestmark = pytest.mark.usefixtures("ledger", "no_network")


@pytest.fixture
def no_network(monkeypatch) -> None:
    monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=f"http://127.0.0.1:{closed_port()}"))


@cache
def labels_of(name: str) -> np.ndarray:
    """The data set's training labels; where that needs a download, as many of each class in a fixed disorder."""
    if name == "digits":
        return load(data_set("digits"), "", train=True).labels
    dataset = data_set(name)
    return np.random.RandomState(3).permutation(np.arange(dataset.train_images) % dataset.classes).astype(np.int64)


def shot_names(name: str, shots: int) -> list[str]:
    """As published for CIFAR-100, spelled out."""
    tag = "" if name == "cifar10" else f"{name}_"
    return [f"{name}_imbSub_with_subsets/{tag}split{n}_test_{shots}shot.npy" for n in range(1, 6)]


@cache
def lists_of(name: str) -> dict[str, np.ndarray]:
    """All lists: path below split/ -> indices."""
    lists = make_lists(data_set(name), labels_of(name))
    return lists | make_shots(data_set(name), labels_of(name), lists[data_set(name).train_list])


def check_promises(name: str, lists: dict[str, np.ndarray], labels: np.ndarray) -> None:
    """Exact counts, of the training list alone, no image of validation, five draws that are independent."""
    dataset = data_set(name)
    train, val = (set(lists[key].tolist()) for key in (dataset.train_list, dataset.val_list))
    per_class = len(train) // dataset.classes
    draws = {shots: [lists[key] for key in shot_names(name, shots)] for shots in SHOTS[name]}
    for shots, five in draws.items():
        for indices in five:
            assert indices.dtype == np.int64 and len(indices) == shots * dataset.classes
            assert Counter(labels[indices].tolist()) == dict.fromkeys(range(dataset.classes), shots)
            assert len(set(indices.tolist())) == len(indices)
            assert set(indices.tolist()) <= train and not set(indices.tolist()) & val
            assert (np.diff(labels[indices]) >= 0).all()  # grouped by class
    # As many images in common as independent draws have: hypergeometric in each class; six deviations.
    large, small = SHOTS[name]
    pairs = [(a, b, large, large) for i, a in enumerate(draws[large]) for b in draws[large][:i]]
    pairs += [(a, b, small, small) for i, a in enumerate(draws[small]) for b in draws[small][:i]]
    pairs += [(a, b, large, small) for a in draws[large] for b in draws[small]]
    assert len(pairs) == 10 + 10 + 25
    for a, b, m, n in pairs:
        expected = dataset.classes * m * n / per_class
        variance = expected * (1 - m / per_class) * (per_class - n) / (per_class - 1)
        shared = len(np.intersect1d(a, b))
        assert abs(shared - expected) < 6 * variance**0.5
        assert shared < len(b)  # neither the same, nor one within the other


# ---- the published ones


@needs_published
def test_the_published_lists_are_what_is_known_of_them():
    """METHODS, section 9: counts, training list, validation, overlaps."""
    labels = np.load(PUBLISHED / "cifar100_train_labels.npy")
    lists = {relative: np.load(PUBLISHED / relative) for relative in theirs("cifar100")}
    assert len([key for key in lists if "shot" in key]) == 10
    assert len(lists[shot_names("cifar100", 100)[0]]) == 10_000
    assert len(lists[shot_names("cifar100", 50)[0]]) == 5_000
    check_promises("cifar100", lists, labels)
    for n, key in enumerate(shot_names("cifar100", 100), 1):
        tailed = lists[CIFAR100.split_list(f"cifar100_split{n}_D_i")]
        assert 2000 < len(np.intersect1d(lists[key], tailed)) < 2400  # about 2.2k: it is no part of the other
        few = lists[shot_names("cifar100", 50)[n - 1]]
        assert 1100 < len(np.intersect1d(lists[key], few)) < 1400


def test_names_are_those_of_the_published_lists():
    here = {row["path"].removeprefix("split/") for row in published_lists()}
    of_cifar100 = {key for shots in (100, 50) for key in shot_names("cifar100", shots)}
    assert {key for key in here if "shot" in key} == of_cifar100 | {
        "ImageNet_LT/ImageNet_split1_test_100shot.txt",
        "Places_LT/Places_split1_test_100shot.txt",
    }
    for name in NAMES:
        dataset, (large, small) = data_set(name), SHOTS[name]
        assert dataset.probe_lists(100) == shot_names(name, large)
        assert dataset.probe_lists(50) == shot_names(name, small)
        assert dataset.probe_lists(0) == [dataset.train_list]
    for dataset in FILE_SETS:
        (hundred,) = dataset.probe_lists(100)
        assert dataset.path(hundred) in here and dataset.probe_lists(50) == []


# ---- generated


@pytest.mark.parametrize("name", NAMES)
def test_generated_lists_keep_the_promises_of_the_published_ones(name):
    check_promises(name, lists_of(name), labels_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_lists_are_the_same_each_time(name):
    np.random.seed(1)
    train = lists_of(name)[data_set(name).train_list]
    before = train.copy()
    again = make_shots(data_set(name), labels_of(name), train)
    assert list(again) == [key for shots in SHOTS[name] for key in shot_names(name, shots)]
    assert all(np.array_equal(indices, lists_of(name)[key]) for key, indices in again.items())
    assert np.array_equal(train, before)


def test_lists_are_drawn_from_the_training_list_in_use():
    """Another training list, of the other half of the images, has other few-shot lists."""
    labels = labels_of("digits")
    own = np.concatenate([np.flatnonzero(labels == c)[::2] for c in range(10)])
    made = make_shots(DIGITS, labels, own)
    for key, indices in made.items():
        assert set(indices.tolist()) <= set(own.tolist())
        assert len(indices) == len(lists_of("digits")[key])
        assert not np.array_equal(indices, lists_of("digits")[key])


@pytest.mark.parametrize("shape", [["--shape", "pareto"], ["--imb_factor", "5"]])
def test_another_shape_has_no_lists_of_its_own(tmp_path, call, shape):
    """Labelled images do not depend on the long tail; beside lists that are here, none is made anew."""
    root = tmp_path / "root"
    write_lists(lists_of("digits"), root)
    done = call("split/make_splits.py", "--dataset", "digits", "--out", root, "--splits", 1, *shape)
    assert done.returncode == 0, done.stderr
    made = {key: content for key, content in files_below(root).items() if key not in lists_of("digits")}
    assert len(made) == 3 and not any("shot" in key for key in made)


# ---- finding or making


@pytest.mark.parametrize(("name", "number"), [*((name, 0) for name in NAMES), ("digits", 1)])
def test_a_missing_list_is_made_with_its_family(tmp_path, capsys, ledger, name, number):
    dataset, root, key = data_set(name), tmp_path / "root", shot_names(name, SHOTS[name][number])[3]
    path = ensure_list(key, dataset, labels_of(name), root)
    assert path == root / key
    here = files_below(root)
    assert here.keys() == lists_of(name).keys()
    for relative, indices in lists_of(name).items():
        item = read_list(root / relative, dataset)
        assert np.array_equal(item.ids, indices) and item.source == "generated"
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and f"generated 17 lists of {name}" in said[0]
    assert said[1].startswith(f"{key} was missing: generated the few-shot lists of {name}")
    assert len(ledger.read_text().splitlines()) == 27
    gone = shot_names(name, SHOTS[name][1 - number])[0]
    (root / gone).unlink()
    for relative in (key, gone, key):
        ensure_list(relative, dataset, labels_of(name), root)
    assert files_below(root) == here
    assert len(capsys.readouterr().out.splitlines()) == 1  # the one that was gone


@pytest.mark.parametrize(
    "stem", ["split6_test_20shot", "split1_test_100shot", "split0_test_10shot", "split1_test_shot"]
)
def test_there_are_five_lists_of_two_sizes(tmp_path, stem):
    with pytest.raises(InputError, match=stem):
        ensure_list(DIGITS.split_list(f"digits_{stem}"), DIGITS, labels_of("digits"), tmp_path / "root")
    assert files_below(tmp_path / "root") == {}


def test_lists_go_with_an_own_training_list(tmp_path):
    """Somebody's own choice of labelled images, below the published name."""
    root, labels = tmp_path / "root", labels_of("digits")
    own = np.concatenate([np.flatnonzero(labels == c)[-60:] for c in range(10)])
    (root / DIGITS.train_list).parent.mkdir(parents=True)
    np.save(root / DIGITS.train_list, own)
    for shots in SHOTS["digits"]:
        for key in shot_names("digits", shots):
            item = read_list(ensure_list(key, DIGITS, labels, root), DIGITS)
            assert set(item.ids.tolist()) <= set(own.tolist())
            assert np.bincount(labels[item.ids]).tolist() == [shots] * 10
    assert not (root / DIGITS.val_list).exists()


def test_a_training_list_that_is_too_small_is_refused(tmp_path):
    """15 images of a class cannot give 20: the probe would be another one than its name says."""
    root, labels = tmp_path / "root", labels_of("digits")
    (root / DIGITS.train_list).parent.mkdir(parents=True)
    np.save(root / DIGITS.train_list, np.concatenate([np.flatnonzero(labels == c)[:15] for c in range(10)]))
    with pytest.raises(InputError):
        ensure_list(shot_names("digits", 20)[0], DIGITS, labels, root)


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob " + str(len(content)).encode() + b"\0" + content).hexdigest()


def table_of(lists: dict[str, bytes]) -> str:
    rows = [f"them/it\t{'a' * 40}\tsplit/{key}\t{blob(text)}\t{len(text)}\n" for key, text in lists.items()]
    return "repository\tcommit\tpath\tgit_blob_sha1\tbytes\n" + "".join(rows)


def put(root: Path, lists: dict[str, bytes]) -> Path:
    for key, content in lists.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(content)
    return root


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve lists as the published ones, whose hashes are in the table; returns the server."""
    running = []

    def start(lists: dict[str, bytes]) -> Server:
        (tmp_path / "table.tsv").write_text(table_of(lists))
        monkeypatch.setattr(split.lists, "PUBLISHED", tmp_path / "table.tsv")
        server = Server(put(tmp_path / "server" / "them/it" / ("a" * 40) / "split", lists).parents[3])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        running.append(server)
        monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=server.url))
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@cache
def made_elsewhere(name: str) -> dict[str, bytes]:
    """Lists that stand for the authors': other draws than are made here, those of the images in reverse order."""
    dataset, labels = data_set(name), labels_of(name)[::-1].copy()
    lists = make_lists(dataset, labels)
    lists |= make_shots(dataset, labels, lists[dataset.train_list])
    return {key: npy(len(labels) - 1 - indices) for key, indices in lists.items()}


def test_published_lists_are_fetched_where_the_published_training_list_is_in_use(tmp_path, serve):
    lists = made_elsewhere("cifar100")
    server = serve(lists)
    here = {key: lists[key] for key in (CIFAR100.train_list, CIFAR100.val_list)}
    for number, key in enumerate((shot_names("cifar100", 50)[2], shot_names("cifar100", 100)[4])):
        root = put(tmp_path / f"root{number}", here)
        path = ensure_list(key, CIFAR100, labels_of("cifar100"), root)
        assert path == root / key and read_list(path, CIFAR100).source == "published"
        assert files_below(root) == lists
    asked = len(server.asked)
    ensure_list(key, CIFAR100, labels_of("cifar100"), root)
    assert asked == 2 * (len(lists) - len(here)) and len(server.asked) == asked


def test_published_lists_are_fetched_where_there_is_nothing_yet(tmp_path, serve):
    lists = made_elsewhere("cifar100")
    serve(lists)
    root = tmp_path / "root"
    ensure_list(shot_names("cifar100", 100)[0], CIFAR100, labels_of("cifar100"), root)
    assert files_below(root) == lists


def test_lists_are_made_where_the_table_has_none(tmp_path, serve, capsys):
    """As for CIFAR-10, whose authors published training lists, and no few-shot lists of BCL's."""
    dataset, labels = data_set("cifar10"), labels_of("cifar10")
    lists = {key: content for key, content in made_elsewhere("cifar10").items() if "shot" not in key}
    server, root = serve(lists), tmp_path / "root"
    keys = [key for shots in (100, 50) for key in shot_names("cifar10", shots)]
    for key in keys:
        item = read_list(
            ensure_list(key, dataset, labels, root), dataset, (read_list(root / dataset.val_list, dataset),)
        )
        assert item.source == "generated"
    train = read_list(root / dataset.train_list, dataset)
    assert train.source == "published"
    here = {key: np.load(root / key) for key in files_below(root)}
    assert here.keys() == lists.keys() | set(keys)
    check_promises("cifar10", here, labels)
    assert "generated the few-shot lists of cifar10" in capsys.readouterr().out
    assert not any("shot" in asked for asked in server.asked)


def test_lists_are_made_where_the_training_list_was_made(tmp_path, serve):
    """The lists were generated without a network; now there is one. The two kinds are not mixed."""
    root = tmp_path / "root"
    generated = {key: indices for key, indices in lists_of("cifar100").items() if "shot" not in key}
    server = serve(made_elsewhere("cifar100"))
    write_lists(generated, root)
    key = shot_names("cifar100", 100)[1]
    item = read_list(ensure_list(key, CIFAR100, labels_of("cifar100"), root), CIFAR100)
    assert item.source == "generated" and np.array_equal(item.ids, lists_of("cifar100")[key])
    assert server.asked == []


def test_published_lists_that_cannot_be_had_are_not_replaced(tmp_path, serve, monkeypatch):
    """Beside a published training list none is made that the authors have."""
    lists = made_elsewhere("cifar100")
    serve(lists)
    monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=f"http://127.0.0.1:{closed_port()}"))
    root = put(tmp_path / "root", {key: lists[key] for key in (CIFAR100.train_list, CIFAR100.val_list)})
    before = files_below(root)
    with pytest.raises(InputError, match="cannot fetch") as caught:
        ensure_list(shot_names("cifar100", 100)[0], CIFAR100, labels_of("cifar100"), root)
    assert "\n" not in str(caught.value) and files_below(root) == before


@needs_published
def test_the_authors_lists_are_fetched_beside_theirs(tmp_path, monkeypatch):
    """With the table of this project, from a server of their files."""
    folder = tmp_path / "server"
    for row in published_lists():
        source = PUBLISHED / row["path"].removeprefix("split/")
        target = folder / row["repository"] / row["commit"] / row["path"]
        if source.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
    root = copy_published("cifar100", tmp_path / "root")
    for key in (key for shots in (100, 50) for key in shot_names("cifar100", shots)):
        (root / key).unlink()
    with Server(folder) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=server.url))
        labels = np.load(PUBLISHED / "cifar100_train_labels.npy").astype(np.int64)
        path = ensure_list(shot_names("cifar100", 50)[1], CIFAR100, labels, root)
        server.shutdown()
    assert read_list(path, CIFAR100).source == "published"
    assert files_below(root) == theirs("cifar100") and len(server.asked) == 10


# ---- verify


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_verify_accepts_generated_lists(tmp_path, call, name):
    root, dataset = tmp_path / "root", data_set(name)
    write_lists(lists_of(name), root)
    np.save(tmp_path / "labels.npy", labels_of(name))
    words = ["--root", root, "--dataset", name, "--labels", tmp_path / "labels.npy"]
    done = call("split/verify.py", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("27 lists, all in order\n")
    items = parse(done.stdout)
    for shots in SHOTS[name]:
        for n, key in enumerate(shot_names(name, shots), 1):
            item, stem = items[key], dataset.prefix
            assert item["counts"] == [shots] * dataset.classes and item["source"] == "generated"
            assert item["shared"][f"{stem}valIdxList"] == (0, False)
            assert item["shared"][f"{stem}trainIdxList"] == (shots * dataset.classes, True)
            other = [s for s in SHOTS[name] if s != shots][0]
            beside = {f"{stem}split{n}_{kind}" for kind in ("D_i", "D_b", "S_b", f"test_{other}shot")}
            assert item["shared"].keys() == {f"{stem}valIdxList", f"{stem}trainIdxList", *beside}


@pytest.mark.parametrize("shots", SHOTS["digits"])
def test_verify_fails_on_a_list_with_validation_images(tmp_path, call, shots):
    root = tmp_path / "root"
    write_lists(lists_of("digits"), root)
    key = shot_names("digits", shots)[2]
    mixed = lists_of("digits")[key].copy()
    mixed[:3] = lists_of("digits")[DIGITS.val_list][:3]
    np.save(root / key, mixed)
    done = call("split/verify.py", "--root", root, "--dataset", "digits")
    one_line_error(done, str(root / key), "1 of 27", "shares 3 images")


# ---- image files


def tree_of(pools: list[int], val: int = 3) -> Tree:
    """A tree of names alone; the classes have as many training images as `pools` says."""
    classes = [f"class{c:04}" for c in range(len(pools))]
    train = [[f"train/{name}/{i:05}.jpg" for i in range(n)] for name, n in zip(classes, pools, strict=True)]
    return Tree(Path("nowhere"), classes, train, [[f"val/{c}/{i}.jpg" for i in range(val)] for c in classes], False)


def rows_of(content: bytes) -> list[tuple[str, int]]:
    return [(path, int(label)) for path, label in (line.split(" ") for line in content.decode().splitlines())]


@pytest.mark.parametrize("dataset", FILE_SETS, ids=lambda dataset: dataset.name)
@pytest.mark.parametrize(
    ("scale", "pools", "counts"),
    [
        (1.0, [300, 130, 122, 121, 30, 23], [100, 100, 100, 100, 10, 3]),  # 20 each are of validation
        (0.5, [300, 130, 60, 59, 30, 13], [50, 50, 50, 49, 20, 3]),
        (0.034, [30, 8, 5, 4, 4, 3], [3, 3, 3, 3, 3, 2]),
        (0.001, [30, 8, 5, 4, 4, 3], [1, 1, 1, 1, 1, 1]),
    ],
)
def test_image_files_hundred_shot_lists(monkeypatch, dataset, scale, pools, counts):
    """min(100 * scale, what is there), of the training images, without those of validation and test."""
    monkeypatch.setattr(split.make_image_lists, "long_tailed_counts", lambda *_: (np.full(6, 3), False))
    small, tree = replace(dataset, classes=6, few_per_class=1), tree_of(pools)
    lists = {key: rows_of(text) for key, text in make_image_lists(small, tree, scale).items()}
    shot = lists[dataset.path(dataset.hundred_shot)]
    paths = {key: {path for path, _ in rows} for key, rows in lists.items()}
    assert [Counter(label for _, label in shot)[c] for c in range(6)] == counts
    assert all(path.startswith(f"train/class{label:04}/") for path, label in shot)
    assert [label for _, label in shot] == sorted(label for _, label in shot)
    mine = paths[dataset.path(dataset.hundred_shot)]
    assert len(mine) == len(shot) and mine <= paths[dataset.path(dataset.train_list)]
    assert not mine & paths[dataset.path(dataset.val_list)] and not mine & paths[dataset.path(dataset.test_list)]
    again = make_image_lists(small, tree, scale)[dataset.path(dataset.hundred_shot)]
    assert rows_of(again) == shot
    if scale == 1.0:
        other = rows_of(make_image_lists(small, tree, scale, seed=1)[dataset.path(dataset.hundred_shot)])
        assert other != shot
        # Drawn for itself: of 100 images out of 280 about 36 are in two draws.
        first = {path for path in mine if "class0000" in path}
        assert 10 < len(first & {path for path, _ in other}) < 65


@pytest.mark.parametrize("dataset", FILE_SETS, ids=lambda dataset: dataset.name)
def test_image_files_of_the_full_size_have_a_hundred_of_each_class(monkeypatch, dataset):
    """METHODS, section 9: 100,000 of ImageNet, 36,500 of Places."""
    monkeypatch.setattr(split.make_image_lists, "long_tailed_counts", lambda *_: (np.full(dataset.classes, 5), False))
    tree = tree_of([160] * dataset.classes, val=1)
    shot = rows_of(make_image_lists(dataset, tree)[dataset.path(dataset.hundred_shot)])
    assert Counter(label for _, label in shot) == dict.fromkeys(range(dataset.classes), 100)
    assert len(shot) == {"imagenet": 100_000, "places": 36_500}[dataset.name]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(small Places, folder of its images, folder of its lists, the lists as generated)."""
    monkeypatch.setattr(split.make_image_lists, "long_tailed_counts", lambda *_: (np.array([6, 4, 3]), False))
    dataset = replace(data_set("places"), classes=3, val_per_class=2, few_per_class=1)
    for part, count in (("train", 12), ("val", 2)):
        for c in range(3):
            (tmp_path / "data" / part / f"scene{c}").mkdir(parents=True)
            for i in range(count):
                (tmp_path / "data" / part / f"scene{c}" / f"{i}.jpg").touch()
    monkeypatch.setattr(split.lists, "PUBLISHED", tmp_path / "table.tsv")
    (tmp_path / "table.tsv").write_text(table_of({}))
    ensure_path_list(dataset.hundred_shot, dataset, str(tmp_path / "data"), tmp_path / "root")
    return dataset, tmp_path / "data", tmp_path / "root", files_below(tmp_path / "root")


def test_a_missing_list_of_image_files_is_made(places):
    dataset, data, root, lists = places
    assert lists.keys() == {dataset.path(name) for name in dataset.names()}
    shot = read_path_list(root / dataset.path(dataset.hundred_shot), dataset)
    assert shot.source == "generated" and np.bincount(shot.labels).tolist() == [10] * 3  # all but validation
    (root / dataset.path(dataset.hundred_shot)).unlink()
    with pytest.raises(InputError, match="beside generated lists"):
        ensure_path_list(dataset.hundred_shot, dataset, str(data), root)


def verify(call, root: Path, data: Path):
    return call("split/verify.py", "--root", root, "--dataset", "places", "--data", data)


def with_images_of(lists: dict[str, bytes], dataset, other: str) -> bytes:
    """The 100-shot list with two lines of another list in it."""
    own, more = (lists[dataset.path(name)].splitlines(keepends=True) for name in (dataset.hundred_shot, other))
    return b"".join([*more[:2], *own[2:]])


def test_verify_accepts_generated_lists_of_image_files(places, call):
    dataset, data, root, lists = places
    done = verify(call, root, data)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{len(lists)} lists, all in order\n")
    shot = done.stdout.split(f"{dataset.hundred_shot}.txt\n")[1].split(".txt\n")[0]
    assert re.search("  size 30  source generated", shot) and "  class counts 10 in each of 3" in shot
    assert f"{dataset.val_list} 0" in shot and f"{dataset.test_list} 0" in shot


def test_verify_accepts_a_published_list_that_shares_images_with_validation(places, call, tmp_path):
    """METHODS, section 9: of Places, 128 images; the probe has no validation."""
    dataset, data, root, lists = places
    content = with_images_of(lists, dataset, dataset.val_list)
    (tmp_path / "table.tsv").write_text(table_of({dataset.path(dataset.hundred_shot): content}))
    (root / dataset.path(dataset.hundred_shot)).write_bytes(content)
    shot = read_path_list(root / dataset.path(dataset.hundred_shot), dataset)
    assert shot.source == "published"
    done = verify(call, root, data)
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout.split(f"{dataset.hundred_shot}.txt\n")[1].split(".txt\n")[0]
    assert "source published" in text and f"{dataset.val_list} 2" in text and f"{dataset.test_list} 0" in text


@pytest.mark.parametrize("published", [True, False])
def test_verify_fails_on_a_list_with_test_images(places, call, tmp_path, published):
    dataset, data, root, lists = places
    content = with_images_of(lists, dataset, dataset.test_list)
    if published:
        (tmp_path / "table.tsv").write_text(table_of({dataset.path(dataset.hundred_shot): content}))
    (root / dataset.path(dataset.hundred_shot)).write_bytes(content)
    done = verify(call, root, data)
    one_line_error(done, f"1 of {len(lists)}", dataset.hundred_shot, "shares 2 images", dataset.test_list)


@pytest.mark.parametrize("name", ["Places_LT_train", "Places_sub_balance_train_0.01", "Places_train"])
def test_verify_fails_on_other_lists_with_validation_images(places, call, name):
    """Only the few-shot probe of BCL has no validation."""
    dataset, data, root, lists = places
    more = lists[dataset.path(dataset.val_list)].splitlines(keepends=True)[:1]
    write_lists(
        {dataset.path(name): b"".join([*more, *lists[dataset.path(name)].splitlines(keepends=True)[1:]])}, root, True
    )
    one_line_error(verify(call, root, data), name, "shares 1 images", dataset.val_list)
