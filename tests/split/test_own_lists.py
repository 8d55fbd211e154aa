"""Lists and trees as they lie on other people's disks: spellings of paths, odd names, one folder too deep."""

from pathlib import Path

import pytest
from PIL import Image

from data.images import ImageFiles
from data.sets.registry import data_set
from split.lists import read_path_list
from split.make_image_lists import scan
from split.open import Lists
from tests.trees import names, take_lists_from
from utils.errors import InputError

IN100 = data_set("imagenet-100")


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode())
    return path


def make_empty_tree(root):
    """Two images of each of the 100 classes for training and for validation, without pixels but for the first."""
    for part in ("train", "val"):
        for name in names(100):
            (root / part / name).mkdir(parents=True)
            for i in range(2):
                (root / part / name / f"{name}_{i}.JPEG").touch()
    Image.new("RGB", (20, 10)).save(root / "train" / names(1)[0] / f"{names(1)[0]}_0.JPEG")


SPELLINGS = {
    "of Windows": "train\\a\\1.JPEG 0\r\ntrain\\b\\1.JPEG 1\r\n",
    "blank lines at the end": "train/a/1.JPEG 0\ntrain/b/1.JPEG 1\n\n  \n\r\n",
    "tabs": "train/a/1.JPEG\t0\ntrain/b/1.JPEG \t 1",
    "absolute": "DATA/train/a/1.JPEG 0\ntrain/b/1.JPEG 1\n",
    "absolute, twice a slash": "DATA//train/a/1.JPEG 0\nDATA/./train//b/1.JPEG 1\n",
    "absolute, by a link": "LINK/train/a/1.JPEG 0\nDATA/train/b/1.JPEG 1\n",
}


@pytest.mark.parametrize("how", SPELLINGS)
def test_other_spellings_are_read(tmp_path, monkeypatch, how):
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    content = SPELLINGS[how].replace("DATA", str(tmp_path / "images")).replace("LINK", str(tmp_path / "link"))
    path = write(tmp_path / "lists" / "mine.txt", content)
    monkeypatch.chdir(tmp_path)
    found = read_path_list(path, IN100, data="link" if "LINK" in SPELLINGS[how] else "images/")
    assert (found.paths, found.labels.tolist()) == (["train/a/1.JPEG", "train/b/1.JPEG"], [0, 1])


def test_absolute_paths_of_another_folder_are_refused_by_name(tmp_path):
    path = write(tmp_path / "mine.txt", f"{tmp_path}/images2/train/a/1.JPEG 0\n")
    for data in (str(tmp_path / "images"), ""):
        with pytest.raises(InputError, match="is an absolute path, and not below the data folder"):
            read_path_list(path, IN100, data=data)


def test_absolute_paths_and_relative_ones_are_the_same_images(tmp_path, monkeypatch):
    """A training list of absolute paths has an image of the validation list, which has relative ones."""
    take_lists_from(tmp_path / "split", monkeypatch.setattr)
    held_out = tmp_path / "split" / IN100.path(IN100.val_list)
    held_out.parent.mkdir(parents=True)
    held_out.write_text("train/a/1.JPEG 0\n")
    data = IN100.open(str(tmp_path))
    path = write(tmp_path / "mine.txt", f"{tmp_path}/train/a/2.JPEG 0\n")
    assert Lists().open_training(str(path), data).paths == ["train/a/2.JPEG"]
    write(path, f"{tmp_path}/train/a/2.JPEG 0\n{tmp_path}/train/a/1.JPEG 0\n")
    with pytest.raises(InputError, match="shares 1 images"):
        Lists().open_training(str(path), data)


def test_names_that_no_list_can_hold_are_left_out_of_lists(tmp_path):
    make_empty_tree(tmp_path)
    for odd in ("a\\b.JPEG", "a\nb.JPEG", "._a.JPEG"):
        (tmp_path / "train" / names(1)[0] / odd).write_bytes(b"")
    assert len(scan(IN100, tmp_path).train[0]) == 2


def test_the_folder_train_itself_is_given(tmp_path, monkeypatch):
    """The tree is found around it; images of a list of one's own may begin from it, too."""
    make_empty_tree(tmp_path)
    monkeypatch.chdir(tmp_path / "train")
    for given in (tmp_path / "train", Path(), tmp_path / "val"):
        tree = scan(IN100, given)
        assert tree.train == scan(IN100, tmp_path).train and (tree.root / tree.train[0][0]).is_file()
    for below in ("train/", ""):
        name = f"{below}{names(1)[0]}/{names(1)[0]}_0.JPEG"
        chosen = read_path_list(write(tmp_path / "mine.txt", f"{name} 0\n"), IN100)
        for given in (str(tmp_path / "train"), "."):
            assert ImageFiles(given, chosen, as_array=True)[0].shape[2] == 3
