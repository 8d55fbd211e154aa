"""BCL: the memory of losses against slow loops, boosted RandAugment against Pillow, the focal loss, the scripts."""

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from torch import nn

from benchmarks.memory import Loop
from data.loader import AugmentedImages, EpochSampler, make_loader
from data.sets.memory import load
from data.sets.registry import data_set
from data.views.boost import FILL, OPERATIONS, Boost
from data.views.published import pretrain_transform
from methods.base import Method
from methods.bcl import BCL, memorisation_score
from methods.focal import focal_loss
from methods.simclr import anchor_losses, nt_xent
from pretrain.files import Memory, memory_of
from tests.conftest import one_line_error
from tests.scripts.test_train_scripts import PRETRAIN
from tests.warm import spawn
from utils.errors import InputError

quick = settings(database=None, deadline=None, max_examples=40)


class Losses(Method):
    """A method whose losses are given: in place of views it takes them."""

    encoder = nn.Identity()

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return views


def slow_memory(epochs: list[list[tuple[int, float]]], images: int, beta: float) -> list[float]:
    """Momentum losses after epochs of (sample id, loss), one by one as they came; the first in an epoch counts."""
    memory: dict[int, float] = {}
    for epoch in epochs:
        seen = set()
        for sample, loss in epoch:
            if sample in seen:
                continue
            seen.add(sample)
            memory[sample] = loss if sample not in memory else beta * memory[sample] + (1 - beta) * loss
    return [memory.get(i, 0.0) for i in range(images)]


def slow_score(losses: list[float]) -> list[float]:
    mean = sum(losses) / len(losses)
    extreme = max(abs(loss - mean) for loss in losses)
    return [((loss - mean) / extreme + 1) / 2 for loss in losses]


def run_epochs(method: BCL, epochs: list[list[tuple[int, float]]], batch: int, first: int = 1) -> None:
    method.train()
    for epoch, pairs in enumerate(epochs, first):
        method.start_epoch(epoch)
        for i in range(0, len(pairs), batch):
            index, losses = zip(*pairs[i : i + batch], strict=True)
            method.remember(torch.tensor(index), torch.tensor(losses))


def random_epochs(images: int, epochs: int, seed: int, padding: int = 0) -> list[list[tuple[int, float]]]:
    rng = np.random.RandomState(seed)
    result = []
    for _ in range(epochs):
        order = rng.permutation(images).tolist()
        order += order[:padding]  # as DistributedSampler pads: the first ones once more
        result.append([(i, float(loss)) for i, loss in zip(order, rng.gamma(4, 1, len(order)), strict=True)])
    return result


@quick
@example(images=2, epochs=2, batch=1, padding=2, seed=813865, beta=0.15234375)  # losses that differ by 0.05%
@given(
    images=st.integers(2, 40), epochs=st.integers(1, 5), batch=st.integers(1, 50), padding=st.integers(0, 3),
    seed=st.integers(0, 2**31 - 1), beta=st.floats(0, 0.999),
)  # fmt: skip
def test_momentum_loss_and_score_against_loops(images, epochs, batch, padding, seed, beta):
    data = random_epochs(images, epochs, seed, min(padding, images))
    method = BCL(Losses(), images, beta)
    run_epochs(method, data, batch)
    slow = slow_memory(data, images, beta)
    assert method.momentum_loss.tolist() == pytest.approx(slow, rel=1e-5)
    method.start_epoch(epochs + 1)
    # Scores divide by the largest distance from the mean, which enlarges the rounding of nearly equal losses.
    extreme = max(abs(loss - sum(slow) / images) for loss in slow)
    rounding = 16 * torch.finfo(torch.float32).eps * max(slow) / extreme
    assert method.score.tolist() == pytest.approx(slow_score(slow), abs=1e-6 + rounding)


def test_the_first_epoch_has_no_score_and_the_next_one_that_of_the_epoch_before():
    data = random_epochs(10, 3, 0)
    method = BCL(Losses(), 10)
    for epoch in (1, 2, 3):
        method.start_epoch(epoch)
        expected = [0.0] * 10 if epoch == 1 else slow_score(slow_memory(data[: epoch - 1], 10, 0.97))
        assert method.score.tolist() == pytest.approx(expected, abs=1e-5)
        method.train()
        index, losses = zip(*data[epoch - 1], strict=True)
        method.remember(torch.tensor(index), torch.tensor(losses))
        # Not before the next epoch do they change.
        assert method.score.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_phase_begins_without_the_losses_of_another_network():
    bcl = BCL(Losses(), 3)
    for epoch in (1, 2):
        bcl.start_epoch(epoch)
        bcl.remember(torch.arange(3), torch.tensor([9.0, 5.0, 1.0]))
    bcl.start_phase(1)
    bcl.start_epoch(3)
    assert bcl.scores().tolist() == [0, 0, 0]
    bcl.remember(torch.arange(3), torch.tensor([0.1, 0.2, 0.3]))
    bcl.start_epoch(4)
    assert bcl.scores().tolist() == pytest.approx([0, 0.5, 1], abs=1e-6)


def test_images_that_were_never_seen_have_no_part_in_the_scores():
    """Those that cannot be read, say: their loss is not zero but unknown."""
    method = BCL(Losses(), 7)
    data = random_epochs(5, 2, 0)
    run_epochs(method, data, 2)
    method.start_epoch(3)
    assert method.score[:5].tolist() == pytest.approx(slow_score(slow_memory(data, 5, 0.97)), abs=1e-5)
    assert method.score[5:].tolist() == [0, 0]
    empty = BCL(Losses(), 3)
    empty.start_epoch(2)
    assert empty.score.tolist() == [0, 0, 0]


def test_losses_that_are_not_to_be_remembered_leave_the_memory_alone():
    method = BCL(Losses(), 4)
    run_epochs(method, random_epochs(4, 1, 0), 2)
    before = method.momentum_loss.clone()
    method(torch.ones(2), torch.tensor([0, 1]))
    assert torch.equal(method.momentum_loss, before)


@quick
@given(losses=st.lists(st.floats(0, 20), min_size=2, max_size=60))
def test_score_is_in_range_centred_and_keeps_the_order(losses):
    values = torch.tensor(losses, dtype=torch.float64)
    score = memorisation_score(values)
    assert score.min() >= 0 and score.max() <= 1
    order = values.argsort()
    assert (score[order].diff() >= 0).all()
    if values.std() > 1e-6:
        assert float(score.mean()) == pytest.approx(0.5, abs=1e-6)
        # Neither units nor a constant change it.
        assert memorisation_score(3 * values + 2).tolist() == pytest.approx(score.tolist(), abs=1e-6)
        assert max(abs(float(s) - 0.5) for s in score) == pytest.approx(0.5)


@pytest.mark.parametrize("loss", [0.0, 1.9, 1e-30, 7.123])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_losses_have_equal_scores(loss, dtype):
    """Their mean is rounded, so that they differ from it."""
    for images in (2, 3, 7, 1000):
        assert (memorisation_score(torch.full((images,), loss, dtype=dtype)) == 0.5).all()


def remember_in_parallel(rank: int, size: int, folder: str) -> None:
    """Every process sees its share of each batch, in the sampler's order; losses depend on sample and epoch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join{size}", rank=rank, world_size=size)
    method = BCL(Losses(), 11).train()
    sampler = EpochSampler(range(11), size, rank, shuffle=True, seed=5)
    for epoch in (1, 2, 3):
        sampler.set_epoch(epoch)
        method.start_epoch(epoch)
        for batch in torch.tensor([i for _, i in sampler]).split(2):
            method.remember(batch, (batch + 1.0) / (epoch + batch % 3))
    torch.save(memory_of(method), f"{folder}/{size}_{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("size", [2, 3])
def test_memory_is_the_same_for_any_number_of_processes(tmp_path, size):
    spawn(remember_in_parallel, (size, str(tmp_path)), size)
    epochs = [[(i, (i + 1) / (epoch + i % 3)) for i in range(11)] for epoch in (1, 2, 3)]
    slow = slow_memory(epochs, 11, 0.97)
    for rank in range(size):
        memory = torch.load(tmp_path / f"{size}_{rank}.pt")
        assert memory["momentum_loss"].tolist() == pytest.approx(slow, rel=1e-5)


def test_memory_after_resuming_is_that_of_the_undisturbed_run():
    data = random_epochs(20, 6, 3, padding=2)
    whole, parts, resumed = (BCL(Losses(), 20) for _ in range(3))
    run_epochs(whole, data, 7)
    run_epochs(parts, data[:3], 7)
    Memory(resumed).load_state_dict(memory_of(parts))
    run_epochs(resumed, data[3:], 7, first=4)
    assert torch.equal(whole.momentum_loss, resumed.momentum_loss) and torch.equal(whole.epochs, resumed.epochs)
    whole.start_epoch(7), resumed.start_epoch(7)
    assert torch.equal(whole.score, resumed.score)


@pytest.mark.parametrize("memory", [None, {}, {"momentum_loss": torch.zeros(3), "epochs": torch.zeros(3)},
                                    {"momentum_loss": torch.full((4,), torch.nan), "epochs": torch.zeros(4)},
                                    {"momentum_loss": [0] * 4, "epochs": torch.zeros(4)}])  # fmt: skip
def test_a_memory_that_does_not_fit_is_refused(memory):
    with pytest.raises(ValueError, match="memory"):
        Memory(BCL(Losses(), 4)).load_state_dict(memory)


# ---- the focal loss


@quick
@given(n=st.integers(2, 6), seed=st.integers(0, 999), gamma=st.floats(0, 4), temperature=st.floats(0.1, 1))
def test_focal_loss_against_loops(n, seed, gamma, temperature):
    rng = np.random.RandomState(seed)
    z = rng.normal(size=(2, n, 4))
    unit = (z / np.linalg.norm(z, axis=2, keepdims=True)).reshape(2 * n, 4)
    expected = np.zeros(n)
    for a in range(2 * n):
        similar = [math.exp(float(unit[a] @ unit[k]) / temperature) for k in range(2 * n)]
        p = similar[(a + n) % (2 * n)] / (sum(similar) - similar[a])
        expected[a % n] += -((1 - p) ** gamma) * math.log(p) / 2
    ours = focal_loss(anchor_losses(*torch.tensor(z), temperature), gamma)
    assert ours.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_focal_loss_without_focus_is_nt_xent_and_has_a_gradient_where_it_is_nearly_zero():
    z = torch.randn(2, 8, 5, dtype=torch.float64)
    assert torch.allclose(focal_loss(anchor_losses(*z, 0.2), 0.0), nt_xent(*z, 0.2))
    same = torch.eye(4, dtype=torch.float64, requires_grad=True)
    for gamma in (0.5, 1.0, 2.0):
        (gradient,) = torch.autograd.grad(focal_loss(anchor_losses(same, same, 0.01), gamma).sum(), same)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_gradients_of_the_focal_loss_are_those_of_finite_differences(gamma):
    torch.manual_seed(1)
    views = [torch.randn(4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda x, y: focal_loss(anchor_losses(x, y, 0.2), gamma), views)
    keys = [torch.randn(9, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def of_a_part(x, y, key1, key2):
        keys = [torch.cat([key[:3], z, key[7:]]) for key, z in ((key1, x), (key2, y))]
        return focal_loss(anchor_losses(x, y, 0.2, tuple(keys), 3), gamma)

    assert torch.autograd.gradcheck(of_a_part, [*views, *keys])


# ---- boosted RandAugment

PHOTO = Image.fromarray(np.random.RandomState(0).randint(0, 256, (32, 48, 3)).astype(np.uint8))


def signed(function):
    """What an operation may give, with one sign or the other."""
    return [function(1), function(-1)]


def affine(*matrix: float) -> Image.Image:
    return PHOTO.transform((48, 32), Image.Transform.AFFINE, matrix)


EXTREME = {
    "ShearX": signed(lambda s: affine(1, 0.6 * s, 0, 0, 1, 0)),
    "ShearY": signed(lambda s: affine(1, 0, 0, 0.6 * s, 1, 0)),
    "TranslateX": signed(lambda s: affine(1, 0, 0.66 * 48 * s, 0, 1, 0)),
    "TranslateY": signed(lambda s: affine(1, 0, 0, 0, 1, 0.66 * 32 * s)),
    "Rotate": signed(lambda s: PHOTO.rotate(60 * s)),
    "AutoContrast": [ImageOps.autocontrast(PHOTO)],
    "Invert": [Image.fromarray(255 - np.asarray(PHOTO))],
    "Equalize": [ImageOps.equalize(PHOTO)],
    "Solarize": [np.where(np.asarray(PHOTO) < 110, PHOTO, 255 - np.asarray(PHOTO))],
    "Posterize": [PHOTO],  # eight bits are all
    "Contrast": [ImageEnhance.Contrast(PHOTO).enhance(1.9)],
    "Color": [ImageEnhance.Color(PHOTO).enhance(1.9)],
    "Brightness": [np.clip(np.asarray(PHOTO) * np.float32(1.9), 0, 255).astype(np.uint8)],
    "Sharpness": [ImageEnhance.Sharpness(PHOTO).enhance(1.9)],
}


def only(name: str, monkeypatch) -> None:
    monkeypatch.setattr("data.views.boost.OPERATIONS", {name: OPERATIONS[name]})


@pytest.mark.parametrize("name", EXTREME)
def test_operations_at_their_extreme(name, monkeypatch):
    only(name, monkeypatch)
    found = set()
    for seed in range(12):
        torch.manual_seed(seed)
        out = np.asarray(Boost(1)(PHOTO, 1.0, 1.0))
        same = [i for i, wanted in enumerate(EXTREME[name]) if np.array_equal(out, np.asarray(wanted))]
        assert same, name
        found.add(same[0])
    assert found == set(range(len(EXTREME[name])))  # both signs come


def test_cutout_covers_a_square_of_at_most_its_share(monkeypatch):
    only("Cutout", monkeypatch)
    sizes = []
    for seed in range(200):
        torch.manual_seed(seed)
        out = np.asarray(Boost(1)(PHOTO, 1.0, 1.0))
        grey = (out == FILL).all(2) & (np.asarray(PHOTO) != FILL).any(2)
        rows, columns = np.flatnonzero(grey.any(1)), np.flatnonzero(grey.any(0))
        assert grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.99
        assert np.array_equal(out[~grey], np.asarray(PHOTO)[~grey])
        sizes.append(columns[-1] - columns[0] + 1)
    assert max(sizes) in (19, 20)  # 0.4 of 48 pixels, both ends drawn


def test_the_published_operations():
    ranges = {name: (low, high) for name, (_, low, high) in OPERATIONS.items()}
    assert ranges == {
        "ShearX": (0, 0.6), "ShearY": (0, 0.6), "TranslateX": (0, 0.66), "TranslateY": (0, 0.66), "Rotate": (0, 60),
        "AutoContrast": (0, 1), "Invert": (0, 1), "Equalize": (0, 1), "Solarize": (0, 110), "Posterize": (4, 8),
        "Contrast": (0.1, 1.9), "Color": (0.1, 1.9), "Brightness": (0.1, 1.9), "Sharpness": (0.1, 1.9),
        "Cutout": (0, 0.4),
    }  # fmt: skip


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_score_of_zero_changes_nothing(k):
    for seed in range(50):
        torch.manual_seed(seed)
        boost = Boost(k)
        assert boost(PHOTO, 0.0, boost.draw()) is PHOTO


@pytest.mark.parametrize("score", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("k", [1, 2])
def test_rate_choice_and_strength_of_operations(k, score, monkeypatch):
    seen: list[tuple[str, float]] = []

    def note(name):
        return lambda image, value: seen.append((name, value)) or image

    monkeypatch.setattr("data.views.boost.OPERATIONS", {name: (note(name), 0, 30) for name in OPERATIONS})
    times, boost = 4000, Boost(k)
    torch.manual_seed(0)
    for _ in range(times):
        boost(PHOTO, score, boost.draw())
    assert scipy.stats.binomtest(len(seen), times * k, score).pvalue > 1e-4
    names = [name for name, _ in seen]
    assert scipy.stats.chisquare([names.count(name) for name in OPERATIONS]).pvalue > 1e-4
    values = np.array([value for _, value in seen])
    if k == 1:
        assert values == pytest.approx(10 + 20 * score)
    else:
        uniform = scipy.stats.uniform(5, 25 * score)
        assert scipy.stats.kstest(values[::k], uniform.cdf).pvalue > 1e-4


def test_strength_and_floor_of_the_command_line():
    seen = []
    boost = Boost(1, strength=20, floor=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.views.boost.OPERATIONS", {"x": (lambda image, v: seen.append(v) or image, 0, 30)})
        boost(PHOTO, 1.0, 1.0), [boost(PHOTO, 0.9999, 1.0) for _ in range(3)]
    assert seen[0] == 20 and seen[1] == pytest.approx(2 + 18 * 0.9999)
    assert Boost(1, strength=4).floor == 4
    for bad in ({"k": 0}, {"strength": 31}, {"strength": 5, "floor": 6}, {"floor": -1}):
        with pytest.raises(InputError, match="rand_"):
            Boost(**{"k": 1, **bad})


def test_both_views_share_the_factor_and_nothing_else(monkeypatch):
    seen = []
    monkeypatch.setattr("data.views.boost.OPERATIONS", {"x": (lambda image, v: seen.append(v) or image, 0, 30)})
    images = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    data = AugmentedImages(images, np.zeros(6, int), pretrain_transform(8, True), 0, 2)
    data.boost = Boost(2)
    data.scores[:] = 1.0
    for i in range(6):
        data[1, i]
    values = np.array(seen).reshape(6, 4)
    assert (values == values[:, :1]).all() and len(set(values[:, 0])) == 6


def test_scores_that_do_not_fit_the_images_are_refused():
    images = np.zeros((6, 8, 8, 3), np.uint8)
    data = AugmentedImages(images, np.zeros(6, int), pretrain_transform(8, True), 0, 2)
    data.boost = Boost(2)
    for bad in (torch.zeros(5), torch.zeros(7), torch.zeros(6, 1), torch.tensor([0, 0, 0, 0, 0, 1.1]),
                torch.tensor([0, 0, 0, 0, 0, -0.1]), torch.tensor([0, 0, 0, 0, 0, torch.nan])):  # fmt: skip
        with pytest.raises(InputError, match="memorisation scores"):
            data.set_scores(bad)
    shared = data.scores.data_ptr()
    data.set_scores(torch.full((6,), 0.5, dtype=torch.float64))
    assert data.scores.tolist() == [0.5] * 6 and data.scores.data_ptr() == shared  # what the workers see


def test_the_benchmark_compares_equal_work():
    """The published loop, as the benchmark has it, ends with the memory of the slow oracle, as BCL does."""
    loop, data = Loop(30, epochs=4), random_epochs(30, 4, 1)
    for epoch, pairs in enumerate(data, 1):
        index, losses = zip(*pairs, strict=True)
        loop.remember(epoch, torch.tensor(index), torch.tensor(losses))
    assert loop.shadow.tolist() == pytest.approx(slow_memory(data, 30, 0.97), rel=1e-5)


def test_workers_that_persist_see_each_epochs_scores():
    digits = load(data_set("digits"), "", train=True)
    black = np.zeros_like(digits.images[:20])
    data = AugmentedImages(black, np.zeros(20, int), pretrain_transform(16, False), 0, 2)
    data.boost = Boost(1, floor=30)
    sampler = EpochSampler(data, 1, 0, shuffle=True, seed=0)
    loader = make_loader(data, sampler, 5, 2, torch.device("cpu"))
    changed = []
    for epoch, score in enumerate((0.0, 1.0, 0.0, 1.0), 1):
        data.scores.fill_(score)
        sampler.set_epoch(epoch)
        changed.append(sum(float(views.abs().sum()) > 0 for views, *_ in loader))
    assert changed[0] == changed[2] == 0 and min(changed[1], changed[3]) > 0  # a black image stays so without Invert


# ---- the scripts


BOOSTED = ["--bcl", "--momentum_loss_beta", "0.9"]


@pytest.mark.slow
def test_resumed_bcl_training_equals_the_undisturbed_one(call, tmp_path):
    options = [*PRETRAIN, *BOOSTED, "--rand_k", "2", "--prune", "--prune_percent", "0.5", "--prune_dual_bn"]
    options += ["--scheduler", "constant", "--resume", "--accept_changes"]
    assert call("train_simCLR.py", "whole", *options, "--epochs", 4).returncode == 0
    assert call("train_simCLR.py", "parts", *options, "--epochs", 2).returncode == 0
    done = call("train_simCLR.py", "parts", *options, "--epochs", 4)
    assert done.returncode == 0 and "after epoch 2" in done.stdout
    whole, parts = (torch.load(tmp_path / f"checkpoints/{n}/model.pt", weights_only=True) for n in ("whole", "parts"))
    assert all(torch.equal(whole["state_dict"][k], parts["state_dict"][k]) for k in whole["state_dict"])
    assert torch.equal(whole["memory"]["momentum_loss"], parts["memory"]["momentum_loss"])
    assert (whole["memory"]["epochs"] == 4).all()
    plain = call("train_simCLR.py", "plain", *PRETRAIN, "--epochs", 2)
    assert plain.returncode == 0
    boosted = [*PRETRAIN, *BOOSTED, "--epochs", 2, "--resume"]
    one_line_error(call("train_simCLR.py", "plain", *boosted), "bcl was False, is True")
    one_line_error(call("train_simCLR.py", "plain", *boosted, "--accept_changes"), "no memory of this method")


@pytest.mark.slow
def test_boosting_changes_nothing_in_the_first_epoch_and_something_later(call, tmp_path):
    weights = {}
    for name, options in (("plain", []), ("boosted", BOOSTED), ("focal", ["--focal"]), ("both", ["--focal", *BOOSTED])):
        assert call("train_simCLR.py", name, *PRETRAIN, *options, "--epochs", 1).returncode == 0
        state = torch.load(tmp_path / f"checkpoints/{name}/model.pt", weights_only=True)["state_dict"]
        weights[name] = state["module.conv1.weight"]
    assert not torch.equal(weights["plain"], weights["focal"])
    metrics = (tmp_path / "checkpoints/boosted/metrics.jsonl").read_text()
    assert json.loads(metrics.splitlines()[0])["epoch"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bcl", "--momentum_loss_beta", "1"], ["--momentum_loss_beta"]),
        (["--bcl", "--rand_k", "0"], ["--rand_k"]),
        (["--bcl", "--rand_strength", "31"], ["--rand_strength"]),
        (["--focal", "--prune"], ["--focal and --prune do not go together: leave out one"]),
        (["--focal", "--focal_gamma", "-1"], ["--focal_gamma"]),
    ],
)
def test_mistakes_are_one_line(call, options, words):
    one_line_error(call("train_simCLR.py", "x", *PRETRAIN, *options), *words)
