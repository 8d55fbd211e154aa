"""--check: a run is set up, a few steps are done and told, nothing is written; mistakes are one line, exit code 2."""

import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import pretrain.check
import pretrain.epoch
from data.sets.registry import data_set
from methods.simclr import SimCLR
from pretrain.flags import parse
from run.check import STEPS, check_folder, checkpoint_bytes, measure_step
from run.folder import Run
from split.lists import ROOT, write_lists
from split.make_splits import make_lists
from split.open import lists_on_trial
from tests.conftest import PROJECT, interrupted_after, one_line_error, quick_first, slow_but
from tests.recipes.test_recipes import bash
from tests.scripts.test_train_imagenet import PRETRAIN as FILES_PRETRAIN
from tests.scripts.test_train_imagenet import PROBE as FILES_PROBE
from tests.scripts.test_train_imagenet import TAILED
from tests.scripts.test_train_scripts import PRETRAIN, PROBE, SDCLR
from tests.warm import python
from utils.errors import InputError
from utils.text import duration

pytestmark = pytest.mark.usefixtures("one_thread")
MISSING = ["--checkpoint", "later.pt", "--cvt_state_dict", "--bnNameCnt", "0"]


def lists() -> dict[str, float]:
    """The files below split/, and when they were written."""
    return {str(path): path.stat().st_mtime for path in ROOT.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture
def checked(call, tmp_path):
    """Run a script with --check; returns what it printed, after looking that it wrote nothing."""

    def run(*command: object) -> str:
        before = lists()
        done = call(*command, "--check")
        assert done.returncode == 0, done.stderr
        assert not list(tmp_path.iterdir()) and lists() == before
        assert done.stdout.splitlines()[-1] == "nothing was written"
        return done.stdout

    return run


@pytest.mark.parametrize(
    "options",
    quick_first(
        [
            [],
            [*SDCLR, "--bcl", "--optimizer", "adam", "--augment", "pillow"],
            ["--focal", "--monitor", "knn", "--precision", "fp32"],
        ]
    ),
)
def test_a_step_of_pretraining(checked, options):
    said = checked("train_simCLR.py", "run", *PRETRAIN, "--epochs", 7, *options)
    assert "405 images of digits, 6 to 120 a class" in said
    assert re.search(r"^a step of 256 images took \d[\d.]* s, the first one \d[\d.]* s; \d.* of memory$", said, re.M)
    assert re.search(r"^the run: 7 epochs of 2 steps, about .* of checkpoints in checkpoints/run, .* free$", said, re.M)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epochs", 3], "the probe: 3 epochs of 1,200 images"),
        (["--epochs", 3, "--fixto", "nothing", "--fixbn", "False"], "the probe: 3 epochs of 1,200 images"),
        ([*MISSING, "--untrained", "--epochs", 3], "warning: later.pt is not there yet"),
    ],
)
def test_a_step_of_a_probe(checked, options, words):
    said = checked("train_cifar.py", "digits_split1_D_i", *PROBE, *options)
    assert words in said and "train: digits_trainIdxList.npy, 1,200 images" in said
    assert re.search(r"images took \d[\d.]* s, the first ones \d[\d.]* s; ", said)


def test_a_step_of_bcls_probes(checked):
    probe = ["--dataset", "digits", "--model", "res20_s", "--protocol", "bcl-50shot", "--epochs", 2]
    said = checked("train_cifar.py", "digits_split1_D_i", *probe)
    assert "features of 128 images took" in said
    assert "the probe: 900 images" in said  # five lists of 100, and 400 test images


@pytest.mark.slow
def test_steps_on_image_files(checked, images, monkeypatch):
    monkeypatch.setattr("split.open.ROOT", images[1])
    said = checked("train_simCLR.py", "run", *FILES_PRETRAIN, "--data", images[0])
    assert "a step of 48 images" in said
    said = checked("train_imagenet.py", f"{TAILED}_res10_x", *FILES_PROBE, "--data", images[0], "--epochs", 1)
    assert "test: ImageNet_100_test.txt, 200 images" in said and "images took" in said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["train_simCLR.py", "run", *PRETRAIN, "--trainSplit", "none.npy"], ["none.npy"]),
        (["train_simCLR.py", "run", *PRETRAIN, "--checkpoint", "none.pt"], ["none.pt"]),
        (["train_simCLR.py", "run", *PRETRAIN, "--batch_size", "1"], ["batch"]),
        (["train_simCLR.py", "run", "--dataset", "cifar", "--data", "empty", "--download"], ["empty"]),
        (["train_cifar.py", "x", *PROBE, *MISSING], ["later.pt"]),
        (["train_cifar.py", "x", *PROBE, "--test_only"], ["best_model.pt"]),
        (["train_imagenet.py", "x", *FILES_PROBE, "--data", "none"], ["none"]),
    ],
)
def test_what_is_wrong_is_told(call, tmp_path, command, words):
    before = lists()
    one_line_error(call(*command, "--check"), *words)
    assert not list(tmp_path.iterdir()) and lists() == before


@pytest.mark.slow
def test_a_folder_that_holds_a_run(call, tmp_path):
    with interrupted_after(Run, 2):
        assert call("train_simCLR.py", "run", *PRETRAIN, "--epochs", 3).returncode == 1
    before = {path: path.stat().st_mtime for path in tmp_path.rglob("*")}
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN, "--epochs", 3, "--check"), "holds a run")
    done = call("train_simCLR.py", "run", *PRETRAIN, "--epochs", 3, "--check", "--resume")
    assert "resuming from" in done.stdout and "the run: 1 epochs of 2 steps" in done.stdout
    assert {path: path.stat().st_mtime for path in tmp_path.rglob("*")} == before


@pytest.mark.slow
def test_a_full_disk_and_a_folder_that_cannot_be_written(call, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN, "--save-dir", "file", "--check"), "file cannot be written")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN, "--check"), "1 MiB are free")
    assert check_folder(tmp_path / "a" / "b", 2**20) == "1 MiB free"
    with pytest.raises(InputError):
        check_folder(tmp_path / "a" / "b", 2**20 + 1)


@pytest.mark.slow
def test_its_steps_are_those_of_the_runs_next_epoch(call, monkeypatch):
    """By the rate of the schedule, which begins at lr / (10 steps), and what the method changes from step to step."""
    words, found, started = ["train_simCLR.py", "run", *PRETRAIN, "--epochs", "1"], [], []
    monkeypatch.setattr(SimCLR, "start_step", lambda self, done: started.append(done))
    for module in (pretrain.check, pretrain.epoch):

        def step(training, *args, original=module.step, **more):
            found.append((training.optimizer.param_groups[0]["lr"], started[-1]))
            return original(training, *args, **more)

        monkeypatch.setattr(module, "step", step)
    assert call(*words, "--check").returncode == 0
    checked = found.copy()
    found.clear()
    assert call(*words).returncode == 0
    assert [done for _, done in found] == [0, 0.5] and checked == [*found, *found]


@pytest.mark.parametrize("bad", [1, 3])
def test_a_loss_that_is_not_finite_is_told_of_any_step(call, monkeypatch, bad):
    steps, original = [], pretrain.check.step

    def step(*args):
        steps.append(original(*args))
        return steps[-1]._replace(losses=steps[-1].losses / (len(steps) < bad))

    monkeypatch.setattr(pretrain.check, "step", step)
    one_line_error(
        call("train_simCLR.py", "run", *PRETRAIN, "--check"), "the loss of a step is inf: lower the learning"
    )
    assert len(steps) == bad


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "done"), [("sgd", 0), ("lars", 0), ("adam", 0), ("adam", 2)])
def test_the_checkpoints_of_all_phases_are_counted(call, tmp_path, monkeypatch, optimizer, done):
    """Those of DnC's experts hold many networks; the check is of a new run, or of one after so many epochs."""
    words = ["train_simCLR.py", "run", *PRETRAIN, "--method", "dnc", "--dnc_clusters", "3", "--dnc_base", "sdclr"]
    words += ["--epochs", "5", "--save_freq", "2", "--mask_save_freq", "1", "--optimizer", optimizer, "--lr", "1e-3"]
    checked, folder, resume = [], tmp_path / "checkpoints/run", ["--resume"] if done else []
    monkeypatch.setattr(pretrain.check, "check_folder", lambda folder, needed: checked.append(needed) or "enough free")
    if done:
        with interrupted_after(Run, done):
            assert call(*words).returncode == 1
    before = {path.name for path in folder.glob("m*_*.pt")}
    assert call(*words, *resume, "--check").returncode == 0
    assert call(*words, *resume).returncode == 0
    files = {path.name: path.stat().st_size for path in folder.glob("m*_*.pt")}
    assert files.keys() == {"mask_1.pt", "model_2.pt", "model_4.pt", "model_5.pt"}
    # Of experts, of which model_2 and model_4 are, is also the largest model.pt and the one before it.
    wanted = sum(files[name] for name in files.keys() - before) + 2 * files["model_4.pt"]
    assert checked == [pytest.approx(wanted, rel=0.01)] and files["model_4.pt"] > 1.1 * files["model_5.pt"]


@pytest.mark.slow
def test_a_quiet_check_is_a_line(call, tmp_path):
    done = call("train_simCLR.py", "run", *PRETRAIN, "--epochs", 7, "--check", "--quiet")
    assert re.fullmatch(r"checked run: 7 epochs of pre-training, about .+\n", done.stdout), done.stdout
    done = call("train_cifar.py", "digits_split1_D_i", *PROBE, "--epochs", 3, "--check", "--quiet")
    assert re.fullmatch(r"checked digits_split1_D_i: a probe, about .+\n", done.stdout), done.stdout
    assert not list(tmp_path.iterdir())


def test_what_a_run_would_download_is_told(call, tmp_path):
    command = ["train_simCLR.py", "run", "--dataset", "cifar", "--data", "later", "--check", "--download"]
    assert "--download" not in one_line_error(call(*command), "later", "a run would download it")
    assert not list(tmp_path.iterdir())


def test_lists_made_on_trial(call, tmp_path, monkeypatch):
    """They are generated ones; a published list that is missing is fetched by a run, which a check does not."""
    for name in ("split.open", "split.lists"):
        monkeypatch.setattr(f"{name}.ROOT", tmp_path / "split")
    digits = data_set("digits")
    with lists_on_trial() as lists:
        assert lists.open(digits.train_list, digits.open("")).source == "generated"
    cifar = data_set("cifar10")
    write_lists(make_lists(cifar, np.arange(50_000) % 10, (1,)), tmp_path / "split")
    gone = tmp_path / "split" / cifar.val_list
    gone.unlink()
    monkeypatch.setattr("split.ensure.origin", lambda sha1: ("published", "cifar10"))
    with pytest.raises(InputError, match="a run would fetch it") as error, lists_on_trial() as lists:
        opened = SimpleNamespace(dataset=cifar, lists_from=np.arange(50_000) % 10, listed=lambda name: None)
        lists.open(cifar.val_list, opened)
    assert "/tmp" not in str(error.value)


def test_untrained_is_of_checks_alone(call):
    one_line_error(call("train_cifar.py", "x", *PROBE, "--untrained"), "--untrained", "--check")


def test_a_check_changes_no_setting_of_a_run(monkeypatch):
    """A checkpoint is resumed whether or not the run was checked before."""
    words = ["train_simCLR.py", "run", *PRETRAIN]
    monkeypatch.setattr("sys.argv", words)
    assert parse("").check is False


def test_the_parts():
    calls = []
    step = measure_step(lambda: calls.append(1) or 5, torch.device("cpu"))
    assert len(calls) == 1 + STEPS and step.images == 5 and min(step.first, step.seconds) >= 0
    assert [duration(s) for s in (0.5, 119, 120, 7199, 7200, 172800)] == [
        "0.5 s", "119 s", "2 minutes", "120 minutes", "2 hours", "2 days"
    ]  # fmt: skip
    content = {"a": torch.zeros(1000, 1000)}
    assert 4e6 < checkpoint_bytes(content) < 4.1e6


# ---- in two processes, and in recipes


@pytest.mark.slow
def test_two_processes(tmp_path):
    program = [python(), "-m", "recipes.launch", "--nproc_per_node=2", str(PROJECT / "train_simCLR.py")]
    command = [*program, "run", *PRETRAIN, *SDCLR, "--epochs", "2", "--check"]
    environment = {"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "2 process(es) on cpu" in done.stdout and done.stdout.count("a step of 256 images") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture
def project(project_copy, tmp_path):
    """A copy without lists, in which nothing is written."""
    copy = tmp_path / "project"
    ignore = shutil.ignore_patterns("digits", "digits_imbSub*", "checkpoints*", "generated.tsv")
    shutil.copytree(project_copy, copy, ignore=ignore)
    before = {path for path in copy.rglob("*") if "__pycache__" not in path.parts}
    yield copy
    assert {path for path in copy.rglob("*") if "__pycache__" not in path.parts} == before


@pytest.mark.slow
@pytest.mark.parametrize("more", slow_but([], [[], ["--paper", "bcl"]]))
def test_a_recipe_checks_each_of_its_steps(project, more):
    options = ["--split", "digits_split1_D_i", "--method", "sdclr", "-w", "0", "--check", "True", *more]
    done = bash(project, "shell_scrips/digits-LT.sh", *options)
    assert done.returncode == 0, done.stderr
    steps = 4 if more else 3
    assert done.stdout.count("nothing was written") == steps
    assert done.stdout.count("is not there yet: checked with random weights") == steps - 1
    assert "was missing: generated" in done.stdout


def test_a_recipe_tells_all_that_is_wrong(project):
    options = ["--split", "digits_split1_D_i", "--only_finetuning", "True", "-w", "0", "--check", "True"]
    done = bash(project, "shell_scrips/digits-LT.sh", *options)
    assert done.returncode == 2
    assert done.stderr.count("model_100.pt does not exist") == 2


@pytest.mark.slow
def test_one_bad_recipe_does_not_end_the_check_of_all(project):
    options = ["-w", "0", "--check", "True", "--only_finetuning", "True", "--few_shot_only", "True"]
    done = bash(project, "reproduce.sh", "digits", "simclr", "--", *options, SPLITS="1 2")
    assert done.returncode == 2 and done.stdout.count("== digits, split") == 2
    assert done.stderr.count("model_100.pt does not exist") == 2


@pytest.mark.slow
def test_all_splits_are_checked(project):
    done = bash(project, "reproduce.sh", "digits", "simclr", "--", "-w", "0", "--check", "True", SPLITS="1 2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing was written") == 6 and "Many" not in done.stdout
