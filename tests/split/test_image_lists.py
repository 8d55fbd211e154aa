"""Lists of image files: reading, counts, the generator, finding or making a missing one, and `split.verify`.

Trees here are of empty files, or of names alone: the lists never look into an image.
"""

import hashlib
import itertools
import re
import shutil
import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import split.ensure
import split.lists
import split.make_image_lists
import split.make_splits
from data.images import ImageList
from data.sets.files import FileSet
from data.sets.registry import data_set
from split.counts import IMAGENET_LT, PLACES_LT, class_counts, imagenet_100
from split.ensure import ensure_path_list
from split.fetch_published import fetch
from split.lists import class_folders, published_lists, read_path_list, write_lists
from split.make_image_lists import Tree, assign, make_image_lists, scan
from tests.conftest import PROJECT, one_line_error, slow_but
from tests.split.test_fetch_and_verify import Server, closed_port, files_below
from tests.trees import names
from utils.errors import InputError

SHARED = PROJECT.parent / "shared"
PUBLISHED = SHARED / "published_splits" / "imagenet-100"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the authors' lists are not here")
quick = settings(database=None, deadline=None, max_examples=60)
IN100, IMAGENET, PLACES = (data_set(name) for name in ("imagenet-100", "imagenet", "places"))
VERIFY, MAKE = "split/verify.py", "split/make_splits.py"

# METHODS, section 9: images per class of ImageNet-100-LT, largest first.
IN100_COUNTS = [
    1280, 679, 511, 456, 392, 354, 330, 305, 290, 282, 268, 248, 236, 229, 215, 201, 189, 184, 178, 172, 169, 165,
    157, 152, 149, 143, 138, 137, 133, 130, 126, 124, 120, 116, 113, 110, 108, 104, 102, 100, 96, 93, 89, 86, 85,
    83, 82, 80, 78, 75, 73, 71, 69, 66, 65, 63, 61, 59, 57, 55, 54, 52, 50, 48, 47, 45, 44, 43, 42, 41, 39, 37, 36,
    35, 34, 32, 32, 31, 30, 28, 27, 26, 25, 23, 22, 21, 20, 19, 18, 16, 15, 15, 14, 12, 11, 10, 9, 8, 7, 6,
]  # fmt: skip


pytestmark = pytest.mark.usefixtures("ledger")


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(content: bytes) -> list[tuple[str, int]]:
    """(path, label) of each line, in plain Python."""
    rows = [line.rsplit(" ", 1) for line in content.decode().split("\n")]
    assert rows.pop() == [""]
    return [(path, int(label)) for path, label in rows]


def sizes_of(content: bytes, classes: int) -> list[int]:
    counted = Counter(label for _, label in rows_of(content))
    return [counted[c] for c in range(classes)]


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob " + str(len(content)).encode() + b"\0" + content).hexdigest()


# ---- reading


@quick
@given(
    lines=st.lists(
        st.tuples(
            st.text("abcXYZ019_-. ", min_size=1, max_size=12).filter(lambda s: s.strip() == s and s not in (".", "..")),
            st.integers(0, 99),
        ),
        min_size=1,
        max_size=20,
        unique_by=lambda row: row[0],
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_good_lists(tmp_path_factory, lines, end, last):
    """Paths with spaces, either line end, with or without the last one."""
    text = end.join(f"train/{name} {label}" for name, label in lines) + (end if last else "")
    path = write(tmp_path_factory.mktemp("list") / "a.txt", text)
    images = read_path_list(path, IN100)
    assert images.paths == [f"train/{name}" for name, _ in lines]
    assert images.labels.tolist() == [label for _, label in lines]
    assert images.labels.dtype == np.int64
    assert (images.path, images.source, images.sha1) == (path, "own", blob(text.encode()))


@pytest.mark.slow
@quick
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda s: s.encode("utf-8", "surrogatepass")))
def test_anything_is_read_or_refused_on_one_line(tmp_path_factory, content):
    path = write(tmp_path_factory.mktemp("list") / "a.txt", content)
    try:
        images = read_path_list(path, IN100)
    except InputError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        assert len(images.paths) == len(images.labels) > 0


FIRST = "train/a/1.JPEG 0\n"
BAD = {
    "no label": (FIRST + "train/a/2.JPEG\n", 2, "is not"),
    "label alone": (FIRST + "7\n", 2, "is not"),
    "label alone, indented": (FIRST + "   7\n", 2, "is not"),
    "label text": (FIRST + "train/a/2.JPEG robin\n", 2, "robin"),
    "label fraction": (FIRST + "train/a/2.JPEG 1.0\n", 2, "1.0"),
    "label with a plus": (FIRST + "train/a/2.JPEG +1\n", 2, "+1"),
    "two signs": (FIRST + "train/a/2.JPEG --1\n", 2, "--1"),
    "a sign alone": (FIRST + "train/a/2.JPEG -\n", 2, "is not"),
    "label of another script": (FIRST + "train/a/2.JPEG \u0663\n", 2, "is not"),
    "label squared": (FIRST + "train/a/2.JPEG 1\u00b2\n", 2, "is not"),
    "label negative": (FIRST + "train/a/2.JPEG -1\n", 2, "0..99"),
    "label too large": (FIRST + "train/a/2.JPEG 100\n", 2, "0..99"),
    "label huge": (FIRST + "train/a/2.JPEG 99999999999999999999\n", 2, "9999"),
    "label of 5,000 digits": (FIRST + f"train/a/2.JPEG {'1' * 5000}\n", 2, "111"),
    "comma": (FIRST + "train/a/2.JPEG,1\n", 2, "is not"),
    "absolute": (FIRST + "/etc/passwd 1\n", 2, "'/etc/passwd' is an absolute path"),
    "parent": (FIRST + "../train/a/2.JPEG 1\n", 2, "../train"),
    "parent inside": (FIRST + "train/../../a/2.JPEG 1\n", 2, "data folder"),
    "parent at the end": (FIRST + "train/.. 1\n", 2, "data folder"),
    "absolute, of Windows": (FIRST + "D:\\train\\a\\2.JPEG 1\n", 2, "absolute"),
    "parent, of Windows": (FIRST + "..\\a\\2.JPEG 1\n", 2, "leaves the data folder"),
    "NUL": (FIRST + "train/a/\0.JPEG 1\n", 2, "data folder"),
    "twice": (FIRST + "train/a/2.JPEG 1\n" + FIRST, 3, "train/a/1.JPEG"),
    "twice with another label": (FIRST + "train/a/2.JPEG 1\ntrain/a/2.JPEG 2\n", 3, "train/a/2.JPEG"),
    "twice, spelt otherwise": (FIRST + "train/./a//1.JPEG 0\n", 2, "train/a/1.JPEG"),
    "twice, as Windows spells it": (FIRST + "train\\a\\1.JPEG 0\n", 2, "train/a/1.JPEG"),
    "three times": (FIRST * 3, 3, "train/a/1.JPEG"),
    "blank line": (FIRST + "\ntrain/a/2.JPEG 1\n", 2, "is not"),
    "cut short": (FIRST + "train/a/2.JP", 2, "2.JP"),
    "a web page": ("<!DOCTYPE html>\n<html lang=en>\n", 1, "DOCTYPE"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_line_is_named(tmp_path, name):
    content, line, word = BAD[name]
    path = write(tmp_path / "lists" / "mine.txt", content)
    with pytest.raises(InputError) as caught:
        read_path_list(path, IN100)
    message = str(caught.value)
    assert f"list {path}, line {line}" in message
    assert word in message
    assert len(message) < 300 + len(str(path))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_ends_of_lines_end_lines(tmp_path, end):
    """Names from the web have others of what Unicode has for it."""
    listed = ["train/a/1.JPEG", *(f"train/a/x{c}y.JPEG" for c in "\x0b\x0c\x1c\x85\u2028\u2029")]
    path = write(tmp_path / "mine.txt", "".join(f"{name} 3{end}" for name in listed))
    assert read_path_list(path, IN100).paths == listed


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", FIRST.encode("utf-16"), b"train/\xe9t\xe9/1.JPEG 0\n"])
def test_list_that_is_empty_or_no_text(tmp_path, content):
    path = write(tmp_path / "mine.txt", content)
    with pytest.raises(InputError) as caught:
        read_path_list(path, IN100)
    assert str(path) in str(caught.value)


def test_list_that_is_missing_or_a_folder(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(InputError) as caught:
            read_path_list(path, IN100)
        assert str(path) in str(caught.value)


def test_byte_order_mark(tmp_path):
    """As some editors begin a text file: it is no part of the first path."""
    images = read_path_list(write(tmp_path / "a.txt", FIRST.encode("utf-8-sig")), IN100)
    assert (images.paths, images.labels.tolist()) == (["train/a/1.JPEG"], [0])


def test_one_image_has_one_name(tmp_path):
    """`find .` writes ./train/...: an overlap must be seen all the same."""
    plain = read_path_list(write(tmp_path / "a.txt", "train/a/1.JPEG 0\ntrain/a/2.JPEG 0\n"), IN100)
    other = write(tmp_path / "b.txt", "./train/a/3.JPEG 0\n./train//a/2.JPEG 0\n")
    assert read_path_list(other, IN100).paths == ["train/a/3.JPEG", "train/a/2.JPEG"]
    with pytest.raises(InputError, match="shares 1 images"):
        read_path_list(other, IN100, (plain,))


def test_names_that_only_look_bad(tmp_path):
    text = "train/a..b/..c/1 .JPEG 3\ntrain/\u00e9t\u00e9/-1 4\ntrain/a 1 2 5\n"
    images = read_path_list(write(tmp_path / "a.txt", text), IN100)
    assert images.paths == ["train/a..b/..c/1 .JPEG", "train/\u00e9t\u00e9/-1", "train/a 1 2"]
    assert images.labels.tolist() == [3, 4, 5]


@quick
@given(
    mine=st.sets(st.integers(0, 15), min_size=1), others=st.lists(st.sets(st.integers(0, 15), min_size=1), max_size=3)
)
def test_lists_that_must_be_apart(tmp_path_factory, mine, others):
    folder = tmp_path_factory.mktemp("lists")

    def written(name: str, numbers: set[int]) -> Path:
        return write(folder / name, "".join(f"train/{n}.JPEG {n}\n" for n in sorted(numbers)))

    apart = tuple(read_path_list(written(f"{i}.txt", numbers), IN100) for i, numbers in enumerate(others))
    path, meeting = written("mine.txt", mine), [i for i, numbers in enumerate(others) if numbers & mine]
    if not meeting:
        assert len(read_path_list(path, IN100, apart).paths) == len(mine)
        return
    with pytest.raises(InputError) as caught:
        read_path_list(path, IN100, apart)
    first = meeting[0]
    assert f"{path} shares {len(others[first] & mine)} images with {folder / f'{first}.txt'}" in str(caught.value)


@needs_published
@pytest.mark.parametrize("file", sorted(PUBLISHED.glob("*.txt")), ids=lambda p: p.stem)
def test_published_lists(file):
    images = read_path_list(file, IN100)
    content = file.read_bytes()
    assert list(zip(images.paths, images.labels.tolist(), strict=True)) == rows_of(content)
    assert (images.source, images.sha1) == ("published", blob(content))
    row = next(row for row in published_lists() if row["path"] == f"split/imagenet-100/{file.name}")
    assert (row["git_blob_sha1"], row["bytes"]) == (blob(content), str(len(content)))
    classes = imagenet_100()[0]
    assert class_folders(images) == {c: {classes[c]} for c in range(100)}
    with pytest.raises(InputError, match="belongs to imagenet-100, not to imagenet"):
        read_path_list(file, IMAGENET)


def test_published_names_are_the_data_sets():
    """Each list of ImageNet-100 and ImageNet was published, and of Places those three."""
    here = {row["path"].removeprefix("split/") for row in published_lists()}
    for dataset in (IN100, IMAGENET):
        assert {dataset.path(name) for name in dataset.names()} <= here
    assert {PLACES.path(name) for name in PLACES.names()} & here == {
        "Places_LT/Places_LT_train.txt",
        "Places_LT/Places_val.txt",
        "Places_LT/Places_split1_test_100shot.txt",
    }
    assert PLACES.test_list == "Places_val"


def test_list_of_another_data_set_that_was_made_here(tmp_path):
    content = b"train/a/1.JPEG 0\n"
    write_lists({IMAGENET.path("ImageNet_train"): content}, tmp_path)
    path = tmp_path / IMAGENET.path("ImageNet_train")
    assert read_path_list(path, IMAGENET).source == "generated"
    with pytest.raises(InputError, match="belongs to imagenet, not to imagenet-100"):
        read_path_list(path, IN100)


# ---- counts


def groups(counts: list[int]) -> tuple[int, int, int]:
    return sum(n > 100 for n in counts), sum(20 <= n <= 100 for n in counts), sum(n < 20 for n in counts)


@pytest.mark.parametrize(
    ("law", "classes", "total", "head", "shares"),
    [(IMAGENET_LT, 1000, 115_846, 1280, (385, 479, 136)), (PLACES_LT, 365, 62_500, 4980, (131, 163, 71))],
)
def test_what_is_known_of_the_published_counts(law, classes, total, head, shares):
    """Images, largest, smallest and groups of ImageNet-LT and Places-LT (Liu et al., CVPR 2019)."""
    counts = law.counts(classes).tolist()
    assert (len(counts), sum(counts), max(counts), min(counts)) == (classes, total, head, 5)
    assert counts == sorted(counts, reverse=True)
    assert groups(counts) == shares


def test_exponential_counts_are_exact():
    """n <= 1280 * 256^(-i/999) is n^999 * 256^i <= 1280^999: whole numbers, no rounding."""
    counts, expected = class_counts(1000, 1280, 256).tolist(), []
    bound, n = 1280**999, 1280
    for i in range(1000):
        while n**999 * 256**i > bound:
            n -= 1
        expected.append(n)
    assert counts == expected
    assert (sum(counts), counts[0], counts[-1]) == (229_853, 1280, 5)


def test_imagenet_100_counts():
    """METHODS, section 9."""
    classes, counts = imagenet_100()
    assert len(classes) == len(set(classes)) == 100
    assert all(re.fullmatch(r"n\d{8}", name) for name in classes)
    assert sorted(counts.tolist(), reverse=True) == IN100_COUNTS
    assert (sum(IN100_COUNTS), groups(IN100_COUNTS)) == (12_205, (39, 48, 13))


@needs_published
def test_imagenet_100_classes_and_counts_are_the_published_lists():
    classes, counts = imagenet_100()
    rows = rows_of((PUBLISHED / "imageNet_100_LT_train.txt").read_bytes())
    assert Counter(label for _, label in rows) == dict(enumerate(counts.tolist()))
    assert {(label, path.split("/")[1]) for path, label in rows} == set(enumerate(classes))


def test_fitted_law_of_imagenet_lt():
    """ImageNet-100-LT is every tenth class of the same shape (METHODS, section 9): the fit is as near to it."""
    every_tenth = IMAGENET_LT.counts(1000)[::10]
    error = np.abs(every_tenth / np.array(IN100_COUNTS) - 1)
    assert np.median(error) < 0.03
    assert error.max() < 0.2  # 6 in the smallest class, where the law has 7


# ---- dealing counts to classes


@quick
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=5), st.integers(0, 1000))
def test_assignment_exists_if_some_permutation_fits(pairs, seed):
    counts, pools = (np.array(column) for column in zip(*pairs, strict=True))
    possible = any((np.array(order) <= pools).all() for order in itertools.permutations(counts.tolist()))
    try:
        sizes = assign(counts, pools, np.random.RandomState(seed))
    except InputError as error:
        assert not possible
        assert "take scale" in str(error)
    else:
        assert possible
        assert sorted(sizes.tolist()) == sorted(counts.tolist())
        assert (sizes <= pools).all()


def test_assignment_is_random():
    """Every order of three counts is as likely where all fit; a class never gets what it cannot bear."""
    counts = np.array([3, 2, 1])
    seen = Counter(tuple(assign(counts, np.full(3, 9), np.random.RandomState(s)).tolist()) for s in range(600))
    assert len(seen) == 6
    assert scipy.stats.chisquare(list(seen.values())).pvalue > 0.001
    some = {tuple(assign(counts, np.array([2, 9, 9]), np.random.RandomState(s)).tolist()) for s in range(100)}
    assert some == {(2, 3, 1), (2, 1, 3), (1, 3, 2), (1, 2, 3)}


# ---- the generator


def tree_of(dataset: FileSet, pools: list[int], val: int = 2) -> Tree:
    """Names alone; images in their order, as scan gives them."""
    classes = names(dataset.classes)
    train = [[f"train/{c}/{c}_{i:05d}.JPEG" for i in range(n)] for c, n in zip(classes, pools, strict=True)]
    test = [[f"val/{c}/{i}.JPEG" for i in range(val)] for c in classes]
    return Tree(Path(), classes, train, test, False)


def check_promises(
    dataset: FileSet, tree: Tree, lists: dict[str, bytes], tailed: list[list[int]], val: int, few: int
) -> dict[str, list[int]]:
    """Every list's, in plain Python: `tailed` are the counts of the long-tailed lists, in any order.

    Returns images per class of each list.
    """
    assert set(lists) == {f"{dataset.folder}/{name}.txt" for name in dataset.names()}
    rows = {name: rows_of(lists[f"{dataset.folder}/{name}.txt"]) for name in dataset.names()}
    label_of = {path: c for c, paths in enumerate(tree.train) for path in paths}
    tests = {path: c for c, paths in enumerate(tree.val) for path in paths}
    for name, content in rows.items():
        right = tests if name == dataset.test_list else label_of
        assert all(right[path] == label for path, label in content)
        assert [label for _, label in content] == sorted(label for _, label in content)
        assert len(dict(content)) == len(content)
    paths = {name: {path for path, _ in content} for name, content in rows.items()}
    counted = {name: Counter(label for _, label in content) for name, content in rows.items()}
    sizes = {name: [count[c] for c in range(dataset.classes)] for name, count in counted.items()}
    assert sizes[dataset.val_list] == [val] * dataset.classes
    assert sizes[dataset.few_shot] == [few] * dataset.classes
    assert paths[dataset.test_list] == set(tests)
    assert paths[dataset.train_list] == set(label_of) - paths[dataset.val_list]
    for name in rows:
        assert name in (dataset.val_list, dataset.test_list) or not paths[name] & paths[dataset.val_list]
    for (name, balanced), counts in zip(dataset.long_tailed, tailed, strict=True):
        assert sorted(sizes[name]) == sorted(counts)
        assert sizes[balanced] == [sum(counts) // dataset.classes] * dataset.classes
    return sizes


@pytest.mark.parametrize("dataset", slow_but(IN100, [IN100, IMAGENET, PLACES]), ids=lambda s: s.name)
def test_lists_at_published_size(dataset):
    """Of a tree that has hardly more images than they need; 370,000 for ImageNet."""
    tailed = {
        "imagenet-100": [IN100_COUNTS],
        "imagenet": [class_counts(1000, 1280, 256).tolist(), IMAGENET_LT.counts(1000).tolist()],
        "places": [PLACES_LT.counts(365).tolist()],
    }[dataset.name]
    balanced = {"imagenet-100": [122], "imagenet": [229, 115], "places": [171]}[dataset.name]
    needed = [max(*counts, balanced[0]) + dataset.val_per_class + 3 for counts in zip(*tailed, tailed[0], strict=True)]
    tree = tree_of(
        dataset, np.random.RandomState(1).permutation(needed).tolist(), (100 if dataset.name == "places" else 50)
    )
    few = {"imagenet-100": 12, "imagenet": 12, "places": 49}[dataset.name]
    sizes = check_promises(dataset, tree, make_image_lists(dataset, tree), tailed, 20, few)
    assert sizes[dataset.test_list] == [100 if dataset.name == "places" else 50] * dataset.classes  # METHODS, section 9
    assert [sizes[twin][0] for _, twin in dataset.long_tailed] == balanced


def test_published_classes_at_published_size():
    """Each class has its published count: a tree that bears no other assignment will do."""
    classes, counts = imagenet_100()
    drawn = tree_of(IN100, (np.maximum(counts, 122) + 20).tolist(), 50)
    tree = replace(drawn, classes=classes, published_classes=True)
    sizes = check_promises(IN100, tree, make_image_lists(IN100, tree), [IN100_COUNTS], 20, 12)
    assert sizes["imageNet_100_LT_train"] == counts.tolist()


@pytest.mark.parametrize("scale", [0.5, 0.1, 0.02, 0.001])
def test_scale(scale):
    """Each count times the scale, rounded, one at least; the balanced twin follows its long-tailed list."""
    tree = tree_of(IN100, [700] * 100)

    def scaled(n: int) -> int:
        return max(round(n * scale), 1)

    tailed = [[scaled(n) for n in IN100_COUNTS]]
    check_promises(IN100, tree, make_image_lists(IN100, tree, scale), tailed, scaled(20), scaled(12))


def test_seed():
    """The same lists again for a seed, others for another; the test list and the union of train and val stay."""
    tree = tree_of(IN100, [60] * 100)
    first, again, other = (make_image_lists(IN100, tree, 0.03, seed) for seed in (0, 0, 1))
    assert first == again
    same = {name for name in first if first[name] == other[name]}
    assert same == {IN100.path(IN100.test_list)}
    tailed = [sizes_of(lists[IN100.path("imageNet_100_LT_train")], 100) for lists in (first, other)]
    assert tailed[0] != tailed[1]  # other classes have many
    assert max(tailed[0]) == max(tailed[1]) == 38
    both = [
        {p for name in (IN100.train_list, IN100.val_list) for p, _ in rows_of(x[IN100.path(name)])}
        for x in (first, other)
    ]
    assert both[0] == both[1]


def test_draws_are_independent():
    """Long-tailed, balanced and few-shot lists overlap as independent draws do (METHODS, section 9).

    Of the 80 images of a class that are not of validation, draws of a and b share a * b / 80 on average.
    """
    tree = tree_of(IN100, [100] * 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split.make_image_lists, "long_tailed_counts", lambda *_: (np.full(100, 24), False))
        lists = make_image_lists(IN100, tree)
    few, tailed, balanced = (
        {path for path, _ in rows_of(lists[IN100.path(name)])} for name in (IN100.few_shot, *IN100.long_tailed[0])
    )
    assert (len(few), len(tailed), len(balanced)) == (1200, 2400, 2400)
    for a, b in itertools.combinations((few, tailed, balanced), 2):
        assert abs(len(a & b) / (len(a) * len(b) / 8000) - 1) < 0.15  # four standard deviations


def test_images_that_validation_must_not_have():
    tree = tree_of(IN100, [30] * 100)
    apart = frozenset(path for paths in tree.train for path in paths[:25])
    lists = make_image_lists(replace(IN100, val_per_class=5, few_per_class=2), tree, 1e-3, apart=apart)
    assert not apart & {path for path, _ in rows_of(lists[IN100.path(IN100.val_list)])}
    train = {path for path, _ in rows_of(lists[IN100.path(IN100.train_list)])}
    assert apart <= train  # they are training images nevertheless
    with pytest.raises(InputError, match="0 images to draw from, 1 are wanted"):
        make_image_lists(IN100, tree, 1e-3, apart=frozenset(path for paths in tree.train for path in paths))


@pytest.mark.parametrize(
    ("scale", "seed"), [(0.0, 0), (-1.0, 0), (1.1, 0), (float("nan"), 0), (float("inf"), 0), (1.0, -1), (1.0, 2**31)]
)
def test_scale_and_seed_out_of_range(scale, seed):
    with pytest.raises(InputError, match="scale must be in"):
        make_image_lists(IN100, tree_of(IN100, [30] * 100), scale, seed)


@quick
@given(pools=st.lists(st.integers(25, 900), min_size=100, max_size=100), scale=st.sampled_from([1.0, 0.5, 0.23]))
def test_the_scale_that_is_proposed_helps(pools, scale):
    """Again and again until it fits: no proposal is the scale that has just failed, or a larger one."""
    counts, pools = np.array(sorted(IN100_COUNTS)), np.array(pools)
    for _ in range(100):
        try:
            scaled = np.maximum(np.round(counts * scale), 1).astype(int)
            sizes = assign(scaled, pools, np.random.RandomState(0), scale)
        except InputError as error:
            wanted, largest = (int(n) for n in re.findall(r"\d+(?= images is)|(?<=left has )\d+", str(error)))
            proposed = float(re.search(r"scale ([\d.e-]+) or less", str(error))[1])
            original = counts[scaled == wanted].max()
            assert 0 < proposed < scale
            assert max(round(original * proposed), 1) <= largest  # the class that failed would do
            scale = proposed
        else:
            assert (sizes <= pools).all()
            return
    raise AssertionError("no proposal helped")


def test_the_scale_that_is_proposed_is_never_too_large():
    """One class and every size: with the figure as it is printed, the class has enough."""
    for scale, there in itertools.product((1.0, 0.5), range(1, 640)):
        wanted = round(1280 * scale)
        with pytest.raises(InputError) as caught:
            assign(np.array([wanted]), np.array([there]), np.random.RandomState(0), scale)
        proposed = float(re.search(r"scale ([\d.e-]+) or less", str(caught.value))[1])
        assert there * 0.97 - 1 < round(1280 * proposed) <= there


# ---- the generator on folders, as a user runs it


def touch(root: Path, classes: list[str], train: list[int], val: int = 2) -> Path:
    """ImageNet's layout, of empty files."""
    for name, count in zip(classes, train, strict=True):
        for part, number in (("train", count), ("val", val)):
            (root / part / name).mkdir(parents=True, exist_ok=True)
            for i in range(number):
                (root / part / name / f"{name}_{part}_{i}.JPEG").touch()
    return root


SMALL = ["--dataset", "imagenet-100", "--scale", "0.01"]  # 13 images in the largest class, 20 * 0.01 -> 1 of validation


@pytest.fixture(scope="module")
def small_tree(tmp_path_factory) -> Path:
    """100 classes of 15 training images; nobody writes into it."""
    return touch(tmp_path_factory.mktemp("data"), names(100), [15] * 100)


def test_make_and_verify(small_tree, tmp_path, call):
    """The lists of a real tree: made, read again, noted as generated, and found to be in order."""
    out = tmp_path / "lists"
    done = call(MAKE, *SMALL, "--data", small_tree, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    lists = files_below(out)
    tree = Tree(
        small_tree,
        names(100),
        *([sorted(f"{part}/{c}/{p.name}" for p in (small_tree / part / c).iterdir()) for c in names(100)]
          for part in ("train", "val")), False,
    )  # fmt: skip
    check_promises(IN100, tree, lists, [[max(round(n / 100), 1) for n in IN100_COUNTS]], 1, 1)
    for relative, content in lists.items():
        assert f"made  {out / relative}  {len(rows_of(content))} images" in done.stdout
        assert read_path_list(out / relative, IN100).source == "generated"
    again = call(MAKE, *SMALL, "--data", small_tree, "--out", out)
    assert again.stdout == done.stdout.replace("made  ", "unchanged  ")
    other = call(MAKE, *SMALL, "--data", small_tree, "--out", out, "--seed", "1")
    one_line_error(other, "split.make_splits with --overwrite True")
    assert files_below(out) == lists
    assert call(MAKE, *SMALL, "--data", small_tree, "--out", out, "--seed", "1", "--overwrite").returncode == 0
    changed = {name for name, content in files_below(out).items() if content != lists[name]}
    assert changed == set(lists) - {IN100.path(IN100.test_list)}
    seen = call(VERIFY, "--root", out, "--dataset", "imagenet-100", "--data", small_tree)
    assert (seen.returncode, seen.stderr) == (0, "")
    assert seen.stdout.splitlines()[-1] == "6 lists, all in order"


def test_other_files_than_images_are_none(tmp_path):
    root = touch(tmp_path, names(100), [3] * 100)
    (root / "train" / "README.txt").touch()
    (root / "train" / names(100)[0] / "notes.txt").touch()
    (root / "train" / names(100)[0] / "b.PNG").touch()
    tree = scan(IN100, root)
    assert tree.classes == names(100) and not tree.published_classes
    expected = {f"train/{c}/{c}_train_{i}.JPEG" for c in names(100) for i in range(3)}
    assert {path for paths in tree.train for path in paths} == expected | {f"train/{names(100)[0]}/b.PNG"}


LEFT = [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".thumbnails", "lost+found", "$RECYCLE.BIN"]


@pytest.mark.parametrize("left", slow_but(LEFT[0], LEFT))
def test_folders_that_tools_leave_behind_are_no_classes(tmp_path, call, left):
    """Jupyter's would be class 0, and a class of the data set would be dropped."""
    clean = touch(tmp_path / "clean", names(100), [15] * 100)
    root = touch(tmp_path / "data", [*names(100), left], [15] * 101)
    for data, out in ((clean, "one"), (root, "other")):
        done = call(MAKE, *SMALL, "--data", data, "--out", tmp_path / out)
        assert done.returncode == 0, done.stderr
    lists = {path.name: path.read_bytes() for path in (tmp_path / "one").rglob("*.txt")}
    assert lists == {path.name: path.read_bytes() for path in (tmp_path / "other").rglob("*.txt")} != {}


ODD = [
    (["old"], 0, "odd ones are old"),
    (["copy", "n123"], 0, "odd ones are copy, n123"),
    ([f"x{i}" for i in range(7)], 3, "odd ones are x0, x1, x2, x3, x4 and 2 more"),
    ([], 1, "99 folders of classes"),
    (["n99999999"], 0, "101 folders of classes"),
]


@pytest.mark.parametrize(("more", "fewer", "odd"), slow_but(ODD[0], ODD))
def test_another_number_of_classes_names_the_odd_ones(tmp_path, call, more, fewer, odd):
    classes = [f"n{i:08d}" for i in range(100 - fewer)]
    root = touch(tmp_path / "data", [*classes, *more], [15] * (len(classes) + len(more)))
    done = call(MAKE, *SMALL, "--data", root, "--out", tmp_path / "out")
    one_line_error(done, odd, "imagenet-100 has 100")
    assert not (tmp_path / "out").exists()


def test_names_without_a_rule_are_compared_with_the_validation_part(tmp_path, call):
    root = touch(tmp_path / "data", [*names(100), "zoo"], [15] * 101)
    shutil.rmtree(root / "val" / "zoo")
    one_line_error(call(MAKE, *SMALL, "--data", root, "--out", tmp_path / "out"), "odd ones are zoo")


def test_a_flat_val_says_how_to_sort_it(tmp_path, call):
    root = touch(tmp_path / "data", names(100), [15] * 100)
    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").touch()
    done = call(MAKE, *SMALL, "--data", root, "--out", tmp_path / "out")
    one_line_error(done, "no folders of classes", "python -m data.imagenet_extract --val DIR/val")


def test_published_classes_keep_labels_and_counts(tmp_path, call):
    """Among others, and not in the order of the alphabet; METHODS, section 9."""
    classes, counts = imagenet_100()
    assert classes != sorted(classes)
    root = touch(tmp_path / "data", [*classes, *names(5)], [15] * 105)
    assert call(MAKE, *SMALL, "--data", root, "--out", tmp_path / "out").returncode == 0
    for name in IN100.names():
        content = (tmp_path / "out" / IN100.path(name)).read_bytes()
        assert all(path.split("/")[1] == classes[label] for path, label in rows_of(content))
    tailed = (tmp_path / "out" / IN100.path("imageNet_100_LT_train")).read_bytes()
    assert sizes_of(tailed, 100) == [max(round(n / 100), 1) for n in counts.tolist()]


ONE = names(100)[7]


def emptied(folder: Path) -> Path:
    for file in folder.iterdir():
        file.unlink()
    return folder


SPOILS = {
    "no train": (lambda root: (root / "train").rename(root / "training"), "train/"),
    "no val": (lambda root: (root / "val").rename(root / "test"), "val/"),
    "99 classes": (
        lambda root: emptied(root / "train" / ONE).rmdir(),
        f"99 folders of classes, imagenet-100 has 100, and odd ones are {ONE}",
    ),
    "class that val lacks": (lambda root: emptied(root / "val" / ONE).rmdir(), ONE),
    "class that is empty in val": (lambda root: emptied(root / "val" / ONE), ONE),
    "class that is empty": (lambda root: emptied(root / "train" / ONE), ONE),
    "class without images": (lambda root: write(emptied(root / "train" / ONE) / "a.txt", ""), ONE),
    "class that is a file": (lambda root: emptied(root / "val" / ONE).rmdir() or (root / "val" / ONE).touch(), ONE),
    "too few images": (lambda root: [p.unlink() for p in root.glob("train/*/*_train_[01].JPEG")], "scale"),
}


@pytest.mark.parametrize("kind", SPOILS)
def test_tree_that_will_not_do(tmp_path, call, kind):
    spoil, word = SPOILS[kind]
    root = touch(tmp_path / "data", names(100), [15] * 100, 1)
    spoil(root)
    one_line_error(call(MAKE, *SMALL, "--data", root, "--out", tmp_path / "out"), word)
    assert files_below(tmp_path / "out") == {}
    assert not (tmp_path / "ledger" / "generated.tsv").exists()


@pytest.mark.parametrize("data", [[], ["--data", "nowhere"]])
def test_no_tree(tmp_path, call, data):
    one_line_error(call(MAKE, *SMALL, *data, "--out", tmp_path / "out"), "train/", "ILSVRC2012")
    assert files_below(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("dataset", "option"),
    [
        *(("imagenet-100", option) for option in (["--splits", "1"], ["--imb_factor", "50"], ["--shape", "exp"])),
        ("places", ["--alpha", "6"]),
        ("digits", ["--scale", "1"]),
        ("digits", ["--seed", "0"]),
    ],
)
def test_options_without_a_meaning(small_tree, tmp_path, call, dataset, option):
    done = call(MAKE, "--dataset", dataset, *option, "--data", small_tree, "--out", tmp_path / "out")
    one_line_error(done, option[0], dataset)
    assert files_below(tmp_path / "out") == {}


# ---- finding, fetching or making a missing list


COUNTS = np.array([6, 4, 3, 2])
FULL = replace(IMAGENET, classes=4, val_per_class=2, few_per_class=1)  # all its lists are published
PART = replace(PLACES, classes=4, val_per_class=2, few_per_class=1)  # the authors' two lists, and one of BCL's


@pytest.fixture
def four_classes(tmp_path, monkeypatch) -> Path:
    """A tree of four classes; the long-tailed counts are small."""
    monkeypatch.setattr(split.make_image_lists, "long_tailed_counts", lambda *_: (COUNTS, False))
    return touch(tmp_path / "data", names(4), [12] * 4)


SCENES = ["airfield", "beach_house", "field-wild", "zen_garden"]


@pytest.fixture
def scenes(four_classes, tmp_path) -> Path:
    """The same for Places."""
    return touch(tmp_path / "scenes", SCENES, [12] * 4)


@pytest.fixture
def theirs(four_classes, scenes, tmp_path, monkeypatch) -> dict[str, bytes]:
    """Lists that stand for the published ones: path below split/ -> content; their hashes are in the table."""
    lists = make_image_lists(FULL, scan(FULL, four_classes), seed=99)
    part = make_image_lists(PART, scan(PART, scenes), seed=99)
    lists |= {PART.path(name): part[PART.path(name)] for name in ("Places_LT_train", "Places_val")}
    # BCL's few-shot list was drawn apart from the others: it may share images with any but the test list.
    lists[PART.path(PART.hundred_shot)] = make_image_lists(PART, scan(PART, scenes), seed=5)[PART.path(PART.few_shot)]
    # In another order than is made here: the test lists' images are the same.
    lists = {path: b"".join(text.splitlines(keepends=True)[::-1]) for path, text in lists.items()}
    header = "repository\tcommit\tpath\tgit_blob_sha1\tbytes\n"
    rows = [f"them/it\t{'a' * 40}\tsplit/{path}\t{blob(text)}\t{len(text)}\n" for path, text in lists.items()]
    monkeypatch.setattr(split.lists, "PUBLISHED", write(tmp_path / "table.tsv", header + "".join(rows)))
    return lists


@pytest.fixture
def server(theirs, tmp_path, monkeypatch):
    """Serves them; ensure_path_list asks it."""
    for path, content in theirs.items():
        write(tmp_path / "server" / "them/it" / ("a" * 40) / "split" / path, content)
    with Server(tmp_path / "server") as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=running.url))
        yield running
        running.shutdown()


@pytest.fixture
def no_server(theirs, monkeypatch) -> None:
    monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=f"http://127.0.0.1:{closed_port()}"))


def of(dataset: FileSet, lists: dict[str, bytes]) -> dict[str, bytes]:
    return {path: content for path, content in lists.items() if path.startswith(f"{dataset.folder}/")}


def put(root: Path, lists: dict[str, bytes]) -> Path:
    for path, content in lists.items():
        write(root / path, content)
    return root


def found(name: str, dataset: FileSet, root: Path, data: Path | str = "") -> ImageList:
    return read_path_list(ensure_path_list(name, dataset, str(data), root), dataset)


def test_a_list_that_is_here(tmp_path, monkeypatch, capsys):
    """By its published name, by its path below the folder of the lists, or any file; nothing is fetched or made."""
    root, name = tmp_path / "root", "imageNet_100_LT_train"
    here = write(root / IN100.path(name), FIRST)
    mine, beside = write(tmp_path / "mine.txt", FIRST), write(tmp_path / "work" / "other", FIRST)
    monkeypatch.chdir(tmp_path / "work")
    for asked in (name, f"{name}.txt", IN100.path(name)):
        assert ensure_path_list(asked, IN100, "", root) == here
    assert ensure_path_list(str(mine), IN100, "", root) == mine
    assert ensure_path_list("other", IN100, "", root).resolve() == beside
    assert capsys.readouterr().out == ""
    assert len(files_below(root)) == 1


@pytest.mark.parametrize("name", ["", "imageNet_100_LT", "ImageNet_LT_train", "../x", "none.txt", "train.txt.txt"])
def test_a_list_of_no_such_name(server, tmp_path, four_classes, name):
    with pytest.raises(InputError) as caught:
        ensure_path_list(name, IN100, str(four_classes), tmp_path / "root")
    assert "imageNet_100_LT_train" in str(caught.value)
    assert not server.asked
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("ending", ["", ".txt"])
def test_missing_lists_are_fetched(server, theirs, tmp_path, capsys, ending):
    root = tmp_path / "root"
    images = found(f"ImageNet_LT_train{ending}", FULL, root)
    assert images.source == "published"
    assert files_below(root) == of(FULL, theirs)
    assert len(server.asked) == len(of(FULL, theirs)) == 9
    (line,) = capsys.readouterr().out.splitlines()
    assert "fetched the published lists of imagenet" in line
    before = list(server.asked)
    assert all(found(name, FULL, root).source == "published" for name in FULL.names())
    assert server.asked == before


def test_fetch_command(server, theirs, tmp_path, call):
    """Both data sets of image files; what is here is not asked for again, what is another list is kept."""
    root, options = tmp_path / "root", ["--out", tmp_path / "root", "--server", server.url, "--dataset"]
    done = call("split/fetch_published.py", *options, "imagenet", "places")
    assert (done.returncode, done.stderr) == (0, "")
    assert "imagenet: 9 lists fetched" in done.stdout
    assert "places: 3 lists fetched" in done.stdout
    assert files_below(root) == theirs
    write(root / PART.path("Places_val"), FIRST)
    asked = len(server.asked)
    one_line_error(
        call("split/fetch_published.py", *options, "imagenet", "places"), str(root / PART.path("Places_val"))
    )
    assert len(server.asked) == asked
    assert call("split/fetch_published.py", *options, "places", "--overwrite", "True").returncode == 0
    assert files_below(root) == theirs


def test_missing_lists_are_made_where_there_is_no_server(no_server, four_classes, tmp_path, capsys):
    root = tmp_path / "root"
    images = found("ImageNet_LT_train", FULL, root, four_classes)
    assert images.source == "generated"
    (line,) = capsys.readouterr().out.splitlines()
    assert "generated 9 lists of imagenet" in line
    assert "cannot fetch" in line
    check_promises(FULL, scan(FULL, four_classes), files_below(root), [COUNTS.tolist()] * 2, 2, 1)
    before = files_below(root)
    assert all(found(name, FULL, root).source == "generated" for name in FULL.names())
    assert files_below(root) == before


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: b"", lambda c: b"<html>\n"])
def test_a_list_that_is_not_the_published_one(server, theirs, four_classes, tmp_path, capsys, damage):
    """None of what that server gives is taken, and the message says why."""
    (path,) = (tmp_path / "server").rglob("ImageNet_LT_val.txt")
    path.write_bytes(damage(path.read_bytes()))
    assert found("ImageNet_LT_train", FULL, tmp_path / "root", four_classes).source == "generated"
    assert "is not the published list" in capsys.readouterr().out
    assert {read_path_list(p, FULL).source for p in (tmp_path / "root").rglob("*.txt")} == {"generated"}


@pytest.mark.parametrize("name", ["ImageNet_LT_train", "ImageNet_train", "ImageNet_LT_val"])
def test_a_made_list_is_lost(server, theirs, four_classes, tmp_path, name):
    """The settings of the others are not known: neither another draw nor a published list goes beside them."""
    root = put(tmp_path / "root", {})
    write_lists(make_image_lists(FULL, scan(FULL, four_classes), 0.5, 3), root)
    (root / FULL.path(name)).unlink()
    before = files_below(root)
    with pytest.raises(InputError) as caught:
        ensure_path_list(name, FULL, str(four_classes), root)
    assert "make_splits --data DIR --dataset imagenet" in str(caught.value)
    assert files_below(root) == before
    assert not server.asked


@pytest.mark.parametrize("name", ["ImageNet_LT_train", "ImageNet_train", "ImageNet_LT_val"])
def test_a_published_list_is_lost(theirs, four_classes, tmp_path, monkeypatch, name):
    """Without a server it is not replaced by a made one; with one it comes back."""
    root = put(tmp_path / "root", of(FULL, theirs))
    (root / FULL.path(name)).unlink()
    before = files_below(root)
    monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=f"http://127.0.0.1:{closed_port()}"))
    with pytest.raises(InputError, match="cannot fetch"):
        ensure_path_list(name, FULL, str(four_classes), root)
    assert files_below(root) == before
    put(tmp_path / "served" / "them/it" / ("a" * 40) / "split", theirs)
    monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=(tmp_path / "served").as_uri()))
    assert found(name, FULL, root).source == "published"
    assert files_below(root) == of(FULL, theirs)


def test_own_list_of_a_published_name_is_kept(server, four_classes, tmp_path):
    root = put(tmp_path / "root", {FULL.path("ImageNet_train"): FIRST.encode()})
    with pytest.raises(InputError) as caught:
        ensure_path_list("ImageNet_LT_train", FULL, str(four_classes), root)
    assert str(root / FULL.path("ImageNet_train")) in str(caught.value)
    assert files_below(root) == {FULL.path("ImageNet_train"): FIRST.encode()}


def check_places(root: Path, theirs: dict[str, bytes], data: Path) -> dict[str, ImageList]:
    """The authors' lists as published; the others made, apart from them."""
    files, sources = files_below(root), {}
    lists = {name: read_path_list(root / PART.path(name), PART) for name in PART.names()}
    for path, content in of(PART, theirs).items():
        assert files[path] == content
    assert len(files) == 7
    sources = {name: images.source for name, images in lists.items()}
    published = {"Places_LT_train", "Places_val", PART.hundred_shot}
    assert sources == {name: "published" if name in published else "generated" for name in PART.names()}
    val = set(lists[PART.val_list].paths)
    shot = read_path_list(root / "Places_LT" / "Places_split1_test_100shot.txt", PART)
    assert Counter(lists[PART.val_list].labels.tolist()) == dict.fromkeys(range(4), 2)
    for images in (shot, *(lists[name] for name in PART.names() if name != PART.val_list)):
        assert not val & set(images.paths)
    everything = {f"train/{p.parent.name}/{p.name}" for p in (data / "train").rglob("*.JPEG")}
    assert set(lists[PART.train_list].paths) == everything - val
    assert Counter(lists[PART.few_shot].labels.tolist()) == dict.fromkeys(range(4), 1)
    folders = [class_folders(images) for images in (*lists.values(), shot)]
    assert all(found == folders[0] for found in folders)  # a label is one class in all of them
    return lists


@pytest.mark.parametrize("name", ["Places_train", "Places_LT_val", "Places_sub_balance_train_0.01", "Places_BL_train"])
def test_places_has_made_lists_beside_the_published(server, theirs, scenes, tmp_path, capsys, name):
    root = tmp_path / "root"
    assert found(name, PART, root, scenes).source == "generated"
    check_places(root, theirs, scenes)
    assert "generated 4 lists of places" in capsys.readouterr().out


def test_places_without_a_server(no_server, theirs, scenes, tmp_path):
    """The published lists are here already; or none is, and then all are made."""
    root = put(tmp_path / "root", of(PART, theirs))
    assert found("Places_train", PART, root, scenes).source == "generated"
    check_places(root, theirs, scenes)
    for name in PART.names():
        assert found(name, PART, tmp_path / "other", scenes).source == "generated"
    lists = files_below(tmp_path / "other")
    check_promises(PART, scan(PART, scenes), lists, [COUNTS.tolist()], 2, 1)


@pytest.mark.parametrize("name", PLACES.names())
def test_a_list_of_places_is_lost(server, theirs, scenes, tmp_path, name):
    """A published one is fetched again; a made one is made again, the same."""
    root = tmp_path / "root"
    found("Places_train", PART, root, scenes)
    before = files_below(root)
    (root / PART.path(name)).unlink()
    assert ensure_path_list(name, PART, str(scenes), root).is_file()
    assert files_below(root) == before
    check_places(root, theirs, scenes)


def test_a_published_list_of_places_is_lost_without_a_server(no_server, theirs, scenes, tmp_path):
    root = put(tmp_path / "root", of(PART, theirs))
    found("Places_train", PART, root, scenes)
    (root / PART.path("Places_LT_train")).unlink()
    before = files_below(root)
    with pytest.raises(InputError):
        ensure_path_list("Places_LT_train", PART, str(scenes), root)
    assert files_below(root) == before


def test_made_lists_have_the_labels_of_the_published(theirs, scenes, tmp_path, monkeypatch):
    """The authors' labels need not follow the alphabet of the folders."""
    turned = {p: re.sub(rb" (\d)\n", lambda m: b" %d\n" % (3 - int(m[1])), c) for p, c in of(PART, theirs).items()}
    table = (tmp_path / "table.tsv").read_text()
    for path, content in turned.items():
        table = table.replace(blob(theirs[path]), blob(content))
    write(tmp_path / "table.tsv", table)
    monkeypatch.setattr(split.ensure, "fetch", partial(fetch, server=f"http://127.0.0.1:{closed_port()}"))
    root = put(tmp_path / "root", turned)
    found("Places_train", PART, root, scenes)
    lists = check_places(root, turned, scenes)
    assert class_folders(lists[PART.train_list]) == {c: {name} for c, name in enumerate(reversed(SCENES))}


def test_tree_of_other_classes_than_the_published_lists(no_server, theirs, tmp_path):
    root, other = put(tmp_path / "root", of(PART, theirs)), touch(tmp_path / "other", list("abcd"), [12] * 4)
    before = files_below(root)
    with pytest.raises(InputError):
        ensure_path_list("Places_train", PART, str(other), root)
    assert files_below(root) == before


# ---- verify


def parse(output: str) -> dict[str, dict]:
    """What verify printed of lists of image files: path -> its numbers; notes under ''."""
    items, current = {"": []}, {}
    for line in output.splitlines():
        if line.endswith(".txt") and not line.startswith(" "):
            current = items.setdefault(line, {})
        elif match := re.fullmatch(r"  size (\d+)  source (\w+)  hash (\w{40})", line):
            current.update(size=int(match[1]), source=match[2], hash=match[3])
        elif match := re.fullmatch(
            r"  class counts (\d+) in each of (\d+)(?: \((\d+) classes without an image\))?", line
        ):
            current["counts"] = [int(match[1])] * int(match[2]) + [0] * int(match[3] or 0)
        elif match := re.fullmatch(r"  class counts ([\d ]+?)(?: \((\d+) classes without an image\))?", line):
            current["counts"] = [int(word) for word in match[1].split()] + [0] * int(match[2] or 0)
        elif match := re.fullmatch(r"  imbalance factor (.+)", line):
            current["factor"] = float(match[1])
        elif match := re.fullmatch(r"  classes with more than 100 / 20 to 100 / fewer than 20 images (.+)", line):
            current["groups"] = tuple(map(int, match[1].split()))
        elif match := re.fullmatch(r"  images shared with (.*)", line):
            pairs = [] if match[1] == "no other list" else [part.rsplit(" ", 1) for part in match[1].split(", ")]
            current["shared"] = {stem: int(n) for stem, n in pairs}
        elif line.startswith("note: "):
            items[""].append(line)
        else:
            assert re.fullmatch(r"\d+ lists, all in order", line), line
    return items


def check_printed(root: Path, output: str, source: str) -> dict[str, dict]:
    """Every number that verify printed on ImageNet-100's lists, counted again."""
    items = parse(output)
    files = {path: content for path, content in files_below(root).items() if path.startswith("imagenet-100/")}
    assert items.keys() - {""} == files.keys()
    paths = {path: {p for p, _ in rows_of(content)} for path, content in files.items()}
    for path, content in files.items():
        counts, item = sorted(sizes_of(content, 100), reverse=True), items[path]
        assert (item["size"], item["source"], item["hash"]) == (len(paths[path]), source, blob(content))
        assert item["counts"] == counts
        assert item["groups"] == groups(counts)
        assert item["factor"] == pytest.approx(counts[0] / min(n for n in counts if n), rel=1e-3)
        others = {Path(o).stem: len(paths[o] & paths[path]) for o in files if o != path}
        assert item["shared"] == others
    return items


@needs_published
def test_verify_of_the_published_lists(tmp_path, call):
    root = put(tmp_path / "root", {f"imagenet-100/{p.name}": p.read_bytes() for p in PUBLISHED.glob("*.txt")})
    done = call(VERIFY, "--root", root, "--dataset", "imagenet-100")
    assert (done.returncode, done.stderr) == (0, "")
    items = check_printed(root, done.stdout, "published")
    assert done.stdout.splitlines()[-1] == "5 lists, all in order"
    # METHODS, section 9.
    few, tailed, balanced, val, test = (
        items[f"imagenet-100/{name}.txt"]
        for name in ("imageNet_100_sub_balance_train_0.01", *IN100.long_tailed[0], IN100.val_list, IN100.test_list)
    )
    assert [item["size"] for item in (few, tailed, balanced, val, test)] == [1200, 12_205, 12_200, 2000, 5000]
    assert (tailed["counts"], tailed["groups"]) == (IN100_COUNTS, (39, 48, 13))
    assert few["shared"] == {
        "imageNet_100_LT_train": 111,
        "imageNet_100_BL_train": 103,
        IN100.val_list: 0,
        IN100.test_list: 0,
    }
    assert tailed["shared"]["imageNet_100_BL_train"] == 1258


@pytest.fixture(scope="module")
def made(small_tree) -> dict[str, bytes]:
    return make_image_lists(IN100, scan(IN100, small_tree), 0.01)


def changed_tree(small_tree: Path, root: Path) -> Path:
    """Links to the classes of the small tree, and one class of its own that a test may change."""
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
        for folder in (small_tree / part).iterdir():
            (root / part / folder.name).symlink_to(folder)
        own = root / part / names(100)[3]
        own.unlink()
        own.mkdir()
        for file in (small_tree / part / names(100)[3]).iterdir():
            (own / file.name).touch()
    return root


def test_verify_of_made_lists(small_tree, made, tmp_path, call):
    root = tmp_path / "root"
    write_lists(made, root)
    for data in ([], ["--data", small_tree]):
        done = call(VERIFY, "--root", root, "--dataset", "imagenet-100", *data)
        assert (done.returncode, done.stderr) == (0, "")
        check_printed(root, done.stdout, "generated")
        assert done.stdout.splitlines()[-1] == "6 lists, all in order"


def test_verify_tells_of_empty_classes(tmp_path, call):
    root = put(tmp_path, {"imagenet-100/mine.txt": b"train/a/1.JPEG 3\ntrain/a/2.JPEG 3\ntrain/b/1.JPEG 7\n"})
    done = call(VERIFY, "--root", root, "--dataset", "imagenet-100")
    assert done.returncode == 0
    assert parse(done.stdout)["imagenet-100/mine.txt"]["counts"] == [2, 1] + [0] * 98
    assert "(98 classes without an image)" in done.stdout


@pytest.mark.parametrize("name", [IN100.val_list, IN100.test_list, "imageNet_100_LT_train"])
def test_verify_misses_one_image(small_tree, made, tmp_path, call, name):
    """One file is gone: the lists that have it fail, and no other; the message has the right download."""
    root, data = put(tmp_path / "root", made), changed_tree(small_tree, tmp_path / "changed")
    gone = next(path for path, label in rows_of(made[IN100.path(name)]) if label == 3)
    (data / gone).unlink()
    holding = [path for path, content in made.items() if gone in dict(rows_of(content))]
    for dataset in (["--dataset", "imagenet-100"], []):
        done = call(VERIFY, "--root", root, "--data", data, *dataset)
        line = one_line_error(done, "ILSVRC2012", str(data), gone, f"{len(holding)} of 6 lists fail")
        for path in made:
            size = len(rows_of(made[path]))
            assert (f"1 of {size} images of {Path(path).name} are missing" in line) == (path in holding)


def test_verify_in_another_folder(made, tmp_path, call):
    """An empty folder, one of another data set, and one level too high."""
    root = put(tmp_path / "root", made)
    (tmp_path / "empty").mkdir()
    (tmp_path / "up" / "imagenet").mkdir(parents=True)
    cifar = write(tmp_path / "cifar" / "cifar-10-batches-py" / "data_batch_1", b"").parents[1]
    for data in (tmp_path / "empty", tmp_path / "up", cifar):
        done = call(VERIFY, "--root", root, "--dataset", "imagenet-100", "--data", data)
        line = one_line_error(done, "ILSVRC2012", str(data), "6 of 6 lists fail")
        assert line.count("are missing") == 6
        assert line.count("the right download") == 1
    one_line_error(call(VERIFY, "--root", root, "--data", tmp_path / "nowhere"), "does not exist")
    one_line_error(
        call(VERIFY, "--root", root, "--data", root / "imagenet-100" / "ImageNet_100_val.txt"), "no", "folder"
    )


def test_verify_of_a_folder_in_the_place_of_an_image(small_tree, made, tmp_path, call):
    root, data = put(tmp_path / "root", made), changed_tree(small_tree, tmp_path / "changed")
    gone = next(path for path, label in rows_of(made[IN100.path(IN100.test_list)]) if label == 3)
    (data / gone).unlink()
    (data / gone).mkdir()
    one_line_error(call(VERIFY, "--root", root, "--dataset", "imagenet-100", "--data", data), gone, "1 of 6 lists fail")


def relabel(content: bytes, a: int, b: int) -> bytes:
    """The labels a and b change places."""
    turn = {a: b, b: a}
    return "".join(f"{path} {turn.get(label, label)}\n" for path, label in rows_of(content)).encode()


@pytest.mark.parametrize(
    "name", [IN100.val_list, IN100.test_list, IN100.train_list, "imageNet_100_BL_train", IN100.few_shot]
)
def test_verify_of_a_label_that_means_two_classes(made, tmp_path, call, name):
    path = IN100.path(name)
    root = put(tmp_path / "root", {**made, path: relabel(made[path], 5, 9)})
    done = call(VERIFY, "--root", root, "--dataset", "imagenet-100")
    line = one_line_error(done, "lists fail")
    assert re.search("label [59] for n", line)
    assert names(100)[5] in line
    assert names(100)[9] in line
    # The test list is read first, so that it is taken for right.
    failed = len(made) - 1 if name == IN100.test_list else 1
    assert f"{failed} of 6 lists fail" in line


def test_verify_of_a_label_with_two_folders_in_one_list(made, tmp_path, call):
    path = IN100.path(IN100.few_shot)
    images = rows_of(made[path])
    mixed = "".join(f"{p} {5 if label == 9 else label}\n" for p, label in images).encode()
    for lists in ({path: mixed}, {**made, path: mixed}):
        root = put(tmp_path / str(len(lists)), lists)
        line = one_line_error(call(VERIFY, "--root", root, "--dataset", "imagenet-100"), str(root / path), "label 5")
        assert names(100)[5] in line
        assert names(100)[9] in line


@pytest.mark.parametrize("other", [IN100.val_list, IN100.test_list])
@pytest.mark.parametrize("name", [IN100.train_list, "imageNet_100_LT_train", IN100.few_shot])
def test_verify_of_an_overlap(made, tmp_path, call, name, other):
    path = IN100.path(name)
    overlapping = made[path] + b"".join(made[IN100.path(other)].splitlines(keepends=True)[:3])
    root = put(tmp_path / "root", {**made, path: overlapping})
    done = call(VERIFY, "--root", root, "--dataset", "imagenet-100")
    one_line_error(done, f"{root / path} shares 3 images with {root / IN100.path(other)}", "1 of 6 lists fail")
    assert len(parse(done.stdout)) == 6  # the other five, and no note


@pytest.mark.parametrize("kind", ["twice", "no label", "label too large", "parent"])
def test_verify_of_a_bad_line(made, tmp_path, call, kind):
    content, line, word = BAD[kind]
    root = put(tmp_path / "root", {**made, "imagenet-100/mine.txt": content.encode()})
    done = call(VERIFY, "--root", root, "--dataset", "imagenet-100")
    one_line_error(done, f"{root / 'imagenet-100/mine.txt'}, line {line}", word, "1 of 7 lists fail")


ELSEWHERE = {"Places_LT/Places_val.txt": b"val/airfield/1.jpg 0\nval/alcove/2.jpg 3\n"}


def test_verify_of_all_data_sets(small_tree, made, tmp_path, call):
    """The folder has the images of one; that those of another lie elsewhere is said, and no failure."""
    root = put(tmp_path / "root", {**made, **ELSEWHERE})
    done = call(VERIFY, "--root", root, "--data", small_tree)
    assert (done.returncode, done.stderr) == (0, "")
    (note,) = parse(done.stdout)[""]
    assert "places" in note
    assert "places365standard_easyformat" in note
    assert done.stdout.splitlines()[-1] == "7 lists, all in order"
    named = call(VERIFY, "--root", root, "--data", small_tree, "--dataset", "imagenet-100", "places")
    one_line_error(named, "places365standard_easyformat", "1 of 7 lists fail")


@pytest.mark.parametrize("lists", ["one", "two"])
def test_verify_where_no_image_is_found(made, tmp_path, call, lists):
    """--data is of no data set that has lists here: that cannot pass."""
    root = put(tmp_path / "root", made if lists == "one" else {**made, **ELSEWHERE})
    (tmp_path / "empty").mkdir()
    done = call(VERIFY, "--root", root, "--data", tmp_path / "empty")
    line = one_line_error(done, str(tmp_path / "empty"), "ILSVRC2012")
    assert ("places365standard_easyformat" in line) == (lists == "two")
    assert "all in order" not in done.stdout


def test_verify_of_all_data_sets_where_the_folder_is_of_one_in_memory(made, tmp_path, call, monkeypatch):
    """The folder gives CIFAR's labels: the image files may lie elsewhere."""
    import split.verify

    root = put(tmp_path / "root", {**made, **ELSEWHERE})
    asked = []

    def labels_of(dataset, data, file):
        asked.append((dataset.name, data))
        return np.zeros(50_000, np.int64) if dataset.name == "cifar10" else None

    monkeypatch.setattr(split.verify, "labels_of", labels_of)
    (tmp_path / "cifar").mkdir()
    done = call(VERIFY, "--root", root, "--data", tmp_path / "cifar")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(parse(done.stdout)[""]) == 2
    assert ("cifar10", str(tmp_path / "cifar")) in asked


def test_verify_without_data_looks_for_no_image(made, tmp_path, call):
    root = put(tmp_path / "root", {**made, **ELSEWHERE})
    done = call(VERIFY, "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert parse(done.stdout)[""] == []


def test_labels_are_for_images_in_memory(made, tmp_path, call):
    root = put(tmp_path / "root", made)
    np.save(tmp_path / "labels.npy", np.zeros(5, np.int64))
    labels = ["--labels", tmp_path / "labels.npy"]
    one_line_error(call(VERIFY, "--root", root, "--dataset", "imagenet-100", *labels), "--labels")
