"""Training, probes and the tests that need CUDA run where few packages are installed: a GPU machine has its own."""

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from run.checkpoint import read_checkpoint
from tests.analysis.experiments import write_authors
from tests.conftest import PROJECT
from tests.scripts.test_train_scripts import PRETRAIN, PROBE, S_B
from utils.errors import InputError

# What such a machine has. Pillow comes with torchvision and with matplotlib.
THERE = {"torch", "torchvision", "numpy", "scikit-learn", "scipy", "matplotlib", "opencv-python-headless", "tqdm",
         "pytest", "pillow"}  # fmt: skip

# Python imports it at its start. The finder of files finds no module of these names, as where they are not installed.
HIDING = """
import sys
from importlib.machinery import PathFinder

class Few(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden} else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Few
"""


def required() -> set[str]:
    """Packages of requirements.txt and requirements-dev.txt."""
    texts = ((PROJECT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt"))
    return {match.lower() for text in texts for match in re.findall(r"^([\w-]+)==", text, re.M)}


def test_what_is_listed_is_required():
    assert required() > THERE and {"filelock", "safetensors", "tensorboard", "hypothesis"} <= required() - THERE


@pytest.fixture
def few(tmp_path):
    """Runs python in tmp_path, where the packages besides THERE cannot be imported; returns what it printed."""
    absent = required() - THERE
    modules = {m for m, names in packages_distributions().items() if {n.lower() for n in names} & absent}
    assert {"filelock", "safetensors", "tensorboard", "hypothesis", "xdist"} <= modules
    (tmp_path / "hiding").mkdir()
    (tmp_path / "hiding" / "sitecustomize.py").write_text(HIDING.format(hidden=sorted(modules)))
    path = os.pathsep.join([str(tmp_path / "hiding"), str(PROJECT)])
    variables = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}

    def run(*words: object, cwd: Path = tmp_path) -> str:
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_nothing_else_is_imported(few, tmp_path):
    """By the programs, nor by what the tests that need CUDA import; and folders are held, with a warning."""
    looking = """
import importlib.util, pathlib
print(importlib.util.find_spec("filelock"), importlib.util.find_spec("tqdm") is not None)
import exp_analyse, train_cifar, train_imagenet, train_simCLR, pretrain.setup, probe.setup
import benchmarks.gpu.__main__, benchmarks.gpu_study, tests.conftest, tests.gpu.conftest, tests.gpu.test_epoch
import tests.gpu.test_processes, tests.gpu.test_scripts, tests.gpu.test_steps, tests.gpu.test_views
from utils.files import locked
with locked(pathlib.Path("held/here")):
    print(pathlib.Path("held/here").is_dir())
print(pathlib.Path("held").exists())
"""
    told = few("-c", looking).splitlines()
    assert told[:3] == ["None True", "True", "False"]
    assert told[3].startswith("warning: held/here has no lock (the package filelock is not installed)")


@pytest.mark.slow
def test_pre_training_probes_and_tables(few, tmp_path):
    script = PROJECT / "train_simCLR.py"
    told = few(script, "run", *PRETRAIN, "--trainSplit", S_B, "--batch_size", 25, "--epochs", 1)
    assert "has no lock (the package filelock is not installed)" in told
    assert "resuming" in few(
        script, "run", *PRETRAIN, "--trainSplit", S_B, "--batch_size", 25, "--epochs", 1, "--resume"
    )
    words = ["--checkpoint", "checkpoints/run/model.pt", "--cvt_state_dict", "--trainSplit", S_B, "--epochs", 1]
    few(PROJECT / "train_cifar.py", "run__S_b", *PROBE, *words)
    write_authors(tmp_path, "cifar10")
    few(PROJECT / "exp_analyse.py", "--dataset", "cifar10", "--LT", "--root", tmp_path, "--out", tmp_path / "out")
    assert read_checkpoint(tmp_path / "checkpoints/run/model.pt")["epoch"] == 1


def test_a_file_of_a_package_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "weights.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(InputError, match="the package safetensors, which is not installed"):
        read_checkpoint(tmp_path / "weights.safetensors")
