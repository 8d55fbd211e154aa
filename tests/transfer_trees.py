"""Small trees in the official layouts of the fine-grained sets, including their pitfalls for a reader."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.io import savemat

from data.sets.registry import data_set
from data.sets.transfer import TransferSet

CLASSES, TRAIN, TEST = 7, 3, 2  # images of each class
Part = list[tuple[str, int]]  # path below the folder of the set, label from 0


class Small(NamedTuple):
    """dataset: with the sizes of the small tree. root: the folder that holds the archive's folder, `place`. parts: its
    images, by part."""

    dataset: TransferSet
    root: Path
    place: Path
    parts: dict[str, Part]


def image(path: Path, label: int, mode: str = "RGB", kind: str = "JPEG") -> None:
    """Write an image with the colour and height of its label, and noise of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(len(str(path.name)) + 31 * label + sum(map(ord, path.name)))
    base = np.array([30 * label, 255 - 30 * label, (97 * label) % 255])
    pixels = np.clip(base + rng.randint(-20, 20, (40 + label, 44, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, kind)


def numbered() -> list[tuple[str, int, int]]:
    """(part, label, number of the image in its class) of all images, in random order."""
    images = [("train" if i < TRAIN else "test", label, i) for label in range(CLASSES) for i in range(TRAIN + TEST)]
    return [images[i] for i in np.random.RandomState(0).permutation(len(images))]


def _by_ids(place: Path, rows: list[tuple[str, str, str, int]], classes: list[str]) -> None:
    """Write the text files of CUB and NABirds, each in an order of its own.

    Args:
        rows: id, path, id of the class, 1 for training and 0 for test. classes: lines of classes.txt.
    """
    place.mkdir(parents=True)
    (place / "images.txt").write_text("".join(f"{i} {path}\n" for i, path, _, _ in rows))
    (place / "image_class_labels.txt").write_text("".join(f"{i} {c}\n" for i, _, c, _ in reversed(rows)))
    (place / "train_test_split.txt").write_text("".join(f"{i} {t}\n" for i, _, _, t in sorted(rows)))
    (place / "classes.txt").write_text("".join(f"{line}\n" for line in classes))


def cub(place: Path) -> dict[str, Part]:
    """Labels count from 1; one file name has a space; one image is grey."""
    rows, parts, images = [], {"train": [], "test": []}, place.parent / "keep"
    for n, (part, label, i) in enumerate(numbered(), 1):
        folder = f"{label + 1:03d}.Bird_{label}"
        path = f"{folder}/{'Great Bird' if i == 1 else 'Bird'}_{label}_{i:04d}.jpg"
        image(images / path, label, "L" if i == 0 else "RGB")
        rows.append((str(n), path, str(label + 1), int(part == "train")))
        parts[part].append((f"images/{path}", label))
    _by_ids(place, rows, [f"{c + 1} {c + 1:03d}.Bird_{c}" for c in range(CLASSES)])
    images.rename(place / "images")
    return parts


def nabirds(place: Path) -> dict[str, Part]:
    """Image ids have dashes, which file names lack; few of the 1,011 class ids have images; class names have commas
    and spaces."""
    ids = [9, 83, 300, 295, 817, 1000, 1010]  # class ids; labels follow their sorted order
    order, rows, parts = sorted(ids), [], {"train": [], "test": []}
    images = place.parent / "keep"
    for n, (part, label, _) in enumerate(numbered()):
        uuid = f"{n:08x}-21dc-4d0c-bfe1-4cae3c85c829"
        path = f"{ids[label]:04d}/{uuid.replace('-', '')}.jpg"
        image(images / path, label)
        rows.append((uuid, path, str(ids[label]), int(part == "train")))
        parts[part].append((f"images/{path}", order.index(ids[label])))
    _by_ids(place, rows, [f"{c} Ducks, Geese, and Swans {c}" for c in range(1011)])
    images.rename(place / "images")
    return parts


def _annotations(rows: list[dict]) -> np.ndarray:
    """A struct array of MATLAB."""
    structs = np.empty((1, len(rows)), [(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        structs[0, i] = tuple(row.values())
    return structs


def cars(place: Path) -> dict[str, Part]:
    """Labels count from 1 and are uint8 beside boxes; those of the test images are in a file of their own."""
    parts: dict[str, Part] = {"train": [], "test": []}
    for part, label, _ in numbered():
        name = f"{len(parts[part]) + 1:05d}.jpg"
        image(place / f"cars_{part}" / name, label)
        parts[part].append((f"cars_{part}/{name}", label))
    (place / "devkit").mkdir()
    files = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    for part, file in files.items():
        rows = [{"bbox_x1": np.uint8(3), "class": np.uint8(c + 1), "fname": Path(p).name} for p, c in parts[part]]
        savemat(place / file, {"annotations": _annotations(rows)})
    unlabelled = [{"bbox_x1": np.uint8(3), "fname": Path(p).name} for p, _ in parts["test"]]
    savemat(place / "devkit" / "cars_test_annos.mat", {"annotations": _annotations(unlabelled)})
    savemat(
        place / "devkit" / "cars_meta.mat", {"class_names": np.array([[f"Car {c}" for c in range(CLASSES)]], object)}
    )
    return parts


def dogs(place: Path) -> dict[str, Part]:
    """Labels count from 1; paths have backslashes; one .jpg file is a PNG with an alpha channel."""
    parts: dict[str, Part] = {"train": [], "test": []}
    for part, label, i in numbered():
        path = f"n0208{label}-Dog_{label}/n0208{label}_{i}.jpg"
        odd = (label, i) == (0, 0)
        image(place / "Images" / path, label, "RGBA" if odd else "RGB", "PNG" if odd else "JPEG")
        parts[part].append((f"Images/{path}", label))
    for part, images in parts.items():
        files, labels = np.empty((len(images), 1), object), np.array([[c + 1] for _, c in images], float)
        files[:, 0] = [path.removeprefix("Images/").replace("/", "\\") for path, _ in images]
        savemat(place / f"{part}_list.mat", {"file_list": files, "annotation_list": files, "labels": labels})
    return parts


def aircraft(place: Path) -> dict[str, Part]:
    """Names of variants have spaces and slashes, and are not in alphabetical order."""
    variants = ["707-320", "Falcon 2000", "F-16A/B", "DC-10", "Beechcraft 1900", "An-12", "EMB-120"][:CLASSES]
    parts: dict[str, Part] = {"train": [], "test": []}
    for n, (part, label, _) in enumerate(numbered()):
        name = f"{1_025_794 + n:07d}"
        image(place / "images" / f"{name}.jpg", label)
        parts[part].append((f"images/{name}.jpg", label))
    (place / "variants.txt").write_text("".join(f"{name}\n" for name in variants))
    for part, name in (("train", "trainval"), ("test", "test")):
        lines = [f"{Path(path).stem} {variants[label]}\n" for path, label in parts[part]]
        (place / f"images_variant_{name}.txt").write_text("".join(lines))
    return parts


MAKERS: dict[str, Callable[[Path], dict[str, Part]]] = {
    "cub": cub, "cars": cars, "aircraft": aircraft, "dogs": dogs, "nabirds": nabirds
}  # fmt: skip


def make(name: str, root: Path) -> Small:
    """Make a small tree of a data set below `root`, in the folder that its archive unpacks to."""
    dataset = data_set(name)
    place = root / dataset.folders[0]
    place.parent.mkdir(parents=True, exist_ok=True)
    parts = MAKERS[name](place)
    small = replace(dataset, classes=CLASSES, train_images=CLASSES * TRAIN, test_images=CLASSES * TEST)
    return Small(small, root, place, parts)


def take(small: Small, set_attribute: Callable) -> None:
    """Register the small data set under the name of the real one; set_attribute: monkeypatch's setattr."""
    set_attribute(f"data.sets.transfer.{small.dataset.name.upper()}", small.dataset)
