"""The mean loss of each part of the images in an epoch, against plain loops."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed

import pretrain.check  # has its own name of the step that tests replace
import pretrain.epoch
from data.groups import GROUPS, group_of_each, thirds
from data.sets.memory import load
from data.sets.registry import data_set
from run.checkpoint import read_checkpoint
from run.meters import Meters
from split.open import Lists
from tests.conftest import one_line_error, quick_first
from tests.pretrain.test_hooks import toys  # noqa: F401
from tests.run.test_resume import SMALL, equal
from tests.scripts.test_train_scripts import D_I, same
from tests.warm import spawn
from utils.distributed import World

ALONE = World(0, 1, torch.device("cpu"))
PART = torch.tensor([0, 2, 1, 1, 0, 2, 0, 0, 1, 0])


def steps_of(seed: int, steps: int = 7) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Losses and sample ids of each step, the last one short."""
    g = torch.Generator().manual_seed(seed)
    sizes = [4] * (steps - 1) + [3]
    return [(torch.rand(n, generator=g) * 5, torch.randint(10, (n,), generator=g)) for n in sizes]


def by_loops(*noted: list[tuple[torch.Tensor, torch.Tensor]]) -> list[float | None]:
    losses = [[], [], []]
    for losses_of, index in (step for steps in noted for step in steps):
        for loss, i in zip(losses_of.tolist(), index.tolist(), strict=True):
            losses[PART[i]].append(loss)
    return [sum(of) / len(of) if of else None for of in losses]


def read_through(steps: list, meters: Meters, every: int, world: World = ALONE) -> Meters:
    for i, step in enumerate(steps, 1):
        meters.add(*step)
        if i % every == 0 or i == len(steps):
            meters.read(world, str)
    return meters


@pytest.mark.parametrize("seed", range(5))
def test_means_are_those_of_a_loop_however_often_they_are_read(seed):
    steps = steps_of(seed)
    found = [read_through(steps, Meters(7, PART), every) for every in (1, 3, 7)]
    assert found[0].means_of_parts()["loss"] == pytest.approx(by_loops(steps))
    assert found[0].state_dict() == found[1].state_dict() == found[2].state_dict()  # to the bit
    plain = read_through(steps, Meters(7), 3)
    assert plain.means_of_parts() == {} and plain.loss == found[0].loss
    assert sum(images for _, images in found[0].state_dict()["parts"]["loss"]) == 4 * 6 + 3


def test_a_part_without_an_image_has_no_mean():
    meters = read_through([(torch.tensor([2.0, 4.0]), torch.tensor([1, 5]))], Meters(1, PART), 1)
    assert (
        meters.means_of_parts()["loss"]
        == [None, None, 3.0]
        == by_loops([(torch.tensor([2.0, 4.0]), torch.tensor([1, 5]))])
    )


def test_they_go_on_from_their_state():
    steps = steps_of(1)
    whole, first, second, older = (Meters(7, PART) for _ in range(4))
    read_through(steps, whole, 2)
    read_through(steps[:3], first, 2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert read_through(steps[3:], second, 3).means_of_parts()["loss"] == whole.means_of_parts()["loss"]
    state = first.state_dict()
    older.load_state_dict(state | {"parts": state["parts"]["loss"]})  # of a version that had the losses alone
    assert older.means_of_parts() == first.means_of_parts()
    older = Meters(7, PART)
    del state["parts"]  # of a version that had none: a part of the epoch is not told for the whole
    older.load_state_dict(state)
    assert read_through(steps[3:], older, 2).means_of_parts() == {} and older.loss == whole.loss
    for bad in ([[1.0]] * 3, [["x", 1]] * 3, 3):
        with pytest.raises((ValueError, TypeError)):
            Meters(7, PART).load_state_dict(first.state_dict() | {"parts": bad})


def mean_of_two(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join", rank=rank, world_size=size)
    found = read_through(steps_of(rank), Meters(7, PART), 2, World(rank, size, torch.device("cpu")))
    Path(folder, f"{rank}.json").write_text(json.dumps(found.state_dict()["parts"]["loss"]))
    torch.distributed.destroy_process_group()


def test_the_means_are_of_all_processes(monkeypatch):
    """Each process has the average of what both have noted."""
    both = steps_of(0), steps_of(1)
    noted: list[torch.Tensor] = []
    monkeypatch.setattr("run.meters.mean_over_processes", lambda v: noted.append(v.double()) or v.double())
    for steps in both:
        read_through(steps, Meters(7, PART), 7)
    monkeypatch.setattr("run.meters.mean_over_processes", lambda _: (noted[0] + noted[1]) / 2)
    found = read_through(both[0], Meters(7, PART), 7, World(0, 2, torch.device("cpu")))
    assert found.means_of_parts()["loss"] == pytest.approx(by_loops(*both))


@pytest.mark.slow
def test_two_processes_have_the_means_of_all_images(tmp_path):
    spawn(mean_of_two, (2, str(tmp_path)), 2)
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one == other and sum(images for _, images in one) == 54
    assert [total / images for total, images in one] == pytest.approx(by_loops(steps_of(0), steps_of(1)))


def test_the_place_of_each_group():
    labels = np.array([random.Random(i).randrange(10) for i in range(40)])
    groups = thirds([9, 1, 8, 2, 7, 3, 6, 4, 5, 0])
    found = group_of_each(labels, groups)
    assert all(c in groups[GROUPS[place]] for c, place in zip(labels.tolist(), found.tolist(), strict=True))


# ---- of a run


@pytest.fixture
def tail(tmp_path) -> np.ndarray:
    """tail.npy, every fourth image of a long-tailed list of digits."""
    ids = Lists().open_training(D_I, data_set("digits").open("")).ids[::4]
    np.save(tmp_path / "tail.npy", ids)
    return ids


OPTIONS = [*SMALL, "--trainSplit", "tail.npy", "--batch_size", "40"]


@pytest.mark.usefixtures("one_thread", "toys")
@pytest.mark.parametrize("method", quick_first(["halves", "simclr"]))
def test_metrics_tell_them_of_each_epoch(call, tmp_path, monkeypatch, tail, method):
    """Of the images that a method trains on: `halves` has some of them alone in its second epoch."""
    labels = load(data_set("digits"), "", train=True).labels[tail].tolist()
    groups, noted, original = thirds(np.bincount(labels, minlength=10).tolist()), [], pretrain.epoch.step

    def step(training, batch, measure=False):
        found = original(training, batch, measure)
        noted[-1] += [(labels[i], loss) for i, loss in zip(batch.index.tolist(), found.losses.tolist(), strict=True)]
        return found

    def one_epoch(*args):
        noted.append([])
        pretrain.epoch.one_epoch(*args)

    monkeypatch.setattr(pretrain.epoch, "step", step)
    monkeypatch.setattr("train_simCLR.one_epoch", one_epoch)
    done = call("train_simCLR.py", "run", *OPTIONS, "--epochs", "2", "--method", method)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "checkpoints/run/metrics.jsonl").read_text().splitlines()]
    for line, losses in zip(lines, noted, strict=True):
        for name in GROUPS:
            of_group = [loss for label, loss in losses if label in groups[name]]
            expected = sum(of_group) / len(of_group) if of_group else None
            assert line[f"loss_{name.lower()}"] == (None if expected is None else pytest.approx(expected, rel=1e-6))
        assert line["loss"] == pytest.approx(sum(loss for _, loss in losses) / len(losses), rel=1e-6)
    assert len(noted[1]) == (len(tail) if method == "simclr" else round(len(tail) / 2))


@pytest.mark.usefixtures("one_thread")
def test_more_is_told_of_the_groups_where_it_is_asked_for(call, tmp_path, monkeypatch, tail):
    """Distances between an image's two projections, and BCL's scores; the run is the same to the bit."""
    labels = load(data_set("digits"), "", train=True).labels[tail].tolist()
    groups, distances, scores = thirds(np.bincount(labels, minlength=10).tolist()), [], []
    original, plain_epoch = pretrain.epoch.step, pretrain.epoch.one_epoch

    def step(training, batch, measure=False):
        found = original(training, batch, measure)
        for i, (a, b) in zip(batch.index.tolist(), found.projections.double().transpose(0, 1).numpy(), strict=True):
            difference = a / np.linalg.norm(a) - b / np.linalg.norm(b)
            distances[-1].append((labels[i], sum(x * x for x in difference)))
        return found

    def one_epoch(training, *args):
        distances.append([])
        scores.append(list(zip(labels, training.method.scores().tolist(), strict=True)))
        plain_epoch(training, *args)

    monkeypatch.setattr(pretrain.epoch, "step", step)
    monkeypatch.setattr("train_simCLR.one_epoch", one_epoch)
    options = [*OPTIONS, "--epochs", "3", "--bcl", "--precision", "fp32"]
    assert call("train_simCLR.py", "groups", *options, "--monitor", "groups").returncode == 0
    monkeypatch.undo()
    assert call("train_simCLR.py", "plain", *options).returncode == 0
    folder = tmp_path / "checkpoints"
    lines, plain = ((folder / n / "metrics.jsonl").read_text().splitlines() for n in ("groups", "plain"))
    for line, *found in zip(map(json.loads, lines), distances, scores, strict=True):
        for name in GROUPS:
            for key, values in zip(("alignment", "score"), found, strict=True):
                of_group = [value for label, value in values if label in groups[name]]
                assert line[f"{key}_{name.lower()}"] == pytest.approx(sum(of_group) / len(of_group), rel=1e-5)
    assert "alignment_" not in plain[0] and "score_m" not in plain[0]
    assert same(*(read_checkpoint(folder / n / "model.pt")["state_dict"] for n in ("groups", "plain")))


@pytest.mark.usefixtures("one_thread")
def test_it_may_be_asked_for_when_a_run_is_resumed_within_an_epoch(call, tmp_path, interrupted, tail):
    """Of that epoch it is not told, since its first steps are not known; the losses are."""
    interrupted(2)
    options = [*OPTIONS, "--epochs", "2"]
    assert call("train_simCLR.py", "run", *options).returncode == 143
    done = call("train_simCLR.py", "run", *options, "--resume", "--monitor", "groups")
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, (tmp_path / "checkpoints/run/metrics.jsonl").read_text().splitlines())
    assert "loss_few" in first and "alignment_few" not in first and "alignment_few" in second


@pytest.mark.parametrize(("word", "told"), [("kn", "'kn' is not none, knn or groups"), ("groups,", "'' is not none")])
def test_what_is_no_monitor(call, word, told):
    one_line_error(call("train_simCLR.py", "x", *SMALL, "--monitor", word), told)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_they_are_the_same_after_an_interruption(call, tmp_path, interrupted, tail):
    options, folder = [*OPTIONS, "--epochs", "2", "--print_freq", "9"], tmp_path / "checkpoints"
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    interrupted(2)
    assert call("train_simCLR.py", "parts", *options).returncode == 143
    assert call("train_simCLR.py", "parts", *options, "--resume").returncode == 0
    assert equal(folder / "whole", folder / "parts")  # metrics, too
    assert "loss_few" in (folder / "parts/metrics.jsonl").read_text()


@pytest.mark.usefixtures("one_thread")
def test_a_balanced_list_has_none(call, tmp_path):
    assert call("train_simCLR.py", "run", *SMALL, "--epochs", "1").returncode == 0
    assert "loss_" not in (tmp_path / "checkpoints/run/metrics.jsonl").read_text()
