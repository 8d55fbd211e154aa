"""Finding own images: folders, classes, links, names, lists of paths, arrays; what is kept of a scan."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.kept import JUST_NOW, NAME, keep, kept
from data.sizes import usual_size
from data.tree import arrays_of, read_paths, scan
from utils.errors import InputError


def put(root: Path, *names: str, size: tuple[int, int] = (9, 8)) -> Path:
    """Images of one colour each below a folder."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 2 * number, 50)).save(root / name)
    return root


def test_any_depth_in_the_order_of_the_alphabet(tmp_path):
    put(tmp_path, "b.jpg", "a/z.png", "a/b/c/y.JPEG", "c/x.webp")
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden").mkdir()
    put(tmp_path, ".hidden/a.jpg", "a/._z.png", "__MACOSX/q.jpg")
    tree = scan(tmp_path)
    expected = sorted(
        str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")
        if p.suffix not in (".txt", "") and not any(w.startswith((".", "__")) for w in p.relative_to(tmp_path).parts)
    )  # fmt: skip
    assert tree.parts["train"].paths == expected == ["a/b/c/y.JPEG", "a/z.png", "b.jpg", "c/x.webp"]
    assert tree.classes == () and tree.parts["train"].labels.tolist() == [0, 0, 0, 0]
    assert tree.notes == ("1 files are no images by their names: 1 .txt",)


def test_folders_of_classes(tmp_path):
    tree = scan(put(tmp_path, "owl/a.jpg", "cat/deep/b.jpg", "cat/a.jpg"))
    assert tree.classes == ("cat", "owl")
    assert dict(zip(tree.parts["train"].paths, tree.parts["train"].labels, strict=True)) == {
        "cat/a.jpg": 0, "cat/deep/b.jpg": 0, "owl/a.jpg": 1,
    }  # fmt: skip
    assert scan(put(tmp_path / "mixed", "cat/a.jpg", "owl/a.jpg", "c.jpg")).classes == ()  # one lies in no class
    assert scan(put(tmp_path / "one", "cat/a.jpg", "cat/b.jpg")).classes == ()


@pytest.mark.parametrize(("beside", "parts"), [
    (["test"], {"train", "test"}), (["val"], {"train", "test"}), (["val", "test"], {"train", "val", "test"}),
    ([], {"train"}),
])  # fmt: skip
def test_parts(tmp_path, beside, parts):
    put(tmp_path, *(f"{part}/{c}/{i}.png" for part in ["train", *beside, "raw"] for c in "ab" for i in range(2)))
    tree = scan(tmp_path)
    assert set(tree.parts) == parts and all(len(part) == 4 for part in tree.parts.values())
    assert len(tree.notes) == 1 and tree.notes[0].endswith("these are not read: raw")
    assert all(path.startswith(("val/", "test/")) for path in tree.parts.get("test", tree.parts["train"]).paths) == (
        "test" in parts
    )


def test_parts_without_classes(tmp_path):
    tree = scan(put(tmp_path, "train/a.png", "train/b.png", "val/a.png"))
    assert tree.classes == () and set(tree.parts) == {"train", "test"}


@pytest.mark.parametrize(("train", "other"), [("Train", "valid"), ("TRAIN", "Validation"), ("train", "Test")])
def test_parts_that_are_spelt_otherwise(tmp_path, train, other):
    """As data sets for detection have them; they were classes called Train and Test."""
    tree = scan(put(tmp_path, *(f"{part}/{c}/1.png" for part in (train, other) for c in "ab")))
    assert tree.classes == ("a", "b") and tree.parts["test"].paths == [f"{other}/a/1.png", f"{other}/b/1.png"]


def test_a_part_that_is_there_twice(tmp_path):
    put(tmp_path, "train/a/1.png", "val/a/1.png", "valid/a/1.png")
    with pytest.raises(InputError, match="has val/ and valid/: which is its val part"):
        scan(tmp_path)
    assert scan(put(tmp_path / "classes", "Val/1.png", "val/1.png")).classes == ("Val", "val")  # without train/


@pytest.mark.parametrize(("name", "words"), [("test/owl/a.png", "class 'owl'"), ("test/a.png", "no folder of a class")])
def test_a_class_that_train_does_not_have(tmp_path, name, words):
    put(tmp_path, "train/cat/a.png", "train/dog/a.png", "test/cat/a.png", name)
    with pytest.raises(InputError, match=words):
        scan(tmp_path)


def test_links(tmp_path):
    put(tmp_path / "there", "x/a.png", "x/b.png")
    put(tmp_path / "root", "y/c.png")
    (tmp_path / "root" / "x").symlink_to(tmp_path / "there" / "x")
    assert scan(tmp_path / "root").parts["train"].paths == ["x/a.png", "x/b.png", "y/c.png"]
    (tmp_path / "root" / "y" / "up").symlink_to(tmp_path / "root")
    with pytest.raises(InputError, match=r"y/up' is a link to a folder that it lies in"):
        scan(tmp_path / "root")


def test_names_that_no_list_can_hold(tmp_path):
    put(tmp_path, "a.png", "b.png")
    (tmp_path / "b.png").rename(tmp_path / os.fsdecode(b"\xff.png"))
    put(tmp_path, "new\nline.png", "back\\slash.png", " space.png", "a:/drive.png")
    tree = scan(tmp_path)
    assert tree.parts["train"].paths == ["a.png"] and len(tree.unlisted) == 5
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match="all 5 images below .* have names that are not UTF-8"):
        scan(tmp_path)


def test_names_that_editors_and_cameras_give(tmp_path):
    """macOS has a narrow space in the names of screenshots, other systems wide ones, and emoji are several letters."""
    names = ["3.04.05\u202fPM.png", "\u5199\u771f\u3000\u4e00.png", "no\xa0break.png", "\U0001f468\u200d\U0001f469.png",
             "\U0001fae8.png", "private\ue000.png", "a  b.png"]  # fmt: skip
    tree = scan(put(tmp_path, *names))
    assert set(tree.parts["train"].paths) == set(names) and not tree.unlisted
    list_of = tmp_path / "list.txt"
    list_of.write_text("".join(f"{name}\n" for name in names), "utf-8")
    assert read_paths(list_of).parts["train"].paths == names


def test_a_bad_line_is_named_by_its_place_in_the_file(tmp_path):
    put(tmp_path, "a.png")
    (tmp_path / "list.txt").write_text("a.png 0\n\n\nb\\c.png 1\n")
    with pytest.raises(InputError, match="line 4: "):
        read_paths(tmp_path / "list.txt")


@pytest.mark.parametrize("odd", ["\x1b[31m", "\t", "\x85", "\u2028", "\u2029", "\x9b"])
def test_names_that_would_end_a_line_or_steer_a_terminal(tmp_path, odd):
    tree = scan(put(tmp_path, "a.png", f"b{odd}.png"))
    assert tree.parts["train"].paths == ["a.png"] and tree.unlisted == (f"b{odd}.png",)


@pytest.mark.parametrize("what", ["empty", "missing", "texts"])
def test_no_image(tmp_path, what):
    root = tmp_path / what
    if what != "missing":
        root.mkdir()
    if what == "texts":
        (root / "a.txt").write_text("")
    with pytest.raises(InputError, match="neither a folder" if what == "missing" else "no image below"):
        scan(root)


def test_lists_of_paths(tmp_path, monkeypatch):
    put(tmp_path, "x/a b.png", "x/c.png")
    given = tmp_path / "list.txt"
    given.write_text("x/a b.png\n\nx/c.png\n")
    assert read_paths(given).parts["train"].paths == ["x/a b.png", "x/c.png"] and read_paths(given).classes == ()
    given.write_text("x/a b.png 1\nx/c.png 0\n")
    tree = read_paths(given)
    assert tree.parts["train"].paths == ["x/a b.png", "x/c.png"]
    assert tree.classes == ("0", "1") and tree.parts["train"].labels.tolist() == [1, 0]
    given.write_text(f"{tmp_path}/x/c.png\nx/a b.png\n")
    tree = read_paths(given)
    assert [tree.root / path for path in tree.parts["train"].paths] == [tmp_path / "x/c.png", tmp_path / "x/a b.png"]
    elsewhere = tmp_path / "lists" / "list.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_text("x/c.png\n")
    monkeypatch.chdir(tmp_path)
    assert read_paths(elsewhere).root == Path()


@pytest.mark.parametrize("spelt", ["./{}", "x/../{}", ".//{}", "../{here}/{}", "x/link/../{}"])
def test_a_path_is_spelt_in_one_way(tmp_path, spelt):
    """`find . -name '*.png'` writes ./x/c.png, and lists that are made of it have the path as other lists spell it."""
    put(tmp_path, "x/c.png", "y/d.png", "deep/er/e.png")
    (tmp_path / "x" / "link").symlink_to(tmp_path / "y")  # y/.. is not x
    names = ["x/c.png", "y/d.png"]
    given = tmp_path / "list.txt"
    given.write_text("".join(f"{spelt.format(name, here=tmp_path.name)} {label}\n" for label, name in enumerate(names)))
    tree = read_paths(given)
    found = list(tree.parts["train"].paths)
    assert [(tree.root / path).resolve() for path in found] == [tmp_path / name for name in names]
    assert all(word not in ("", ".", "..") for path in found for word in path.split("/"))
    given.write_text(f"{spelt.format(names[0], here=tmp_path.name)}\nx/c.png\n")
    with pytest.raises(InputError, match="x/c.png twice"):
        read_paths(given)


def test_a_path_that_is_not_there_is_named_as_it_is_written(tmp_path):
    given = tmp_path / "list.txt"
    given.write_text(f"{tmp_path}/no.png\n")
    with pytest.raises(InputError, match=f" {tmp_path}/no.png say"):
        read_paths(given)


@pytest.mark.parametrize(("content", "words"), [
    (b"", "is empty"), (b"\xff\xfe\n", "not a readable text"), (b"no.png\n", "not there"), (b"a.png\na.png\n", "twice"),
    (b"a\x01.png\n", "line 1"), (b"a.png 9999999\n", "classes"),
])  # fmt: skip
def test_bad_lists_of_paths(tmp_path, content, words):
    put(tmp_path, "a.png")
    given = tmp_path / "list.txt"
    given.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_paths(given)


def arrays(path: Path, **changes) -> Path:
    """An .npz file of four training and two test images of two classes."""
    rng = np.random.default_rng(0)
    content = {
        "train_images": rng.integers(0, 256, (4, 8, 8, 3), np.uint8), "train_labels": np.array([0, 1, 1, 0]),
        "test_images": rng.integers(0, 256, (2, 8, 8, 3), np.uint8), "test_labels": np.array([1, 0]), **changes,
    }  # fmt: skip
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    return path


def test_arrays(tmp_path):
    tree = arrays_of(arrays(tmp_path / "a.npz"))
    assert tree.parts["train"].paths == ["train/0/000000", "train/1/000001", "train/1/000002", "train/0/000003"]
    assert tree.classes == ("0", "1") and usual_size(tree) == 8


@pytest.mark.parametrize(("changes", "words"), [
    ({"test_labels": np.array([2, 0])}, "class 2"), ({"test_images": np.zeros((2, 9, 9, 3), np.uint8)}, "two sizes"),
    ({"train_images": None}, "no array train_images"), ({"train_labels": np.array([0.5, 1, 1, 0])}, "float64"),
    ({"train_labels": np.array([0, 2**40, 1, 0])}, "classes"),
])  # fmt: skip
def test_bad_arrays(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        arrays_of(arrays(tmp_path / "a.npz", **changes))


@pytest.mark.parametrize(("sides", "expected"), [
    ([(32, 32)], 32), ([(28, 40)], 28), ([(64, 64)], 64), ([(80, 90)], 64), ([(100, 300)], 96), ([(223, 500)], 192),
    ([(4000, 3000)], 224), ([(5, 5)], 8), ([(32, 32), (32, 32), (500, 500)], 32),
])  # fmt: skip
def test_usual_size(tmp_path, sides, expected):
    for i, side in enumerate(sides):
        put(tmp_path, f"{i}.png", size=side)
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert usual_size(scan(tmp_path)) == expected


def set_back(root: Path) -> None:
    """As if the folders had been changed long ago."""
    before = time.time_ns() - 2 * JUST_NOW
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        os.utime(folder, ns=(before, before))


def test_a_scan_is_kept_until_a_folder_changes(tmp_path):
    root, run = put(tmp_path / "root", "cat/a.png", "owl/ü b.png"), tmp_path / "run"
    set_back(root)
    tree = scan(root)
    keep(tree, run)
    again = kept(root, run)
    assert (again.root, again.classes, again.folders) == (tree.root, tree.classes, tree.folders)
    assert again.parts["train"].paths == tree.parts["train"].paths == ["cat/a.png", "owl/ü b.png"]
    assert again.parts["train"].labels.tolist() == tree.parts["train"].labels.tolist() == [0, 1]
    assert kept(tmp_path / "run", run) is None  # of another folder
    put(root, "owl/c.png")
    assert kept(root, run) is None


def test_what_is_not_kept(tmp_path):
    root, run = put(tmp_path / "root", "cat/a.png"), tmp_path / "run"
    keep(scan(root), run)
    assert kept(root, run) is None  # it was changed just before the scan, and may be again at the same time
    set_back(root)
    keep(scan(root), run)
    assert kept(root, run)
    (run / NAME).write_bytes((run / NAME).read_bytes()[:-100])
    assert kept(root, run) is None
    assert kept(root, tmp_path / "nowhere") is None
