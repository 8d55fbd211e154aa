"""ILSVRC2012's archives, in miniature: where each image lands, and what is refused."""

import gzip
import hashlib
import io
import random
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision.datasets.imagenet as theirs

import data.imagenet_extract
from tests.conftest import one_line_error

SCRIPT = "data/imagenet_extract.py"
WNIDS = ["n02119789", "n01440764", "n03982430", "n07753592"]  # of ILSVRC2012_ID 1, 2, 3, 4: not in their order
INTERNAL = ["n00001740", "n00021939", "n00015388"]  # classes of classes have the ids behind, and are in between here
TRUTH = [3, 1, 4, 1, 2, 3, 2, 4]
JPEG, PNG = b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n"
FIELDS = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images"]


def image(seed: int, start: bytes = JPEG) -> bytes:
    return start + random.Random(seed).randbytes(600 + 37 * seed)


def packed(files: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> bytes:
    """A tar of files, and of members that are no files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tar(path: Path, files: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(packed(files, mode))
    return path


def meta_mat(wnids: list[str] = WNIDS) -> bytes:
    """Like the real one: an n x 1 array of structs, of the classes and of the classes of classes above them."""
    rows = [(i + 1, wnid, f"{wnid}, a word", "what it is", 0, [], 0, 3) for i, wnid in enumerate(wnids)]
    for i, wnid in enumerate(INTERNAL):
        rows.insert(1 + i, (len(wnids) + 1 + i, wnid, "thing, object", "above", 2, [1, 2], 1 + i, 0))
    synsets = np.empty((len(rows), 1), [(field, object) for field in FIELDS])
    for i, row in enumerate(rows):
        synsets[i, 0] = tuple(np.array(v, np.float64) if isinstance(v, list | int) else v for v in row)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"synsets": synsets}, do_compression=True)
    return buffer.getvalue()


def devkit(path: Path, **change: bytes) -> Path:
    files = {
        "meta.mat": meta_mat(),
        "ILSVRC2012_validation_ground_truth.txt": "".join(f"{t}\n" for t in TRUTH).encode(),
    }
    files |= {
        f"{name}{end}": content for name, content in change.items() for end in (".mat", ".txt") if name + end in files
    }
    inside = {f"ILSVRC2012_devkit_t12/data/{name}": content for name, content in files.items()}
    return tar(path, {"readme.txt": b"This is", **inside, "ILSVRC2012_devkit_t12/old/meta.mat": b"-"}, "w:gz")


def train_images() -> dict[str, dict[str, bytes]]:
    found = {w: {f"{w}_{10 * j + i}.JPEG": image(10 * j + i) for i in range(3)} for j, w in enumerate(WNIDS)}
    found["n01440764"]["n01440764_12.JPEG"] = image(12, PNG)
    return found


def val_images() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{i:08d}.JPEG": image(i) for i in range(1, len(TRUTH) + 1)}


@pytest.fixture
def archives(tmp_path) -> dict[str, Path]:
    """train, val, devkit: complete archives in the published format, in a folder of their own."""
    folder = tmp_path / "archives"
    train = {f"{wnid}.tar": packed(images) for wnid, images in train_images().items()}
    val = list(val_images().items())
    random.Random(3).shuffle(val)
    return {
        "train": tar(folder / "ILSVRC2012_img_train.tar", train),
        "val": tar(folder / "ILSVRC2012_img_val.tar", dict(val)),
        "devkit": devkit(folder / "ILSVRC2012_devkit_t12.tar.gz"),
    }


@pytest.fixture
def extract(call, tmp_path):
    """Run the program on archives, without MD5, into `out`."""

    def run(archives: dict[str, Path], *options: str):
        words = [word for kind, path in archives.items() for word in (f"--{kind}", path)]
        return call(SCRIPT, *words, "--out", tmp_path / "out", *(options or ("--check_md5", "False")))

    return run


@pytest.fixture
def published(archives, monkeypatch) -> dict[str, Path]:
    """The archives, as if they were the published ones."""
    meta = {kind: (path.name, hashlib.md5(path.read_bytes()).hexdigest()) for kind, path in archives.items()}
    monkeypatch.setattr(theirs, "ARCHIVE_META", meta)
    monkeypatch.setattr(data.imagenet_extract, "PUBLISHED", {"train": (12, 4), "val": (8, 4)})
    return archives


def files(root: Path) -> dict[str, bytes]:
    found = (p for p in root.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(root)): p.read_bytes() for p in found}


def wanted() -> dict[str, bytes]:
    train = {f"train/{w}/{name}": content for w, images in train_images().items() for name, content in images.items()}
    classes = [WNIDS[t - 1] for t in TRUTH]
    val = {f"val/{w}/{n}": c for w, (n, c) in zip(classes, sorted(val_images().items()), strict=True)}
    return train | val


def test_everything_lands_where_it_belongs(published, extract, tmp_path):
    done = extract(published, "--check_md5", "True")
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "out") == wanted()
    assert done.stdout.splitlines() == [
        f"train: 12 images in 4 classes in {tmp_path / 'out/train'}, 12 of them written now",
        f"val: 8 images in 4 classes in {tmp_path / 'out/val'}, 8 of them written now",
    ]


@pytest.mark.filterwarnings("ignore")
def test_torchvision_makes_the_same_folders(published, extract, tmp_path):
    root = published["train"].parent
    theirs.parse_devkit_archive(root)
    theirs.parse_train_archive(root)
    theirs.parse_val_archive(root)
    assert extract(published, "--check_md5", "True").returncode == 0
    assert {k: v for k, v in files(root).items() if "/" in k} == files(tmp_path / "out")


@pytest.mark.parametrize("kind", ["train", "val", "devkit"])
def test_md5(published, extract, tmp_path, kind):
    with published[kind].open("ab") as file:
        file.write(b"\0")
    one_line_error(extract(published, "--check_md5", "True"), str(published[kind]), "MD5", "--check_md5 False")
    one_line_error(extract(published, "--check_md5"), "MD5")
    assert not (tmp_path / "out").exists()


def test_the_published_md5_are_checked_unless_told_otherwise(archives, call, tmp_path):
    done = call(SCRIPT, "--train", archives["train"], "--out", tmp_path / "out")
    one_line_error(done, "1d675b47d978889d74fa0da5fadfb00e")


@pytest.mark.parametrize("extra", ["train/n01440764/n01440764_99.JPEG", "val/n02119789/mine.JPEG"])
def test_other_images_in_the_published_folders(published, extract, tmp_path, extra):
    (tmp_path / "out" / extra).parent.mkdir(parents=True)
    (tmp_path / "out" / extra).write_bytes(image(1))
    split = extra.split("/")[0]
    one_line_error(extract(published, "--check_md5", "True"), f"out/{split} holds", "empty it")
    assert (tmp_path / "out" / extra).read_bytes() == image(1)


def test_uneven_classes_of_the_published_validation_images(archives, extract, monkeypatch):
    devkit(archives["devkit"], ILSVRC2012_validation_ground_truth=b"3\n1\n4\n1\n2\n3\n2\n1\n")
    monkeypatch.setattr(data.imagenet_extract, "PUBLISHED", {"train": (12, 4), "val": (8, 4)})
    monkeypatch.setattr(data.imagenet_extract, "check_md5", lambda archives: None)
    one_line_error(extract(archives, "--check_md5", "True"), "out/val")


# ---- repacked archives


def test_one_of_the_two(archives, extract, tmp_path):
    assert extract({"train": archives["train"]}).returncode == 0
    assert files(tmp_path / "out") == {k: v for k, v in wanted().items() if k.startswith("train")}
    done = extract({"val": archives["val"], "devkit": archives["devkit"]})
    assert files(tmp_path / "out") == wanted()
    assert "; as in the archive; as in the devkit" in done.stdout


def test_a_part_of_the_images(archives, extract, tmp_path):
    two = {f"./{wnid}.tar": packed(train_images()[wnid]) for wnid in WNIDS[:2]}
    tar(archives["train"], {"./": folder("./"), **two}, "w:gz")
    tar(archives["val"], dict(list(val_images().items())[:5]))
    done = extract(archives)
    assert (done.returncode, done.stderr) == (0, "")
    train, val = done.stdout.splitlines()
    assert train.startswith("train: 6 images in 2 classes")
    assert train.endswith("; as in the archive; but 12 images in 4 classes in the devkit")
    assert val.startswith("val: 5 images in 4 classes")
    assert val.endswith("; as in the archive; but 8 images in 4 classes in the devkit")
    assert files(tmp_path / "out").items() <= wanted().items()


def test_resume(archives, extract, tmp_path):
    assert extract(archives).returncode == 0
    kept, cut, gone = sorted((tmp_path / "out").rglob("*.JPEG"))[3:6]
    before = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.JPEG")}
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    (tmp_path / "out/train/.extracting").write_bytes(b"half")
    done = extract(archives)
    assert "train: 12 images in 4 classes" in done.stdout
    assert done.stdout.count(", 2 of them written now") == 1
    assert done.stdout.count(", 0 of them written now") == 1
    assert files(tmp_path / "out") == wanted()
    changed = {path for path, inode in before.items() if path.stat().st_ino != inode}
    assert kept not in changed
    assert changed <= {cut, gone}


@pytest.mark.parametrize("kind", ["train", "val"])
def test_truncated(archives, extract, tmp_path, kind):
    """One line at any length, only whole images, and a whole archive then does the rest."""
    whole = archives[kind].read_bytes()
    random_lengths = random.Random(0).sample(range(len(whole) - 10240), 25)
    for length in [0, 1, 511, 512, 513, 1024, *sorted(random_lengths)]:
        archives[kind].write_bytes(whole[:length])
        line = one_line_error(extract(archives), str(archives[kind]))
        assert "truncated" in line
        assert files(tmp_path / "out").items() <= wanted().items()
    archives[kind].write_bytes(whole)
    assert extract(archives).returncode == 0
    assert files(tmp_path / "out") == wanted()


@pytest.mark.parametrize("kind", ["train", "val"])
def test_compressed_and_damaged(archives, extract, kind):
    """The images may all be there, but what the compressor summed up is of other ones."""
    whole = bytearray(gzip.compress(archives[kind].read_bytes()))
    whole[-5] ^= 1
    for damaged in (whole[:-8], whole):
        archives[kind].write_bytes(damaged)
        one_line_error(extract(archives), str(archives[kind]), "truncated or damaged")


def test_devkit_truncated_or_damaged(archives, extract, tmp_path):
    whole = archives["devkit"].read_bytes()
    numbers = random.Random(0)
    for i in range(60):
        damaged = bytearray(whole[: numbers.randrange(len(whole))] if i % 2 else whole)
        for _ in range(0 if i % 2 else 3):
            damaged[numbers.randrange(10, len(damaged))] ^= 1 << numbers.randrange(8)
        archives["devkit"].write_bytes(damaged)
        one_line_error(extract(archives), str(archives["devkit"]))
        assert not (tmp_path / "out").exists()


# ---- hostile archives


def folder(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


def link(kind: bytes, name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


LINKS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
FOREIGN = ["../n01440764_3.JPEG", "/tmp/n01440764_3.JPEG", "n01440764/n01440764_3.JPEG", "n01440764_3.JPEG\n", "n.JPEG",
           "n02119789_3.JPEG", "n01440764_3.jpg", "..\\n01440764_3.JPEG", "n01440764_٣.JPEG", "readme.txt"]  # fmt: skip


@pytest.mark.parametrize("member", [*FOREIGN, *LINKS], ids=repr)
def test_foreign_members_of_a_class(archives, extract, tmp_path, member):
    name = member if isinstance(member, str) else "n01440764_3.JPEG"
    inner = {**train_images()["n01440764"], name: image(3) if isinstance(member, str) else link(member, name)}
    tar(archives["train"], {"n01440764.tar": packed(inner), "n02119789.tar": packed(train_images()["n02119789"])})
    before = files(tmp_path / "archives")
    one_line_error(extract(archives), str(archives["train"]), "n01440764.tar", repr(name))
    assert files(tmp_path / "out").items() <= wanted().items()
    assert {p.name for p in tmp_path.iterdir()} == {"archives", "out"}
    assert files(tmp_path / "archives") == before


@pytest.mark.parametrize("kind", ["train", "val"])
@pytest.mark.parametrize(
    "name", ["../n01440764.tar", "/n01440764.tar", "x/ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_1.JPEG", "a", "a/"]
)
def test_foreign_members(archives, extract, tmp_path, kind, name):
    tar(archives[kind], {name: folder(name) if name.endswith("/") else packed({})})
    one_line_error(extract(archives), str(archives[kind]), name.rstrip("/"))
    assert not list((tmp_path / "out").rglob("*.tar"))
    for bad in LINKS:
        name = {"train": "n01440764.tar", "val": "ILSVRC2012_val_00000001.JPEG"}[kind]
        tar(archives[kind], {name: link(bad, name)})
        one_line_error(extract(archives), str(archives[kind]), name)


@pytest.mark.parametrize("number", ["00000000", "00000009", "99999999"])
def test_images_that_the_devkit_does_not_list(archives, extract, number):
    name = f"ILSVRC2012_val_{number}.JPEG"
    tar(archives["val"], {name: image(1)})
    one_line_error(extract(archives), name, "8 images")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8", b"GIF89a" + bytes(99), b"<html></html>", b"PNG\r\n", b"#!/bin/sh\n"]
)
def test_no_images(archives, extract, tmp_path, content):
    tar(archives["val"], {"ILSVRC2012_val_00000004.JPEG": content})
    one_line_error(extract(archives), "ILSVRC2012_val_00000004.JPEG", "JPEG nor a PNG")
    tar(archives["train"], {"n01440764.tar": packed({"n01440764_1.JPEG": content})})
    one_line_error(extract(archives), "n01440764_1.JPEG", "JPEG nor a PNG")
    assert files(tmp_path / "out").items() <= wanted().items()


def test_an_image_that_is_too_large(archives, extract, monkeypatch):
    monkeypatch.setattr(data.imagenet_extract, "LARGEST", 20_000)
    tar(archives["val"], {"ILSVRC2012_val_00000004.JPEG": JPEG + bytes(20_000)})
    archives.pop("train")
    one_line_error(extract(archives), "ILSVRC2012_val_00000004.JPEG")


BAD_DEVKITS = {
    "no such id": {"ILSVRC2012_validation_ground_truth": b"1\n9\n"},
    "a class of classes": {"ILSVRC2012_validation_ground_truth": b"1\n5\n"},
    "zero": {"ILSVRC2012_validation_ground_truth": b"0\n"},
    "words": {"ILSVRC2012_validation_ground_truth": b"tench\n"},
    "empty": {"ILSVRC2012_validation_ground_truth": b""},
    "no .mat": {"meta": b"MATLAB 5.0 MAT-file" + bytes(999)},
    "noise": {"meta": random.Random(0).randbytes(999)},
    "escape": {"meta": meta_mat(["../../x", *WNIDS[1:]])},
    "absolute": {"meta": meta_mat([*WNIDS[:3], "/tmp/x"])},
    "other table": {"meta": b""},
}


@pytest.mark.parametrize("why", BAD_DEVKITS)
def test_bad_devkits(archives, extract, tmp_path, why):
    devkit(archives["devkit"], **BAD_DEVKITS[why])
    one_line_error(extract(archives), str(archives["devkit"]))
    assert not (tmp_path / "out").exists()


def test_a_class_folder_that_is_a_link(archives, extract, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/train").mkdir(parents=True)
    (tmp_path / "out/train/n01440764").symlink_to(tmp_path / "elsewhere")
    one_line_error(extract(archives), "out/train/n01440764", "link")
    assert not list((tmp_path / "elsewhere").iterdir())


# ---- the disk, the command line


def test_full_disk(archives, extract, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 3000))
        one_line_error(extract(archives), str(archives["train"]), "GB")
    needed = []
    with monkeypatch.context() as patch:
        patch.setattr(data.imagenet_extract, "check_space", lambda folder, size, archive: needed.append(size))
        assert [extract(archives).returncode for _ in range(2)] == [0, 0]
    assert needed[:2] == [archives[kind].stat().st_size for kind in ("train", "val")]
    assert all(again < 0.9 * first for first, again in zip(needed[:2], needed[2:], strict=True))
    shutil.rmtree(tmp_path / "out")
    write, written = Path.write_bytes, []

    def full(path, content):
        written.append(path)
        if len(written) < 5:
            return write(path, content)
        write(path, content[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        one_line_error(extract(archives), "No space left", "again")
    assert len(files(tmp_path / "out")) == 4
    assert files(tmp_path / "out").items() <= wanted().items()
    assert extract(archives).returncode == 0
    assert files(tmp_path / "out") == wanted()


def test_mistakes(archives, extract, call, tmp_path):
    train, val, kit = archives.values()
    one_line_error(extract({}), "--train")
    one_line_error(extract({"devkit": kit}), "--train")
    one_line_error(extract({"val": val}), "--devkit")
    one_line_error(extract({"train": tmp_path / "none.tar"}), "none.tar", "image-net.org")
    one_line_error(extract({"train": tmp_path}), str(tmp_path))
    one_line_error(extract({"val": val, "devkit": val}), str(val))
    one_line_error(extract({"val": kit, "devkit": kit}), str(kit))
    one_line_error(extract({"train": val, "devkit": kit}), str(val), "ILSVRC2012_val")
    one_line_error(call(SCRIPT, "--train", train, "--check_md5", "False"), "--out")
    assert not list((tmp_path / "out").rglob("*.JPEG"))
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").write_text("mine")
    one_line_error(extract({"train": train}), "out")


def test_as_a_command(script, archives, tmp_path):
    options = ["--train", archives["train"], "--out", "out", "--check_md5", "False"]
    assert script("-m", "data.imagenet_extract", *options).returncode == 0
    assert len(files(tmp_path / "out")) == 12
