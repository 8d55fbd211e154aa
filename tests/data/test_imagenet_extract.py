"""ILSVRC2012's archives, in miniature, whose MD5s take the place of the published ones."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import imagenet

import data.imagenet_extract
from tests.conftest import one_line_error

SCRIPT = "data/imagenet_extract.py"
WNIDS = ["n02119789", "n01440764", "n03982430"]  # of ILSVRC2012_ID 1, 2, 3: not in their order
TRUTH = [3, 1, 1, 2]
TRAIN = {wnid: {f"{wnid}_{i}.JPEG": b"%s %d" % (wnid.encode(), i) for i in range(2)} for wnid in WNIDS}
VAL = {f"ILSVRC2012_val_{i:08d}.JPEG": b"val %d" % i for i in (2, 4, 1, 3)}
WANTED = {f"train/{wnid}/{name}": content for wnid, images in TRAIN.items() for name, content in images.items()}
WANTED |= {f"val/{WNIDS[t - 1]}/{n}": c for t, (n, c) in zip(TRUTH, sorted(VAL.items()), strict=True)}


def packed(files: dict[str, bytes], *more: tarfile.TarInfo, mode: str = "w") -> bytes:
    """A tar of files, and of members that are none."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in more:
            archive.addfile(info)
    return buffer.getvalue()


def meta_mat() -> bytes:
    """Like the real one: an n x 1 array of structs, of the classes and of a class of classes."""
    rows = [(4, "n00001740", "thing, object", "above", 2)]
    rows += [(i, wnid, f"{wnid}, a word", "what it is", 0) for i, wnid in enumerate(WNIDS, 1)]
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    buffer, synsets = io.BytesIO(), np.array([[row] for row in rows], [(field, object) for field in fields])
    scipy.io.savemat(buffer, {"synsets": synsets}, do_compression=True)
    return buffer.getvalue()


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Write an archive of a kind ('train', 'val', 'devkit') to a folder of its own, as if it was the published one."""
    monkeypatch.setattr(tarfile.TarFile, "extraction_filter", None)  # afterwards, it is again
    monkeypatch.setattr(imagenet, "ARCHIVE_META", dict(imagenet.ARCHIVE_META))
    (tmp_path / "archives").mkdir()

    def write(kind: str, content: bytes) -> Path:
        path = tmp_path / "archives" / ("my.tar.gz" if kind == "devkit" else f"my_{kind}.tar")
        path.write_bytes(content)
        imagenet.ARCHIVE_META[kind] = (imagenet.ARCHIVE_META[kind][0], hashlib.md5(content).hexdigest())
        return path

    return write


@pytest.fixture
def archives(publish, monkeypatch) -> dict[str, Path]:
    truth = "".join(f"{t}\n" for t in TRUTH).encode()
    kit = {"data/meta.mat": meta_mat(), "data/ILSVRC2012_validation_ground_truth.txt": truth}
    kit = {f"ILSVRC2012_devkit_t12/{name}": content for name, content in kit.items()}
    monkeypatch.setattr(data.imagenet_extract, "PUBLISHED", {"val": (4, 3), "train": (6, 3)})
    return {
        "train": publish("train", packed({f"{wnid}.tar": packed(images) for wnid, images in TRAIN.items()})),
        "val": publish("val", packed(VAL)),
        "devkit": publish("devkit", packed(kit, mode="w:gz")),
    }


@pytest.fixture
def extract(call, tmp_path):
    """Run the program on archives into `out`."""

    def run(archives: dict[str, Path]):
        return call(SCRIPT, *(w for k, path in archives.items() for w in (f"--{k}", path)), "--out", tmp_path / "out")

    return run


def test_images_land_by_class_and_a_whole_part_is_skipped(archives, extract, tmp_path):
    before, out = files(tmp_path / "archives"), tmp_path / "out"
    done = extract({k: archives[k] for k in ("val", "devkit")})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out}/val: 4 images in 3 classes\n"
    done = extract(archives)
    said = [f"{out}/val: there already, 4 images in 3 classes", f"{out}/train: 6 images in 3 classes"]
    assert done.stdout.splitlines() == said
    # Nothing else, as torchvision's meta.bin; and the archives are as they were.
    assert files(out) == WANTED and {p.name for p in out.iterdir()} == {"train", "val"}
    assert files(tmp_path / "archives") == before


def test_an_interrupted_part_is_unpacked_anew(archives, extract, tmp_path):
    (tmp_path / "out/.extracting/train").mkdir(parents=True)
    (tmp_path / "out/.extracting/train/n01440764.tar").write_bytes(b"half")
    assert extract(archives).returncode == 0
    assert files(tmp_path / "out") == WANTED


def test_other_images_are_left_alone(archives, extract, tmp_path):
    (tmp_path / "out/val/n01440764").mkdir(parents=True)
    (tmp_path / "out/val/n01440764/mine.JPEG").write_bytes(b"mine")
    one_line_error(extract(archives), "out/val holds 1 images in 1 classes, not 4 in 3", "remove it")
    assert files(tmp_path / "out") == {"val/n01440764/mine.JPEG": b"mine"}


@pytest.mark.parametrize("kind", ["train", "val", "devkit"])
def test_another_archive(archives, extract, tmp_path, kind):
    with archives[kind].open("ab") as file:
        file.write(b"\0")
    one_line_error(extract(archives), str(archives[kind]), "MD5", "image-net.org")
    assert {name.split("/")[0] for name in files(tmp_path / "out")} <= {"val"}


def test_missing_images(archives, publish, extract, tmp_path):
    """The MD5 aside, the number is looked at."""
    publish("train", packed({f"{wnid}.tar": packed(TRAIN[wnid]) for wnid in WNIDS[:2]}))
    one_line_error(extract({"train": archives["train"]}), "train holds 4 images in 2 classes, not 6 in 3")
    publish("train", packed({f"{wnid}.tar": packed(TRAIN[wnid])[:700] for wnid in WNIDS}))
    one_line_error(extract({"train": archives["train"]}), "truncated, damaged")
    assert not (tmp_path / "out").exists()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


HOSTILE = {
    "name": packed({"../../../evil.JPEG": b"x"}),
    "link": packed({}, link("a", "/etc/passwd")),
    "link within": packed({"a/b": b"x"}, link("c", "a")),
    "hard link": packed({"a": b"x"}, link("b", "a", tarfile.LNKTYPE)),
    "device": packed({}, link("a", "", tarfile.CHRTYPE)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_nothing_leaves_the_folder(archives, publish, extract, tmp_path, content):
    """Neither from the archive nor from one within it, nor from the devkit's, which lands in a temporary folder."""
    only = {"train": archives["train"]}
    for kind, bad in (("train", content), ("train", packed({"n01440764.tar": content})), ("val", content)):
        publish(kind, bad)
        one_line_error(extract(only if kind == "train" else archives), str(archives[kind]), "not safe to unpack")
    devkit = publish("devkit", packed({"x/my.tar": b""}, link("../x", "x"), mode="w:gz"))
    one_line_error(extract(archives), str(devkit), "not safe to unpack")
    assert {p.name for p in tmp_path.iterdir()} == {"archives"}


def test_mistakes(archives, extract, call, script, tmp_path):
    train, val, kit = archives.values()
    one_line_error(extract({}), "--train")
    one_line_error(extract({"devkit": kit}), "--train")
    one_line_error(extract({"val": val}), "--devkit")
    one_line_error(extract({"train": tmp_path / "none.tar"}), "none.tar", "image-net.org")
    one_line_error(extract({"train": tmp_path}), str(tmp_path))
    one_line_error(call(SCRIPT, "--train", train), "--out")
    # The published MD5 is another one.
    done = script("-m", "data.imagenet_extract", "--train", train, "--out", "out")
    one_line_error(done, str(train), "1d675b47d978889d74fa0da5fadfb00e")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("mine")
    one_line_error(extract({"train": train}), "out")


def test_full_disk(archives, extract, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile, "copyfileobj", full)
    one_line_error(extract({"train": archives["train"]}), str(archives["train"]), "No space left")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("done", [0, 2, 4])
def test_a_flat_folder_is_sorted_in_place(call, archives, tmp_path, done):
    """As a popular download has it; an interrupted one goes on."""
    folder = tmp_path / "data" / "val"
    folder.mkdir(parents=True)
    for i, (name, content) in enumerate(sorted(VAL.items())):
        where = folder / WNIDS[TRUTH[i] - 1] if i < done else folder
        where.mkdir(exist_ok=True)
        (where / name).write_bytes(content)
    words = ["--val", folder, "--devkit", archives["devkit"], "--out", tmp_path / "data"]
    result = call(SCRIPT, *words)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{folder}: {4 - done} images moved into 3 classes\n"
    assert files(tmp_path / "data") == {n: c for n, c in WANTED.items() if n.startswith("val/")}


@pytest.mark.parametrize("change", ["missing", "more"])
def test_a_flat_folder_that_is_not_whole_stays_as_it_is(call, archives, tmp_path, change):
    folder = tmp_path / "val"
    folder.mkdir()
    names = sorted(VAL)[:3] if change == "missing" else [*sorted(VAL), "ILSVRC2012_val_00000005.JPEG"]
    for name in names:
        (folder / name).write_bytes(b"x")
    one_line_error(call(SCRIPT, "--val", folder, "--devkit", archives["devkit"], "--out", tmp_path), "not 4")
    assert sorted(path.name for path in folder.iterdir()) == names
