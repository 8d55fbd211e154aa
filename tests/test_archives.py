"""Archives from strangers, and the authors' checkpoints: where their files land, and what is refused."""

import csv
import gzip
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import gdown
import pytest
import torch

import utils.archives
import utils.pretrained
from tests.conftest import one_line_error
from utils.archives import Member, install, unpack
from utils.errors import InputError
from utils.pretrained import ARCHIVES

EXPERIMENT = "res18_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_twolayerProj_epoch2000_split1_D_i_newNT_s10"
PROBES = [
    f"{EXPERIMENT}__{probe}"
    for probe in ("f2layer4_d10d20_wd0_lr30_freezeBN", "split1_S_b_f2layer4_d40d60_wd0_lr30_freezeBN")
]
KINDS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]
NOISE = random.Random(0).randbytes(3000)
FILES = {"checkpoints/exp_a/model_2000.pt": NOISE, "checkpoints/exp_a/log.txt": b"epoch 1\n" * 99}


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
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else b"/" for p in sorted(root.rglob("*"))}


def contents(root: Path) -> dict[str, bytes]:
    """Files below root, without the records."""
    names = ("pretrained.tsv", ".lock")
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name not in names}


@pytest.fixture
def root(tmp_path) -> Path:
    """Where the checkpoints go."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def get(call, root):
    """`python -m utils.pretrained get NAME --from FILE ...` below root."""
    return lambda name, file, *options: call(
        "utils/pretrained.py", "get", name, "--from", file, "--root", root, *options
    )


@pytest.fixture
def refused(get, tmp_path):
    """Check that an archive ends in one line that holds the words, and leaves everything as it was."""

    def check(file: Path, *words: str, name: str = "sdclr-cifar10", options: tuple = ()) -> str:
        before = tree(tmp_path)
        line = one_line_error(get(name, file, *options), file.name, *words)
        assert tree(tmp_path) == before
        return line

    return check


# ---- hostile archives


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    "name",
    [
        "../exp/model.pt",
        "/tmp/exp/model.pt",
        "a/../../model.pt",
        "exp/..",
        "e\\..\\model.pt",
        "C:/e/model.pt",
        "c:m.pt",
    ],
)
def test_names_that_lead_out(refused, tmp_path, kind, name):
    refused(make(tmp_path / f"a.{kind}", {**FILES, name: b"x"}), repr(name))


def test_a_name_that_ends_early(refused, tmp_path):
    file = make(tmp_path / "a.zip", {**FILES, "exp_b/model.pt#zz": b"x"})
    file.write_bytes(file.read_bytes().replace(b"model.pt#", b"model.pt\0"))
    refused(file, "model.pt\\x00")


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE"])
@pytest.mark.parametrize("link", ["/etc", "../..", "exp_a"])
def test_links_and_devices(refused, tmp_path, kind, link):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("checkpoints/exp_b")
        info.type, info.linkname = getattr(tarfile, kind), link
        archive.addfile(info)
        for name in ("checkpoints/exp_b/model.pt", *FILES):
            archive.addfile(tarfile.TarInfo(name))
    refused(tmp_path / "a.tar", "'checkpoints/exp_b'", "link")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010666])
def test_links_and_devices_in_a_zip(refused, tmp_path, mode):
    info = zipfile.ZipInfo("exp_b/model.pt")
    info.external_attr, info.create_system = mode << 16, 3
    with zipfile.ZipFile(make(tmp_path / "a.zip", FILES), "a") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", "'exp_b/model.pt'", "link")


@pytest.mark.parametrize("inner", ["checkpoints/exp_a", "checkpoints/exp_a/model_2000.pt"])
def test_links_that_are_at_the_target(refused, tmp_path, root, inner):
    """An experiment that is a link to elsewhere is not followed; the folder of experiments may be one."""
    (tmp_path / "elsewhere").mkdir()
    (root / inner).parent.mkdir(parents=True)
    (root / inner).symlink_to(tmp_path / "elsewhere")
    refused(make(tmp_path / "a.zip", FILES), "exp_a", "leads out")


def test_links_in_a_circle(refused, tmp_path, root):
    (root / "checkpoints").mkdir()
    (root / "checkpoints/exp_a").symlink_to("exp_a")
    refused(make(tmp_path / "a.zip", FILES), "exp_a")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\\b", "a\nb", "a\udcff", "C:x"])
def test_places_that_lead_out(tmp_path, root, path):
    with pytest.raises(InputError, match="leads out"):
        unpack(make(tmp_path / "a.zip", FILES), root / "x", lambda names: {names[0]: path}, 10**6, 10)
    assert tree(root) == {}


def test_the_folder_itself_may_be_a_link(get, tmp_path, root):
    (tmp_path / "large_disk").mkdir()
    (root / "checkpoints").symlink_to(tmp_path / "large_disk")
    assert get("sdclr-cifar10", make(tmp_path / "a.zip", FILES)).returncode == 0
    assert (tmp_path / "large_disk/exp_a/model_2000.pt").read_bytes() == NOISE


@pytest.mark.parametrize("kind", KINDS)
def test_bounds(refused, tmp_path, monkeypatch, kind):
    refused(
        make(tmp_path / f"bomb.{kind}", {"exp/model.pt": bytes(9_000_000)}),
        "over the limit of 0.005 GB",
        options=("--max_gb", "0.005"),
    )
    many = {f"exp/model_{i}.pt": b"x" for i in range(6)}
    monkeypatch.setattr(utils.pretrained, "MAX_FILES", 5)
    refused(make(tmp_path / f"many.{kind}", many), "over the limit", "5 files")


@pytest.mark.parametrize("size", [10, 2999, 3001, 10**7])
def test_zip_with_lying_sizes(refused, tmp_path, size):
    file = make(tmp_path / "a.zip", FILES)
    content = file.read_bytes()
    assert content.count((3000).to_bytes(4, "little")) >= 2  # the local and the central header
    file.write_bytes(content.replace((3000).to_bytes(4, "little"), size.to_bytes(4, "little")))
    refused(file)


def test_content_is_counted_whatever_the_headers_say(tmp_path, root):
    endless = Member("exp/model.pt", 10, partial(Path("/dev/zero").open, "rb"))
    with pytest.raises(InputError, match="does not end"):
        install(tmp_path / "a.zip", {"exp/model.pt": endless}, root / "checkpoints", 5_000_000)
    assert tree(root) == {}


def test_bomb_behind_the_end(refused, tmp_path):
    make(tmp_path / "a.tar", FILES)
    content = (tmp_path / "a.tar").read_bytes() + bytes(10_000_000)
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(content))
    refused(tmp_path / "b.tar.gz", "goes on", options=("--max_gb", "0.005"))


@pytest.mark.parametrize("size", [-512, -1024, 10**9])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
def test_tar_headers_that_tarfile_would_hang_on(refused, tmp_path, size, kind):
    """Negative sizes lead back to where it was; names and comments are read into memory, of any length."""
    info, pax = tarfile.TarInfo("exp/model.pt"), tarfile.TarInfo("exp/model.pt")
    info.size, info.type, pax.pax_headers = size, kind, {"size": str(size)}
    start = make(tmp_path / "a.tar", FILES).read_bytes()[: 512 + 3072 + 512 + 1024]
    (tmp_path / "a.tar").write_bytes(start + info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    why = {tarfile.REGTYPE: "negative" if size < 0 else "", tarfile.GNUTYPE_SPARSE: "sparse" if size < 0 else ""}
    refused(tmp_path / "a.tar", why.get(kind, "name or comment"))
    (tmp_path / "a.tar").write_bytes(start + pax.tobuf(tarfile.PAX_FORMAT) + bytes(4096))
    refused(tmp_path / "a.tar", "negative" if size < 0 else "")


@pytest.mark.parametrize("kind", KINDS)
def test_truncated(refused, tmp_path, kind):
    content = make(tmp_path / f"whole.{kind}", FILES).read_bytes()
    end = 512 + 3072 + 512 + 1024 if kind == "tar" else len(content) - 1  # a tar's last blocks are padding
    for length in {0, 1, 3, 4, 100, 511, 512, 513, 1024, *range(0, end, end // 7), end - 9, end}:
        (tmp_path / f"cut.{kind}").write_bytes(content[: min(length, end)])
        refused(tmp_path / f"cut.{kind}")


def test_no_archives(refused, tmp_path, root):
    for i, content in enumerate([b"", b"PK\3\4", b"<!DOCTYPE html><html>Quota exceeded</html>", NOISE, bytes(20_000)]):
        (tmp_path / f"{i}.zip").write_bytes(content)
        refused(tmp_path / f"{i}.zip")
        refused(tmp_path / f"{i}.zip", name="bcl-cifar100-bcl-i")
    refused(tmp_path / "none.zip", "does not exist", "https://drive.google.com/file/d/1zsm6hd7")
    refused(root)


def test_encrypted_zip(refused, tmp_path):
    content = bytearray(make(tmp_path / "a.zip", FILES).read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", "encrypted", "no password")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_at_random(tmp_path, kind):
    """Refused without a trace, or unpacked: where a checksum vouches for the content, only the true one."""
    content = make(tmp_path / f"whole.{kind}", FILES).read_bytes()
    random_numbers, refusals = random.Random(1), 0
    for i in range(60):
        damaged, target = bytearray(content), tmp_path / f"folder{i}" / "target"
        for _ in range(random_numbers.choice([1, 1, 3, 30])):
            damaged[random_numbers.randrange(min(len(damaged), 6000))] = random_numbers.randrange(256)
        (tmp_path / f"a.{kind}").write_bytes(damaged)
        target.parent.mkdir()
        try:
            placed = unpack(
                tmp_path / f"a.{kind}", target, lambda names: dict(zip(names, names, strict=True)), 10**6, 100
            )
            assert sorted(placed) == sorted(p for p in target.rglob("*") if p.is_file())
            assert kind == "tar" or set(contents(target).values()) <= {*FILES.values(), b""}
        except InputError as error:
            refusals += 1
            assert f"a.{kind}" in str(error)
            assert not list(target.parent.iterdir())
    assert refusals >= 10


# ---- all or nothing


def test_files_that_are_there(get, refused, tmp_path, root):
    file, model = make(tmp_path / "a.tar.gz", FILES), root / "checkpoints/exp_a/model_2000.pt"
    model.parent.mkdir(parents=True)
    model.write_bytes(NOISE)
    inode = model.stat().st_ino
    assert get("sdclr-cifar10", file).returncode == 0
    assert model.stat().st_ino == inode
    assert contents(root) == FILES
    (root / "checkpoints/exp_a/log.txt").write_text("mine")
    refused(make(tmp_path / "b.zip", FILES), "SHA-256")
    before = tree(tmp_path)
    one_line_error(get("sdclr-cifar10", file), str(root / "checkpoints/exp_a/log.txt"), "--overwrite True")
    assert tree(tmp_path) == before
    assert get("sdclr-cifar10", file, "--overwrite", "True").returncode == 0
    assert contents(root) == FILES


@pytest.mark.parametrize("call_that_fails", range(1, 5))
def test_a_failure_halfway_puts_everything_back(refused, tmp_path, root, monkeypatch, call_that_fails):
    (root / "checkpoints/exp_a").mkdir(parents=True)
    (root / "checkpoints/exp_a/log.txt").write_text("mine")
    file = make(tmp_path / "a.zip", {**FILES, "exp_b/model.pt": b"new"})
    calls, replace = [], Path.replace

    def failing(self, target):
        calls.append(self)
        if len(calls) == call_that_fails:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    refused(file, "No space left", options=("--overwrite", "True"))


def test_full_disk(refused, tmp_path, monkeypatch):
    file = make(tmp_path / "a.zip", FILES)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 3000))
        refused(file, "GB")

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(file, "No space left")


def test_a_file_where_a_folder_should_be(get, refused, tmp_path, root):
    refused(make(tmp_path / "a.zip", {"a/b.pt/model.pt": b"1", "x/a/b.pt": b"2", "b.pt/b.pt/c.pt": b"3"} | {
        "a/b.pt": b"4"}), "b.pt")  # fmt: skip
    refused(make(tmp_path / "b.zip", {f"exp/{'x' * 300}.pt": b"1"}), "xxx")
    (root / "checkpoints/exp_a/log.txt").mkdir(parents=True)
    before = tree(root)
    one_line_error(
        get("sdclr-cifar10", make(tmp_path / "c.zip", FILES), "--overwrite"), "log.txt is there and is no file"
    )
    assert tree(root) == before
    shutil.rmtree(root / "checkpoints")
    (root / "checkpoints").write_text("mine")
    refused(tmp_path / "c.zip", "checkpoints")


# ---- layouts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lead", ["", "checkpoints/", "./", "home/me/SDCLR-main/checkpoints/"])
def test_layouts(get, tmp_path, root, kind, lead):
    wanted = {f"{e}/{f}": os.urandom(50) for e in ("exp a", "exp_b") for f in ("model_2000.pt", "model.pt", "log.txt")}
    wanted["exp_b/best_model.pt"] = b""
    others = {f"{lead}{n}": b"-" for n in ("log.txt", "model.pt", ".DS_Store", "exp_b/._model.pt", "exp_b/notes.md")}
    others |= {"__MACOSX/exp_b/model.pt": b"-", "__MACOSX/exp_b/log.txt": b"-", "README.txt": b"-"}
    file = make(tmp_path / f"a.{kind}", {**{lead + name: content for name, content in wanted.items()}, **others})
    done = get("sdclr-cifar100", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(root) == {f"checkpoints_cifar100/{name}": content for name, content in wanted.items()}
    assert f"7 files of 2 experiments are in {root / 'checkpoints_cifar100'}" in done.stdout
    assert f"left out: {len(others)};" in done.stdout


def test_archives_without_an_experiment_or_with_two_of_a_name(refused, tmp_path):
    for files in ({}, {"readme.txt": b""}, {"checkpoints/log.txt": b""}, {"exp/log.txt": b""}, {"model.pt": b""}):
        refused(make(tmp_path / "a.zip", files), "no experiment")
    clash = {"a/exp/model.pt": b"1", "b/exp/model.pt": b"2"}
    refused(make(tmp_path / "b.tar", clash), "'a/exp/model.pt'", "'b/exp/model.pt'")


@pytest.mark.parametrize("name", [name for name in ARCHIVES if name.startswith("bcl")])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_bare_checkpoint(get, refused, tmp_path, root, name, zipped):
    """A torch checkpoint is a zip, or a pickle in older ones: it is placed as it is."""
    method = name.removeprefix("bcl-cifar100-").replace("-", "_")
    state = {"state_dict": {"w": torch.zeros(3)}}
    torch.save(state, tmp_path / "some.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "some.pth").read_bytes()
    assert get(name, tmp_path / "some.pth").returncode == 0
    assert contents(root) == {f"checkpoints_cifar100/bcl_{method}_split1/model.pt": whole}
    refused(tmp_path / "some.pth", name="sdclr-cifar10")
    # A tar that ends in a zip looks like a zip from behind.
    packed = make(tmp_path / "a.tar", {"readme": b"", "x/._model.pt": b"", "x/model_2000.pth.tar": whole})
    assert get(name, packed, "--overwrite").returncode == 0
    assert contents(root) == {f"checkpoints_cifar100/bcl_{method}_split1/model.pt": whole}
    assert get("sdclr-cifar10", packed).returncode == 0
    assert contents(root)["checkpoints/x/model_2000.pth.tar"] == whole
    refused(make(tmp_path / "b.zip", {"a.pt": b"", "b.pt": b""}), "2 checkpoints", name=name, options=("--overwrite",))


def test_the_recipe_finds_the_checkpoints(project_copy, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(project_copy, project)
    files = {f"SDCLR/checkpoints_tune/{name}/best_model.pt": NOISE for name in PROBES}
    make(tmp_path / "tune.zip", files)
    make(tmp_path / "pre.tar.gz", {f"checkpoints/{EXPERIMENT}/model_2000.pt": NOISE})
    for name, file in (("sdclr-cifar10", "pre.tar.gz"), ("sdclr-cifar10-tune", "tune.zip")):
        command = [sys.executable, "-m", "utils.pretrained", "get", name, "--from", tmp_path / file]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    recipe = ["bash", "cmds/shell_scrips/cifar-10-LT.sh", "-g", "1", "-w", "8", "--split", "split1_D_i"]
    recipe += ["--only_finetuning", "True", "--test_only", "True"]
    environment = {**os.environ, "DRY_RUN": "1", "PYTHON": sys.executable}
    lines = subprocess.run(recipe, cwd=project, env=environment, check=True, capture_output=True, text=True).stdout
    assert len(lines.splitlines()) == 2
    for line, probe in zip(lines.splitlines(), PROBES, strict=True):
        words = line.split()
        folder = project / words[words.index("--save-dir") + 1] / words[2]
        assert folder.name == probe
        assert (folder / "best_model.pt").is_file()
        assert (project / words[words.index("--checkpoint") + 1]).is_file()


# ---- download, records, command line


@pytest.fixture
def drive(monkeypatch):
    """Stands in for Google Drive: id -> content or exception; returns that dict."""
    served = {}

    def download(id, output, quiet, progress, **options):
        assert quiet
        assert {"use_cookies", "timeout", "retries"} == options.keys()
        Path(output + "abcd1234.part").write_bytes(b"half")
        progress(4, None)
        content = served[id]
        if isinstance(content, Exception):
            raise content
        progress(len(content), len(content))
        Path(output).write_bytes(content)
        Path(output + "abcd1234.part").unlink()

    monkeypatch.setattr(gdown, "download", download)
    return served


def test_download(call, drive, tmp_path, root):
    packed = {n: make(tmp_path / f"{i}.zip", {f"e{i}/model.pt": NOISE}).read_bytes() for i, n in enumerate(ARCHIVES)}
    names = ["sdclr-cifar10", "sdclr-cifar100-tune", "sdclr-imagenet"]
    drive.update({ARCHIVES[name].drive: packed[name] for name in names})
    done = call("utils/pretrained.py", "get", *names, "--root", root)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 3)
    assert len(contents(root)) == 3
    for name in names:
        with (root / ARCHIVES[name].folder / "pretrained.tsv").open() as file:
            (row,) = csv.DictReader(file, delimiter="\t")
        assert row["sha256"] == hashlib.sha256(packed[name]).hexdigest()
        assert (row["name"], int(row["bytes"])) == (name, len(packed[name]))
        assert row["date"].startswith("20")
    listed = call("utils/pretrained.py", "list", "--root", root).stdout
    assert listed.count("    here: ") == 3
    assert listed.count("    not here") == len(ARCHIVES) - 3
    assert row["sha256"] in listed
    assert all(archive.url in listed and archive.name in listed for archive in ARCHIVES.values())


FAILURES = {
    "quota": gdown.exceptions.FileURLRetrievalError("Failed to retrieve file url:\n\n\tToo many users\n\n"),
    "network": ConnectionError("no route"),
    "odd": KeyError("Content-Type"),
    "page": b"<html>sign in</html>",
    "empty": b"",
    "truncated": b"PK\3\4" + NOISE,
}


@pytest.mark.parametrize("why", FAILURES)
def test_download_that_fails(call, drive, root, why):
    drive[ARCHIVES["sdclr-cifar10"].drive] = FAILURES[why]
    done = call("utils/pretrained.py", "get", "sdclr-cifar10", "--root", root)
    url = "https://drive.google.com/file/d/1zsm6hd7Hx_JOPERG6pChe5xnSAXViLOT"
    one_line_error(done, "sdclr-cifar10", url, "--from FILE")
    assert tree(root) == {}


def test_download_of_too_much(call, drive, root, monkeypatch):
    drive[ARCHIVES["sdclr-cifar10"].drive] = NOISE
    done = call("utils/pretrained.py", "get", "sdclr-cifar10", "--root", root, "--max_gb", "0.000002")
    one_line_error(done, "--max_gb")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 2999))
        line = one_line_error(
            call("utils/pretrained.py", "get", "sdclr-cifar10", "--root", root), "sdclr-cifar10", "GB"
        )
    assert "could not" not in line
    monkeypatch.setattr(gdown, "download", lambda **options: None)
    one_line_error(call("utils/pretrained.py", "get", "sdclr-cifar10", "--root", root), "nothing came")
    monkeypatch.setitem(sys.modules, "gdown", None)
    one_line_error(call("utils/pretrained.py", "get", "sdclr-cifar10", "--root", root), "pip install gdown", "--from")
    assert tree(root) == {}


def test_another_archive_of_the_name(get, refused, tmp_path, root):
    first, second = (make(tmp_path / f"{n}.zip", {f"exp_{n}/model.pt": NOISE}) for n in (1, 2))
    assert get("sdclr-cifar100", first).returncode == 0
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (first, second)]
    refused(second, *hashes, "--overwrite True", name="sdclr-cifar100")
    assert get("sdclr-cifar100", second, "--overwrite", "True").returncode == 0
    torch.save({}, tmp_path / "bcl.pt")
    assert get("bcl-cifar100-bcl-d", tmp_path / "bcl.pt").returncode == 0
    rows = [line.split("\t") for line in (root / "checkpoints_cifar100/pretrained.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["name", "sdclr-cifar100", "bcl-cifar100-bcl-d"]
    assert rows[1][1] == hashes[1]


def test_mistakes(call, root, tmp_path):
    file, script = make(tmp_path / "a.zip", FILES), "utils/pretrained.py"
    one_line_error(call(script, "get", "sdclr-cifar11", "--from", file, "--root", root), "sdclr-cifar11", *ARCHIVES)
    one_line_error(call(script, "get", "--root", root), "list")
    one_line_error(call(script, "get", "sdclr-cifar10", "sdclr-cifar100", "--from", file, "--root", root), "--from")
    one_line_error(call(script, "get", "sdclr-cifar10", "--from", file, "--root", root / "none"), "--root")
    one_line_error(call(script, "get", "sdclr-cifar10", "--from", file, "--max_gb", "nan"), "--max_gb")
    one_line_error(call(script, "fetch"), "fetch")
    assert tree(root) == {}


def test_as_a_command(script, tmp_path):
    make(tmp_path / "a.zip", {**FILES, "../x": b""})
    done = script("-m", "utils.pretrained", "get", "sdclr-cifar10", "--from", "a.zip", "--root", ".")
    one_line_error(done, "a.zip", "'../x'")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
