"""transfer.sh: one probe a set and the table; its options; mistakes before anything is written."""

import hashlib
import os
import re
import shlex
import subprocess

import pytest
import torch

from data.sets.registry import TRANSFER_SETS
from recipes.transfer import __main__ as transfer
from tests.conftest import PROJECT, one_line_error
from tests.features.sources import ten
from tests.transfer_trees import make, take

SCRIPT = PROJECT / "cmds" / "shell_scrips" / "transfer.sh"
PROBED = "-m probe --checkpoint {0}/a.pt --dataset {1} --data {0}/sets --protocol bcl-transfer --save-dir"


def dry(folder, *words: str) -> list[list[str]]:
    """The commands of a dry run in a folder."""
    env = {**os.environ, "DRY_RUN": "1"}
    done = subprocess.run([SCRIPT, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def test_commands_with_paths_of_the_caller(tmp_path):
    *probes, table = dry(tmp_path, "--checkpoint", "a.pt", "--data", "sets", "--root", "kept", "--select_wd")
    kept = tmp_path / "kept"
    for name, words in zip(TRANSFER_SETS, probes, strict=True):
        wanted = PROBED.format(tmp_path, name).split()
        assert words[1:] == [*wanted, f"{kept}/checkpoints_transfer_tune", "--select_wd=True", "--resume=True"]
    assert table[1:] == ["exp_analyse.py", "--paper", "bcl", "--table", "4", "--root", str(kept), "--probe",
                         "bcl-transfer"]  # fmt: skip
    some = dry(tmp_path, "--checkpoint", "/a.pt", "--data", "/d", "--sets", "dogs", "cub", "--protocols",
               "sgd-transfer", "--check", "--epochs", "3")  # fmt: skip
    assert [words[words.index("--dataset") + 1] for words in some[:-1]] == ["dogs", "cub"]
    assert some[0][3:5] == ["--checkpoint", "/a.pt"]
    assert some[0][-2:] == ["--epochs=3", "--check=True"] and "sgd-transfer" in some[0]


def test_help_needs_no_python(tmp_path):
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([SCRIPT, "--help"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "--sets cub cars aircraft dogs nabirds" in done.stdout


def test_mistakes_are_one_line_and_leave_nothing(call, tmp_path, monkeypatch):
    monkeypatch.setenv("RECIPE_CALLER", str(tmp_path))
    torch.save(ten(small=True).state_dict(), tmp_path / "ten.pth")
    small = make("cub", tmp_path / "sets")
    take(small, monkeypatch.setattr)
    before = set(tmp_path.rglob("*"))
    words = ["--checkpoint", "ten.pth", "--data", "sets", "--root", tmp_path]
    for options, *parts in (
        (words, "cars is not in", "stanford_cars"),
        (["--checkpoint", "gone.pt", *words[2:]], "gone.pt does not exist"),
        ([*words, "--sets", "cats"], "--sets"),
        ([*words, "--protocols", "bcl-full"], "--protocols"),
        (words[2:], "--checkpoint"),
        ([*words, "--what"], "--what"),
    ):
        one_line_error(call("recipes/transfer/__main__.py", *options), *parts)
        assert set(tmp_path.rglob("*")) == before


def test_a_half_unpacked_set_is_told_before_the_first_one_is_probed(call, tmp_path, monkeypatch):
    monkeypatch.setenv("RECIPE_CALLER", str(tmp_path))
    torch.save(ten(small=True).state_dict(), tmp_path / "ten.pth")
    for name in ("cub", "aircraft"):
        take(make(name, tmp_path / "sets"), monkeypatch.setattr)
    next((tmp_path / "sets").rglob("fgvc*/**/*.jpg")).unlink()
    before = set(tmp_path.rglob("*"))
    words = ["--checkpoint", "ten.pth", "--data", "sets", "--root", tmp_path, "--sets", "cub", "aircraft"]
    done = call("recipes/transfer/__main__.py", *words)
    one_line_error(done, "aircraft")
    assert done.stdout == "" and set(tmp_path.rglob("*")) == before


def test_a_table_of_all_that_cannot_be_is_followed_by_one_of_this_checkpoint(call, tmp_path, monkeypatch):
    """Where two pre-trainings of a method have been probed, a table of all would have two numbers for one cell."""
    monkeypatch.setenv("RECIPE_CALLER", str(tmp_path))
    torch.save(ten(small=True).state_dict(), tmp_path / "ten.pth")
    take(make("cub", tmp_path / "sets"), monkeypatch.setattr)
    ran = []

    def noted(self, words, go_on=False):
        ran.append(words)
        self.failed |= go_on and words[1] == "exp_analyse.py"

    monkeypatch.setattr(transfer.Programs, "run", noted)
    words = ["--checkpoint", "ten.pth", "--data", "sets", "--root", tmp_path, "--sets", "cub"]
    assert call("recipes/transfer/__main__.py", *words).returncode == 0
    digest = hashlib.sha256((tmp_path / "ten.pth").read_bytes()).hexdigest()[:8]
    assert ran[2] == [*ran[1], "--contains", f"ten-{digest}"] and len(ran) == 3
    assert call("recipes/transfer/__main__.py", *words, "--name", "mine").returncode == 0
    assert ran[-1][-2:] == ["--contains", "mine"]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_from_a_checkpoint_to_the_table(call, tmp_path, monkeypatch):
    """Of a pre-training of ours, in this process."""
    words = ["--dataset", "digits", "--trainSplit", "digits_imbSub_with_subsets/digits_split1_D_i.npy", "--model",
             "res20_s", "--epochs", 1, "--optimizer", "sgd", "--lr", "0.1", "--temperature", "0.2", "--output_ch", 16,
             "--batch_size", 128]  # fmt: skip
    assert call("train_simCLR.py", "pre", *words).returncode == 0
    monkeypatch.setenv("RECIPE_CALLER", str(tmp_path))
    for name in ("cub", "aircraft"):
        take(make(name, tmp_path / "sets"), monkeypatch.setattr)
    ran = []

    def here(self, words, go_on=False):
        ran.append(words)
        program, rest = ("probe/__main__.py", words[3:]) if words[1] == "-m" else (words[1], words[2:])
        done = call(program, *rest)
        assert done.returncode == 0, done.stderr
        ran[-1] = done.stdout

    monkeypatch.setattr(transfer.Programs, "run", here)
    options = ["--checkpoint", "checkpoints/pre/model.pt", "--data", "sets", "--sets", "cub", "aircraft", "--root",
               tmp_path, "--epochs", 2, "--image_size", 32, "--num_workers", 0, "--no-cuda"]  # fmt: skip
    for _ in range(2):  # again: it is not refused
        assert call("recipes/transfer/__main__.py", *options).returncode == 0
    assert (
        re.search(r"^SimCLR +2 +\d", ran[-1], re.M) and "missing: SimCLR: no result of Cars, Dogs, NABirds" in ran[-1]
    )
    assert len(ran) == 6 and "Top-1" in ran[0]
