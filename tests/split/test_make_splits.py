"""Lists: class counts, the published recipe, the checks on reading, making what is missing."""

import hashlib
import io
import math
import multiprocessing
import pickle
import sys
from decimal import Decimal, getcontext
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import split.ensure
import split.lists
import split.make_splits
from data.sets.memory import load
from data.sets.registry import data_set, data_sets
from split.counts import Shape, class_counts
from split.ensure import ensure_list
from split.lists import blob_sha1, npy, read_list, write_lists
from split.make_splits import make_lists, settings_of
from tests.conftest import PROJECT
from utils.errors import InputError

PUBLISHED = PROJECT.parent / "shared" / "published_splits"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the authors' lists are not here")
quick = settings(database=None, deadline=None, max_examples=80)
NAMES = list(data_sets("cifar"))
DIGITS = data_set("digits")


@pytest.fixture(autouse=True)
def no_network(ledger, monkeypatch) -> None:
    monkeypatch.setattr(split.ensure, "fetch", offline)


def offline(dataset, root, *args, **kwargs):
    raise InputError("cannot fetch: no network in this test")


@cache
def labels_of(name: str) -> np.ndarray:
    """The data set's training labels; where they are not here, as many of each class in a fixed disorder."""
    if name == "digits":
        return load(data_set("digits"), "", train=True).labels
    file = PUBLISHED / f"{name}_train_labels.npy"
    if file.is_file():
        return np.load(file).astype(np.int64)
    dataset = data_set(name)
    return np.random.RandomState(9).permutation(np.arange(dataset.train_images) % dataset.classes).astype(np.int64)


@cache
def lists_of(name: str) -> dict[str, np.ndarray]:
    return make_lists(data_set(name), labels_of(name))


def by_class(indices: np.ndarray, labels: np.ndarray, classes: int) -> list[list[int]]:
    rows = [[] for _ in range(classes)]
    for i in indices.tolist():
        rows[labels[i]].append(i)
    return rows


def exact_exp(classes: int, head: int, factor: Fraction) -> list[int]:
    """floor(head * factor^(-i / (classes - 1))) in whole numbers: the largest n with n^(K-1) factor^i <= head^(K-1)."""
    counts, power = [], classes - 1
    for i in range(classes):
        low, high = 0, head
        while low < high:
            middle = (low + high + 1) // 2
            if middle**power * factor.numerator**i <= head**power * factor.denominator**i:
                low = middle
            else:
                high = middle - 1
        counts.append(max(low, 1))
    return counts


# ---- class counts


def test_published_class_counts():
    """METHODS, section 9."""
    assert class_counts(10, 4500, 100).tolist() == [4500, 2697, 1617, 969, 581, 348, 208, 125, 75, 45]
    counts = class_counts(100, 450, 100).tolist()
    assert counts[:3] == [450, 429, 410]
    assert counts[-4:] == [5, 4, 4, 4]
    assert sum(class_counts(10, 4500, 100)) == 11165
    assert sum(counts) == 9754
    assert counts[0] / counts[-1] == 112.5
    assert (counts[33], counts[34], counts[66], counts[67]) == (96, 92, 20, 19)
    groups = [sum(c[:k]) for c, k in ((counts, 34), (counts[34:], 33), (counts[67:], 33))]
    assert groups == [7847, 1580, 327]


@quick
@given(
    classes=st.integers(2, 40), head=st.integers(1, 6000), factor=st.fractions(1, 1000, max_denominator=8)
)  # fmt: skip
def test_exponential_counts_are_exact(classes, head, factor):
    counts = class_counts(classes, head, float(factor))
    assert counts.dtype == np.int64
    assert counts.tolist() == exact_exp(classes, head, factor)


@pytest.mark.parametrize(("classes", "head"), [(10, 4500), (100, 450), (10, 5400), (10, 120)])
@pytest.mark.parametrize("factor", [1, 10, 20, 50, 100, 200, 256])
def test_usual_imbalance_factors(classes, head, factor):
    counts = class_counts(classes, head, factor).tolist()
    assert counts == exact_exp(classes, head, Fraction(factor))
    assert counts[0] == head
    assert counts[-1] == max(head // factor, 1)


@pytest.mark.parametrize(("classes", "head", "factor"), [(4, 1000, 1000), (3, 400, 16), (7, 729, 729), (10, 512, 512)])
def test_whole_numbers_are_not_rounded_down(classes, head, factor):
    assert class_counts(classes, head, factor).tolist() == exact_exp(classes, head, Fraction(factor))


@quick
@given(
    classes=st.integers(2, 200),
    head=st.integers(1, 6000),
    factor=st.fractions(1, 1000, max_denominator=8),
    alpha=st.fractions(Fraction(1, 2), 20, max_denominator=4),
)
def test_pareto_counts(classes, head, factor, alpha):
    """From head to head / factor, along a power law of the rank, against 50 digits of Decimal."""
    getcontext().prec = 50
    counts = class_counts(classes, head, float(factor), "pareto", float(alpha)).tolist()
    exponent = -Decimal(alpha.denominator) / Decimal(alpha.numerator)
    law = [((2 * Decimal(r) + 1) / (2 * classes)) ** exponent for r in range(classes)]
    top, tail = Decimal(head), Decimal(head * factor.denominator) / Decimal(factor.numerator)
    for n, value in zip(counts, law, strict=True):
        exact = tail + (top - tail) * (value - law[-1]) / (law[0] - law[-1])
        near = round(exact)
        # Where the exact value is a whole number but for the last digits of a float, either side is right.
        allowed = {max(near, 1), max(near - 1, 1)} if abs(exact - near) < Decimal("1e-8") else {max(int(exact), 1)}
        assert n in allowed
    assert counts[0] == head
    assert counts[-1] == max(math.floor(Fraction(head) / factor), 1)
    assert counts == sorted(counts, reverse=True)


@quick
@given(
    classes=st.integers(2, 120),
    head=st.integers(1, 6000),
    factor=st.floats(1, 1000),
    shape=st.sampled_from(["exp", "pareto"]),
)
def test_counts_fall_from_head_and_leave_no_class_empty(classes, head, factor, shape):
    counts = class_counts(classes, head, factor, shape).tolist()
    assert len(counts) == classes
    assert counts[0] == head
    assert all(a >= b >= 1 for a, b in zip(counts, counts[1:], strict=False))
    steeper = class_counts(classes, head, factor * 2, shape).tolist()
    assert all(a >= b for a, b in zip(counts, steeper, strict=True))


@pytest.mark.parametrize("shape", ["exp", "pareto"])
def test_one_class_is_all_head(shape):
    assert class_counts(1, 30, 10, shape).tolist() == [30]


def test_pareto_has_a_longer_tail_than_the_exponential():
    """Against the exponential of the same ends it falls at once and then stays low, as ImageNet-LT's does."""
    exponential, pareto = class_counts(100, 450, 100), class_counts(100, 450, 100, "pareto")
    assert (pareto[1:50] < exponential[1:50]).all()
    assert (pareto[80:-1] >= exponential[80:-1]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"imb_factor": 0.5},
        {"imb_factor": 0},
        {"imb_factor": -3},
        {"imb_factor": math.nan},
        {"alpha": 0},
        {"alpha": -1},
        {"alpha": math.nan, "shape": "pareto"},
        {"shape": "linear"},
    ],
)
def test_wrong_settings_of_the_counts(wrong):
    with pytest.raises(InputError) as caught:
        class_counts(10, 100, **{"imb_factor": 10, **wrong})
    assert "\n" not in str(caught.value)


# ---- the recipe


@pytest.mark.parametrize("name", NAMES)
def test_train_and_validation_lists(name):
    dataset, labels, lists = data_set(name), labels_of(name), lists_of(name)
    train, val = lists[dataset.train_list], lists[dataset.val_list]
    assert len(train) == dataset.train_per_class * dataset.classes
    assert len(val) == dataset.val_per_class * dataset.classes
    assert not set(train.tolist()) & set(val.tolist())
    for indices, each in ((train, dataset.train_per_class), (val, dataset.val_per_class)):
        assert len(set(indices.tolist())) == len(indices)
        assert [len(row) for row in by_class(indices, labels, dataset.classes)] == [each] * dataset.classes
        assert (np.diff(labels[indices]) >= 0).all()  # grouped by class, as published


@pytest.mark.parametrize("name", NAMES)
def test_splits_follow_the_published_recipe(name):
    """Counts, classes, per-class prefixes, and nothing of the validation list."""
    dataset, labels, lists = data_set(name), labels_of(name), lists_of(name)
    val = set(lists[dataset.val_list].tolist())
    free = [[] for _ in range(dataset.classes)]
    for i, label in enumerate(labels.tolist()):
        if i not in val:
            free[label].append(i)
    head = min(map(len, free))
    sizes = exact_exp(dataset.classes, head, Fraction(dataset.imb_factor))
    balanced = sum(sizes) // dataset.classes
    orders = set()
    for n in range(1, 6):
        split_lists = {k: lists[dataset.split_list(f"{dataset.prefix}split{n}_{k}")] for k in ("D_i", "D_b", "S_b")}
        rows = {k: by_class(v, labels, dataset.classes) for k, v in split_lists.items()}
        for indices in split_lists.values():
            assert indices.dtype == np.int64
            assert len(set(indices.tolist())) == len(indices)
            assert not set(indices.tolist()) & val
            assert (np.diff(labels[indices]) >= 0).all()
        assert sorted(map(len, rows["D_i"]), reverse=True) == sizes
        assert [len(r) for r in rows["D_b"]] == [balanced] * dataset.classes
        assert [len(r) for r in rows["S_b"]] == [dataset.few_shot] * dataset.classes
        for c in range(dataset.classes):
            nested = sorted((rows[k][c] for k in rows), key=len)
            assert nested[0] == nested[2][: len(nested[0])]
            assert nested[1] == nested[2][: len(nested[1])]
            assert nested[2] != sorted(nested[2])  # shuffled
        orders.add(tuple(np.argsort([-len(r) for r in rows["D_i"]], kind="stable")))
    assert len(orders) == 5


@pytest.mark.parametrize(
    ("name", "long_tailed", "balanced", "few"), [("cifar10", 11165, 1116, 45), ("cifar100", 9754, 97, 4)]
)
def test_sizes_of_the_cifar_lists(name, long_tailed, balanced, few):
    dataset, lists = data_set(name), lists_of(name)
    assert len(lists) == 17
    for n in range(1, 6):
        size = {k: len(lists[dataset.split_list(f"{dataset.prefix}split{n}_{k}")]) for k in ("D_i", "D_b", "S_b")}
        assert size == {"D_i": long_tailed, "D_b": balanced * dataset.classes, "S_b": few * dataset.classes}


@needs_published
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_generated_lists_are_like_the_published_ones(name):
    """Same names, sizes, types and class counts; overlaps of the same size."""
    dataset, labels, lists = data_set(name), labels_of(name), lists_of(name)
    theirs = {k: np.load(PUBLISHED / k) for k in lists}
    for key, indices in theirs.items():
        assert lists[key].dtype == indices.dtype
        assert len(lists[key]) == len(indices)
        ours_counts, their_counts = (np.bincount(labels[x], minlength=dataset.classes) for x in (lists[key], indices))
        assert sorted(ours_counts) == sorted(their_counts)
        assert (np.diff(labels[indices]) >= 0).all() == (np.diff(labels[lists[key]]) >= 0).all()
    for n in range(1, 6):
        D_i, D_b = (dataset.split_list(f"{dataset.prefix}split{n}_{k}") for k in ("D_i", "D_b"))
        assert len(np.intersect1d(lists[D_i], lists[D_b])) == len(np.intersect1d(theirs[D_i], theirs[D_b]))


@pytest.mark.parametrize("name", NAMES)
def test_lists_are_the_same_each_time(name):
    np.random.seed(int.from_bytes(name.encode()[:4]))
    again = make_lists(data_set(name), labels_of(name))
    assert again.keys() == lists_of(name).keys()
    assert all(np.array_equal(again[key], indices) for key, indices in lists_of(name).items())


def test_a_split_does_not_depend_on_the_others():
    some = make_lists(DIGITS, labels_of("digits"), (4, 2))
    assert len(some) == 2 + 2 * 3
    assert all(np.array_equal(indices, lists_of("digits")[key]) for key, indices in some.items())


def test_draws_do_not_depend_on_shape_or_factor():
    """Another imbalance takes longer or shorter prefixes of the same images, in the same class order."""
    labels, base = labels_of("digits"), lists_of("digits")
    other = make_lists(DIGITS, labels, shape=Shape("pareto", 5, 3))
    assert np.array_equal(other[DIGITS.val_list], base[DIGITS.val_list])
    for n in range(1, 6):
        ours = by_class(base[DIGITS.split_list(f"digits_split{n}_D_i")], labels, 10)
        theirs = by_class(other[DIGITS.split_list(f"digits_split{n}_pareto3_imb5_D_i")], labels, 10)
        for a, b in zip(ours, theirs, strict=True):
            k = min(len(a), len(b))
            assert a[:k] == b[:k]
        order = np.argsort([-len(r) for r in ours], kind="stable")
        assert (np.diff([len(theirs[c]) for c in order]) <= 0).all()


def test_wrong_imbalance_factors_of_the_lists():
    for factor in (0, 0.5, -1, math.nan):
        with pytest.raises(InputError):
            make_lists(DIGITS, labels_of("digits"), (1,), Shape(imb_factor=factor))


def test_names_say_shape_and_factor():
    labels = labels_of("digits")
    assert DIGITS.split_list("digits_split2_imb50_D_b") in make_lists(DIGITS, labels, (2,), Shape(imb_factor=50))
    assert DIGITS.split_list("digits_split2_imb2.5_S_b") in make_lists(DIGITS, labels, (2,), Shape(imb_factor=2.5))
    assert DIGITS.split_list("digits_split2_pareto6_imb20_D_i") in make_lists(DIGITS, labels, (2,), Shape("pareto"))
    assert DIGITS.split_list("digits_split2_D_i") in make_lists(DIGITS, labels, (2,), Shape(imb_factor=20))


@quick
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(1, 40),
    factor=st.none() | st.sampled_from([1, 2, 2.5, 10, 20, 50, 100, 256]),
    shape=st.sampled_from(["exp", "pareto"]),
    alpha=st.sampled_from([0.5, 1, 2.25, 6]),
)
def test_a_name_tells_how_its_list_was_made(name, seed, factor, shape, alpha):
    """settings_of undoes make_lists: what the settings of a name make holds that name."""
    dataset = data_set(name)
    few = np.arange(dataset.classes * 3) % dataset.classes  # enough for the names
    made = make_lists(dataset, few, (seed,), Shape(shape, factor, alpha))
    for key in made:
        again = make_lists(dataset, few, **settings_of(dataset, key))
        assert np.array_equal(again[key], made[key])


# ---- reading


def save(path: Path, values, **options) -> Path:
    np.save(path, values, **options)
    return path


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def truncated(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def huge(path: Path) -> None:
    """A damaged header: more numbers than there is memory."""
    path.write_bytes(path.read_bytes().replace(b"(5,)", b"(5000000000000000,)"))


def archive(path: Path, size: int | None = None) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, indices=np.arange(5))
    path.write_bytes(buffer.getvalue()[:size])


WRONG_FILES = {
    "missing": lambda p: p.unlink(),
    "a folder": lambda p: (p.unlink(), p.mkdir()),
    "empty file": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("0\n1\n2\n"),
    "cut in the header": lambda p: truncated(p, 40),
    "cut in the data": lambda p: truncated(p, 130),
    "pickle": lambda p: p.write_bytes(pickle.dumps([0, 1, 2])),
    "archive": archive,
    "archive, cut": lambda p: archive(p, 60),
    "huge": huge,
    "fractions": lambda p: save(p, np.array([0.0, 1.0, 2.0])),
    "truth values": lambda p: save(p, np.array([True, False])),
    "words": lambda p: save(p, np.array(["0", "1"])),
    "2-D": lambda p: save(p, np.arange(6).reshape(2, 3)),
    "0-D": lambda p: save(p, np.array(3)),
    "no number": lambda p: save(p, np.array([], np.int64)),
    "negative": lambda p: save(p, np.array([3, -1, 5])),
    "too large": lambda p: save(p, np.array([3, 1397, 5])),
    "far too large": lambda p: save(p, np.array([2**64 - 1], np.uint64)),
    "twice": lambda p: save(p, np.array([3, 1396, 5, 1396])),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_wrong_lists_are_refused(tmp_path, kind):
    path = save(tmp_path / "list.npy", np.arange(5))
    WRONG_FILES[kind](path)
    with pytest.raises(InputError) as caught:
        read_list(path, DIGITS)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for kinds, detail in ((("negative",), "-1"), (("too large",), "1397"), (("twice",), "1396")):
        assert kind not in kinds or detail in message


def test_pickled_objects_are_not_executed(tmp_path):
    trap = tmp_path / "executed"
    path = save(tmp_path / "list.npy", np.array([Evil(trap), 1], object), allow_pickle=True)
    with pytest.raises(InputError, match="list.npy") as caught:
        read_list(path, DIGITS)
    assert "\n" not in str(caught.value)
    assert not trap.exists()
    np.load(path, allow_pickle=True)
    assert trap.exists()  # the trap works


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.int64, np.uint64, ">i8"])
def test_right_lists_are_read(tmp_path, kind):
    path = save(tmp_path / "list.npy", np.array([7, 0, 200, 3]).astype(kind))
    item = read_list(path, DIGITS)
    assert item.ids.dtype == np.int64
    assert item.ids.tolist() == [7, 0, 200, 3]
    assert (item.source, item.path) == ("own", path)
    assert item.sha1 == blob_sha1(path.read_bytes())


def test_last_index_is_in_range(tmp_path):
    assert read_list(save(tmp_path / "a.npy", np.array([0, 1396])), DIGITS).ids.tolist() == [0, 1396]


def test_overlap_with_validation_is_refused(tmp_path):
    val = read_list(save(tmp_path / "val.npy", np.array([1, 2, 3])), DIGITS)
    fine = save(tmp_path / "fine.npy", np.array([4, 5]))
    assert read_list(fine, DIGITS, (val,)).ids.tolist() == [4, 5]
    path = save(tmp_path / "bad.npy", np.array([4, 3, 5, 1]))
    with pytest.raises(InputError) as caught:
        read_list(path, DIGITS, (val,))
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in (str(path), str(val.path), " 2 "))


@needs_published
@pytest.mark.parametrize(("owner", "other"), [("cifar10", "cifar100"), ("cifar100", "cifar10")])
def test_published_lists_know_their_data_set(tmp_path, owner, other):
    """All these indices exist in the other data set, too: only the hash tells."""
    for source in sorted((PUBLISHED / owner).glob("*.npy")) + sorted(PUBLISHED.glob(f"{owner}_imb*/*.npy")):
        path = tmp_path / "copy.npy"
        path.write_bytes(source.read_bytes())
        item = read_list(path, data_set(owner))
        assert item.source == "published"
        assert np.array_equal(item.ids, np.load(source))
        with pytest.raises(InputError, match=owner) as caught:
            read_list(path, data_set(other))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_generated_lists_know_their_data_set(tmp_path):
    root = tmp_path / "root"
    write_lists(lists_of("cifar10"), root)
    path = root / data_set("cifar10").split_list("split1_D_i")
    assert read_list(path, data_set("cifar10")).source == "generated"
    with pytest.raises(InputError, match="cifar10"):
        read_list(path, data_set("cifar100"))


@quick
@given(content=st.binary(max_size=300))
def test_git_blob_ids(content):
    """SHA-1 as git defines it, with the length in decimal digits."""
    assert blob_sha1(content) == hashlib.sha1(f"blob {len(content)}".encode() + b"\x00" + content).hexdigest()
    assert blob_sha1(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # every git repository's empty file
    assert blob_sha1(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


# ---- writing


def files_below(root: Path) -> dict[str, bytes]:
    found = (p for p in root.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(root)): p.read_bytes() for p in found}


def test_write_lists(tmp_path, ledger):
    root, lists = tmp_path / "root", lists_of("digits")
    assert write_lists(lists, root) == list(lists)
    here = files_below(root)
    assert here.keys() == lists.keys()
    for key, indices in lists.items():
        stored = np.load(root / key, allow_pickle=False)
        assert stored.dtype == np.int64
        assert np.array_equal(stored, indices)
        assert read_list(root / key, DIGITS).source == "generated"
    rows = [row.split("\t") for row in ledger.read_text().splitlines()]
    assert rows == [[blob_sha1(here[key]), key] for key in lists]
    assert write_lists(lists, root) == []
    assert files_below(root) == here
    assert len(ledger.read_text().splitlines()) == len(lists)


def test_write_lists_adds_what_is_missing(tmp_path, ledger):
    root, lists = tmp_path / "root", lists_of("digits")
    write_lists(lists, root)
    before, gone = files_below(root), list(lists)[5]
    (root / gone).unlink()
    assert write_lists(lists, root) == [gone]
    assert files_below(root) == before
    assert len(ledger.read_text().splitlines()) == len(lists)


@pytest.mark.parametrize("place", [0, 8, -1])
def test_write_lists_refuses_another_list_of_the_name(tmp_path, ledger, place):
    """Wherever the other list comes in the order, nothing is written."""
    root, lists = tmp_path / "root", lists_of("digits")
    path = root / list(lists)[place]
    path.parent.mkdir(parents=True)
    save(path, np.arange(4))
    before = files_below(root)
    with pytest.raises(InputError) as caught:
        write_lists(lists, root)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_below(root) == before
    assert not ledger.exists()
    assert write_lists(lists, root, overwrite=True) == list(lists)
    assert np.array_equal(np.load(path), list(lists.values())[place])


def test_a_list_is_noted_before_it_is_there(tmp_path, ledger, monkeypatch):
    """Else one that was written as the program ended would be somebody's own for ever."""
    root, lists = tmp_path / "root", dict(list(lists_of("digits").items())[:2])
    first = next(iter(lists))

    def write(path, content):
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(split.lists, "replace_file", write)
        with pytest.raises(OSError):
            write_lists(lists, root)
    noted = [line.split("\t")[1] for line in ledger.read_text().splitlines()]
    assert noted == list(lists) and files_below(root) == {}
    ledger.unlink()  # as after an older version
    (root / first).parent.mkdir(parents=True)
    (root / first).write_bytes(npy(lists[first]))
    assert write_lists(lists, root) == list(lists)[1:]
    assert all(read_list(root / name, DIGITS).source == "generated" for name in lists)


def test_lists_elsewhere_are_written_where_they_cannot_be_noted(tmp_path, ledger, capsys):
    lists = dict(list(lists_of("digits").items())[:2])
    ledger.parent.rmdir()
    ledger.parent.touch()
    with pytest.raises(OSError):
        write_lists(lists, ledger.parent)
    assert write_lists(lists, tmp_path / "root") == list(lists)
    assert capsys.readouterr().err.startswith("warning: results will call these lists 'own'")


def run_make_splits(monkeypatch, *words) -> None:
    monkeypatch.setattr(sys, "argv", ["make_splits", *map(str, words)])
    split.make_splits.main()


def test_make_splits_command(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run_make_splits(monkeypatch, "--dataset", "digits", "--splits", 3, "--out", out)
    first = capsys.readouterr().out.splitlines()
    assert len(first) == 5 + 10  # BCL's few-shot lists are no splits
    assert all(line.startswith("made") for line in first)
    shots = {f"digits_imbSub_with_subsets/digits_split{n}_test_{k}shot.npy" for n in range(1, 6) for k in (20, 10)}
    assert files_below(out).keys() == {k for k in lists_of("digits") if "split3" in k or "Idx" in k} | shots
    run_make_splits(monkeypatch, "--dataset", "digits", "--splits", 3, "--out", out)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["unchanged"] * 15
    run_make_splits(monkeypatch, "--dataset", "digits", "--shape", "pareto", "--imb_factor", 10, "--out", out)
    assert "digits_split5_pareto6_imb10_S_b.npy" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--dataset", "digits", "--splits", "0"],
        ["--dataset", "digits", "--splits", "99999999999"],
        ["--dataset", "digits", "--imb_factor", "0"],
        ["--dataset", "digits", "--imb_factor", "nan"],
        ["--dataset", "digits", "--shape", "pareto", "--alpha", "0"],
        ["--dataset", "digits", "--alpha", "3"],
        ["--dataset", "places", "--seed", "-1"],
        ["--dataset", "digits", "--imb_factor", "many"],
        ["--dataset", "mnist"],
        ["--dataset", "cifar10", "--data", "nowhere"],
        [],
    ],
)
def test_make_splits_refuses(tmp_path, monkeypatch, words):
    out = tmp_path / "out"
    with pytest.raises(InputError):
        run_make_splits(monkeypatch, *words, "--out", out)
    assert files_below(out) == {}


def test_make_splits_where_nothing_can_be_written(tmp_path, monkeypatch):
    """The folder's parent is a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises((InputError, OSError), match="file"):
        run_make_splits(monkeypatch, "--dataset", "digits", "--out", tmp_path / "file" / "out")


# ---- finding or making


def test_ensure_list_makes_the_family_and_says_so(tmp_path, capsys):
    root, name = tmp_path / "root", DIGITS.split_list("digits_split2_D_i")
    path = ensure_list(name, DIGITS, labels_of("digits"), root)
    assert path == root / name
    assert np.array_equal(np.load(path), lists_of("digits")[name])
    assert files_below(root).keys() == lists_of("digits").keys()
    (line,) = capsys.readouterr().out.splitlines()
    assert all(part in line for part in (name, "generated 17 lists of digits", str(root)))
    for other in (name, DIGITS.val_list):
        ensure_list(other, DIGITS, labels_of("digits"), root)
    assert capsys.readouterr().out == ""


def test_ensure_list_generates_where_the_published_cannot_be_had(tmp_path, capsys):
    dataset, root = data_set("cifar10"), tmp_path / "root"
    path = ensure_list(dataset.train_list, dataset, labels_of("cifar10"), root)
    assert np.array_equal(np.load(path), lists_of("cifar10")[dataset.train_list])
    out = capsys.readouterr().out
    assert "generated 17 lists of cifar10" in out
    assert "no network in this test" in out


def test_ensure_list_takes_a_file(tmp_path, monkeypatch):
    """A path from the current directory, or a whole one."""
    save(tmp_path / "mine.npy", np.arange(3))
    monkeypatch.chdir(tmp_path)
    for name in ("mine.npy", str(tmp_path / "mine.npy")):
        path = ensure_list(name, DIGITS, labels_of("digits"), tmp_path / "root")
        assert np.load(path).tolist() == [0, 1, 2]
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nowhere.npy",
        "digits/trainIdxList.npy",
        "digits_imbSub_with_subsets/split1_D_i.npy",
        "digits_imbSub_with_subsets/digits_split1_D_i",
        "digits_imbSub_with_subsets/digits_split1_D_x.npy",
        "digits_imbSub_with_subsets/digits_split1_test_100shot.npy",
        "digits_imbSub_with_subsets/digits_splitA_D_i.npy",
        "digits_imbSub_with_subsets/digits_split-1_D_i.npy",
        "digits_imbSub_with_subsets/digits_split1_imb_D_i.npy",
        "digits_imbSub_with_subsets/digits_split1_imb0.5_D_i.npy",
        "digits_imbSub_with_subsets/digits_split1_pareto0_imb5_D_i.npy",
        "cifar10_imbSub_with_subsets/split1_D_i.npy",
        "digits_imbSub_with_subsets/../digits_split1_D_i.npy",
    ],
)
def test_ensure_list_refuses_unknown_names(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "root"
    with pytest.raises(InputError) as caught:
        ensure_list(name, DIGITS, labels_of("digits"), root)
    assert "\n" not in str(caught.value)
    assert files_below(root) == {}


def test_unknown_name_names_the_list_and_an_example(tmp_path):
    with pytest.raises(InputError) as caught:
        ensure_list("nowhere.npy", DIGITS, labels_of("digits"), tmp_path)
    assert "nowhere.npy" in str(caught.value)
    assert DIGITS.split_list("digits_split1_D_i") in str(caught.value)


@pytest.mark.parametrize(
    "stem",
    ["split1_imb50_D_i", "split7_D_b", "split2_pareto6_imb50_D_i", "split3_imb2.5_S_b", "split1_pareto1.5_imb9_D_b"],
)
def test_ensure_list_makes_other_shapes_and_factors(tmp_path, stem):
    root, name = tmp_path / "root", DIGITS.split_list(f"digits_{stem}")
    path = ensure_list(name, DIGITS, labels_of("digits"), root)
    assert path == root / name
    made = read_list(path, DIGITS, (read_list(root / DIGITS.val_list, DIGITS),))
    assert made.source == "generated"
    counts = np.sort(np.bincount(labels_of("digits")[made.ids], minlength=10))[::-1]
    if stem == "split1_imb50_D_i":
        assert counts.tolist() == exact_exp(10, 120, Fraction(50))
    if stem == "split2_pareto6_imb50_D_i":
        assert (counts[0], counts[-1]) == (120, 2)
    if stem == "split7_D_b":
        assert counts.tolist() == [sum(exact_exp(10, 120, Fraction(20))) // 10] * 10


@pytest.mark.parametrize(
    "stem",
    [
        "split1_imb20_D_i",  # the published factor, spelled out
        "split1_pareto6_D_i",  # no factor: the published one
        "split1_imb50.0_D_i",
        "split1_pareto6.0_imb50_D_i",
        "split01_D_i",
        "split1_imb0_D_i",
        "split0_D_i",
        "split99999999999_D_i",
    ],
)
def test_ensure_list_returns_a_list_that_exists_or_refuses(tmp_path, stem):
    root, name = tmp_path / "root", DIGITS.split_list(f"digits_{stem}")
    try:
        path = ensure_list(name, DIGITS, labels_of("digits"), root)
    except InputError as error:
        assert name in str(error) or stem.split("_")[0] in str(error) or "imb_factor" in str(error)
        assert files_below(root) == {}
    else:
        assert path.is_file()


@needs_published
@pytest.mark.parametrize("stem", ["split1_imb50_D_i", "split1_pareto6_imb100_D_i", "split9_D_i"])
def test_other_shapes_beside_published_lists_keep_off_their_validation_images(tmp_path, stem, ledger):
    dataset, root = data_set("cifar10"), tmp_path / "root"
    (root / dataset.val_list).parent.mkdir(parents=True)
    (root / dataset.val_list).write_bytes((PUBLISHED / dataset.val_list).read_bytes())
    path = ensure_list(dataset.split_list(stem), dataset, labels_of("cifar10"), root)
    made = read_list(path, dataset, (read_list(root / dataset.val_list, dataset),))
    assert made.source == "generated"
    assert sorted(p.name for p in path.parent.iterdir()) == sorted(
        f"{stem.removesuffix('D_i')}{kind}.npy" for kind in ("D_b", "D_i", "S_b")
    )


@needs_published
@pytest.mark.parametrize("stem", ["split1_D_i", "split1_D_b"])
def test_ensure_list_does_not_mix_generated_with_published(tmp_path, stem):
    dataset, root = data_set("cifar10"), tmp_path / "root"
    for name in (dataset.train_list, dataset.val_list, dataset.split_list("split2_D_i")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((PUBLISHED / name).read_bytes())
    before = files_below(root)
    with pytest.raises(InputError, match="cifar10") as caught:
        ensure_list(dataset.split_list(stem), dataset, labels_of("cifar10"), root)
    assert "published" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_below(root) == before


@needs_published
@pytest.mark.parametrize("stem", ["split1_D_i", "split9_D_i"])
def test_generated_and_published_are_not_mixed_list_by_list(tmp_path, stem):
    """Only one list of the authors is here, and neither their training nor their validation list."""
    dataset, root = data_set("cifar10"), tmp_path / "root"
    name = dataset.split_list("split2_D_i")
    (root / name).parent.mkdir(parents=True)
    (root / name).write_bytes((PUBLISHED / name).read_bytes())
    with pytest.raises(InputError):
        ensure_list(dataset.split_list(stem), dataset, labels_of("cifar10"), root)
    assert files_below(root).keys() == {name}


def test_ensure_list_twice_at_once(tmp_path, ledger):
    """Four processes, which start together: all get their list, one of them makes it."""
    root, name = tmp_path / "root", DIGITS.split_list("digits_split3_D_b")
    labels_of("digits")
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    children = [
        context.Process(target=ensure_and_report, args=(barrier, name, root, tmp_path / str(i))) for i in range(4)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0] * 4
    said = [(tmp_path / str(i)).read_text() for i in range(4)]
    assert sum("generated 17 lists" in text for text in said) == 1
    assert sum(text == "" for text in said) == 3
    assert len(ledger.read_text().splitlines()) == 17
    for key, indices in lists_of("digits").items():
        assert np.array_equal(read_list(root / key, DIGITS).ids, indices)
    assert files_below(root).keys() == lists_of("digits").keys()


def ensure_and_report(barrier, name: str, root: Path, report: Path) -> None:
    with report.open("w") as sys.stdout:
        barrier.wait(20)
        read_list(ensure_list(name, DIGITS, labels_of("digits"), root), DIGITS)
        sys.stdout.flush()
