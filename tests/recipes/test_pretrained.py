"""The authors' checkpoints: where they are placed, all or none, what is recorded, and what is refused."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gdown
import pytest
import torch

import recipes.pretrained
from recipes.pretrained import ARCHIVES
from tests.conftest import one_line_error
from tests.utils.test_archives import FILES, KINDS, NOISE, make, tree
from tests.warm import environment, python

SCRIPT = "recipes/pretrained.py"
EXPERIMENT = "res18_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_twolayerProj_epoch2000_split1_D_i_newNT_s10"
PROBES = [
    f"{EXPERIMENT}__{probe}"
    for probe in ("f2layer4_d10d20_wd0_lr30_freezeBN", "split1_S_b_f2layer4_d40d60_wd0_lr30_freezeBN")
]


def contents(root: Path) -> dict[str, bytes]:
    """Files below root, without the records."""
    return {name: c for name, c in tree(root).items() if (root / name).is_file() and "pretrained.tsv" not in name}


@pytest.fixture
def root(tmp_path) -> Path:
    """Where the checkpoints go."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def get(call, root):
    """`python -m recipes.pretrained get NAME --from FILE ...` below root."""
    return lambda name, file, *options: call(SCRIPT, "get", name, "--from", file, "--root", root, *options)


@pytest.fixture
def refused(get, tmp_path):
    """Check that an archive ends in one line that holds the words, and leaves everything as it was."""

    def check(file: Path, *words: str, name: str = "sdclr-cifar10", options: tuple = ()) -> None:
        before = tree(tmp_path)
        one_line_error(get(name, file, *options), file.name, *words)
        assert tree(tmp_path) == before

    return check


# ---- all or nothing


@pytest.mark.parametrize("name", ["sdclr-cifar10", "bcl-cifar100-bcl-i"])
def test_bad_archives(refused, tmp_path, monkeypatch, name):
    for i, content in enumerate([b"", b"PK\3\4", b"<!DOCTYPE html><html>Quota</html>", NOISE, bytes(20_000)]):
        (tmp_path / f"{i}.zip").write_bytes(content)
        refused(tmp_path / f"{i}.zip", name=name)
    refused(tmp_path / "none.zip", "No such file", f"https://drive.google.com/file/d/{ARCHIVES[name].drive}", name=name)
    refused(tmp_path, name=name)
    refused(make(tmp_path / "a.tar", {**FILES, "../x": b""}), "'../x'", name=name)
    if name == "sdclr-cifar10":
        refused(make(tmp_path / "xxx.zip", {f"exp/{'xxx.zip' * 50}.pt": b"1"}), "too long")
    bomb = make(tmp_path / "bomb.zip", {"exp/model.pt": bytes(9_000_000)})
    refused(bomb, "limit of 0.005 GB", name=name, options=("--max_gb", "0.005"))
    monkeypatch.setattr(recipes.pretrained, "MAX_FILES", 5)
    refused(make(tmp_path / "many.tar", {f"exp/m{i}.pt": b"" for i in range(6)}), "5 files", name=name)


def test_files_that_are_there(get, tmp_path, root):
    file, log = make(tmp_path / "a.tar.gz", FILES), root / "checkpoints/exp_a/log.txt"
    assert get("sdclr-cifar10", file).returncode == 0
    assert get("sdclr-cifar10", file).returncode == 0
    assert contents(root) == FILES
    log.write_text("mine")  # an evaluation writes there
    assert get("sdclr-cifar10", file).returncode == 0 and log.read_text() == "mine"
    weights = next(path for path in log.parent.iterdir() if path.suffix == ".pt")
    weights.write_text("mine")
    before = tree(tmp_path)
    one_line_error(get("sdclr-cifar10", file), str(weights), "have it overwritten")
    assert tree(tmp_path) == before
    assert get("sdclr-cifar10", file, "--overwrite", "True").returncode == 0
    assert contents(root) == FILES
    shutil.rmtree(root / "checkpoints")
    (root / "checkpoints").write_text("mine")
    one_line_error(get("sdclr-cifar10", file), "checkpoints is there")
    assert [p.name for p in root.iterdir()] == ["checkpoints"]


def test_links(get, tmp_path, root):
    """An experiment that is a link is not followed; the folder of experiments may be one."""
    file = make(tmp_path / "a.zip", FILES)
    (tmp_path / "large_disk").mkdir()
    (root / "checkpoints").mkdir()
    for target in (tmp_path / "large_disk", "exp_a"):
        (root / "checkpoints/exp_a").symlink_to(target)
        before = tree(tmp_path)
        one_line_error(get("sdclr-cifar10", file), "checkpoints/exp_a")
        assert tree(tmp_path) == before
        (root / "checkpoints/exp_a").unlink()
    (root / "checkpoints").rmdir()
    (root / "checkpoints").symlink_to(tmp_path / "large_disk")
    assert get("sdclr-cifar10", file).returncode == 0
    assert (tmp_path / "large_disk/exp_a/model_2000.pt").read_bytes() == NOISE


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


@pytest.mark.parametrize("name", ["readme.txt", "checkpoints/log.txt", "exp/log.txt", "model.pt", "", "/"])
def test_archives_without_an_experiment(refused, tmp_path, name):
    refused(make(tmp_path / "a.zip", {name: b""} if name.strip("/") else {}), "no experiment")


def test_two_files_for_one_place(refused, tmp_path):
    clash = {"a/exp/model.pt": b"1", "b/exp/model.pt": b"2"}
    refused(make(tmp_path / "b.tar", clash), "'b/exp/model.pt'", "exp/model.pt")


@pytest.mark.parametrize("name", [name for name in ARCHIVES if name.startswith("bcl")])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_bare_checkpoint(get, refused, tmp_path, root, name, zipped):
    """A torch checkpoint is a zip, or a pickle in older ones: it is placed as it is."""
    method = name.removeprefix("bcl-cifar100-").replace("-", "_")
    state = {"state_dict": {"w": torch.zeros(3)}}
    torch.save(state, tmp_path / "some.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "some.pth").read_bytes()
    assert get(name, tmp_path / "some.pth").returncode == 0
    assert (tmp_path / "some.pth").read_bytes() == whole
    assert contents(root) == {f"checkpoints_cifar100/bcl_{method}_split1/model.pt": whole}
    refused(tmp_path / "some.pth", name="sdclr-cifar10")
    # A tar that ends in a zip looks like a zip from behind.
    packed = make(tmp_path / "a.tar", {"readme": b"", "x/._model.pt": b"", "x/model_2000.pth.tar": whole})
    assert get(name, packed, "--overwrite").returncode == 0
    assert contents(root) == {f"checkpoints_cifar100/bcl_{method}_split1/model.pt": whole}
    assert get("sdclr-cifar10", packed).returncode == 0
    assert contents(root)["checkpoints/x/model_2000.pth.tar"] == whole
    refused(make(tmp_path / "b.zip", {"a.pt": b"", "b.pt": b""}), "'b.pt'", name=name, options=("--overwrite",))


def test_the_recipe_finds_the_checkpoints(project_copy, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(project_copy, project)
    files = {f"SDCLR/checkpoints_tune/{name}/best_model.pt": NOISE for name in PROBES}
    make(tmp_path / "tune.zip", files)
    make(tmp_path / "pre.tar.gz", {f"checkpoints/{EXPERIMENT}/model_2000.pt": NOISE})
    for name, file in (("sdclr-cifar10", "pre.tar.gz"), ("sdclr-cifar10-tune", "tune.zip")):
        command = [python(), "-m", "recipes.pretrained", "get", name, "--from", tmp_path / file]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    recipe = ["bash", "cmds/shell_scrips/cifar-10-LT.sh", "-g", "1", "-w", "8", "--split", "split1_D_i"]
    recipe += ["--only_finetuning", "True", "--test_only", "True"]
    variables = environment(DRY_RUN="1")
    lines = subprocess.run(recipe, cwd=project, env=variables, check=True, capture_output=True, text=True).stdout
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
    names = ["sdclr-cifar10", "sdclr-cifar100-tune", "sdclr-imagenet"]
    packed = {n: make(tmp_path / f"{n}.zip", {f"e{n}/model.pt": NOISE}).read_bytes() for n in names}
    drive.update({ARCHIVES[name].drive: packed[name] for name in names})
    done = call(SCRIPT, "get", *names, "--root", root)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 3)
    assert len(contents(root)) == 3
    listed = call(SCRIPT, "list", "--root", root).stdout
    for name in names:
        row = (root / ARCHIVES[name].folder / "pretrained.tsv").read_text().rstrip("\n").split("\t")
        assert row[:3] == [name, hashlib.sha256(packed[name]).hexdigest(), str(len(packed[name]))]
        assert row[3].startswith("20")
        assert row[1] in listed
    assert listed.count("    here: ") == 3
    assert listed.count("    not here") == len(ARCHIVES) - 3
    assert all(archive.url in listed and archive.name in listed for archive in ARCHIVES.values())


FAILURES = {
    "quota": gdown.exceptions.FileURLRetrievalError("Failed to retrieve file url:\n\n\tToo many users\n\n"),
    "network": ConnectionError("no route"),
    "odd": KeyError("Content-Type"),
    "page": b"<html>sign in</html>",
    "empty": b"",
    "truncated": b"PK\3\4" + NOISE,
    "too large": bytes(10_000),
}


@pytest.mark.parametrize("why", FAILURES)
def test_download_that_fails(call, drive, root, why):
    drive[ARCHIVES["sdclr-cifar10"].drive] = FAILURES[why]
    done = call(SCRIPT, "get", "sdclr-cifar10", "--root", root, "--max_gb", "0.000005")
    url = "https://drive.google.com/file/d/1zsm6hd7Hx_JOPERG6pChe5xnSAXViLOT"
    one_line_error(done, "sdclr-cifar10", url, "--from FILE", "--max_gb" if why == "too large" else "")
    assert tree(root) == {}


def test_download_to_a_full_disk_or_without_gdown(call, drive, root, monkeypatch):
    drive[ARCHIVES["sdclr-cifar10"].drive] = NOISE
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, -1))
        line = one_line_error(call(SCRIPT, "get", "sdclr-cifar10", "--root", root), "sdclr-cifar10", "GB")
    assert "could not" not in line
    monkeypatch.setitem(sys.modules, "gdown", None)
    one_line_error(call(SCRIPT, "get", "sdclr-cifar10", "--root", root), "gdown", "--from FILE")
    assert tree(root) == {}


def test_another_archive_of_the_name(get, refused, tmp_path, root):
    first, second = (make(tmp_path / f"{n}.zip", {f"exp_{n}/model.pt": NOISE}) for n in (1, 2))
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (first, second)]
    assert get("sdclr-cifar100", first).returncode == 0
    refused(second, *hashes, "--overwrite True", name="sdclr-cifar100")
    assert get("sdclr-cifar100", second, "--overwrite", "True").returncode == 0
    refused(first, *hashes, "--overwrite True", name="sdclr-cifar100")
    torch.save({}, tmp_path / "bcl.pt")
    assert get("bcl-cifar100-bcl-d", tmp_path / "bcl.pt").returncode == 0
    rows = (root / "checkpoints_cifar100/pretrained.tsv").read_text().splitlines()
    assert [row.split("\t")[0] for row in rows] == ["sdclr-cifar100", "sdclr-cifar100", "bcl-cifar100-bcl-d"]


def test_mistakes(call, root, tmp_path):
    file = make(tmp_path / "a.zip", FILES)
    one_line_error(call(SCRIPT, "get", "sdclr-cifar11", "--from", file, "--root", root), "sdclr-cifar11", *ARCHIVES)
    one_line_error(call(SCRIPT, "get", "--root", root), "list")
    one_line_error(call(SCRIPT, "get", "sdclr-cifar10", "sdclr-cifar100", "--from", file, "--root", root), "--from")
    one_line_error(call(SCRIPT, "get", "sdclr-cifar10", "--from", file, "--root", root / "none"), "--root")
    one_line_error(call(SCRIPT, "get", "sdclr-cifar10", "--from", file, "--max_gb", "nan"), "--max_gb")
    one_line_error(call(SCRIPT, "fetch"), "fetch")
    assert tree(root) == {}


def test_as_a_command(script, tmp_path):
    make(tmp_path / "a.zip", {**FILES, "../x": b""})
    done = script("-m", "recipes.pretrained", "get", "sdclr-cifar10", "--from", "a.zip", "--root", ".")
    one_line_error(done, "a.zip", "'../x'")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
