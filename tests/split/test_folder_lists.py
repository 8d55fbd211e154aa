"""Lists of own images: what is drawn of folders of classes, how they are named, and what is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import split.flags
import split.open
from data.sets.base import Split
from data.sets.registry import data_set
from split.counts import Shape, class_counts
from split.make_folder_lists import make_folder_lists
from split.make_splits import make_lists
from split.open import Lists
from utils.errors import InputError


def tree(root: Path, sizes: dict[str, int], *, part: str = "", test: int = 0) -> Path:
    """Folders of classes, of one image under many names."""
    root.mkdir(parents=True)
    Image.new("RGB", (8, 8), (90, 30, 0)).save(root / ".image.png")
    for where, counts in ((part, sizes), ("test", dict.fromkeys(sizes, test))):
        for name, count in counts.items():
            for i in range(count):
                path = root / where / name / f"{i:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.hardlink_to(root / ".image.png")
    return root


def lists_of(root: Path, **how) -> dict[str, list[tuple[str, int]]]:
    dataset = data_set("folder").at(str(root))
    found = {}
    for path, content in make_folder_lists(dataset, **how).items():
        assert path.startswith(f"{dataset.folder}/") and path.endswith(".txt")
        lines = [line.rsplit(" ", 1) for line in content.decode().splitlines()]
        found[Path(path).stem] = [(name, int(label)) for name, label in lines]
    return found


def paths(listed: list[tuple[str, int]]) -> set[str]:
    return {path for path, _ in listed}


def test_a_tree_of_classes_is_divided(tmp_path):
    lists = lists_of(tree(tmp_path / "own", {"a": 40, "b": 100, "c": 10}))
    sizes = {
        name: [Counter(label for _, label in lists[name])[c] for c in range(3)] for name in ("train", "val", "test")
    }
    assert sizes == {"test": [8, 20, 2], "val": [3, 8, 1], "train": [29, 72, 7]}  # a fifth; a tenth of what is left
    parts = [paths(lists[name]) for name in sizes]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 150
    assert all(path.split("/")[0] == "abc"[label] for part in lists.values() for path, label in part)
    for name, listed in lists.items():
        if name not in ("val", "test"):
            assert paths(listed) <= paths(lists["train"]), name
    assert Counter(label for _, label in lists["train_S_b"]) == {0: 5, 1: 5, 2: 5}


def test_lists_are_refused_when_classes_have_got_other_numbers(tmp_path):
    """Else test labels would be of the old classes, and those of lists that are made later of the new ones."""
    root, lists = tree(tmp_path / "own", dict.fromkeys("abc", 10)), Lists(tmp_path / "lists")
    images = data_set("folder").open(str(root))
    before = lists.open("test", images)
    tree(tmp_path / "more", {"aa": 10})
    (tmp_path / "more/aa").rename(root / "aa")
    (root / "c/000.png").unlink()
    images = data_set("folder").open(str(root))
    for name in ("test", "train", "split1_D_i", "split1_imb5_D_i"):
        with pytest.raises(InputError, match=r"b/0\d\d.png has label 1, and is of class 2 now.*--overwrite"):
            lists.open_training(name, images)
    (root / "aa").rename(tmp_path / "aa")
    # An image that is not there any more is a matter of --on_bad_image.
    assert lists.open("test", data_set("folder").open(str(root))).paths == before.paths


@pytest.mark.parametrize("factor", [None, 20.0])
def test_long_tailed_lists_follow_the_rule(tmp_path, factor):
    names = [f"c{i}" for i in range(5)]
    root = tree(tmp_path / "own", dict.fromkeys(names, 50), part="train", test=3)
    lists = lists_of(root, splits=(1, 7), shape=Shape("exp", factor))
    tag = "" if factor is None else "_imb20"
    counts = Counter(label for _, label in lists[f"split1{tag}_D_i"])
    # All but 5 validation images of each class may be drawn.
    expected = [max(1, int(45 * (factor or 100.0) ** (-i / 4) + 1e-9)) for i in range(5)]
    assert sorted(counts.values(), reverse=True) == expected == class_counts(5, 45, factor or 100.0).tolist()
    balanced = Counter(label for _, label in lists[f"split1{tag}_D_b"])
    assert set(balanced.values()) == {sum(expected) // 5}
    assert paths(lists[f"split1{tag}_D_i"]) != paths(lists[f"split7{tag}_D_i"])
    assert len(lists["test"]) == 15 and all(path.startswith("test/") for path in paths(lists["test"]))


def test_a_split_is_drawn_as_of_images_in_memory(tmp_path):
    """With the same labels and the same images held out, the numbers drawn are those of a data set in memory."""
    root = tree(tmp_path / "own", dict.fromkeys("abc", 30), part="train", test=1)
    dataset = data_set("folder").at(str(root))
    part, lists = dataset.tree.parts["train"], lists_of(root, splits=(3,))
    numbers = {path: i for i, path in enumerate(part.paths)}
    held_out = np.array([numbers[path] for path in paths(lists["val"])])

    class Memory:
        classes, few_shot, imb_factor, prefix = 3, 5, 100, ""
        split_list = staticmethod(str)

    theirs = make_lists(Memory, part.labels, (3,), val=held_out)
    for kind in ("D_i", "D_b", "S_b"):
        assert [numbers[path] for path, _ in lists[f"split3_{kind}"]] == theirs[f"split3_{kind}"].tolist()


def test_seeds(tmp_path):
    root = tree(tmp_path / "own", dict.fromkeys("ab", 30))
    first, again, other = (lists_of(root, seed=seed) for seed in (0, 0, 1))
    assert first == again and paths(first["test"]) != paths(other["test"])


@pytest.mark.parametrize(("sizes", "words"), [
    ({"a": 9, "b": 1}, "class 'b' has 1 image"), ({"a": 9, "b": 2}, "class 'b' has 2 image"),
    ({"cat": 9, "Cat": 9, "owl": 9}, "differ in case alone"), ({"a": 9}, "no classes"),
])  # fmt: skip
def test_classes_that_cannot_be(tmp_path, sizes, words):
    with pytest.raises(InputError, match=words):
        lists_of(tree(tmp_path / "own", sizes))


@pytest.fixture
def lists(tmp_path, ledger, monkeypatch) -> Lists:
    """Lists of a folder of their own."""
    monkeypatch.setattr(split.open, "ROOT", tmp_path / "lists")
    (tmp_path / "lists").mkdir()
    return Lists()


def test_missing_lists_are_made(tmp_path, lists, capsys):
    data = data_set("folder").open(str(tree(tmp_path / "own", dict.fromkeys("abc", 30))))
    train = lists.open_training("train", data)
    assert "train was missing: made 19 lists of own images" in capsys.readouterr().out
    val, test = lists.open("val", data), lists.open("test", data)
    assert len(train) + len(val) + len(test) == 90 and train.source == "generated"
    # Another shape keeps off the validation and test images that are in use.
    other = lists.open_training("split9_pareto6_imb5_D_i", data)
    assert not set(other.paths) & {*val.paths, *test.paths} and set(other.paths) <= set(train.paths)
    assert lists.open("all", data) is data.everything and len(data.everything) == 90
    before = sorted(tmp_path.rglob("*.txt"))
    for name in ("nothing", "split01_D_i", "split1_imb100_D_i", "split1_pareto6_D_i"):
        with pytest.raises(InputError, match=f"list {name} does not exist; those of own images are all, train, val"):
            lists.open(name, data)
    assert sorted(tmp_path.rglob("*.txt")) == before


def test_names():
    dataset = data_set("folder").called("/data/My photos")
    assert dataset.checkpoints == "checkpoints_My-photos" and dataset.folder.startswith("folder_My-photos_")
    for one in (Split(0, True, ""), Split(0, True, "all"), Split(2, True, ""), Split(2, False, "imb5")):
        assert dataset.split_of(dataset.list_of(one)) == one
    assert dataset.few_shot_list(Split(2, False, "imb5")) == "split2_imb5_S_b"
    assert dataset.tailed_list(Split(2, False, "imb5")) == "split2_imb5_D_i"
    assert (
        dataset.tailed_list(Split(0, True, "all")) == "train"
        and dataset.few_shot_list(Split(0, True, "")) == "train_S_b"
    )
    assert dataset.is_few_shot("train_S_b") and not dataset.is_few_shot("train")
