"""Archives from strangers: where their files land, and what is refused."""

import io
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from utils.archives import place, unpack
from utils.errors import InputError

KINDS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]
NOISE = random.Random(0).randbytes(3000)
FILES = {"checkpoints/exp_a/model_2000.pt": NOISE, "checkpoints/exp_a/log.txt": b"epoch 1\n" * 99}
TAR_END = 512 + 3072 + 512 + 1024  # of FILES in a tar: what follows is padding


def make(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of the kind that the file name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return path
    with tarfile.open(path, "w" if path.suffix == ".tar" else f"w:{path.suffix[1:]}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def tree(root: Path) -> dict[str, bytes]:
    """What is below root; b"/" for a folder."""
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else b"/" for p in sorted(root.rglob("*"))}


@pytest.fixture
def out(tmp_path) -> Path:
    """Where things are unpacked to, deep enough to see what leaves it."""
    (tmp_path / "deep/er/out").mkdir(parents=True)
    return tmp_path / "deep/er/out"


@pytest.fixture
def unpacked(tmp_path, out):
    """Unpack, and check that nothing but numbered plain files in `out` came of it; name -> content."""

    def run(archive: Path, max_bytes: int = 10**6, max_files: int = 100) -> dict[str, bytes]:
        before = tree(tmp_path)
        try:
            return {name: path.read_bytes() for name, path in unpack(archive, out, max_bytes, max_files)}
        finally:
            assert all(p.name.isdigit() and p.is_file() and not p.is_symlink() for p in out.iterdir())
            assert sum(p.stat().st_size for p in out.iterdir()) <= max_bytes
            shutil.rmtree(out)
            out.mkdir()
            assert tree(tmp_path) == before

    return run


@pytest.fixture
def refused(unpacked):
    """Check that an archive is refused with a message that names it and holds the words."""

    def check(archive: Path, *words: str, **bounds: int) -> None:
        with pytest.raises(InputError) as error:
            unpacked(archive, **bounds)
        for word in (archive.name, *words):
            assert word in str(error.value)

    return check


@pytest.mark.parametrize("kind", KINDS)
def test_whole_archives(unpacked, tmp_path, kind):
    assert unpacked(make(tmp_path / f"a.{kind}", FILES)) == FILES
    assert unpacked(make(tmp_path / f"b.{kind}", {})) == {}


# ---- hostile archives


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["../exp/model.pt", "a/../../model.pt"])
def test_names_that_lead_out(refused, tmp_path, kind, name):
    refused(make(tmp_path / f"a.{kind}", {**FILES, name: b"x"}), repr(name), "outside")


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "CHRTYPE", "FIFOTYPE", "GNUTYPE_SPARSE"])
def test_links_and_devices(refused, tmp_path, kind):
    """Also those within the folder, and files with holes, which are larger than the archive says."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("checkpoints/exp_b")
        info.type, info.linkname = getattr(tarfile, kind), "exp_a"
        archive.addfile(info)
        archive.addfile(tarfile.TarInfo("checkpoints/exp_b/model.pt"))
    refused(tmp_path / "a.tar", "'checkpoints/exp_b'", "special file")


@pytest.mark.parametrize("mode", [0o120777, 0o020666])
def test_links_and_devices_in_a_zip(refused, tmp_path, mode):
    info = zipfile.ZipInfo("exp_b/model.pt")
    info.external_attr, info.create_system = mode << 16, 3
    with zipfile.ZipFile(make(tmp_path / "a.zip", FILES), "a") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", "'exp_b/model.pt'", "special file")


@pytest.mark.parametrize("kind", KINDS)
def test_bounds(refused, unpacked, tmp_path, kind):
    bomb = make(tmp_path / f"bomb.{kind}", {"exp/model.pt": bytes(2_000_000)})
    refused(bomb, "over the limit of 0.001 GB")
    many = make(tmp_path / f"many.{kind}", {f"exp/model_{i}.pt": b"x" for i in range(6)})
    refused(many, "over the limit", "5 files", max_files=5)
    assert len(unpacked(many, max_bytes=6, max_files=6)) == 6


def test_zip_bombs(refused, tmp_path):
    """One that declares less than it has, and one that zipfile expands in memory."""
    content = make(tmp_path / "a.zip", FILES).read_bytes()
    assert content.count((3000).to_bytes(4, "little")) >= 2  # the local and the central header
    (tmp_path / "a.zip").write_bytes(content.replace((3000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refused(tmp_path / "a.zip", "damaged")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("exp/model.pt", bytes(1000))
    refused(tmp_path / "a.zip", "expands in memory")


@pytest.mark.parametrize("size", [-512, 10**9])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_tar_headers_that_tarfile_would_hang_on(refused, tmp_path, size, kind):
    """Negative sizes lead back to where it was; names and comments are read into memory, of any length."""
    info, pax = tarfile.TarInfo("exp/model.pt"), tarfile.TarInfo("exp/model.pt")
    info.size, info.type, pax.pax_headers = size, kind, {"size": str(size)}
    start = make(tmp_path / "a.tar", FILES).read_bytes()[:TAR_END]
    (tmp_path / "a.tar").write_bytes(start + info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(tmp_path / "a.tar", "over the limit" if (size, kind) == (10**9, tarfile.REGTYPE) else "a header declares")
    (tmp_path / "a.tar").write_bytes(start + pax.tobuf(tarfile.PAX_FORMAT) + bytes(4096))
    refused(tmp_path / "a.tar", "limit" if size > 0 else "special")


# ---- bad archives


@pytest.mark.parametrize("kind", KINDS)
def test_truncated(refused, tmp_path, kind):
    content = make(tmp_path / f"whole.{kind}", FILES).read_bytes()
    end = TAR_END if kind == "tar" else len(content) - 1
    for length in {0, 1, 4, 512, 513, *range(0, end, end // 5), end}:
        (tmp_path / f"cut.{kind}").write_bytes(content[:length])
        refused(tmp_path / f"cut.{kind}", "truncated, damaged")


def test_no_archives(refused, tmp_path):
    for content in (b"PK\3\4", b"<!DOCTYPE html><html>Quota exceeded</html>", NOISE):
        (tmp_path / "a.zip").write_bytes(content)
        refused(tmp_path / "a.zip", "truncated, damaged")
    refused(tmp_path / "none.zip", "No such file")
    refused(tmp_path / "deep", "directory")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_at_random(unpacked, tmp_path, kind):
    """Refused, or unpacked: where a checksum vouches for the content, only the true one."""
    content = make(tmp_path / f"whole.{kind}", FILES).read_bytes()
    random_numbers, refusals = random.Random(1), 0
    for _ in range(20):
        damaged = bytearray(content)
        for _ in range(random_numbers.choice([1, 1, 3, 30])):
            damaged[random_numbers.randrange(min(len(damaged), 6000))] = random_numbers.randrange(256)
        (tmp_path / f"a.{kind}").write_bytes(damaged)
        try:
            found = unpacked(tmp_path / f"a.{kind}")
            assert kind == "tar" or set(found.values()) <= {*FILES.values(), b""}
        except InputError as error:
            refusals += 1
            assert f"a.{kind}" in str(error)
    assert refusals >= 3


def test_full_disk(refused, tmp_path, monkeypatch):
    archive = make(tmp_path / "a.tar.gz", FILES)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 2999))
        refused(archive, "GB")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    refused(archive, "No space left")


# ---- places


@pytest.fixture
def fresh(tmp_path) -> dict[str, Path]:
    """Files to place: exp/a and exp/b."""
    (tmp_path / "fresh").mkdir()
    for name in "ab":
        (tmp_path / "fresh" / name).write_text(f"new {name}")
    return {f"exp/{name}": tmp_path / "fresh" / name for name in "ab"}


def test_places(fresh, tmp_path, out):
    place(fresh, out / "new", False)
    assert tree(out / "new") == {"exp": b"/", "exp/a": b"new a", "exp/b": b"new b"}
    assert not list((tmp_path / "fresh").iterdir())


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\nb", "a\udcff", "a\0b", "exp/" + "x" * 300])
def test_places_that_lead_out(fresh, tmp_path, out, path):
    last = fresh.pop("exp/b")
    with pytest.raises(InputError, match="leads out"):
        place({**fresh, path: last}, out / "new", True)
    assert last.exists()
    assert tree(tmp_path / "deep") == {"er": b"/", "er/out": b"/"}


@pytest.mark.parametrize("inner", ["exp", "exp/a"])
def test_links_that_are_there(fresh, tmp_path, out, inner):
    """What a link leads to is left alone, but the target itself may be one."""
    (out / inner).parent.mkdir(exist_ok=True)
    (out / inner).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError, match="exp/.*link"):
        place(fresh, out, True)
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    place({"exp/b": fresh["exp/b"]}, tmp_path / "link", False)
    assert tree(tmp_path / "elsewhere") == {"exp": b"/", "exp/b": b"new b"}


def test_files_that_are_there(fresh, out, tmp_path):
    (out / "exp").mkdir()
    (out / "exp/a").write_text("new a")
    (out / "exp/b").write_text("mine")
    before, inode = tree(out), (out / "exp/a").stat().st_ino
    with pytest.raises(InputError, match="exp/b is there with other content.*overwritten"):
        place(fresh, out, False)
    assert tree(out) == before
    place(fresh, out, True)
    assert tree(out) == {"exp": b"/", "exp/a": b"new a", "exp/b": b"new b"}
    assert (out / "exp/a").stat().st_ino == inode


@pytest.mark.parametrize("there", ["exp", "exp/b/"])
def test_a_file_where_a_folder_should_be(fresh, out, there):
    """And the other way round: before anything is moved."""
    (out / there).mkdir(parents=True) if there.endswith("/") else (out / there).write_text("mine")
    before = tree(out)
    with pytest.raises(InputError, match=f"{there.rstrip('/')} is there"):
        place({"a/a": fresh["exp/a"], "exp/b": fresh["exp/b"]}, out, True)
    assert tree(out) == before
