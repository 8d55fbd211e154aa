"""train_simCLR.py end to end: each precision with each kind of views, resumed, by two processes, compiled, boosted."""

import json

import numpy as np
import pytest
import torch

from data.loader import AugmentedImages, BatchedLoader
from data.views.batches import PretrainViews
from run.checkpoint import read_checkpoint
from run.folder import Run
from tests.conftest import PROJECT, interrupted_after, one_line_error, slow_but
from tests.reference import relative_error
from tests.scripts.test_train_scripts import D_I, PRETRAIN, S_B, same, weights
from tests.warm import free_port

HOW = {
    "bf16-batched": ["--precision", "bf16", "--augment", "batched"],
    # Slow on a CPU: fifty images, and steps enough for the scale to be found.
    "fp16-batched": ["--precision", "fp16", "--augment", "batched", "--trainSplit", S_B, "--batch_size", "10"],
    "fp32-pillow": ["--precision", "fp32", "--augment", "pillow"],
    "bf16-boosted": ["--precision", "bf16", "--bcl", "--rand_k", "2"],
}
SMALL = [*PRETRAIN, "--epochs", "4", "--lr", "0.1"]

pytestmark = pytest.mark.usefixtures("one_thread")


def metrics(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("how", slow_but("bf16-batched", HOW))
def test_resumed_training_equals_the_undisturbed_one_to_the_bit(call, tmp_path, monkeypatch, how):
    options, folder = [*SMALL, *HOW[how]], tmp_path / "checkpoints"
    done = call("train_simCLR.py", "whole", *options)
    assert done.returncode == 0, done.stderr
    kind = "pillow" if "pillow" in how else "batched"
    assert f"1 process(es) on cpu, precision {how[:4]}, channels_last, {kind} views, " in done.stdout
    with interrupted_after(Run, 2):
        assert call("train_simCLR.py", "parts", *options).returncode == 1
    done = call("train_simCLR.py", "parts", *options, "--resume")
    assert done.returncode == 0 and "after epoch 2" in done.stdout
    whole, parts = (read_checkpoint(folder / name / "model.pt") for name in ("whole", "parts"))
    assert same(whole["state_dict"], parts["state_dict"])
    assert all(v.dtype in (torch.float32, torch.int64) for v in whole["state_dict"].values())
    assert whole.get("scaler") == parts.get("scaler") and ("scaler" in whole) == (how[:4] == "fp16")
    assert any(v["momentum_buffer"].any() for v in whole["optim"]["state"].values())  # not all steps were skipped
    for ours, theirs in zip(whole["optim"]["state"].values(), parts["optim"]["state"].values(), strict=True):
        assert torch.equal(ours["momentum_buffer"], theirs["momentum_buffer"])
    losses = [[e["loss"] for e in metrics(folder / name)] for name in ("whole", "parts")]
    assert losses[0] == losses[1] and len(losses[0]) == 4 and np.isfinite(losses).all()


@pytest.mark.slow
def test_precision_and_views_change_the_numbers_and_hardly_the_loss(call, tmp_path):
    """At a rate of 0, so that each step is a first one: further on, losses of two precisions part by any amount."""

    def loss(precision: str, augment: str, images: str) -> float:
        name = f"{precision}-{augment}-{images == S_B}"
        options = ["--precision", precision, "--augment", augment, "--trainSplit", images]
        done = call("train_simCLR.py", name, *PRETRAIN, *options, "--lr", "0", "--epochs", 1)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "checkpoints" / name
        assert read_checkpoint(folder / "model.pt")["config"]["augment"] == augment
        states.append(weights(folder))
        return metrics(folder)[0]["loss"]

    states: list[dict] = []
    for augment in ("pillow", "batched"):
        losses = [loss(precision, augment, S_B) for precision in ("fp32", "bf16")]
        assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=6 * 2**-8)
    # Statistics differ, and nothing else, as the rate is 0.
    assert all(not same(a, b) for i, a in enumerate(states) for b in states[:i])
    assert all(torch.equal(state["module.conv1.weight"], states[0]["module.conv1.weight"]) for state in states)
    # The mean over 405 images, whose views are others.
    pillow, batched = (loss("fp32", augment, D_I) for augment in ("pillow", "batched"))
    assert pillow != batched and pillow == pytest.approx(batched, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("how", slow_but("bf16-batched", ["bf16-batched", "fp32-pillow", "bf16-boosted"]))
def test_two_processes_train_and_resume(script, tmp_path, how):
    def train(name: str, *more: object):
        launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
        options = [*PRETRAIN, "--lr", "0.1", *HOW[how], *more]
        done = script(*launch, PROJECT / "train_simCLR.py", name, *options, env={"OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert f"2 process(es) on cpu, precision {how[:4]}" in train("whole", "--epochs", 2)
    train("parts", "--epochs", 1)  # while the rate rises, it does not depend on the number of epochs
    assert "epochs was 1, is 2 from here on" in train("parts", "--epochs", 2, "--resume", "--accept_changes")
    folder = tmp_path / "checkpoints"
    assert same(weights(folder / "whole"), weights(folder / "parts"))
    assert not same(weights(folder / "whole"), weights(folder / "parts", "model_1.pt"))
    assert len(list((folder / "whole/tensorboard").iterdir())) == 1  # one process writes


@pytest.mark.slow
def test_the_loader_of_a_boosted_run_gets_the_scores(call, monkeypatch):
    """None in the first epoch, the method's in the next; each image's in its place."""
    given, used = [], []
    original = PretrainViews.__call__, AugmentedImages.set_scores

    def views(self, images, u, scores, shared):
        assert self.boost is not None and self.boost.k == 2
        used.append(scores.clone())
        return original[0](self, images, u, scores, shared)

    def set_scores(self, scores):
        given.append(scores.clone())
        original[1](self, scores)

    monkeypatch.setattr(PretrainViews, "__call__", views)
    monkeypatch.setattr(AugmentedImages, "set_scores", set_scores)
    chosen, iterate = [], BatchedLoader.__iter__

    def batches(self):
        for batch in iterate(self):
            chosen.append(batch.index)
            yield batch

    monkeypatch.setattr(BatchedLoader, "__iter__", batches)
    options = [*PRETRAIN, "--lr", "0.1", "--epochs", "3", "--bcl", "--rand_k", "2"]
    done = call("train_simCLR.py", "run", *options)
    assert done.returncode == 0, done.stderr
    assert "batched views" in done.stdout
    assert len(given) == 3 and len(used) == len(chosen) == 6  # two batches an epoch
    assert (given[0] == 0).all() and len(given[2].unique()) > 100 and not torch.equal(given[1], given[2])
    for step, (scores, ids) in enumerate(zip(used, chosen, strict=True)):
        assert torch.equal(scores, given[step // 2][ids].repeat_interleave(2))


def test_what_changes_on_resuming_is_refused_or_told(call, tmp_path):
    small = [*PRETRAIN, "--trainSplit", S_B, "--resume"]
    plain, changed = [*small, "--precision", "fp32", "--augment", "pillow"], [*small, "--precision", "bf16"]
    assert call("train_simCLR.py", "run", *plain, "--epochs", 2).returncode == 0
    changes = "augment was 'pillow', is 'batched'", "precision was 'fp32', is 'bf16'", "epochs was 2, is 3"
    line = one_line_error(call("train_simCLR.py", "run", *changed, "--epochs", 3), "other settings", *changes)
    assert "batch_size" not in line
    done = call("train_simCLR.py", "run", *changed, "--epochs", 3, "--accept_changes")
    assert done.returncode == 0, done.stderr
    assert all(f"{change} from here on" in done.stdout for change in changes)
    assert "after epoch 2\n" in done.stdout


def test_a_compiled_network_trains_the_same(call, tmp_path, monkeypatch):
    """Traced, and run by PyTorch's own operations: the C++ compiler alone would take a minute."""
    compiled, original = [], torch.nn.Module.compile

    def compile(self, *args, **kwargs):
        compiled.append(type(self).__name__)
        original(self, *args, backend="eager", **kwargs)

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    # One step: its gradient is in the momentum.
    options = [*PRETRAIN, "--lr", "0.1", "--trainSplit", S_B, "--epochs", 1, "--precision", "fp32"]
    losses, gradients = [], []
    for name, more in (("plain", ["--compile", "False"]), ("compiled", ["--compile"])):
        done = call("train_simCLR.py", name, *options, *more)
        assert done.returncode == 0, done.stderr
        assert compiled == (["SmallResNet"] if name == "compiled" else [])
        folder = tmp_path / "checkpoints" / name
        losses += [row["loss"] for row in metrics(folder)]
        state = read_checkpoint(folder / "model.pt")["optim"]["state"]
        gradients.append(torch.cat([entry["momentum_buffer"].flatten() for entry in state.values()]))
    assert len(losses) == 2 and losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert gradients[0].norm() > 0 and relative_error(*gradients) < 0.1
    plain, ours = (weights(tmp_path / "checkpoints" / name) for name in ("plain", "compiled"))
    assert plain.keys() == ours.keys()
    for key, value in plain.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-3, atol=1e-3)


def test_a_best_model_from_before_these_options_is_evaluated(call, tmp_path):
    """Its configuration does not say how it computed, and nothing is made up."""
    options = ["--dataset", "digits", "--model", "res20_s", "--trainSplit", S_B, "--num_workers", "0"]
    assert call("train_cifar.py", "run", *options, "--epochs", 1).returncode == 0
    folder = tmp_path / "checkpoints_tune/run"
    first = json.loads((folder / "results.json").read_text())
    content = torch.load(folder / "best_model.pt", weights_only=False)
    new = ("precision", "memory_format", "tf32", "deterministic", "augment")
    content["config"] = {k: v for k, v in content["config"].items() if k not in new}
    torch.save(content, folder / "best_model.pt")
    done = call("train_cifar.py", "run", "--dataset", "digits", "--model", "res20_s", "--test_only")
    assert done.returncode == 0, done.stderr
    again = json.loads((folder / "results.json").read_text())
    assert (first["augment"], again["augment"]) == ("batched", None)
    kept = ("top1", "top5", "per_class", "protocol", "departs", "lists", "seed", "precision")
    assert all(again[k] == first[k] for k in kept)


def test_views_for_other_images_are_refused_in_one_line(call, tmp_path):
    done = call("train_simCLR.py", "run", *PRETRAIN, "--augment", "opencv")
    one_line_error(done, "--augment opencv", "image files", "digits")
    done = call("train_simCLR.py", "run", "--dataset", "places", "--data", tmp_path, "--augment", "batched")
    one_line_error(done, "--augment batched", "images in memory", "places")
    done = call("train_cifar.py", "run", "--dataset", "digits", "--augment", "opencv")
    one_line_error(done, "--augment opencv", "image files", "digits")
    done = call("train_imagenet.py", "run", "--dataset", "places", "--data", tmp_path, "--augment", "batched")
    one_line_error(done, "--augment batched", "images in memory", "places")
    options = ["--dataset", "places", "--data", tmp_path, "--augment", "batched", "--checkpoint", "x.pt"]
    done = call("features/save.py", *options, "--out", tmp_path / "f.npz")
    one_line_error(done, "--augment batched", "images in memory", "places")
    done = call("train_simCLR.py", "run", *PRETRAIN, "--precision", "fp8")
    one_line_error(done, "--precision", "fp8")
    assert not list(tmp_path.iterdir())
