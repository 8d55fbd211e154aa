"""An interrupted run ends with exactly the weights of an undisturbed one, or with one line."""

import errno
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import run.checkpoint
import run.folder
import utils.files
from run.checkpoint import newest_checkpoint, previous_of, read_checkpoint, write_checkpoint
from run.log import Log
from tests.conftest import PROJECT, one_line_error, quick_first, slow_but
from tests.scripts.test_train_scripts import D_I, PRETRAIN, PROBE, S_B, SDCLR, same
from tests.warm import environment, free_port, python
from utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 3  # an epoch's: 50 images in batches of 20
SMALL = [*PRETRAIN, "--trainSplit", S_B, "--batch_size", "20", "--lr", "0.1", "--epochs", "3", "--print_freq", "2"]
BOOSTED = ["--bcl", "--rand_k", "2", "--momentum_loss_beta", "0.5"]
METHODS = {
    "simclr": ["--optimizer", "lars"],
    "sdclr": [*SDCLR, "--random_prune_percent", "0.3"],
    "focal": ["--focal", "--optimizer", "adam", "--augment", "pillow", "--precision", "fp32"],
    "bcl-i": ["--bcl"],
    "bcl-d": [*SDCLR, *BOOSTED],
    "ts": ["--temperature_schedule", "0.1,1.0,3"],
    "rwsam": ["--method", "rwsam", "--rwsam_every", "2"],
    "bcl-i+gh": [
        "--bcl", "--gh", "--gh_classes", "9", "--gh_warmup", "1", "--gh_refresh", "1", "--gh_ramp", "2",
        "--scheduler", "two-stage", "--stage_epochs", "1",
    ],
    "moclr": ["--method", "moclr", "--head_width", "24"],
    "dnc": ["--method", "dnc", "--dnc_clusters", "2", "--dnc_min", "5"],
}  # fmt: skip


def equal(a: Path, b: Path, name: str = "model.pt") -> bool:
    """Whether two runs have left the same, but for the time and their names."""
    one, other = read_checkpoint(a / name), read_checkpoint(b / name)
    assert one.keys() == other.keys()
    optimizers = [flat(content["optim"]["state"]) for content in (one, other)]
    memories = [flat(content.get("memory", {})) for content in (one, other)]
    numbers = [flat(content["random"]) for content in (one, other)]
    metrics = [[json.loads(x) for x in (p / "metrics.jsonl").read_text().splitlines()] for p in (a, b)]
    told = [[{k: v for k, v in e.items() if k != "time" and not k.endswith("_s")} for e in run] for run in metrics]
    return (
        same(one["state_dict"], other["state_dict"])
        and all(same(*pair) for pair in (optimizers, memories, numbers))
        and one.get("best_prec1") == other.get("best_prec1")
        and told[0] == told[1]
    )


def flat(value, name: str = "") -> dict[str, torch.Tensor]:
    """The numbers and tensors of nested dicts and lists, by place."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{name}.{key}").items()}
    if isinstance(value, list | tuple):
        return flat(dict(enumerate(value)), name)
    if isinstance(value, torch.Tensor):
        return {name: value}
    return {f"{name}={value}": torch.zeros(())}


@pytest.mark.parametrize("method", slow_but("bcl-d", METHODS))
def test_pretraining_interrupted_at_any_step_is_the_undisturbed_one(call, tmp_path, interrupted, method):
    options, folder = [*SMALL, *METHODS[method]], tmp_path / "checkpoints"
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    # Within each epoch, at its end, and step by step.
    for steps in ([1], [2, 3], [STEPS], [STEPS + 1, 1, 1, 1]):
        shutil.rmtree(folder / "parts", ignore_errors=True)
        interrupted(*steps)
        for _ in range(len(steps)):
            done = call("train_simCLR.py", "parts", *options, "--resume")
            assert done.returncode == 143, done.stderr
            assert "saved after epoch" in done.stderr and "--resume True goes on" in done.stderr
        done = call("train_simCLR.py", "parts", *options, "--resume")
        assert done.returncode == 0, done.stderr
        assert "resuming from checkpoints/parts/model.pt after epoch" in done.stdout
        assert equal(folder / "whole", folder / "parts"), steps
    if "--prune" in options:
        masks = [torch.load(folder / n / "mask_3.pt", weights_only=True)["pruneMask"] for n in ("whole", "parts")]
        assert same(*masks)


LEARN = ["--dataset", "digits", "--model", "res20_s", "--num_workers", "0", "--trainSplit", D_I]
SUPERVISED = {  # with the steps of an epoch of 405 images
    "ce": [*LEARN, "--protocol", "ce", "--epochs", "2", "--batch-size", "150", "--warmup", "1"],
    "la": [*LEARN, "--protocol", "la", "--epochs", "2", "--batch-size", "150", "--select", "val", "--test_freq", "1"],
    "crt": [*LEARN, "--protocol", "crt", "--epochs", "2", "--batch-size", "150", "--ce_epochs", "1"],
    "crt_bn": [
        *LEARN, "--protocol", "crt", "--epochs", "2", "--batch-size", "150", "--ce_epochs", "1", "--crt_bn", "train",
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("protocol", slow_but("crt", SUPERVISED))
def test_supervised_learning_interrupted_at_any_step_is_the_undisturbed_one(call, tmp_path, interrupted, protocol):
    """Within either stage of cRT, and at the end of the first one."""
    options, folder = SUPERVISED[protocol], tmp_path / "checkpoints_tune"
    assert call("train_cifar.py", "whole", *options).returncode == 0
    for steps in ([2], [3, 1], [4, 2]):
        shutil.rmtree(folder / "parts", ignore_errors=True)
        interrupted(*steps)
        for _ in range(len(steps)):
            done = call("train_cifar.py", "parts", *options, "--resume")
            assert done.returncode == 143, done.stderr
        done = call("train_cifar.py", "parts", *options, "--resume")
        assert done.returncode == 0, done.stderr
        for name in ("", "ce")[: 1 + protocol.startswith("crt")]:
            whole, parts = folder / "whole" / name, folder / "parts" / name
            assert equal(whole, parts) and equal(whole, parts, "best_model.pt"), (steps, name)
            found = [json.loads((each / "results.json").read_text()) for each in (whole, parts)]
            assert found[0]["per_class"] == found[1]["per_class"]


@pytest.mark.slow
@pytest.mark.parametrize("how", slow_but("whole", ["frozen", "whole"]))
def test_probe_interrupted_at_any_step_is_the_undisturbed_one(call, tmp_path, interrupted, how):
    """With features of a frozen network, of several steps at once; and with the whole network trained."""
    frozen = ["--fixto", "layer4", "--fixbn"] if how == "frozen" else ["--fixto", "nothing"]
    options = [*PROBE, *frozen, "--lr", "0.5", "--trainSplit", S_B, "--batch-size", "20", "--epochs", "3"]
    folder = tmp_path / "checkpoints_tune"
    assert call("train_cifar.py", "whole", *options).returncode == 0
    for steps in ([2], [3, 1], [4, 1, 1, 2]):
        shutil.rmtree(folder / "parts", ignore_errors=True)
        interrupted(*steps, code=85)
        for _ in range(len(steps)):
            done = call("train_cifar.py", "parts", *options, "--resume")
            assert done.returncode == 85, done.stderr
        done = call("train_cifar.py", "parts", *options, "--resume")
        assert done.returncode == 0, done.stderr
        assert equal(folder / "whole", folder / "parts") and equal(folder / "whole", folder / "parts", "best_model.pt")
        found = [json.loads((folder / name / "results.json").read_text()) for name in ("whole", "parts")]
        assert found[0]["per_class"] == found[1]["per_class"]


def test_save_steps_saves_within_an_epoch_and_the_one_before_is_kept(call, tmp_path, monkeypatch):
    saved, original = [], run.folder.write_checkpoint

    def write(path, content, previous=None):
        saved.append((path.name, content["epoch"], content.get("within", {}).get("meters", {}).get("done")))
        original(path, content, previous)

    monkeypatch.setattr(run.folder, "write_checkpoint", write)
    assert call("train_simCLR.py", "run", *SMALL, "--save_steps", "2", "--save_freq", "2").returncode == 0
    folder = tmp_path / "checkpoints/run"
    within = [("model.pt", epoch, 2) for epoch in range(3)]
    both = ("model_2.pt", 2, None), ("model.pt", 2, None)
    assert saved == [within[0], within[1], *both, within[2], ("model_3.pt", 3, None), ("model.pt", 3, None)]
    assert read_checkpoint(folder / "model.previous.pt")["within"]["meters"]["done"] == 2
    assert call("train_simCLR.py", "plain", *SMALL, "--save_freq", "2").returncode == 0
    assert equal(folder, tmp_path / "checkpoints/plain")


def test_without_a_checkpoint_it_starts_from_the_beginning_and_says_so(call):
    done = call("train_simCLR.py", "run", *SMALL, "--epochs", "1", "--resume")
    assert done.returncode == 0 and "nothing to resume in checkpoints/run; starting from random weights" in done.stdout


@pytest.mark.slow
def test_random_numbers_go_on(call, tmp_path, interrupted, monkeypatch):
    """Of Python, NumPy and torch: what a method would draw is drawn as in the undisturbed run."""
    drawn, forward = [], run.folder.Run.stepped

    def stepped(self, *args):
        drawn.append((random.random(), np.random.rand(), torch.rand(()).item()))
        forward(self, *args)

    monkeypatch.setattr(run.folder.Run, "stepped", stepped)
    random.seed(0), np.random.seed(0)
    interrupted()
    assert call("train_simCLR.py", "whole", *SMALL).returncode == 0
    whole = drawn.copy()
    drawn.clear()
    random.seed(0), np.random.seed(0)
    interrupted(5)
    assert call("train_simCLR.py", "parts", *SMALL).returncode == 143
    random.seed(1), np.random.seed(1)
    assert call("train_simCLR.py", "parts", *SMALL, "--resume").returncode == 0
    assert drawn == whole and len(set(whole)) == 3 * STEPS


# ---- what must not be lost


def test_a_run_is_not_overwritten_unless_asked(call, tmp_path):
    folder = tmp_path / "checkpoints/run"
    small = [*SMALL, "--epochs", "1"]
    assert call("train_simCLR.py", "run", *small, *SDCLR).returncode == 0
    before = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    one_line_error(call("train_simCLR.py", "run", *small), "checkpoints/run", "--resume True", "--overwrite True")
    one_line_error(call("train_simCLR.py", "run", *small, "--resume", "--overwrite"), "either resumed or overwritten")
    assert {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    done = call("train_simCLR.py", "run", *small, "--overwrite", "--seed", "2")
    assert done.returncode == 0 and not (folder / "mask_1.pt").exists()
    assert read_checkpoint(folder / "model.pt")["config"]["seed"] == 2
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_probe_is_not_overwritten_unless_asked(call, tmp_path):
    options = [*PROBE, "--trainSplit", S_B, "--epochs", "1"]
    assert call("train_cifar.py", "run", *options).returncode == 0
    one_line_error(call("train_cifar.py", "run", *options), "--overwrite True")
    one_line_error(call("train_cifar.py", "run", *options, "--test_only", "--overwrite"), "--test_only", "--overwrite")
    assert call("train_cifar.py", "run", *options, "--test_only").returncode == 0
    assert call("train_cifar.py", "run", *options, "--overwrite").returncode == 0


CHANGES = {
    "--lr 0.2": "lr was 0.1, is 0.2", "--seed 3": "seed was 1, is 3", "--model res32_s": "",
    "--temperature 0.4": "temperature", "--batch_size 25": "batch_size", "--strength 0.5": "strength",
    "--scheduler constant": "scheduler", "--augment pillow": "augment",
    f"--trainSplit {D_I}": "images are different ones",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_other_settings_are_refused(call, change, interrupted):
    interrupted(3)
    assert call("train_simCLR.py", "run", *SMALL, "--epochs", "2").returncode == 143
    done = call("train_simCLR.py", "run", *SMALL, "--epochs", "2", *change.split(), "--resume")
    one_line_error(done, CHANGES[change])


def test_settings_that_change_nothing_are_not_asked_for(call, interrupted):
    interrupted(3)
    assert call("train_simCLR.py", "run", *SMALL).returncode == 143
    harmless = ["--num_workers", "3", "--print_freq", "1", "--save_freq", "2", "--on_bad_image", "skip"]
    done = call("train_simCLR.py", "run", *SMALL, *harmless, "--resume")
    assert done.returncode == 0 and "from here on" not in done.stdout


def test_the_smallest_strength_that_was_not_given_is_a_setting_too(call, tmp_path, interrupted):
    """Of one operation it is 10. In older checkpoints it is None, which is not compared."""
    words, path = ["train_simCLR.py", "run", *SMALL, "--bcl"], tmp_path / "checkpoints/run/model.pt"
    interrupted(3, 1, 1)
    assert call(*words).returncode == 143
    content = read_checkpoint(path)
    assert content["config"]["rand_floor"] == 10
    one_line_error(call(*words, "--rand_floor", "25", "--resume"), "rand_floor was 10.0, is 25.0")
    done = call(*words, "--rand_floor", "10", "--resume")
    assert done.returncode == 143 and "from here on" not in done.stdout
    content["config"]["rand_floor"] = None
    write_checkpoint(path, content)
    assert call(*words, "--resume").returncode == 143


# ---- damaged files, full disks


@pytest.fixture
def two(tmp_path) -> Path:
    """A folder with model.pt of epoch 2 and the one before."""
    for epoch in (1, 2):
        state = {"a": torch.arange(4000.0) * epoch}
        write_checkpoint(tmp_path / "model.pt", {"epoch": epoch, "state_dict": state}, tmp_path / "model.previous.pt")
    return tmp_path


def test_every_reader_of_checkpoints_reads_those_with_a_checksum(two):
    for options in ({"weights_only": True}, {"weights_only": False}, {"weights_only": True, "mmap": True}):
        content = torch.load(two / "model.pt", **options)
        assert content["epoch"] == 2 and torch.equal(content["state_dict"]["a"], torch.arange(4000.0) * 2)
    torch.save(content, two / "again.pt")  # somebody else's, without one
    assert read_checkpoint(two / "again.pt")["epoch"] == 2


def damages(data: bytes, seed: int) -> bytes:
    """Truncated, or up to five bytes changed."""
    rng = random.Random(seed)
    if seed % 2:
        return data[: rng.randrange(len(data))]
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        damaged[rng.randrange(len(data))] ^= rng.randint(1, 255)
    return bytes(damaged)


@pytest.mark.parametrize("seed", range(60))
def test_of_a_damaged_checkpoint_the_one_before_is_used(two, seed):
    path = two / "model.pt"
    path.write_bytes(damages(path.read_bytes(), seed))
    found, content, reasons = newest_checkpoint(two)
    assert found == previous_of(path) and content["epoch"] == 1 and str(path) in reasons
    with pytest.raises(InputError, match="truncated or damaged"):
        read_checkpoint(path)
    found.write_bytes(damages(found.read_bytes(), seed + 1))
    with pytest.raises(InputError, match=r"model\.pt .*model\.previous\.pt "):
        newest_checkpoint(two)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_of_weights_that_are_not_finite_the_checkpoint_before_is_used(two, value):
    """The checksum is right: they were damaged before they were written."""
    state = {"a": torch.arange(3), "b": torch.tensor([0.0, value])}
    state |= {"c": torch.zeros(2).to(torch.float8_e4m3fn)}
    write_checkpoint(two / "model.pt", {"epoch": 2, "state_dict": state})
    write_checkpoint(two / "model_3.pt", {"epoch": 3, "state_dict": state})
    found, content, reasons = newest_checkpoint(two)
    assert found.name == "model.previous.pt" and content["epoch"] == 1
    assert all(f"{two / name} is damaged: b is not finite" in reasons for name in ("model.pt", "model_3.pt"))
    write_checkpoint(two / "model.previous.pt", {"epoch": 1, "state_dict": state})
    with pytest.raises(InputError, match=r"model\.pt is damaged.*model\.previous\.pt is damaged"):
        newest_checkpoint(two)


@pytest.mark.parametrize("place", [-1, -30, -64, -71, -72, -73])
def test_damage_in_the_checksum_itself_is_noticed(two, place):
    data = bytearray((two / "model.pt").read_bytes())
    data[place] ^= 1
    (two / "model.pt").write_bytes(data)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_checkpoint(two / "model.pt")


def test_numbered_checkpoints_are_the_last_resort(two):
    for name, epoch in (("model_9.pt", 9), ("model_10.pt", 10), ("model_x.pt", 11)):
        shutil.copy(two / "model.pt", two / name)
        write_checkpoint(two / name, {"epoch": epoch, "state_dict": {}})
    (two / "model.pt").write_bytes(b"")
    (two / "model.previous.pt").unlink()
    path, content, _ = newest_checkpoint(two)
    assert path.name == "model_10.pt" and content["epoch"] == 10
    assert newest_checkpoint(two / "none") is None


@pytest.mark.slow
def test_a_run_goes_on_from_the_one_before_and_does_not_lose_it(call, tmp_path, interrupted):
    folder, options = tmp_path / "checkpoints", [*SMALL, "--save_steps", "1"]
    interrupted()
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    interrupted(5, 1)
    assert call("train_simCLR.py", "run", *options).returncode == 143
    whole = (folder / "run/model.previous.pt").read_bytes()
    (folder / "run/model.pt").write_bytes(b"PK damaged")
    done = call("train_simCLR.py", "run", *options, "--resume")
    assert done.returncode == 143 and "truncated or damaged" in done.stdout and "model.previous.pt" in done.stdout
    # The damaged one was written over; the whole one is still there.
    assert (folder / "run/model.previous.pt").read_bytes() == whole
    assert call("train_simCLR.py", "run", *options, "--resume").returncode == 0
    assert equal(folder / "whole", folder / "run")
    for path in (folder / "run").glob("model*.pt"):
        path.write_bytes(b"")
    one_line_error(call("train_simCLR.py", "run", *options, "--resume"), "model.pt", "truncated or damaged")


@pytest.mark.slow
def test_a_run_killed_between_its_last_two_files_ends_with_both(call, tmp_path, monkeypatch):
    """model_<epoch>.pt is written first; the soak met a model.pt of an earlier epoch in a run that was through."""
    folder, original = tmp_path / "checkpoints", run.folder.write_checkpoint
    options = [*SMALL, "--epochs", "3", "--save_steps", "1"]
    assert call("train_simCLR.py", "whole", *options).returncode == 0

    def killed(path: Path, content: dict, previous: Path | None = None) -> None:
        if path.name == "model.pt" and content["epoch"] == 3:
            raise KeyboardInterrupt
        original(path, content, previous)

    with monkeypatch.context() as patch:
        patch.setattr(run.folder, "write_checkpoint", killed)
        assert call("train_simCLR.py", "run", *options).returncode == 1
    before = (folder / "run/model.pt").read_bytes()
    assert read_checkpoint(folder / "run/model_3.pt")["epoch"] == 3 > read_checkpoint(folder / "run/model.pt")["epoch"]
    done = call("train_simCLR.py", "run", *options, "--resume")
    assert done.returncode == 0 and "model_3.pt after epoch 3 (finished)" in done.stdout, done.stderr
    assert equal(folder / "whole", folder / "run")
    assert (folder / "run/model.pt").read_bytes() == (folder / "run/model_3.pt").read_bytes()
    assert (folder / "run/model.previous.pt").read_bytes() == before


@pytest.mark.parametrize("links", [True, False])
def test_a_full_disk_leaves_the_last_good_file(two, monkeypatch, links):
    before = {p.name: p.read_bytes() for p in two.iterdir()}
    content = {"epoch": 3, "state_dict": {"a": torch.zeros(10**5)}}
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))  # the kernel refuses longer files
    try:
        with pytest.raises(InputError, match=r"model\.pt cannot be written"):
            write_checkpoint(two / "model.pt", content, two / "model.previous.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {p.name: p.read_bytes() for p in two.iterdir()} == before
    write_checkpoint(two / "model.pt", content, two / "model.previous.pt")
    assert [read_checkpoint(two / n)["epoch"] for n in ("model.pt", "model.previous.pt")] == [3, 2]
    assert sorted(p.name for p in two.iterdir()) == ["model.previous.pt", "model.pt"]


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_in_one_line(call, tmp_path, monkeypatch, interrupted):
    interrupted()
    fsync, calls = os.fsync, itertools.count()

    def full(descriptor):
        if next(calls) >= 6:  # two for each file: views.png, model.pt of two steps
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(utils.files.os, "fsync", full)
    done = call("train_simCLR.py", "run", *SMALL, "--save_steps", "1")
    assert done.returncode == 2 and "cannot be written: No space left on device" in done.stderr
    monkeypatch.undo()
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in (folder / "run").glob("*model*")) == ["model.previous.pt", "model.pt"]
    monkeypatch.chdir(tmp_path)
    assert call("train_simCLR.py", "run", *SMALL, "--resume").returncode == 0
    assert call("train_simCLR.py", "whole", *SMALL).returncode == 0
    assert equal(folder / "whole", folder / "run")


# ---- real signals, two processes


def start(*command: str, folder: Path, **options) -> subprocess.Popen:
    variables = environment(PYTHONPATH=str(PROJECT), OMP_NUM_THREADS="1")
    return subprocess.Popen(
        [python(), *command], cwd=folder, env=variables, text=True, stderr=subprocess.PIPE, **options
    )


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 85)]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_signals_save_and_end(call, tmp_path, number, code):
    options = list(map(str, [*SMALL, "--epochs", 15, "--print_freq", 1, *SDCLR, *BOOSTED]))
    run = start(str(PROJECT / "train_simCLR.py"), "parts", *options, folder=tmp_path, stdout=subprocess.PIPE)
    for line in run.stdout:
        if line.startswith("Epoch: [2][1"):
            break
    pid = int((tmp_path / "checkpoints/parts/lock").read_text().split()[1])
    os.kill(pid, number)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == code and errors.startswith("interrupted: ") and "goes on" in errors
    assert not (tmp_path / "checkpoints/parts/lock").exists()
    content = read_checkpoint(tmp_path / "checkpoints/parts/model.pt")
    assert content["epoch"] >= 1
    assert call("train_simCLR.py", "parts", *options, "--resume").returncode == 0
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    assert equal(tmp_path / "checkpoints/whole", tmp_path / "checkpoints/parts")


def test_two_runs_of_one_experiment(call, tmp_path):
    options = list(map(str, [*SMALL, "--epochs", 1000, "--print_freq", 1]))
    run = start(str(PROJECT / "train_simCLR.py"), "run", *options, folder=tmp_path, stdout=subprocess.PIPE)
    _ = run.stdout.readline(), run.stdout.readline()  # the first is in the log by the second
    pid = (tmp_path / "checkpoints/run/lock").read_text().split()[1]
    log = (tmp_path / "checkpoints/run/log.txt").read_text()
    one_line_error(call("train_simCLR.py", "run", *options, "--resume"), "in use", pid)
    assert (tmp_path / "checkpoints/run/log.txt").read_text().startswith(log)
    os.kill(int(pid), signal.SIGKILL)
    run.communicate(timeout=60)
    done = call("train_simCLR.py", "run", *SMALL, "--epochs", "1", "--overwrite")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bcl-d", "ts", "rwsam", "bcl-i+gh", "moclr"])
def test_two_processes_stop_together_and_go_on_to_the_bit(script, tmp_path, method):
    """The signal comes to the main process alone; both save after the same step."""
    options = list(map(str, [*SMALL, *METHODS[method], "--print_freq", 1, "--epochs", 8]))

    def command(name: str, *more: str) -> list[str]:
        launch = ["-m", "recipes.launch", "--nproc_per_node=2", f"--master_port={free_port()}"]
        return [*launch, str(PROJECT / "train_simCLR.py"), name, *options, *more]

    run = start(*command("parts"), folder=tmp_path, stdout=subprocess.PIPE)
    for line in run.stdout:
        if line.startswith("Epoch: [2][0"):
            break
    os.kill(int((tmp_path / "checkpoints/parts/lock").read_text().split()[1]), signal.SIGUSR1)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 85 and errors.count("interrupted: ") == 1, errors
    done = script(*command("parts", "--resume"), env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0 and "resuming from" in done.stdout, done.stderr
    assert script(*command("whole"), env={"OMP_NUM_THREADS": "1"}).returncode == 0
    folder = tmp_path / "checkpoints"
    assert len(read_checkpoint(folder / "whole/model.pt")["random"]) == 2
    assert equal(folder / "whole", folder / "parts")
    again = script(str(PROJECT / "train_simCLR.py"), "parts", *options, "--resume")
    one_line_error(again, "the number of processes was 2, is 1")


# ---- further cases


def test_processes_that_see_different_checkpoints_stop(call, monkeypatch):
    gather = run.folder.gather_objects
    monkeypatch.setattr(run.folder, "gather_objects", lambda item: [*gather(item), ("nothing to resume", True)])
    one_line_error(call("train_simCLR.py", "run", *SMALL), "different checkpoints")


def test_overwriting_removes_a_run_and_nothing_else(call, tmp_path):
    folder, small = tmp_path / "checkpoints/run", [*SMALL, "--epochs", "2", "--save_freq", "1"]
    assert call("train_simCLR.py", "run", *small, *SDCLR).returncode == 0
    for name in ("models.pt", "model_best.pt", "notes.txt"):
        (folder / name).write_text("mine")
    done = call("train_simCLR.py", "run", *small, "--overwrite", "--checkpoint", "checkpoints/run/model_1.pt")
    one_line_error(done, "overwriting would remove checkpoints/run/model_1.pt")
    assert call("train_simCLR.py", "run", *SMALL, "--epochs", "1", "--overwrite").returncode == 0
    left = {
        "model.pt",
        "model_1.pt",
        "log.txt",
        "metrics.jsonl",
        "views.png",
        "models.pt",
        "model_best.pt",
        "notes.txt",
        "tensorboard",
    }
    assert {p.name for p in folder.iterdir()} == left
    assert "--prune" not in (folder / "log.txt").read_text()


def test_results_without_a_checkpoint_are_a_run_too(call, tmp_path):
    folder, options = tmp_path / "checkpoints_tune/run", [*PROBE, "--trainSplit", S_B, "--epochs", "2"]
    assert call("train_cifar.py", "run", *options).returncode == 0
    for name in ("model.pt", "model.previous.pt"):
        (folder / name).unlink()
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    one_line_error(call("train_cifar.py", "run", *options), "holds a run")
    one_line_error(call("train_cifar.py", "run", *options, "--resume"), "no checkpoint to resume", "--overwrite True")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.slow
def test_bcls_probes_on_features_are_not_written_over_either(call, tmp_path):
    assert call("train_simCLR.py", "a", *SMALL, "--epochs", "0").returncode == 0
    options = ["--dataset", "digits", "--model", "res20_s", "--protocol", "bcl-50shot", "--epochs", "2"]
    options += ["--checkpoint", "checkpoints/a/model_0.pt", "--cvt_state_dict"]
    assert call("train_cifar.py", "run", *options).returncode == 0
    file = tmp_path / "checkpoints_tune/run/results.json"
    before = file.read_text()
    one_line_error(call("train_cifar.py", "run", *options, "--seed", "3"), "holds a run")
    assert file.read_text() == before
    for more in ("--resume", "--overwrite"):
        assert call("train_cifar.py", "run", *options, more).returncode == 0
        assert json.loads(file.read_text())["per_class"] == json.loads(before)["per_class"]


def test_steps_are_not_counted_in_other_batches(call, interrupted):
    interrupted(STEPS + 2)  # a step of the second epoch, after the first epoch's end
    assert call("train_simCLR.py", "run", *SMALL).returncode == 143
    done = call("train_simCLR.py", "run", *SMALL, "--batch_size", "25", "--resume", "--accept_changes")
    one_line_error(done, "batch_size was 20, is 25", "within an epoch")


@pytest.mark.slow
def test_a_probe_does_not_take_up_another_backbone_or_best_model(call, tmp_path, interrupted):
    for name, seed in (("a", "1"), ("b", "2")):
        assert call("train_simCLR.py", name, *SMALL, "--epochs", "0", "--seed", seed).returncode == 0
    options = [*PROBE, "--trainSplit", S_B, "--epochs", "4", "--cvt_state_dict", "--checkpoint"]
    assert call("train_cifar.py", "whole", *options, "checkpoints/a/model_0.pt").returncode == 0
    interrupted(2 * 2 + 1)
    assert call("train_cifar.py", "run", *options, "checkpoints/a/model_0.pt").returncode == 143
    folder = tmp_path / "checkpoints_tune/run"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    interrupted()
    one_line_error(call("train_cifar.py", "run", *options, "checkpoints/b/model_0.pt", "--resume"), "another backbone")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    # As if the best model were of an epoch that is run again, which need not find it again.
    content = read_checkpoint(folder / "best_model.pt")
    wrong = {k: torch.zeros_like(v) if k.startswith("fc.") else v for k, v in content["state_dict"].items()}
    later = {**content, "state_dict": wrong, "epoch": 9, "best_prec1": 100.0}
    write_checkpoint(folder / "best_model.pt", later, folder / "best_model.previous.pt")
    done = call("train_cifar.py", "run", *options, "checkpoints/a/model_0.pt", "--resume")
    assert done.returncode == 0, done.stderr
    results = [json.loads((tmp_path / "checkpoints_tune" / n / "results.json").read_text()) for n in ("whole", "run")]
    assert results[0]["per_class"] == results[1]["per_class"]


@pytest.mark.parametrize(
    "change",
    [
        {"images": float("inf")},
        {"done": "\x1b[2J"},
        {"done": 99},
        {"done": torch.ones(2)},
        {"measured": 3},
        {"total": "x"},
    ],
)
def test_odd_meters_are_one_line(call, tmp_path, interrupted, change):
    interrupted(2)
    assert call("train_simCLR.py", "run", *SMALL).returncode == 143
    path = tmp_path / "checkpoints/run/model.pt"
    content = read_checkpoint(path)
    content["within"]["meters"] |= change
    write_checkpoint(path, content)
    done = call("train_simCLR.py", "run", *SMALL, "--resume")
    one_line_error(done, "does not fit")
    assert "\x1b" not in done.stdout + done.stderr + (path.parent / "log.txt").read_text()


ODD = [torch.ones(2), torch.ones(0), torch.ones(3, 2), [torch.ones(2)], {"a": torch.ones(2)}]


@pytest.mark.parametrize("odd", quick_first(ODD))
@pytest.mark.parametrize(("script", "options"), [("train_simCLR.py", SMALL), ("train_cifar.py", PROBE)])
def test_odd_settings_and_odd_states_of_an_epoch_are_one_line(call, tmp_path, interrupted, script, options, odd):
    words = [script, "run", *options, "--trainSplit", S_B, "--epochs", "2"]
    interrupted(1)
    assert call(*words).returncode == 143
    (path,) = tmp_path.rglob("model.pt")
    content = read_checkpoint(path)
    for change in ({"config": {**content["config"], "lr": odd}}, {"within": odd}):
        write_checkpoint(path, content | change)
        one_line_error(call(*words, "--resume"), "cannot resume from", "lr was" if "config" in change else "")
    # Lists are compared entry by entry.
    write_checkpoint(path, content | {"config": {**content["config"], "lists": {"train": odd}, "images": odd}})
    one_line_error(call(*words, "--resume"), "cannot resume from")


def test_what_could_steer_a_terminal_is_escaped(tmp_path, capsys):
    Log(tmp_path).info("a\tb \x1b[2J c\n")
    assert capsys.readouterr().out == "a\tb \\x1b[2J c\\n\n" == (tmp_path / "log.txt").read_text()


def test_the_newest_is_a_numbered_one_where_the_run_was_killed_before_model_pt(two):
    write_checkpoint(two / "model_3.pt", {"epoch": 3, "state_dict": {}})
    assert newest_checkpoint(two)[0].name == "model_3.pt"
    (two / "model_3.pt").write_bytes(b"PK")
    path, _, reasons = newest_checkpoint(two)
    assert path.name == "model.pt" and "model_3.pt" in reasons


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_what_another_run_writes_during_the_set_up_is_neither_lost_nor_passed_over(call, tmp_path, monkeypatch, resume):
    """The folder is looked at first and locked later; in between a run of the same name may come to its end."""
    alone, words = run.folder.Run.alone, ["train_simCLR.py", "x", *PRETRAIN, "--epochs", "1"]
    model = tmp_path / "checkpoints/x/model.pt"
    if resume:
        assert call(*words).returncode == 0
    else:
        model.parent.mkdir(parents=True)

    def written_in_between(other, *args):
        model.write_bytes(b"another run's")
        return alone(other, *args)

    monkeypatch.setattr(run.folder.Run, "alone", written_in_between)
    one_line_error(call(*words, *resume), "another run has written to", "start it again")
    assert model.read_bytes() == b"another run's"
