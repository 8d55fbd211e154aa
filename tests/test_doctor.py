"""utils.doctor and the checks of data before the first epoch: a line for each, exit code 0 or 2, nothing written."""

import re
import shutil
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import utils.estimate
import utils.machine
from torch import nn

import data.datasets
from data.image_lists import SOME, ImageFiles, PathList
from models import build_encoder
from tests.conftest import one_line_error
from tests.test_imagenet_scripts import PRETRAIN as FILES_PRETRAIN
from tests.test_imagenet_scripts import PROBE as FILES_PROBE
from tests.test_imagenet_scripts import SPEC, TAILED
from tests.test_train_scripts import PRETRAIN, PROBE, SDCLR
from tests.trees import make_listed_tree, take_lists_from
from utils.checkpoint import read_checkpoint, write_checkpoint
from utils.errors import InputError

DOCTOR = "utils/doctor.py"


@pytest.fixture(autouse=True)
def quick(monkeypatch, one_thread):
    monkeypatch.setattr(utils.estimate, "SECONDS", 0.05)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("doctor")
    make_listed_tree(root, [20] * 3 + [7] * 15 + [4] * 82, root)
    return root


@pytest.fixture
def lists(tree, monkeypatch):
    take_lists_from(tree, monkeypatch.setattr)
    return tree


def lines(done) -> dict[str, list[tuple[str, str]]]:
    """What is checked -> (level, detail) of its lines."""
    assert done.stderr == "", done.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for line in done.stdout.splitlines()[:-1]:
        level, what, detail = re.fullmatch(r"(ok|warning|error) +(\S+(?: \S+)*?)(?: {2,}| (?=\d))(.*)", line).groups()
        found.setdefault(what, []).append((level, detail))
    levels = [level for entries in found.values() for level, _ in entries]
    summary = f"{len(levels)} checks: {levels.count('error')} error(s), {levels.count('warning')} warning(s)"
    assert done.stdout.splitlines()[-1] == summary
    assert done.returncode == (2 if "error" in levels else 0)
    return found


def errors(done) -> dict[str, str]:
    return {what: detail for what, entries in lines(done).items() for level, detail in entries if level == "error"}


def test_the_installation_alone(call, tmp_path):
    found = lines(call(DOCTOR))
    assert not [line for entries in found.values() for line in entries if line[0] == "error"]
    assert {"python", "packages", "processor", "fp32", "bf16", "fp16", "free memory", "disk"} <= found.keys()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ("train_simCLR.py", "run", *PRETRAIN, "--epochs", 3),
        ("train_simCLR.py", "run", *PRETRAIN, *SDCLR, "--bcl", "--optimizer", "adam", "--augment", "pillow"),
        ("train_cifar.py", "digits_split1_D_i", *PROBE, "--epochs", 2),
        ("train_cifar.py", "digits_split1_D_i", *PROBE[:4], "--fixto", "nothing", "--test_freq", 3),
        ("train_cifar.py", "digits_split1_D_i", *PROBE[:4], "--protocol", "bcl-50shot"),
    ],
)
def test_a_command_that_would_run(call, tmp_path, command):
    found = lines(call(DOCTOR, *command))
    assert {"command line", "folder", "data", "checkpoint", "disk", "memory", "time"} <= found.keys()
    assert "error" not in {level for entries in found.values() for level, _ in entries}
    assert not list(tmp_path.iterdir())


def test_commands_on_image_files(call, tmp_path, lists):
    found = lines(call(DOCTOR, "train_simCLR.py", "run", *FILES_PRETRAIN, "--data", lists))
    assert found["images"][0][0] == "ok" and "time" in found
    found = lines(call(DOCTOR, "train_imagenet.py", f"{TAILED}_res", *FILES_PROBE, "--data", lists))
    assert [entry[0] for entry in found["images"]] == ["ok"] * 3
    assert len(found["lists"]) == 4 and "time" in found
    assert not list(tmp_path.iterdir())


def other_checkpoint(folder):
    write_checkpoint(folder / "other.pt", {"epoch": 1, "state_dict": build_encoder("res32_s", 16, 2).state_dict()})


PROBLEMS = {
    "no data folder": (["--dataset", "fashion_mnist", "--data", "nowhere"], "data", "nowhere"),
    "bad list": (["--trainSplit", "bad.npy"], "data", "out of range"),
    "no such list": (["--trainSplit", "none.npy"], "data", "none.npy"),
    "another model's checkpoint": (["--checkpoint", "other.pt"], "checkpoint", "another model"),
    "no checkpoint": (["--checkpoint", "none.pt"], "checkpoint", "none.pt"),
    "a file in the folder's place": (["--save-dir", "other.pt"], "folder", "other.pt"),
    "network": (["--head_layers", "7"], "network", "--head_layers"),
    "processes": (["--batch_size", "1"], "batch", "batch of one"),
    "option": (["--nonsense"], "command line", "--nonsense"),
    "value": (["--epochs", "many"], "command line", "--epochs"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_an_error_line(call, tmp_path, name):
    options, what, word = PROBLEMS[name]
    other_checkpoint(tmp_path)
    np.save(tmp_path / "bad.npy", [1, 5000])
    found = errors(call(DOCTOR, "train_simCLR.py", "run", *PRETRAIN, *options))
    assert list(found) == [what] and word in found[what]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.npy", "other.pt"]


def test_all_problems_are_seen_at_once(call, tmp_path, monkeypatch):
    other_checkpoint(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    options = ["--trainSplit", "none.npy", "--checkpoint", "other.pt", "--cvt_state_dict", "--save-dir", "other.pt"]
    found = errors(call(DOCTOR, "train_cifar.py", "run", *PROBE, *options))
    assert found.keys() == {"folder", "lists", "checkpoint", "disk"}


def test_too_little_disk_and_memory(call, monkeypatch):
    monkeypatch.setattr(utils.machine, "free_memory", lambda: 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    found = errors(call(DOCTOR, "train_simCLR.py", "run", *PRETRAIN))
    assert found.keys() == {"disk", "memory"} and "1 MiB free" in found["memory"]
    monkeypatch.setattr(utils.machine, "free_memory", lambda: None)
    assert lines(call(DOCTOR))["free memory"][0][0] == "warning"


def test_labels_and_image_files(call, tmp_path, lists):
    (tmp_path / "mine.txt").write_text("train/a/1.JPEG 0\ntrain/a/2.JPEG 100\n")
    command = ["train_simCLR.py", "run", *FILES_PRETRAIN]
    found = errors(call(DOCTOR, *command, "--imagenetCustomSplit", tmp_path / "mine.txt", "--data", lists))
    assert "line 2: label 100 is out of range 0..99" in found["data"]
    root = tmp_path / "images"
    shutil.copytree(lists, root)
    rows = [row.split()[0] for row in (root / SPEC.path(TAILED)).read_text().splitlines()]
    (root / rows[4]).write_text("no image")
    (root / rows[9]).unlink()
    found = errors(call(DOCTOR, *command, "--data", root))
    assert list(found) == ["images"] and rows[4] in found["images"] and "line 10 of" in found["images"]
    found = lines(call(DOCTOR, *command, "--data", root, "--on_bad_image", "skip"))
    assert found["images"][0][0] == "warning" and "2 bad of" in found["images"][0][1]
    one_line_error(call(*command, "--data", root), rows[4], rows[9], "--on_bad_image skip")
    assert not (tmp_path / "checkpoints").exists()


def test_some_or_all_files_are_opened(tmp_path):
    (tmp_path / "a").write_text("no image")
    paths = ["a", *[f"gone/{i}" for i in range(3 * SOME - 1)]]
    images = PathList(tmp_path / "list", paths, np.zeros(len(paths), int), "", "own")
    files = ImageFiles(str(tmp_path), images, True)
    assert len(files.bad(SOME)) == SOME and len(files.bad(len(paths))) == len(files.bad(10**9)) == len(paths)
    assert [int(re.search(r"line (\d+)", m)[1]) for m in files.bad(3)] == [1, SOME + 1, 2 * SOME + 1]
    with pytest.raises(InputError, match=f"line 1 of.*line 4 of.*line 7 of.*; {SOME - 3} more"):
        ImageFiles(str(tmp_path), images, True, "error")


def test_all_images_on_request(call, tmp_path, lists, monkeypatch):
    root = tmp_path / "images"
    shutil.copytree(lists, root)
    rows = (root / SPEC.path(TAILED)).read_text().splitlines()
    (root / rows[1].split()[0]).write_text("no image")  # between the first and the second that are opened
    monkeypatch.setattr("utils.preflight.SOME", 20)
    command = ["train_simCLR.py", "run", *FILES_PRETRAIN, "--data", root]
    assert lines(call(DOCTOR, *command))["images"][0] == ("ok", "0 bad of 20 that were opened")
    assert "line 2 of" in errors(call(DOCTOR, "--all_images", *command))["images"]


@pytest.mark.parametrize("images", [np.zeros((4, 8, 8, 3), np.uint8), np.zeros((4, 16, 16, 3)), np.zeros((4, 16, 16))])
def test_images_of_another_shape(monkeypatch, images):
    monkeypatch.setattr(data.datasets, "_digits", lambda train, size: (images, np.zeros(4, int)))
    with pytest.raises(InputError, match=r"digits .*not uint8 \[N, 16, 16, 3\]"):
        data.datasets.load("digits", "", train=True)


@pytest.mark.parametrize("words", [["train_other.py", "x"], ["--nonsense"], ["nonsense", "train_simCLR.py", "x"]])
def test_unknown_scripts_and_options(call, words):
    one_line_error(call(DOCTOR, *words), words[0])


def test_a_run_that_is_there(call, tmp_path):
    command = ["train_simCLR.py", "run", *PRETRAIN, *SDCLR, "--epochs", 4, "--save_freq", 2, "--mask_save_freq", 3]
    predicted = lines(call(DOCTOR, *command))["disk"][-1][1]
    assert call(*command).returncode == 0
    folder = tmp_path / "checkpoints" / "run"
    before = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    # Beside what is there now, one that is being written.
    most = sum(len(content) for name, content in before.items() if name.endswith(".pt")) + len(before["model.pt"])
    assert float(predicted.split(" MiB")[0]) * 2**20 == pytest.approx(most, rel=0.1)
    assert "holds a run: --resume True goes on" in errors(call(DOCTOR, *command))["checkpoint"]
    found = lines(call(DOCTOR, *command, "--resume"))
    assert found["folder"][0][0] == "ok" and "resuming from" in found["checkpoint"][0][1]
    assert "--epochs was 4, is 3" in errors(call(DOCTOR, *command, "--resume", "--epochs", 3))["checkpoint"]
    assert {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert read_checkpoint(folder / "model.pt")["epoch"] == 4


def test_of_several_processes(call, monkeypatch, lists):
    monkeypatch.setenv("WORLD_SIZE", "3")
    command = ["train_imagenet.py", "run", *FILES_PROBE, "--data", lists]
    assert "not divisible by 3" in errors(call(DOCTOR, *command, "--batch-size", 64))["batch"]
    found = lines(call(DOCTOR, *command, "--batch-size", 48))
    assert "3 process(es)" in found["command line"][0][1] and found["time"][0][0] == "ok"


@pytest.mark.parametrize(("version", "level"), [("0.1", "warning"), (None, "error")])
def test_packages_that_are_other_or_not_there(call, monkeypatch, version, level):
    real = metadata.version

    def installed(name):
        if name == "scipy" and version is None:
            raise metadata.PackageNotFoundError
        return version if name == "scipy" else real(name)

    monkeypatch.setattr(metadata, "version", installed)
    found = lines(call(DOCTOR))
    assert [(entry[0], "scipy" in entry[1]) for entry in found["packages"]][0] == (level, True)
    assert ("processor" in found) == (level == "warning")


def test_what_a_step_saves_and_puts_out():
    model = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 1))
    images = torch.rand(64, 10)

    def loader(n):
        return [SimpleNamespace(views=images[:n], index=torch.arange(n))]

    compute = SimpleNamespace(device=torch.device("cpu"), stream=None)
    compute.autocast = lambda: torch.autocast("cpu", enabled=False)
    compute.update = lambda loss, optimizer: loss.backward()
    work = utils.estimate.Work(loader, lambda batch: model(batch.views).sum(), None, 64, 64, 0)
    (few, output), (more, _) = (utils.estimate._sizes(work, compute, n) for n in (8, 16))
    assert output == 8 * 20 * 4
    # The first layer's input, a part of all images, is one storage; tanh's output is what grows.
    assert more - few == 8 * 20 * 4


def test_free_memory_is_some_of_the_machine():
    free = utils.machine.free_memory()
    assert free is None or 2**20 < free < 2**50
