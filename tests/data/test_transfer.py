"""Fine-grained sets: small trees in each official layout, read one by one; each bad tree is one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from data.flags import Views
from data.sets.base import Opening
from data.sets.registry import TRANSFER_SETS, data_set
from data.sets.transfer import AIRCRAFT, CARS, CUB, DOGS, NABIRDS
from split.open import Lists
from tests.transfer_trees import MAKERS, Small, make
from utils.distributed import World
from utils.errors import InputError

ONE = World(0, 1, torch.device("cpu"))
SETS = list(TRANSFER_SETS)


@pytest.fixture(params=SETS)
def small(request, tmp_path) -> Small:
    return make(request.param, tmp_path / "data")


def listed(small: Small, root: Path | None = None) -> dict:
    data = small.dataset.open(str(root or small.root), opening=Opening(skip_bad=False))
    return {name: Lists().open(name, data) for name in ("train", "test")}


def test_numbers_are_the_published_ones():
    found = {d.name: (d.train_images, d.test_images, d.classes) for d in (CUB, CARS, AIRCRAFT, DOGS, NABIRDS)}
    assert found == {"cub": (5994, 5794, 200), "cars": (8144, 8041, 196), "aircraft": (6667, 3333, 100),
                     "dogs": (12000, 8580, 120), "nabirds": (23929, 24633, 555)}  # fmt: skip
    assert list(found) == SETS == list(MAKERS)


def test_paths_labels_and_split_are_as_published(small):
    for root in (small.root, small.place):
        for name, item in listed(small, root).items():
            pairs = list(zip(item.paths, item.labels.tolist(), strict=True))
            assert pairs == small.parts[name]
            assert item.path.name == name and item.source == "published"


def test_a_list_of_other_images_has_another_hash(small):
    found = listed(small)
    other = replace(small.dataset, read=lambda place: {k: v[::-1] for k, v in small.dataset.read(place).items()})
    again = listed(small._replace(dataset=other))
    assert len({item.sha1 for item in (*found.values(), *again.values())}) == 4
    assert listed(small)["train"].sha1 == found["train"].sha1


@pytest.mark.parametrize("engine", ["opencv", "pillow"])
def test_images_are_centre_crops_in_three_colours(small, engine):
    """The labelled ones, too: no random crop."""
    data, views = small.dataset.open(str(small.root)), Views(engine, 32, 1, 0)
    for name in ("train", "test"):
        item = Lists().open(name, data)
        for batches in (data.labelled(item, views, 4, ONE), data.plain(item, views, 4, ONE)):
            found = list(batches)
            assert sum(len(batch.labels) for batch in found) == len(item)
            assert not any(batch.bad for batch in found)
            assert all(batch.views.shape[1:] == (1, 3, 32, 32) for batch in found)
        # Colours tell the label, but of grey images.
        colour = {p: Image.open(small.place / p).convert("RGB").resize((1, 1)).getpixel((0, 0)) for p in item.paths}
        seen = {item.paths[i]: batch.views[k, 0] for batch in found for k, i in enumerate(batch.index.tolist())}
        for path, pixels in seen.items():
            mean = 255 * pixels.double().mean((1, 2)).numpy()
            np.testing.assert_allclose(mean, colour[path], atol=12)


def test_cars_as_torchvision_reads_them(tmp_path):
    small = make("cars", tmp_path)
    for part, item in listed(small).items():
        theirs = datasets.StanfordCars(tmp_path, part)._samples
        ours = [(str(small.place / p), c) for p, c in zip(item.paths, item.labels.tolist(), strict=True)]
        assert ours == [(str(path), label) for path, label in theirs]


def test_aircraft_as_torchvision_reads_them(tmp_path):
    small = make("aircraft", tmp_path)
    for part, item in listed(small).items():
        theirs = datasets.FGVCAircraft(tmp_path, "trainval" if part == "train" else part, "variant")
        assert [str(small.place / path) for path in item.paths] == list(map(str, theirs._image_files))
        assert item.labels.tolist() == theirs._labels


def test_the_labels_of_nabirds_are_ranks_of_ids_with_images(tmp_path):
    small = make("nabirds", tmp_path)
    lines = (small.place / "image_class_labels.txt").read_text().split()
    ids = dict(zip(lines[::2], map(int, lines[1::2]), strict=True))
    ranks = {c: rank for rank, c in enumerate(sorted(set(ids.values())))}
    paths = dict(line.split() for line in (small.place / "images.txt").read_text().splitlines())
    wanted = {f"images/{paths[i]}": ranks[c] for i, c in ids.items()}
    found = {p: c for item in listed(small).values() for p, c in zip(item.paths, item.labels.tolist(), strict=True)}
    assert found == wanted and sorted(ranks) == [9, 83, 295, 300, 817, 1000, 1010]


def test_a_mirror_with_nested_folders_is_read(tmp_path):
    small = make("cars", tmp_path)
    for part in ("train", "test"):
        (small.place / f"cars_{part}").rename(small.place / "x")
        (small.place / f"cars_{part}").mkdir()
        (small.place / "x").rename(small.place / f"cars_{part}" / f"cars_{part}")
    (small.place / "cars_test_annos_withlabels.mat").rename(small.place / "devkit" / "cars_test_annos_withlabels.mat")
    found = listed(small)["test"]
    assert list(found.paths) == [p.replace("cars_test", "cars_test/cars_test") for p, _ in small.parts["test"]]


def test_lists_of_dogs_may_be_in_a_folder(tmp_path):
    small = make("dogs", tmp_path)
    (small.place / "lists").mkdir()
    for part in ("train", "test"):
        (small.place / f"{part}_list.mat").rename(small.place / "lists" / f"{part}_list.mat")
    assert list(listed(small)["train"].paths) == [path for path, _ in small.parts["train"]]


# ---- bad input


def refused(small: Small, *words: str) -> None:
    with pytest.raises(InputError) as error:
        listed(small)
    assert "\n" not in str(error.value)
    for word in (*words, small.dataset.name if small.dataset.name in words else ""):
        assert word in str(error.value), str(error.value)


def test_another_number_names_the_right_download(small):
    real = data_set(small.dataset.name)
    counts = f"{real.train_images:,} training and {real.test_images:,} test images of {real.classes} classes"
    refused(small._replace(dataset=real), "21 training and 14 test images of 7 classes, not", counts, real.download)


def test_missing_images_are_told_unless_they_are_skipped(small):
    gone = [small.parts["test"][1][0], small.parts["train"][2][0]]
    for path in gone:
        (small.place / path).unlink()
    refused(small, f"2 of 35 images of {small.dataset.name} missing", gone[1], "half unpacked", small.dataset.download)
    data = small.dataset.open(str(small.root), opening=Opening(skip_bad=True))
    assert len(Lists().open("test", data)) == small.dataset.test_images
    views = Views("opencv", 32, 1, 0, skip_bad=True)
    batches = list(data.plain(Lists().open("test", data), views, 4, ONE))
    assert sum(len(batch.bad) for batch in batches) == 1
    assert sum(len(batch.labels) for batch in batches) == small.dataset.test_images - 1


def test_another_folder_names_the_right_download(small, tmp_path):
    refused(small._replace(root=tmp_path), small.dataset.folders[0], small.dataset.download)
    with pytest.raises(InputError, match="needs a data folder: give by --data"):
        small.dataset.open("")
    with pytest.raises(InputError, match="has no list 'val': its lists are train and test"):
        Lists().open("val", small.dataset.open(str(small.root)))


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


TEXTS = [
    ("cub", "image_class_labels.txt", "3 ", "3x ", ["do not name the same images", "3"]),
    ("cub", "train_test_split.txt", "2 1", "2 7", ["'7', neither 1 for training nor 0"]),
    ("cub", "images.txt", "\n4 ", "\n4\n4 ", ["images.txt, line 4: '4' has one word"]),
    ("cub", "images.txt", "1 ", "1 ../", ["leaves the folder"]),
    ("cub", "image_class_labels.txt", "1 ", "1 x", ["label 'x", "not in classes.txt"]),
    ("nabirds", "image_class_labels.txt", " 817\n", " 1011\n", ["label '1011', which is not in classes.txt"]),
    ("nabirds", "image_class_labels.txt", " 817\n", " 5\n", ["of 8 classes, not 21 training"]),
    ("aircraft", "images_variant_test.txt", "Falcon 2000", "Falcon 900", ["'Falcon 900', which is not"]),
    ("aircraft", "images_variant_test.txt", "\n", "\n1025794 DC-10\n", ["21 training and 15 test images"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "old", "new", "words"), TEXTS)
def test_text_files_that_are_damaged(tmp_path, name, file, old, new, words):
    small = make(name, tmp_path)
    rewrite(small.place / file, old, new)
    refused(small, *words)


@pytest.mark.parametrize(
    ("name", "file"),
    [("cub", "images.txt"), ("cub", "image_class_labels.txt"), ("nabirds", "train_test_split.txt"),
     ("aircraft", "images_variant_test.txt"), ("aircraft", "variants.txt"), ("dogs", "test_list.mat"),
     ("cars", "cars_test_annos_withlabels.mat")],
)  # fmt: skip
def test_a_file_that_is_missing_is_named(tmp_path, name, file):
    small = make(name, tmp_path)
    (small.place / file).unlink()
    refused(small, file)


@pytest.mark.parametrize(("name", "file"), [("dogs", "train_list.mat"), ("cars", "devkit/cars_train_annos.mat")])
def test_mat_files_that_are_damaged(tmp_path, name, file):
    small = make(name, tmp_path)
    whole = (small.place / file).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>", whole[:60] + bytes(80) + whole[140:]):
        (small.place / file).write_bytes(content)
        refused(small, Path(file).name, "not a whole .mat file")
    savemat(small.place / file, {"other": [1]})
    refused(small, Path(file).name, "not a whole .mat file with")


def test_test_images_of_cars_without_labels(tmp_path):
    small = make("cars", tmp_path)
    unlabelled = (small.place / "devkit" / "cars_test_annos.mat").read_bytes()
    (small.place / "cars_test_annos_withlabels.mat").write_bytes(unlabelled)
    refused(small, "without a name or a class: get cars_test_annos_withlabels.mat")


@pytest.mark.parametrize("label", [0, 8, 300, 1.5, "x"])
def test_labels_outside_the_classes(tmp_path, label):
    small = make("dogs", tmp_path)
    found = small.parts["test"]
    files, labels = np.empty((len(found), 1), object), np.array([[c + 1] for _, c in found], object)
    files[:, 0] = [path.removeprefix("Images/") for path, _ in found]
    changed = next(i for i, (_, c) in enumerate(found) if c == 6)
    labels[changed, 0] = label
    savemat(small.place / "test_list.mat", {"file_list": files, "labels": labels})
    if isinstance(label, int):
        refused(small, "of 8 classes, not")
    else:
        refused(small, f"label '{label}', which is no whole number")


def test_labels_from_zero(tmp_path):
    small = make("dogs", tmp_path)
    for part, found in small.parts.items():
        files = np.empty((len(found), 1), object)
        files[:, 0] = [path.removeprefix("Images/") for path, _ in found]
        savemat(small.place / f"{part}_list.mat", {"file_list": files, "labels": [[c] for _, c in found]})
    refused(small, "label 0, outside 1..7")


def test_a_class_without_training_images(tmp_path):
    small = make("dogs", tmp_path)
    found = small.parts["train"]
    files = np.empty((len(found), 1), object)
    files[:, 0] = [path.removeprefix("Images/") for path, _ in found]
    labels = [[1 if c == 6 else c + 1] for _, c in found]
    savemat(small.place / "train_list.mat", {"file_list": files, "labels": labels})
    refused(small, "no train image of class 7")


def test_an_image_in_both_lists(tmp_path):
    small = make("aircraft", tmp_path)
    train = Path(small.parts["train"][0][0]).stem
    rewrite(small.place / "images_variant_test.txt", Path(small.parts["test"][0][0]).stem, train)
    refused(small, f"images/{train}.jpg in its lists twice")
