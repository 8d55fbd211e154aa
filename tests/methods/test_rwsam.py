"""rwSAM: steps against two explicit gradients, densities against scikit-learn and loops; names, processes, resuming."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.spatial
import scipy.special
import torch
from sklearn.neighbors import KernelDensity
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import methods.rwsam
from methods import choose, label_of, method_in
from methods.base import Method, Wrapper
from methods.rwsam import AS_USUAL, Density, RwSAM, climb, log_densities, median_distance, rarity
from methods.simclr import SimCLR
from models import build_encoder
from pretrain.epoch import Schedule, Training, step
from pretrain.files import Memory, memory_of
from run.checkpoint import read_checkpoint
from run.compute import Compute
from run.flags import Precision
from run.optim import sgd
from split.open import Lists
from tests.conftest import one_line_error, slow_but
from tests.methods.test_methods import share
from tests.pretrain.test_hooks import batch, training_of
from tests.reference import relative_error
from tests.run.test_resume import SMALL
from tests.scripts.test_train_scripts import same
from tests.warm import spawn
from utils.distributed import World

RWSAM = [*SMALL, "--method", "rwsam", "--precision", "fp32"]


def clusters(seed: int, sizes: tuple[int, ...] = (150, 40, 10), channels: int = 16) -> tuple[torch.Tensor, list[int]]:
    """Points around directions of their own, in random order, and the cluster of each."""
    rng = np.random.default_rng(seed)
    which = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = 3 * np.eye(channels)[which] + 0.3 * rng.normal(size=(len(which), channels))
    return torch.from_numpy(points), which.tolist()


# ---- the density


@pytest.mark.parametrize(("n", "m", "channels", "bandwidth"), [(40, 30, 5, 0.3), (7, 1, 3, 0.01), (300, 200, 64, 0.3)])
def test_log_densities_are_those_of_scikit_learn(n, m, channels, bandwidth, monkeypatch):
    """Those of SciPy, too, where scikit-learn's are rounding: where all kernels are below 1e-16 of their peak."""
    rng = np.random.default_rng(n)
    points, centres = (rng.normal(size=(k, channels)) for k in (n, m))
    points[: min(n, m) // 2] = centres[: min(n, m) // 2]
    points, centres = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (points, centres))
    expected = KernelDensity(bandwidth=bandwidth).fit(centres).score_samples(points)
    kernels = scipy.spatial.distance.cdist(points, centres, "sqeuclidean") / (-2 * bandwidth**2)
    peak = -channels * math.log(bandwidth * math.sqrt(2 * math.pi))
    exact = scipy.special.logsumexp(kernels, axis=1) - math.log(m) + peak
    rounded = kernels.max(1) < -15
    assert rounded.sum() < n or bandwidth == 0.01
    for block in (methods.rwsam.BLOCK, 1, 7 * m):
        monkeypatch.setattr(methods.rwsam, "BLOCK", block)
        found = log_densities(torch.from_numpy(points), torch.from_numpy(centres), bandwidth)
        np.testing.assert_allclose(found.numpy()[~rounded], expected[~rounded], rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.numpy(), exact, rtol=1e-9, atol=1e-6)


def test_a_point_does_not_count_for_itself():
    features = clusters(0)[0][:30]
    fits = [KernelDensity(bandwidth=0.4).fit(np.delete(features.numpy(), i, 0)) for i in range(30)]
    expected = [float(fit.score_samples(features[i : i + 1])[0]) for i, fit in enumerate(fits)]
    order = torch.randperm(30)
    found = log_densities(features, features[order], 0.4, order.argsort())
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


def slow_rarity(features: np.ndarray, how: Density, sample: list[int] | None = None) -> list[float]:
    """By loops over the equation; each image against the others of the sample."""
    rows = [[float(v) for v in row / np.linalg.norm(row)] for row in features]
    of = list(range(len(rows))) if sample is None else sample
    pairs = sorted(math.dist(rows[i], rows[j]) for k, i in enumerate(of) for j in of[:k])
    h = max(how.bandwidth * pairs[(len(pairs) - 1) // 2], 1e-3)
    density = []
    for i, row in enumerate(rows):
        by = [j for j in of if j != i]
        density.append(sum(math.exp(-(math.dist(row, rows[j]) ** 2) / (2 * h * h)) for j in by) / len(by))
    weights = [p**-how.power for p in density]
    weights = [min(w, how.clip * float(np.median(weights))) for w in weights]
    return [w / np.mean(weights) for w in weights]


@pytest.mark.parametrize("how", [AS_USUAL, Density(power=2.5, clip=1.5), Density(bandwidth=1.0, power=0.5)])
@pytest.mark.parametrize("n", [2, 3, 24, 25])
def test_weights_against_loops(how, n):
    features = clusters(1)[0][:n]
    found = rarity(features, how)
    assert found.tolist() == pytest.approx(slow_rarity(features.numpy(), how), rel=1e-6)
    assert float(found.mean()) == pytest.approx(1, abs=1e-12)
    # Lengths of features do not count.
    torch.testing.assert_close(rarity(features * torch.arange(1, n + 1)[:, None], how), found)


def test_of_many_images_some_stand_for_all(monkeypatch):
    monkeypatch.setattr(methods.rwsam, "WHOLE", 50)
    monkeypatch.setattr(methods.rwsam, "SAMPLE", 20)
    features, _ = clusters(2, (40, 20, 3))
    order = torch.randperm(63, generator=torch.Generator().manual_seed(5)).tolist()
    state = torch.get_rng_state()
    found = rarity(features, Density(seed=5))
    assert torch.equal(state, torch.get_rng_state())
    assert found.tolist() == pytest.approx(slow_rarity(features.numpy(), AS_USUAL, order[:20]), rel=1e-6)
    assert not torch.allclose(rarity(features, Density(seed=6)), found)
    # Up to that many, all are compared with all.
    torch.testing.assert_close(
        rarity(features[:50], Density(seed=5, bandwidth=1e-9)), rarity(features[:50], Density(bandwidth=1e-9))
    )


def test_on_a_sample_rare_images_weigh_more_too(monkeypatch):
    monkeypatch.setattr(methods.rwsam, "WHOLE", 150)
    monkeypatch.setattr(methods.rwsam, "SAMPLE", 100)
    features, which = clusters(3)
    by_cluster = [rarity(features, AS_USUAL)[torch.tensor(which) == c].mean() for c in range(3)]
    assert by_cluster[0] < by_cluster[1] < by_cluster[2]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bandwidth", [0.1, 0.25, 1.0])
def test_weights_rise_with_rarity(seed, bandwidth):
    features, which = clusters(seed)
    weights = rarity(features.float(), Density(bandwidth=bandwidth))
    by_cluster = [weights[torch.tensor(which) == c].mean() for c in range(3)]
    assert by_cluster[0] < 1 < by_cluster[1] < by_cluster[2]


def test_a_permutation_of_the_images_permutes_their_weights():
    features, _ = clusters(0)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rarity(features[order], AS_USUAL), rarity(features, AS_USUAL)[order])


def test_no_weight_is_larger_than_the_clip_of_the_median_and_large_powers_do_not_overflow():
    features, _ = clusters(0, (150, 49, 1))
    for power, clip in ((1, 1.0), (3, 2.0), (1000, 7.0)):
        weights = rarity(features, Density(power=power, clip=clip))
        assert weights.isfinite().all() and float(weights.mean()) == pytest.approx(1)
    free, clipped = rarity(features, Density(clip=1e9)).numpy(), rarity(features, Density(clip=1.5)).numpy()
    expected = np.minimum(free, 1.5 * np.median(free))
    assert (expected < free).sum() > 1
    np.testing.assert_allclose(clipped, expected / expected.mean(), rtol=1e-9)


@pytest.mark.parametrize("value", [1.0, 0.0])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_images_that_are_all_alike_have_equal_weights(value, n):
    assert rarity(torch.full((n, 4), value), AS_USUAL).tolist() == pytest.approx([1.0] * n)


def test_many_copies_of_one_image_are_no_division_by_zero():
    features = torch.cat([torch.ones(30, 4), torch.eye(4)])
    weights = rarity(features, AS_USUAL)
    assert weights.isfinite().all() and weights[:30].max() < weights[30:].min()


def test_without_power_all_weights_are_equal():
    torch.testing.assert_close(rarity(clusters(0)[0], Density(power=0.0)), torch.ones(200).double())


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_median_distance(n):
    points = np.random.default_rng(n).normal(size=(n, 3))
    pairs = sorted(math.dist(points[i], points[j]) for i in range(n) for j in range(i))
    assert median_distance(torch.from_numpy(points)) == pytest.approx(pairs[(len(pairs) - 1) // 2])
    assert median_distance(torch.ones(1, 3)) == 0


# ---- the climb and the step


class Toy(Method):
    """Losses z^2 + sin z with z = x . a + b, of rows x in place of views; weights of its own where they are given."""

    own: torch.Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.encoder = nn.Linear(3, 1).double()

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        z = self.projections = self.encoder(views).squeeze(1)
        return z.square() + z.sin()

    def loss_weights(self, index: torch.Tensor) -> torch.Tensor | None:
        return None if self.own is None else self.own[index]


def toy_gradient(w: np.ndarray, x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Of the toy's weighted mean by its weights w = (a, b), worked out by hand."""
    z = x @ w[:3] + w[3]
    return (v * (2 * z + np.cos(z))) @ np.c_[x, np.ones(len(x))] / len(x)


def toy_weights(method: Method) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in method.parameters()])


def around(toy: Method, rho: float = 0.3, adaptive: bool = True, images: int = 6) -> RwSAM:
    """rwSAM with densities' weights 1/2, 1, 3/2, ..."""
    method = RwSAM(toy, images, rho, adaptive).double()
    method.density_weights.copy_(torch.arange(1, images + 1) / 2)
    return method


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("own", [False, True])
def test_a_step_is_that_of_two_explicit_gradients(adaptive, own):
    """Up that of the losses with the densities' weights, then down that of the losses without, from where it began."""
    images = batch()._replace(views=torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    images = images._replace(index=torch.tensor([3, 0, 5, 1, 1, 2]))
    toy, lr, rho = Toy(), 0.1, 0.3
    inner = np.array([2.0, 0.5, 1.0, 3.0, 0.25, 1.5])[images.index] if own else np.ones(6)
    toy.own = torch.tensor([2.0, 0.5, 1.0, 3.0, 0.25, 1.5]).double() if own else None
    x, w, v = images.views.numpy(), toy_weights(toy), (images.index.numpy() + 1) / 2
    g = toy_gradient(w, x, v * inner)
    e = rho * w**2 * g / np.sqrt(((np.abs(w) * g) ** 2).sum()) if adaptive else rho * g / np.sqrt((g**2).sum())
    down = toy_gradient(w + e, x, inner)
    method = around(toy, rho, adaptive)
    found = step(training_of(method, lr), images)
    np.testing.assert_allclose(toy_weights(method), w - lr * down, rtol=1e-12)
    z = x @ w[:3] + w[3]
    np.testing.assert_allclose(found.losses.numpy(), z**2 + np.sin(z), rtol=1e-12)  # at w, and without weights
    assert not method.climbing
    assert (
        method.loss_weights(images.index) is None
        if not own
        else torch.equal(method.loss_weights(images.index), toy.own[images.index])
    )


def test_another_wrapper_may_be_around_it_or_within():
    class Doubled(Wrapper):
        def loss_weights(self, index: torch.Tensor) -> torch.Tensor:
            inner = super().loss_weights(index)
            return torch.full((6,), 2.0).double() if inner is None else 2 * inner

    images = batch()._replace(views=torch.randn(6, 3, dtype=torch.float64))
    found = []
    for method in (around(Toy()), Doubled(around(Toy())), around(Doubled(Toy()))):
        before = toy_weights(method)
        step(training_of(method), images)
        found.append(before - toy_weights(method))
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-9)
    np.testing.assert_allclose(found[2], found[1], rtol=1e-12)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("fails", [0, 1, 2])
def test_weights_are_where_they_were_to_the_bit(adaptive, fails):
    """Also where a closure raises; a difference of float32 numbers would not lead back."""
    torch.manual_seed(0)
    method = RwSAM(SimCLR(build_encoder("res20_s", 16, 2), 0.2), 6, 0.5, adaptive).train()
    before, calls, images = [p.detach().clone() for p in method.parameters()], [], batch()

    def closure() -> torch.Tensor:
        calls.append([p.detach().clone() for p in method.parameters()])
        method.zero_grad()
        method(images.views, images.index).mean().backward()
        if len(calls) == fails:
            raise KeyboardInterrupt
        return torch.zeros(6)

    if fails:
        with pytest.raises(KeyboardInterrupt):
            method.step(closure)
    else:
        method.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True)) and not method.climbing
    assert all(torch.equal(a, b) for a, b in zip(before, calls[0], strict=True))
    if fails != 1:
        assert not all(torch.equal(a, b) for a, b in zip(before, calls[1], strict=True))


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_climb_is_as_long_as_rho_and_no_factor_of_the_gradient_counts(adaptive):
    w, g = [torch.tensor([1.0, -2.0]), torch.tensor([[0.5]])], [torch.tensor([3.0, 4.0]), torch.tensor([[-12.0]])]
    moves = climb(w, g, 0.5, adaptive)
    by = [m / a for m, a in zip(moves, w, strict=True)] if adaptive else moves
    assert float(torch.cat([b.flatten() for b in by]).norm()) == pytest.approx(0.5)
    for factor in (2.0**16, 2.0**-30):
        for a, b in zip(climb(w, [factor * x for x in g], 0.5, adaptive), moves, strict=True):
            torch.testing.assert_close(a, b)
    assert all(torch.equal(a, torch.zeros_like(a)) for a in climb(w, g, 0.0, adaptive))


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 1e-30, 1e-20])
def test_a_gradient_of_zero_or_nearly_so_climbs_nowhere_far(adaptive, size):
    moves = climb([torch.tensor([1.0, 0.0])], [torch.tensor([size, -size])], 0.5, adaptive)[0]
    assert moves.isfinite().all() and moves.norm() <= 0.5 * (1 + 1e-4)
    if size == 0:
        assert (moves == 0).all()


def test_a_network_whose_weights_or_gradients_are_zero_stays_finite():
    toy, images = Toy(), batch()._replace(views=torch.ones(6, 3, dtype=torch.float64))
    with torch.no_grad():
        toy.encoder.weight.zero_(), toy.encoder.bias.zero_()
    method = around(toy)
    step(training_of(method, 0.1), images)  # as plain: |w| o g is 0
    np.testing.assert_allclose(toy_weights(method), -0.1 * np.ones(4))


def test_weights_without_a_gradient_are_left_alone():
    toy = Toy()
    toy.encoder.bias.requires_grad_(False)
    toy.unused = nn.Parameter(torch.ones(2).double())
    before, method = toy_weights(toy), around(toy)
    step(training_of(method, 0.1), batch()._replace(views=torch.ones(6, 3, dtype=torch.float64)))
    after = toy_weights(method)
    names = [name for name, p in method.named_parameters() for _ in range(p.numel())]
    moved = {name.rpartition(".")[2] for name, a, b in zip(names, before, after, strict=True) if a != b}
    assert moved == {"weight"}


def test_in_fp16_a_climb_that_overflows_is_a_step_left_out():
    """The scale falls, as for any gradient that overflows; else a step would silently be that of the plain method."""
    toy = Toy().float()
    method = RwSAM(toy, 6)
    method.density_weights.fill_(1e38)
    compute = Compute(Precision("fp16", "contiguous_format", False, False), torch.device("cpu"))
    compute.scaler = torch.amp.GradScaler("cpu", 2**8)  # which the descent does not overflow at
    training = training_of(method, 0.1)._replace(compute=compute)
    before, images = toy_weights(method), batch()._replace(views=torch.ones(6, 3))
    step(training, images)
    assert (toy_weights(method) == before).all() and compute.scaler.get_scale() == 2**7
    method.density_weights.fill_(1.0)
    step(training, images)
    assert (toy_weights(method) != before).any() and np.isfinite(toy_weights(method)).all()


def test_statistics_move_once_a_step():
    torch.manual_seed(0)
    method = RwSAM(SimCLR(build_encoder("res20_s", 16, 2), 0.2), 6).train()
    plain, images = SimCLR(build_encoder("res20_s", 16, 2), 0.2).train(), batch()
    plain.load_state_dict(method.method.state_dict())
    step(training_of(method), images), step(training_of(plain), images)
    for (name, a), b in zip(method.method.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(method.encoder.conv1.weight, plain.encoder.conv1.weight)


# ---- several processes


def train_a_little(rank: int, size: int, folder: str) -> None:
    """One process of `size`: two steps of its share of seven images."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join{size}", rank=rank, world_size=size)
    torch.save(trained(share(rank, size), rank, size), f"{folder}/{size}_{rank}.pt")
    torch.distributed.destroy_process_group()


def trained(index: list[int], rank: int = 0, size: int = 1) -> torch.Tensor:
    """All weights after two steps, flat; batch norm in evaluation mode."""
    torch.manual_seed(0)
    method = around(SimCLR(build_encoder("res20_s", 16, 2), 0.2), 0.5, True, 7).eval()
    views = torch.rand(7, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    compute, world = training_of(method).compute, World(rank, size, torch.device("cpu"))
    model = compute.distributed(method, world)
    assert isinstance(model, DistributedDataParallel) == (size > 1)
    training = Training(
        model.eval(), [], sgd(method.parameters(), 0.1, 0.9, 0.0), Schedule(9, 0.1, "constant"), compute, world
    )
    for _ in range(2):
        step(training, batch()._replace(views=views[index], index=torch.tensor(index)))
    return torch.cat([p.detach().flatten() for p in method.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("size", slow_but(2, [2, 3]))
def test_several_processes_climb_and_end_as_one(tmp_path, size):
    spawn(train_a_little, (size, str(tmp_path)), size)
    one = trained([index for rank in range(size) for index in share(rank, size)])
    found = [torch.load(tmp_path / f"{size}_{rank}.pt") for rank in range(size)]
    assert all(torch.equal(found[0], other) for other in found)
    assert relative_error(found[0], one) < 1e-9
    shifted = one - torch.cat([p.detach().flatten() for p in SimCLR(build_encoder("res20_s", 16, 2), 0.2).parameters()])
    assert shifted.norm() > 0


# ---- epochs, memory


class Asked:
    """Features that are counted; none after `ready`."""

    def __init__(self, features: torch.Tensor) -> None:
        self.features, self.calls = features, 0

    def __call__(self) -> torch.Tensor:
        self.calls += 1
        return self.features


def test_the_density_is_estimated_when_the_second_epoch_begins_and_every_so_often():
    method, features = RwSAM(Toy(), 200, density=Density(every=3)), Asked(clusters(0)[0].float())
    due = []
    for epoch in range(1, 10):
        before = features.calls
        method.start_epoch(epoch, features)
        due += [epoch] * (features.calls - before)
        assert (method.density_weights == 1).all() == (epoch == 1)
        assert (method.measures()["density_s"] > 0) == (epoch in due)
    assert due == [2, 5, 8]
    method.start_phase(1)  # another network
    assert (method.density_weights == 1).all()
    for epoch in (10, 11):
        method.start_epoch(epoch, features)
        assert (method.density_weights == 1).all() == (epoch == 10)
    method.start_epoch(14)  # where nobody has features
    assert features.calls == 4


def test_an_epoch_that_is_resumed_needs_no_estimate():
    method, features = RwSAM(Toy(), 200), Asked(clusters(0)[0].float())
    method.start_epoch(1, features), method.start_epoch(2, features)
    resumed = RwSAM(Toy(), 200)
    Memory(resumed).load_state_dict({name: value.clone() for name, value in memory_of(method).items()})
    resumed.start_epoch(2, features)
    assert features.calls == 1 and torch.equal(resumed.density_weights, method.density_weights)
    for epoch in (11, 12):
        resumed.start_epoch(epoch, features)
        assert features.calls == epoch - 10
    assert {name.rpartition(".")[2] for name in memory_of(method)} == {"density_weights", "due", "unknown"}


def test_images_without_a_feature_weigh_1_and_are_counted():
    features, _ = clusters(0)
    whole = torch.cat([torch.full((1, 16), torch.nan), features[:90], torch.full((2, 16), torch.nan), features[90:]])
    whole[91, 3] = 1.0  # NaN in part
    method = RwSAM(Toy(), 203)
    method.start_epoch(1), method.start_epoch(2, lambda: whole.float())
    known = whole.isfinite().all(1)
    assert method.density_weights[~known].tolist() == [1.0] * 3
    torch.testing.assert_close(
        method.density_weights[known], rarity(features.float(), AS_USUAL).float(), rtol=1e-4, atol=0
    )
    assert method.measures()["weights_unknown"] == 3
    method.due.fill_(3)
    method.start_epoch(3, lambda: torch.full((203, 16), torch.nan))
    assert (method.density_weights == 1).all() and method.measures()["weights_unknown"] == 203


def test_the_density_is_of_the_images_that_an_epoch_trains_on():
    features, toy, order = clusters(0)[0].float(), Toy(), torch.randperm(200)[:120]
    toy.subset = lambda: order
    method = RwSAM(toy, 200)
    method.start_epoch(1), method.start_epoch(2, lambda: features)
    torch.testing.assert_close(
        method.density_weights[order], rarity(features[order], AS_USUAL).float(), rtol=1e-4, atol=0
    )
    others = torch.ones(200, dtype=torch.bool).index_fill_(0, order, False)
    assert (method.density_weights[others] == 1).all() and method.unknown == 0


def test_of_several_parts_of_the_images_the_density_is_of_all():
    """As DnC's experts have them, each its own."""
    features, toy, order = clusters(0)[0].float(), Toy(), torch.randperm(200)[:120]
    toy.subset = lambda: [order[:70], order[:0], order[70:]]
    features[order[3]] = torch.nan
    method = RwSAM(toy, 200)
    method.start_epoch(1), method.start_epoch(2, lambda: features)
    known = order[torch.arange(120) != 3]
    wanted = rarity(features[known], AS_USUAL).float()
    torch.testing.assert_close(method.density_weights[known], wanted, rtol=1e-4, atol=0)
    assert method.unknown == 1 and (method.density_weights != 1).sum() <= 119


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_memory_that_is_damaged_is_refused(value):
    memory = memory_of(RwSAM(Toy(), 4))
    with pytest.raises(ValueError, match="memory of densities is damaged"):
        Memory(RwSAM(Toy(), 4)).load_state_dict({**memory, "density_weights": torch.full((4,), value)})
    with pytest.raises(ValueError, match="of another list of images"):
        Memory(RwSAM(Toy(), 4)).load_state_dict({**memory, "density_weights": torch.ones(5)})


# ---- the program


@pytest.mark.usefixtures("one_thread")
def test_without_a_climb_it_is_simclr_to_the_bit(call, tmp_path):
    options, found = [*SMALL, "--precision", "fp32", "--epochs", "2"], {}
    runs = {"simclr": [], "rho0": ["--method", "rwsam", "--sam_rho", "0"], "rho0.5": ["--method", "rwsam"]}
    for name, words in runs.items():
        done = call("train_simCLR.py", name, *options, *words)
        assert done.returncode == 0, done.stderr
        found[name] = read_checkpoint(tmp_path / "checkpoints" / name / "model.pt")
    weights = {name: content["state_dict"] for name, content in found.items()}
    assert same(weights["simclr"], weights["rho0"]) and not same(weights["simclr"], weights["rho0.5"])
    assert (found["rho0"]["memory"]["density_weights"] != 1).any()  # it weighs, and climbs nowhere
    assert found["rho0.5"]["config"]["sam_rho"] == 0.5 and found["rho0.5"]["config"]["sam_adaptive"] is True
    rows = [json.loads(row) for row in (tmp_path / "checkpoints/rho0.5/metrics.jsonl").read_text().splitlines()]
    assert [row["density_s"] > 0 for row in rows] == [False, True]
    assert rows[1]["weight_max"] > 1 and rows[1]["weight_std"] > 0 == rows[1]["weights_unknown"]


@pytest.mark.usefixtures("one_thread")
def test_it_never_sees_a_label(call, tmp_path, monkeypatch):
    """Labels that are others change neither weights nor densities."""
    original = Lists.open_training

    def others(self, *words):
        found = original(self, *words)
        return replace(found, labels=np.random.default_rng(0).permutation(found.labels))

    found = []
    for name in ("right", "wrong"):
        assert call("train_simCLR.py", name, *RWSAM, "--epochs", "2").returncode == 0
        content = read_checkpoint(tmp_path / "checkpoints" / name / "model.pt")
        found.append({**content["state_dict"], **content["memory"]})
        monkeypatch.setattr(Lists, "open_training", others)
    assert same(*found) and (found[0]["density_weights"] != 1).any()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("name", "words"),
    [("sdclr+rwsam", ["--precision", "bf16"]), ("rwsam+bcl", ["--sam_adaptive", "False"]),
     pytest.param("bcl-d+rwsam", [], marks=pytest.mark.slow), pytest.param("focal+rwsam", [], marks=pytest.mark.slow)],
)  # fmt: skip
def test_it_goes_around_other_methods(call, tmp_path, name, words):
    done = call("train_simCLR.py", "run", *SMALL, "--epochs", "2", "--method", name, *words)
    assert done.returncode == 0, done.stderr
    content = read_checkpoint(tmp_path / "checkpoints/run/model.pt")
    assert content["config"]["method"] == name
    key = next(key for key in content["memory"] if key.endswith("density_weights"))
    assert (content["memory"][key] != 1).any() and float(content["memory"][key].mean()) == pytest.approx(1)


def test_names():
    assert choose("simclr+rwsam") == choose("rwsam") and choose("rwsam").label == "rwSAM"
    assert choose("rwsam+bcl").name == "rwsam+bcl" and label_of("rwsam+bcl") == "rwSAM+BCL"
    assert [label_of(f"{name}+rwsam") for name in ("sdclr", "bcl-i")] == ["SDCLR+rwSAM", "BCL-I+rwSAM"]
    line = choose("rwsam").lines[1]
    assert line.part_of_name(line.options) == "_rwsamR0.5"
    others = {"sam_rho": "2", "sam_adaptive": "False", "rwsam_every": "5", "rwsam_power": "2", "rwsam_clip": "4"}
    assert line.part_of_name({**line.options, **others}) == "_rwsamR2PlainE5P2C4"
    assert method_in("_rwsamR0.5") == "rwsam" and method_in("_pruneP0.9DualBN_rwsamR2") == "sdclr+rwsam"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sam_rho", "-0.1"], ["sam_rho", "-0.1"]), (["--sam_rho", "nan"], ["sam_rho"]),
        (["--rwsam_every", "0"], ["rwsam_every"]), (["--rwsam_power", "-1"], ["rwsam_power"]),
        (["--rwsam_clip", "0.5"], ["rwsam_clip"]), (["--rwsam_bandwidth", "0"], ["rwsam_bandwidth"]),
        (["--sam_adaptive", "maybe"], ["maybe"]),
        (["--method", "simclr", "--sam_rho", "1"], ["--sam_rho needs a --method with rwSAM"]),
        (["--method", "rwsam+rwsam"], ["has a wrapper twice"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(call, words, told):
    one_line_error(call("train_simCLR.py", "run", *RWSAM, *words), *told)
