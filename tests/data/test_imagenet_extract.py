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
SIZES = (("train", 12), ("val", 8))
REPACKED = ("--check_md5", "False")


def image(seed: int, start: bytes = JPEG) -> bytes:
    return start + random.Random(seed).randbytes(600 + 37 * seed)


def special(kind: bytes, name: str) -> tarfile.TarInfo:
    """A member that is no file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def packed(files: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> bytes:
    """A tar of files, and of members that are no files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info is not content:
                info.size = len(content)
            archive.addfile(info, None if info is content else io.BytesIO(content))
    return buffer.getvalue()


def tar(path: Path, files: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(packed(files, mode))
    return path


def meta_mat() -> bytes:
    """Like the real one: an n x 1 array of structs, of the classes and of the classes of classes above them."""
    rows = [(i, wnid, f"{wnid}, a word", "what it is", 0) for i, wnid in enumerate(WNIDS, 1)]
    rows[1:1] = [(i, wnid, "thing, object", "above", 2) for i, wnid in enumerate(INTERNAL, len(WNIDS) + 1)]
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    buffer, synsets = io.BytesIO(), np.array([[row] for row in rows], [(field, object) for field in fields])
    scipy.io.savemat(buffer, {"synsets": synsets}, do_compression=True)
    return buffer.getvalue()


def train_images() -> dict[str, dict[str, bytes]]:
    found = {w: {f"{w}_{10 * j + i}.JPEG": image(10 * j + i) for i in range(3)} for j, w in enumerate(WNIDS)}
    found["n01440764"]["n01440764_12.JPEG"] = image(12, PNG)
    return found


def val_images() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{i:08d}.JPEG": image(i) for i in range(1, len(TRUTH) + 1)}


def wanted() -> dict[str, bytes]:
    train = {f"train/{w}/{name}": content for w, images in train_images().items() for name, content in images.items()}
    classes = [WNIDS[t - 1] for t in TRUTH]
    val = {f"val/{w}/{n}": c for w, (n, c) in zip(classes, sorted(val_images().items()), strict=True)}
    return train | val


def files(root: Path) -> dict[str, bytes]:
    found = (p for p in root.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(root)): p.read_bytes() for p in found}


@pytest.fixture
def archives(tmp_path, monkeypatch) -> dict[str, Path]:
    """train, val, devkit: complete archives in a folder of their own, as if they were the published ones."""
    folder, val, truth = tmp_path / "archives", list(val_images().items()), "".join(f"{t}\n" for t in TRUTH).encode()
    random.Random(3).shuffle(val)
    kit = {"data/meta.mat": meta_mat(), "data/ILSVRC2012_validation_ground_truth.txt": truth}
    kit = {f"ILSVRC2012_devkit_t12/{name}": content for name, content in kit.items()}
    archives = {
        "train": tar(folder / "ILSVRC2012_img_train.tar", {f"{w}.tar": packed(i) for w, i in train_images().items()}),
        "val": tar(folder / "ILSVRC2012_img_val.tar", dict(val)),
        "devkit": tar(folder / "ILSVRC2012_devkit_t12.tar.gz", kit, "w:gz"),
    }
    meta = {kind: (path.name, hashlib.md5(path.read_bytes()).hexdigest()) for kind, path in archives.items()}
    monkeypatch.setattr(theirs, "ARCHIVE_META", meta)
    monkeypatch.setattr(data.imagenet_extract, "PUBLISHED", {"train": (12, 4), "val": (8, 4)})
    return archives


@pytest.fixture
def extract(call, tmp_path):
    """Run the program on archives into `out`."""

    def run(archives: dict[str, Path], options: tuple = REPACKED):
        words = [word for kind, path in archives.items() for word in (f"--{kind}", path)]
        return call(SCRIPT, *words, "--out", tmp_path / "out", *options)

    return run


@pytest.mark.filterwarnings("ignore")
def test_everything_lands_where_torchvision_puts_it(archives, extract, tmp_path):
    done = extract(archives, ("--check_md5", "True"))
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "out") == wanted()
    lines = [f"{s}: {n} images in 4 classes in {tmp_path / 'out' / s}, {n} of them written now" for s, n in SIZES]
    assert done.stdout.splitlines() == lines
    root = archives["train"].parent
    for parse in (theirs.parse_devkit_archive, theirs.parse_train_archive, theirs.parse_val_archive):
        parse(root)
    assert {k: v for k, v in files(root).items() if "/" in k} == wanted()


@pytest.mark.parametrize("kind", ["train", "val", "devkit"])
def test_md5(archives, extract, tmp_path, kind):
    """Checked unless told otherwise; the devkit's always, as it is read by what trusts it."""
    with archives[kind].open("ab") as file:
        file.write(b"\0")
    for options in ((), ("--check_md5",), ("--check_md5", "True"), *([REPACKED] if kind == "devkit" else [])):
        one_line_error(extract(archives, options), str(archives[kind]), "MD5", "--check_md5 False")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("extra", ["train/n01440764/n01440764_99.JPEG", "val/n02119789/mine.JPEG"])
def test_other_images_in_the_published_folders(archives, extract, tmp_path, extra):
    (tmp_path / "out" / extra).parent.mkdir(parents=True)
    (tmp_path / "out" / extra).write_bytes(image(1))
    one_line_error(extract(archives, ()), f"out/{extra.split('/')[0]} holds", "empty it")
    assert (tmp_path / "out" / extra).read_bytes() == image(1)


# ---- repacked archives


def test_one_of_the_two(archives, extract, tmp_path):
    assert extract({"train": archives["train"]}).returncode == 0
    assert files(tmp_path / "out") == {k: v for k, v in wanted().items() if k.startswith("train")}
    assert extract({"val": archives["val"], "devkit": archives["devkit"]}).returncode == 0
    assert files(tmp_path / "out") == wanted()


def test_a_part_of_the_images(archives, extract, tmp_path):
    two = {f"./{wnid}.tar": packed(train_images()[wnid]) for wnid in WNIDS[:2]}
    tar(archives["train"], {"./": special(tarfile.DIRTYPE, "./"), **two}, "w:gz")
    tar(archives["val"], dict(list(val_images().items())[:5]))
    done, counts = extract(archives), ("6 images in 2 classes", "5 images in 4 classes")
    assert (done.returncode, done.stderr) == (0, "")
    for line, (split, size), count in zip(done.stdout.splitlines(), SIZES, counts, strict=True):
        assert line.startswith(f"{split}: {count} in ")
        assert line.endswith(f"; {count} in the archive, {size} in the published one")
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
def test_truncated_or_damaged(archives, extract, tmp_path, kind):
    """One line at any length, only whole images, and a whole archive then does the rest."""
    whole = archives[kind].read_bytes()
    random_lengths = random.Random(0).sample(range(len(whole) - 10240), 15)
    for length in [0, 1, 511, 512, 513, 1024, *sorted(random_lengths)]:
        archives[kind].write_bytes(whole[:length])
        one_line_error(extract(archives), str(archives[kind]), "truncated, damaged")
        assert files(tmp_path / "out").items() <= wanted().items()
    # The images may all be there, but what the compressor summed up is of other ones.
    small = gzip.compress(whole)
    for damaged in (small[:-8], small[:-5] + bytes([small[-5] ^ 1]) + small[-4:]):
        archives[kind].write_bytes(damaged)
        one_line_error(extract(archives), str(archives[kind]), "truncated, damaged")
    archives[kind].write_bytes(whole)
    assert extract(archives).returncode == 0
    assert files(tmp_path / "out") == wanted()


# ---- hostile archives

LINKS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
FOREIGN = ["../n01440764_3.JPEG", "/tmp/n01440764_3.JPEG", "n01440764/n01440764_3.JPEG", "n01440764_3.JPEG\n", "n.JPEG",
           "n02119789_3.JPEG", "n01440764_3.jpg", "..\\n01440764_3.JPEG", "n01440764_٣.JPEG", "readme.txt"]  # fmt: skip


@pytest.mark.parametrize("member", [*FOREIGN, *LINKS, tarfile.DIRTYPE], ids=repr)
def test_foreign_members_of_a_class(archives, extract, tmp_path, member):
    name = member if isinstance(member, str) else "n01440764_3.JPEG"
    inner = {**train_images()["n01440764"], name: image(3) if isinstance(member, str) else special(member, name)}
    tar(archives["train"], {"n01440764.tar": packed(inner), "n02119789.tar": packed(train_images()["n02119789"])})
    one_line_error(extract(archives), str(archives["train"]), "n01440764.tar", repr(name))
    assert files(tmp_path / "out").items() <= wanted().items()
    assert {p.name for p in tmp_path.iterdir()} == {"archives", "out"}


@pytest.mark.parametrize(("kind", "good"), [("train", "n01440764.tar"), ("val", "ILSVRC2012_val_00000001.JPEG")])
def test_foreign_members(archives, extract, tmp_path, kind, good):
    for name in ("../n01440764.tar", "/n01440764.tar", "x/ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_1.JPEG", "a"):
        tar(archives[kind], {name: packed({})})
        one_line_error(extract(archives), str(archives[kind]), repr(name))
    for member in (*LINKS, tarfile.DIRTYPE):
        tar(archives[kind], {good: special(member, good)})
        one_line_error(extract(archives), str(archives[kind]), repr(good))
    assert files(tmp_path / "out").items() <= wanted().items()


def test_images_that_the_devkit_does_not_list(archives, extract):
    for name in (f"ILSVRC2012_val_{number}.JPEG" for number in ("00000000", "00000009", "99999999")):
        tar(archives["val"], {name: image(1)})
        one_line_error(extract(archives), name, "8 images")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"GIF89a", b"PNG\r\n", JPEG + bytes(900)])
def test_no_images(archives, extract, tmp_path, monkeypatch, content):
    """Nor ones that are too large."""
    monkeypatch.setattr(data.imagenet_extract, "LARGEST", 900)
    val, train = "ILSVRC2012_val_00000004.JPEG", "n01440764_1.JPEG"
    tar(archives["val"], {val: content})
    one_line_error(extract({"val": archives["val"], "devkit": archives["devkit"]}), val, "JPEG nor a PNG")
    tar(archives["train"], {"n01440764.tar": packed({train: content})})
    one_line_error(extract({"train": archives["train"]}), train, "JPEG nor a PNG")
    assert files(tmp_path / "out") == {}


# ---- the disk, the command line


def test_full_disk(archives, extract, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 3000))
        one_line_error(extract(archives), str(archives["train"]), "GB")
    write, written = Path.write_bytes, []

    def full(path, content):
        written.append(path)
        write(path, content if len(written) < 5 else content[:100])
        if len(written) == 5:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        one_line_error(extract(archives), str(archives["train"]), "No space left")
    assert len(files(tmp_path / "out")) == 4
    assert files(tmp_path / "out").items() <= wanted().items()
    assert extract(archives).returncode == 0
    assert files(tmp_path / "out") == wanted()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 30_000))
    assert extract(archives).returncode == 0  # what is there needs no space again


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
    one_line_error(call(SCRIPT, "--train", train, *REPACKED), "--out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("mine")
    one_line_error(extract({"train": train}), "out")


def test_as_a_command(script, archives, tmp_path):
    done = script("-m", "data.imagenet_extract", "--train", archives["train"], "--out", "out", *REPACKED)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(files(tmp_path / "out")) == 12
