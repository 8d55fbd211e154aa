"""What a method may ask of the training: two evaluations of a step, settings by the step, weights, phases, features."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import methods
import pretrain.check  # has its own name of the step that tests replace
import pretrain.epoch
from data.loader import Batch, EpochSampler
from data.samplers import HOLE
from data.sets.memory import load
from data.sets.registry import data_set
from methods import Line, Part
from methods.base import News
from methods.bcl import BCL
from methods.simclr import SimCLR
from models import build_encoder
from models.batch_norm import statistics_kept
from pretrain.epoch import Schedule, Training, step
from pretrain.files import WithinEpoch
from run.checkpoint import read_checkpoint
from run.compute import Compute
from run.flags import Precision
from run.optim import sgd
from run.schedule import Stage, two_stage_lr
from split.open import Lists
from tests.conftest import one_line_error, slow_but
from tests.pretrain.toys import Twice
from tests.run.test_resume import SMALL, equal
from tests.scripts.test_train_scripts import S_B
from utils.distributed import World

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)


@pytest.fixture
def toys(monkeypatch):
    """The methods of tests.pretrain.toys have their lines."""
    line = Line("Halves", "tests.pretrain.toys:Halves", (Part("_halves{}", "share"),), {"share": "0.5"})
    monkeypatch.setitem(methods.METHODS, "halves", line)
    monkeypatch.setitem(methods.WRAPPERS, "twice", Line("Twice", "tests.pretrain.toys:Twice", (Part("_twice"),)))


def training_of(method: nn.Module, lr: float = 0.1) -> Training:
    trained = [p for p in method.parameters() if p.requires_grad]
    compute = Compute(Precision("fp32", "contiguous_format", False, False), CPU)
    return Training(method, [], sgd(trained, lr, 0.9, 0.0), Schedule(9, lr, "constant"), compute, ALONE)


def batch(n: int = 6) -> Batch:
    return Batch(torch.rand(n, 2, 3, 8, 8), torch.arange(n), torch.zeros(n), [], 0)


def pair_of_methods() -> list[BCL]:
    """BCL around a network in double precision, twice the same."""
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        found.append(BCL(SimCLR(build_encoder("res20_s", 16, 2), 0.2), 6).double().train())
        found[-1].start_epoch(1)
    return found


# ---- a step that is evaluated twice


def test_a_second_evaluation_moves_statistics_memory_and_losses_once():
    plain, inner = pair_of_methods()
    twice, images = Twice(inner).train(), batch()
    images = images._replace(views=images.views.double())
    one, two = step(training_of(plain), images), step(training_of(twice), images)
    assert torch.equal(one.losses, two.losses) and torch.equal(one.projections, two.projections)
    buffers = [dict(method.named_buffers()) for method in (plain, inner)]
    assert all(torch.equal(value, buffers[1][name]) for name, value in buffers[0].items())
    assert plain.encoder.bn1.num_batches_tracked == 1 and (inner.epochs == 1).all()
    assert not torch.equal(plain.encoder.conv1.weight, inner.encoder.conv1.weight)


def test_the_step_goes_down_the_gradient_of_the_second_evaluation():
    """By autograd alone: g at w, then w - lr g at w + far g / |g|."""
    _, inner = pair_of_methods()
    images = batch()
    images = images._replace(views=images.views.double())
    before = [p.detach().clone() for p in inner.encoder.parameters()]
    names = [name for name, _ in inner.encoder.named_parameters()]

    def gradient(values: list[torch.Tensor]) -> list[torch.Tensor]:
        state = {f"method.encoder.{n}": v.clone().requires_grad_() for n, v in zip(names, values, strict=True)}
        with statistics_kept(inner):
            losses = torch.func.functional_call(inner, state, (images.views, images.index))
        return list(torch.autograd.grad(losses.mean(), list(state.values())))

    first = gradient(before)
    norm = torch.cat([g.flatten() for g in first]).norm()
    second = gradient([w + Twice.far * g / norm for w, g in zip(before, first, strict=True)])
    step(training_of(Twice(inner).train(), lr=0.1), images)
    for now, old, g in zip(inner.encoder.parameters(), before, second, strict=True):
        torch.testing.assert_close(now.detach(), old - 0.1 * g, rtol=1e-6, atol=1e-9)


def test_kept_statistics_normalise_by_the_batch():
    norm, x = nn.BatchNorm2d(3).train(), torch.randn(5, 3, 4, 4)
    state = {k: v.clone() for k, v in norm.state_dict().items()}
    with statistics_kept(norm):
        found = norm(x)
    assert all(torch.equal(v, norm.state_dict()[k]) for k, v in state.items())
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(norm(x), found)
    assert norm.num_batches_tracked == 1 and norm.eval()(x).mean() != 0


def test_the_mean_is_weighted():
    torch.manual_seed(0)
    method, images = SimCLR(build_encoder("res20_s", 16, 2), 0.2).double().eval(), batch()
    images = images._replace(views=images.views.double())
    method.loss_weights = lambda index: 1.0 + index
    expected = torch.autograd.grad(
        (torch.arange(1, 7) * method(images.views, images.index)).sum() / 6, list(method.parameters())
    )
    training = training_of(method, lr=0.0)
    step(training, images)
    for p, g in zip(method.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, g)


# ---- phases, subsets, features


def noted_steps(call, monkeypatch, note, *words: str) -> list:
    """What note(training) tells at each step of a run, and the step's sample ids."""
    steps, original = [], pretrain.epoch.step

    def noted(training, images, measure=False):
        steps.append((*note(training), images.index.tolist()))
        return original(training, images, measure)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.epoch, "step", noted)
        done = call("train_simCLR.py", *words)
    assert done.returncode == 0, done.stderr
    return steps


def run_toy(call, monkeypatch, *words: str) -> list[tuple[float, float, list[int]]]:
    """Temperature, learning rate and sample ids of each step of a run of epochs of three steps, or one and a half."""

    def note(training) -> tuple[float, float]:
        method = getattr(training.method, "method", training.method)
        return getattr(method, "temperature", 0.0), training.optimizer.param_groups[0]["lr"]

    return noted_steps(call, monkeypatch, note, *words)


def test_phases_have_schedules_images_and_networks_of_their_own(call, tmp_path, monkeypatch, toys):
    options = [*SMALL, "--epochs", "4", "--method", "halves", "--share", "0.3"]
    steps = run_toy(call, monkeypatch, "whole", *options)
    assert [len(ids) for *_, ids in steps] == [20, 20, 10] * 2 + [15] * 2
    assert [set(sum((ids for *_, ids in some), [])) for some in (steps[:3], steps[3:6])] == [set(range(50))] * 2
    # Warm-up is by steps: of an epoch with one step it has ten, and each phase begins with it.
    assert [rate for _, rate, _ in steps] == pytest.approx([0.1 * (i + 1) / 30 for i in range(6)] + [0.01, 0.02])
    assert [t for t, *_ in steps] == pytest.approx([0.2 + 0.1 * i / 3 for i in range(6)] + [0.4, 0.5])
    content = read_checkpoint(tmp_path / "checkpoints/whole/model.pt")
    memory = content["memory"]
    best = memory["order"][:15].tolist()
    assert set(steps[6][2]) == set(steps[7][2]) == set(best)
    name = "conv1.weight"
    assert torch.equal(content["state_dict"][f"module.{name}"], memory[f"second.{name}"])
    assert not torch.equal(memory[f"first.{name}"], memory[f"second.{name}"])
    second = read_checkpoint(tmp_path / "checkpoints/whole/model.previous.pt")
    assert torch.equal(second["state_dict"][f"module.{name}"], memory[f"first.{name}"])


@pytest.mark.slow
def test_each_phase_has_two_stages(call, monkeypatch, toys):
    """A share of epochs is one of the phase's: ten of twelve."""
    options = [*SMALL, "--epochs", "24", "--method", "halves", "--scheduler", "two-stage", "--stage_epochs", "0.9"]
    rates = [rate for _, rate, _ in run_toy(call, monkeypatch, "whole", *options, "--stage_decay", "0.5")]
    of_phase = [two_stage_lr(epoch, 12, 10, 0.1, Stage(10, 0.05)) for epoch in range(1, 13)]
    assert rates == pytest.approx([rate for rate in of_phase for _ in range(3)] + [r for r in of_phase for _ in "ab"])


@pytest.mark.slow
@pytest.mark.parametrize("method", slow_but("halves", ["halves", "halves+bcl+twice", "halves+rwsam"]))
def test_a_run_of_phases_is_resumed_to_the_bit(call, tmp_path, interrupted, toys, method):
    options, folder = [*SMALL, "--epochs", "4", "--method", method], tmp_path / "checkpoints"
    assert call("train_simCLR.py", "whole", *options).returncode == 0
    for steps in ([2], [6], [8], [9], [4, 3, 1, 1]):
        shutil.rmtree(folder / "parts", ignore_errors=True)
        interrupted(*steps)
        for _ in steps:
            assert call("train_simCLR.py", "parts", *options, "--resume").returncode == 143
        assert call("train_simCLR.py", "parts", *options, "--resume").returncode == 0
        assert equal(folder / "whole", folder / "parts"), steps


def test_features_are_those_of_the_network_and_disturb_nothing(call, tmp_path, monkeypatch, toys):
    """Against a plain forward of the network in evaluation mode; images in order, ids of a list of 50."""
    found = {}

    def start_epoch(self, epoch, features=None):
        if epoch == 2:
            state, buffers = torch.get_rng_state(), {k: v.clone() for k, v in self.named_buffers()}
            found["values"] = features()
            assert torch.equal(state, torch.get_rng_state()) and self.encoder.training
            assert all(torch.equal(v, buffers[k]) for k, v in self.named_buffers())
            found["again"] = features()
            found["encoder"] = self.encoder

    monkeypatch.setattr(SimCLR, "start_epoch", start_epoch)
    options = [*SMALL, "--epochs", "2", "--precision", "fp32", "--save_freq", "1"]
    assert call("train_simCLR.py", "run", *options).returncode == 0
    images, ids = load(data_set("digits"), "", train=True), Lists().open_training(S_B, data_set("digits").open("")).ids
    encoder = build_encoder("res20_s", 16, 2).eval()
    state = read_checkpoint(tmp_path / "checkpoints/run/model_1.pt")["state_dict"]
    encoder.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    x = torch.from_numpy(np.asarray(images.images[ids])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = encoder.features(x)
    assert found["values"].shape == (50, 64) and torch.equal(found["values"], found["again"])
    torch.testing.assert_close(found["values"], expected, rtol=1e-3, atol=1e-4)


@given(
    images=st.integers(1, 40), share=st.floats(0.05, 1), size=st.integers(1, 3), of=st.integers(2, 7),
    smallest=st.integers(1, 2), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_subset_is_shared_out_whole_and_no_batch_is_too_small(images, share, size, of, smallest, seed):
    subset = torch.randperm(images, generator=torch.Generator().manual_seed(seed))[: max(1, round(share * images))]
    found = []
    for rank in range(size):
        sampler = EpochSampler(range(images), size, rank, shuffle=True, seed=seed)
        whole = list(sampler)
        sampler.choose(subset, of, smallest)
        sampler.set_epoch(3)
        ids = [i for _, i in sampler]
        assert len(ids) == len(sampler) and (len(ids) % of == 0 or len(ids) % of >= smallest)
        found.append(ids)
        sampler.choose(None, of, smallest)
        sampler.set_epoch(0)
        assert list(sampler) == whole
    assert len({len(ids) for ids in found}) == 1
    assert set(sum(found, [])) == set(subset.tolist())


@given(
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=4), size=st.integers(1, 3), of=st.integers(2, 7),
    smallest=st.integers(1, 2), done=st.integers(0, 3),
)  # fmt: skip
def test_batches_of_a_list_of_subsets_are_each_of_one(sizes, size, of, smallest, done):
    parts = list(torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(1)).split(sizes))
    epochs = []
    for rank in range(size):
        sampler = EpochSampler(range(sum(sizes)), size, rank, shuffle=True, seed=1)
        sampler.choose(parts, of, smallest)
        sampler.set_epoch(2)
        ids = [i for _, i in sampler]
        batches = [[i for i in ids[at : at + of] if i != HOLE] for at in range(0, len(ids), of)]
        assert len(ids) == len(sampler) and all(len(batch) >= smallest for batch in batches)
        assert sampler.largest >= max(-(-n // size) for n in sizes)
        sampler.set_epoch(2, skip=done * of)
        assert [i for _, i in sampler] == ids[done * of :]
        epochs.append(batches)
    together = [sum(batches, []) for batches in zip(*epochs, strict=True)]  # of all processes
    places = [{k for k, part in enumerate(parts) if set(batch) & set(part.tolist())} for batch in together]
    assert all(len(place) == 1 for place in places)
    order = [place.pop() for place in places]
    assert order == sorted(order)
    for k, part in enumerate(parts):
        own = [i for at, batch in zip(order, together, strict=True) for i in batch if at == k]
        assert set(own) == set(part.tolist()) and len(own) < len(part) + size * smallest


@pytest.mark.parametrize("augment", ["batched", "pillow"])
def test_a_list_of_subsets_makes_short_batches_in_either_loader(call, monkeypatch, augment):
    parts = [torch.arange(3), torch.arange(20, 45), torch.arange(0), torch.arange(45, 50)]
    monkeypatch.setattr(SimCLR, "subset", lambda self: parts)
    monkeypatch.setattr(SimCLR, "news", lambda self: News(["there are parts"], {"parts": 3}))
    steps = run_toy(call, monkeypatch, "run", *SMALL, "--epochs", "2", "--augment", augment, "--num_workers", "1")
    found = [sorted(ids) for *_, ids in steps]
    assert [len(ids) for ids in found] == [3, 20, 5, 5] * 2
    assert found[0] == [0, 1, 2] and sorted(found[1] + found[2]) == list(range(20, 45)) and found[3][0] == 45
    assert "there are parts" in Path("checkpoints/run/log.txt").read_text()
    lines = [json.loads(line) for line in Path("checkpoints/run/metrics.jsonl").read_text().splitlines()]
    assert [line.get("parts") for line in lines] == [3, None] * 2
    done = call("train_simCLR.py", "tried", *SMALL, "--augment", augment, "--check")
    assert done.returncode == 0, done.stderr


# ---- names and options


def test_a_method_and_a_wrapper_are_found_by_their_lines(call, tmp_path, toys):
    assert methods.choose("halves+twice").label == "Halves+Twice"
    assert [line.parts[0].text for line in methods.choose("halves+bcl+twice").lines][0::2] == ["_halves{}", "_twice"]
    assert methods.method_in("_halves0.5_bclK1_twice") == "halves+bcl+twice"
    assert call("train_simCLR.py", "x", *SMALL, "--epochs", "1", "--method", "halves+twice").returncode == 0
    config = read_checkpoint(tmp_path / "checkpoints/x/model.pt")["config"]
    assert config["method"] == methods.method_of(config) == "halves+twice" and config["share"] == 0.5
    one_line_error(call("train_simCLR.py", "y", *SMALL, "--share", "0.2"), "--share needs a --method with Halves")
    done = call("train_simCLR.py", "x", *SMALL, "--epochs", "2", "--method", "halves", "--resume")
    one_line_error(done, "method was 'halves+twice', is 'halves'")


def test_what_an_epoch_made_may_have_another_size_when_it_is_resumed():
    """start_epoch makes it again from weights that have moved since, perhaps larger."""
    method = BCL(SimCLR(build_encoder("res20_s", 16, 2), 0.2), 6)
    method.register_buffer("chosen", torch.arange(4), persistent=False)
    state = {name: value.clone() for name, value in WithinEpoch(method).state_dict().items()}
    assert state.keys() == {"score", "chosen"}
    method.chosen = torch.arange(7)
    WithinEpoch(method).load_state_dict(state)
    assert method.chosen.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="chosen is damaged"):
        WithinEpoch(method).load_state_dict({**state, "chosen": 3})


@pytest.mark.parametrize(
    ("smallest", "size", "words"),
    [(4, 2, "a batch of 2 images"), (3, 16, "a batch of 2 images"), (2, 49, "a batch of one image")],
)
def test_a_batch_that_is_too_small_for_the_method_is_refused(call, monkeypatch, smallest, size, words):
    monkeypatch.setattr(SimCLR, "smallest_batch", smallest)
    done = call("train_simCLR.py", "run", *SMALL, "--batch_size", size)
    one_line_error(done, words)


def test_an_epoch_without_an_image_is_one_line(call, monkeypatch):
    monkeypatch.setattr(SimCLR, "subset", lambda self: torch.zeros(0, dtype=torch.long))
    one_line_error(call("train_simCLR.py", "run", *SMALL), "no image to train on in epoch 1")
