"""GH: simplex, Sinkhorn, loss and memory against their definitions; processes; nothing changes in the warm-up."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.loader import Batch
from methods import label_of, method_in
from methods.base import Method
from methods.bcl import BCL
from methods.gh import GH, Plan, harmonization_loss, simplex, sinkhorn
from methods.simclr import SimCLR, nt_xent
from models import build_encoder
from pretrain.epoch import step
from pretrain.files import Memory, memory_of
from recipes.flags import parse_recipe
from recipes.steps import commands
from run.checkpoint import read_checkpoint
from tests.conftest import one_line_error, quick_first, slow_but
from tests.methods.test_methods import share
from tests.pretrain.test_hooks import training_of
from tests.pretrain.toys import Twice
from tests.reference import relative_error
from tests.run.test_resume import SMALL
from tests.scripts.test_train_scripts import PRETRAIN, same
from tests.warm import spawn
from utils.errors import InputError

quick = settings(database=None, deadline=None, max_examples=25)


class Given(Method):
    """Its projections [N, 2, D] are given in place of views; its losses are the ids. It tells what it was to remember.

    `encoder` is no more than a scale of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.told = nn.Linear(1, 1, bias=False), []
        nn.init.ones_(self.encoder.weight)

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        self.projections = views.transpose(0, 1) * self.encoder.weight
        return index.to(views) * self.encoder.weight.squeeze()

    def remember(self, index: torch.Tensor, losses: torch.Tensor) -> None:
        self.told.append((index.tolist(), losses.tolist()))


AT_ONCE = Plan(0)


def around(method: Method, images: int, classes: int, dimensions: int, plan: Plan = AT_ONCE) -> GH:
    return GH(method, images, simplex(classes, dimensions, 3), plan)


def drawn(n: int, dimensions: int, seed: int = 0) -> torch.Tensor:
    """Projections [N, 2, D] in float64."""
    return torch.randn(n, 2, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- the simplex


@pytest.mark.parametrize(("classes", "dimensions"), [(2, 1), (2, 7), (5, 4), (10, 64), (100, 128), (129, 128)])
def test_directions_are_a_simplex(classes, dimensions):
    state = torch.get_rng_state()
    rows = simplex(classes, dimensions, 5).double()
    assert torch.equal(state, torch.get_rng_state())
    expected = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64).fill_diagonal_(1)
    assert rows.shape == (classes, dimensions)
    torch.testing.assert_close(rows @ rows.T, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(rows.sum(0), torch.zeros(dimensions).double(), atol=1e-5, rtol=0)
    assert torch.equal(rows, simplex(classes, dimensions, 5).double())
    assert dimensions == 1 or not torch.allclose(rows, simplex(classes, dimensions, 6).double(), atol=0.1)


@pytest.mark.parametrize(("classes", "dimensions"), [(1, 8), (0, 8), (10, 8), (130, 128)])
def test_a_simplex_that_does_not_fit_is_refused(classes, dimensions):
    with pytest.raises(InputError, match=f"gh_classes {classes}: a simplex has 2 to {dimensions + 1} directions"):
        simplex(classes, dimensions, 0)


# ---- Sinkhorn


def slow_sinkhorn(similarities: np.ndarray, shares: np.ndarray, iterations: int) -> np.ndarray:
    """By logarithms in float64, one row and one column after the other."""
    kernel = np.asarray(similarities, np.float64) / 0.05
    n, k = kernel.shape
    rows, columns = np.full(n, -math.log(n)), np.zeros(k)
    for _ in range(iterations):
        for j in range(k):
            columns[j] = math.log(shares[j]) - np.logaddexp.reduce(kernel[:, j] + rows)
        for i in range(n):
            rows[i] = -math.log(n) - np.logaddexp.reduce(kernel[i] + columns)
    return n * np.exp(rows[:, None] + kernel + columns)


@quick
@given(n=st.integers(1, 12), k=st.integers(2, 9), iterations=st.sampled_from([1, 7, 300]), seed=st.integers(0, 999))
def test_sinkhorn_equals_as_many_iterations_by_logarithms(n, k, iterations, seed):
    rng = np.random.default_rng(seed)
    t = rng.normal(size=(n, k))
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    shares = rng.dirichlet(np.full(k, 0.5)) + 1e-3
    shares /= shares.sum()
    ours = sinkhorn(torch.tensor(t), torch.tensor(shares), iterations)
    np.testing.assert_allclose(ours.numpy(), slow_sinkhorn(t, shares, iterations), rtol=0, atol=1e-9)
    single = sinkhorn(torch.tensor(t).float(), torch.tensor(shares).float(), iterations)
    np.testing.assert_allclose(single.sum(1).numpy(), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shares", [[0.25] * 4, [1 - 3e-6, 1e-6, 1e-6, 1e-6], [0.4, 0.3, 0.2, 0.1]])
def test_sinkhorn_in_single_precision_at_its_extremes(shares):
    """Similarities of 1 and -1 to all directions are the widest that there are, e^40 apart."""
    for corner in itertools.product((-1.0, 1.0), repeat=4):
        t = torch.stack([torch.tensor(corner), -torch.tensor(corner), torch.full((4,), -1.0), torch.full((4,), 1.0)])
        found = sinkhorn(t, torch.tensor(shares))
        assert found.isfinite().all() and (found >= 0).all()
        torch.testing.assert_close(found.sum(1), torch.ones(4), rtol=0, atol=1e-6)


def test_sinkhorn_of_two_images_and_two_directions_by_hand():
    """exp(t / 0.05) = [[2, 1], [1, 1]], equal shares: fractions after one iteration, p / (1 - p) = sqrt(2) at last."""
    t, equal = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64).log() * 0.05, torch.tensor([0.5, 0.5])
    once = torch.tensor([[4 / 7, 3 / 7], [2 / 5, 3 / 5]], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(t, equal, 1), once, rtol=0, atol=1e-12)
    p = math.sqrt(2) / (1 + math.sqrt(2))
    last = torch.tensor([[p, 1 - p], [1 - p, p]], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(t, equal), last, rtol=0, atol=1e-12)


def test_directions_get_their_shares():
    t = F.normalize(drawn(200, 5)[:, 0], dim=1)
    shares = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(t, shares).mean(0), shares, rtol=0, atol=1e-6)


# ---- the loss


def slow_loss(projections: np.ndarray, directions: np.ndarray, shares: np.ndarray) -> list[float]:
    """Of projections [N, 2, D], from its equation."""
    t = np.einsum("nvd,kd->vnk", projections, directions)
    t /= np.sqrt((t * t).sum(2, keepdims=True))
    q = [slow_sinkhorn(view, shares, 300) for view in t]
    losses = []
    for i in range(len(projections)):
        loss = 0.0
        for own, other in ((0, 1), (1, 0)):
            total = sum(math.exp(x / 0.1) for x in t[other, i])
            loss -= sum(a * math.log(math.exp(x / 0.1) / total) for a, x in zip(q[own][i], t[other, i], strict=True))
        losses.append(loss)
    return losses


@pytest.mark.parametrize(("n", "classes", "dimensions"), [(1, 2, 1), (6, 4, 8), (9, 7, 6)])
def test_the_loss_equals_its_equation(n, classes, dimensions):
    views, index = drawn(n, dimensions), torch.arange(n)
    method = around(Given(), n, classes, dimensions, Plan(0, 4)).double()
    method.marginal.copy_(torch.arange(1, classes + 1) / sum(range(1, classes + 1)))
    expected = slow_loss(views.numpy(), method.directions.numpy(), method.marginal.numpy())
    for epoch, weight in ((1, 0.25), (3, 0.75), (4, 1.0), (9, 1.0)):
        method.start_epoch(epoch)
        found = method(views, index)
        wanted = [i + weight * loss for i, loss in enumerate(expected)]
        assert found.tolist() == pytest.approx(wanted, rel=1e-9)
    # Neither the scale of projections nor the order of the images matters.
    order = torch.randperm(n)
    torch.testing.assert_close(method(7 * views[order], index[order]), found[order])
    torch.testing.assert_close(method(views.flip(1), index), found)


def test_gradients_are_those_of_finite_differences_with_the_targets_held():
    t = F.normalize(drawn(5, 4).transpose(0, 1), dim=-1).requires_grad_()
    targets = sinkhorn(t.detach(), torch.full((4,), 0.25))
    assert torch.autograd.gradcheck(lambda x: harmonization_loss(x, targets), t)
    z, method = drawn(5, 8).requires_grad_(), around(Given(), 5, 4, 8).double()
    method.start_epoch(1)
    (ours,) = torch.autograd.grad(method(z, torch.arange(5)).sum(), z)
    held = sinkhorn(method.similarities(z.detach().transpose(0, 1)), method.marginal)
    loss = harmonization_loss(method.similarities(z.transpose(0, 1)), held)
    torch.testing.assert_close(ours, torch.autograd.grad(loss.sum(), z)[0])
    assert ours.norm() > 0


def test_the_loss_is_computed_in_single_precision_under_autocast():
    method, z = around(Given(), 6, 5, 8), drawn(6, 8).bfloat16()
    method.start_epoch(1)
    with torch.autocast("cpu", torch.bfloat16):
        method(z, torch.arange(6))
        found = method.loss(method.similarities(z.transpose(0, 1)))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, method.loss(method.similarities(z.transpose(0, 1).float())))


def test_projections_without_a_graph_are_refused():
    class Cut(Given):
        def forward(self, views, index):
            losses = super().forward(views, index)
            self.projections = self.projections.detach()
            return losses

    method = around(Cut(), 4, 3, 4, Plan(1)).double()
    method.start_epoch(1)
    method(drawn(4, 4), torch.arange(4))
    method.start_epoch(2)
    with torch.no_grad():
        method(drawn(4, 4), torch.arange(4))
    with pytest.raises(InputError, match="GH needs projections with a gradient"):
        method(drawn(4, 4), torch.arange(4))


# ---- memory


def slow_memory(epochs: list[list[tuple[int, np.ndarray]]], images: int, warmup: int) -> dict[int, np.ndarray]:
    """Averages after epochs of (sample id, similarities of view 1), one by one; the first in an epoch counts."""
    memory: dict[int, np.ndarray] = {}
    for epoch, pairs in enumerate(epochs, 1):
        momentum, seen = 0.9 if epoch <= warmup else 0.999, set()
        for sample, t in pairs:
            if sample not in seen:
                memory[sample] = momentum * memory[sample] + (1 - momentum) * t if sample in memory else t
            seen.add(sample)
    return memory


def run_epochs(method: GH, views: torch.Tensor, ids: list[list[int]], batch: int, first: int = 1) -> None:
    """views [epochs, images, 2, D]; of each epoch the ids in order."""
    for epoch, order in enumerate(ids[first - 1 :], first):
        method.start_epoch(epoch)
        for index in torch.tensor(order).split(batch):
            losses = method(views[epoch - 1][index], index)
            method.remember(index, losses.detach())


@quick
@given(images=st.integers(2, 12), epochs=st.integers(1, 5), batch=st.integers(1, 13), warmup=st.integers(0, 4),
       padding=st.integers(0, 2), seed=st.integers(0, 999))  # fmt: skip
def test_averages_and_shares_against_loops(images, epochs, batch, warmup, padding, seed):
    rng = np.random.default_rng(seed)
    views = torch.tensor(rng.normal(size=(epochs, images, 2, 6)))
    orders = [rng.permutation(images).tolist() for _ in range(epochs)]
    orders = [order + order[:padding] for order in orders]
    method = around(Given(), images + 2, 4, 6, Plan(warmup, 2, 2)).double()  # two images that cannot be read
    run_epochs(method, views, orders, batch)
    t = np.einsum("eid,kd->eik", views[:, :, 0].numpy(), method.directions.numpy())
    t /= np.linalg.norm(t, axis=2, keepdims=True)
    slow = slow_memory([[(i, t[e, i]) for i in order] for e, order in enumerate(orders)], images, warmup)
    np.testing.assert_allclose(method.average[:images].numpy(), [slow[i] for i in range(images)], atol=1e-12)
    assert method.turn.tolist() == [epochs] * images + [0, 0] and not method.average[images:].any()
    method.plan = Plan(epochs, 1, 1, more=3)
    method.start_epoch(epochs + 1)
    counts = np.bincount([int(np.argmax(slow[i])) for i in range(images)], minlength=4) + 3
    np.testing.assert_allclose(method.marginal.numpy(), counts / counts.sum(), rtol=1e-6)


def test_a_direction_that_no_image_has_counts_as_one_image():
    method = around(Given(), 9, 4, 6, Plan(1))
    method.average.copy_(F.one_hot(torch.tensor([0, 0, 0, 0, 0, 2, 2, 2, 0]), 4))
    method.turn[:8] = 1  # the last one was never seen
    assert method.marginal.tolist() == [0.25] * 4
    method.start_epoch(2)
    assert method.marginal.tolist() == pytest.approx([0.5, 0.1, 0.3, 0.1])


@pytest.mark.parametrize(
    ("warmup", "refresh", "expected"),
    [
        (5, 4, [6, 9, 13, 17]),
        (8, 4, [9, 13, 17]),
        (0, 20, [2]),
        (0, 4, [2, 5, 9, 13, 17]),
        (1, 1, list(range(2, 19))),
        (18, 20, []),
    ],
)
def test_shares_are_estimated_when_the_warmup_and_every_so_many_epochs_have_ended(warmup, refresh, expected):
    """Without a warm-up nothing is known before epoch 1, so they are equal in that epoch alone."""
    method, found = around(Given(), 3, 3, 4, Plan(warmup, 2, refresh)).double(), []
    method.start_phase(0)
    for epoch in range(1, 19):
        method.start_epoch(epoch)
        found += [epoch] if method.estimated == epoch else []
        method.remember(torch.arange(3), method(drawn(3, 4, epoch), torch.arange(3)).detach())
    assert found == expected


def test_a_phase_begins_without_the_averages_and_shares_of_another_network():
    method = around(Given(), 9, 4, 6, Plan(1, 1, 5)).double()
    run_epochs(method, torch.stack([drawn(9, 6, seed) for seed in range(3)]), [list(range(9))] * 3, 4)
    method.start_phase(1)
    assert not method.average.any() and not method.turn.any() and method.marginal.tolist() == [0.25] * 4
    views, found = drawn(9, 6, 7), []
    for epoch in range(4, 12):
        method.start_epoch(epoch)
        found += [epoch] if method.estimated == epoch else []
        method.remember(torch.arange(9), method(views, torch.arange(9)).detach())
        if epoch == 4:
            torch.testing.assert_close(method.average, F.normalize(views[:, 0] @ method.directions.T, dim=1))
    assert found == [5, 6, 11]  # as soon as each image had its turn, then as ever


def test_an_epoch_that_is_begun_again_keeps_its_shares():
    """A run that was interrupted within an epoch: averages have moved since it began."""
    views, ids = torch.stack([drawn(9, 6, seed) for seed in range(3)]), [list(range(9))] * 3
    whole = around(Given(), 9, 4, 6, Plan(1, 1, 1)).double()
    run_epochs(whole, views, ids, 4)
    shares = whole.marginal.clone()
    resumed = around(Given(), 9, 4, 6, Plan(1, 1, 1)).double()
    Memory(resumed).load_state_dict(memory_of(whole))
    resumed.average += 1e3 * torch.eye(4).double()[0]
    resumed.start_epoch(3)
    assert torch.equal(resumed.marginal, shares) and not torch.allclose(shares, torch.full((4,), 0.25).double())
    resumed.start_epoch(4)
    assert resumed.marginal.tolist() == pytest.approx([9 / 12, 1 / 12, 1 / 12, 1 / 12])


@pytest.mark.parametrize(("phase", "epoch"), [(0, 1), (1, 5)])
def test_an_epoch_in_which_nothing_was_known_is_begun_again_without_shares(phase, epoch):
    """Images that had their turn before the interruption, in this very epoch, were not known when it began."""
    method = around(Given(), 9, 4, 6, Plan(epoch - 1, 1, 1)).double()
    method.start_phase(phase)
    method.start_epoch(epoch)
    method.remember(torch.arange(4), method(drawn(4, 6), torch.arange(4)).detach())
    method.start_epoch(epoch)
    assert method.marginal.tolist() == [0.25] * 4 and method.estimated <= 0
    method.start_epoch(epoch + 1)
    assert method.estimated == epoch + 1


@pytest.mark.parametrize(("name", "value"), [("average", torch.nan), ("marginal", 0.0), ("marginal", torch.nan)])
def test_a_damaged_memory_is_refused(name, value):
    method, other = around(Given(), 4, 3, 4), around(Given(), 4, 3, 4)
    getattr(method, name)[0] = value
    with pytest.raises(ValueError, match="memory of directions is damaged"):
        Memory(other).load_state_dict(memory_of(method))
    with pytest.raises(ValueError, match="of another list of images"):
        Memory(around(Given(), 5, 3, 4)).load_state_dict(memory_of(other))


def test_the_method_inside_remembers_its_own_losses_and_one_outside_the_sum():
    inner, views, index = Given(), drawn(5, 6), torch.arange(5)
    method = BCL(around(inner, 5, 4, 6), 5).double()
    method.start_epoch(1)
    losses = method(views, index).detach()
    method.remember(index, losses)
    assert inner.told == [([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])]
    assert torch.equal(method.momentum_loss, losses) and (losses > index).all()
    bcl = BCL(Given(), 5)
    method = around(bcl, 5, 4, 6).double()
    method.start_epoch(1)
    method.remember(index, method(views, index).detach())
    assert bcl.momentum_loss.tolist() == [0, 1, 2, 3, 4]


def test_a_step_that_is_evaluated_twice_is_remembered_once_and_as_it_was_first():
    found = []
    for wrapper in (lambda method: method, Twice):
        torch.manual_seed(0)
        inner = around(SimCLR(build_encoder("res20_s", 16, 2), 0.2), 6, 5, 16).double().train()
        method = wrapper(inner)
        method.start_epoch(1)
        views = torch.rand(6, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
        done = step(training_of(method), Batch(views, torch.arange(6), torch.zeros(6), [], 0))
        found.append((inner.average, done.losses, done.projections, inner.encoder.conv1.weight))
    (average, losses, projections, weight), twice = found
    assert torch.equal(average, twice[0]) and torch.equal(losses, twice[1]) and torch.equal(projections, twice[2])
    assert not torch.equal(weight, twice[3]) and not projections.requires_grad


# ---- processes


def small() -> GH:
    torch.manual_seed(0)
    return around(SimCLR(build_encoder("res20_s", 16, 2), 0.2), 7, 6, 16, Plan(1, 2, 1)).double()


def two_epochs(method: GH, model: nn.Module, index: list[int]) -> torch.Tensor:
    """Memory of an epoch; of the next, the gradient of the loss, flat; batch norm in evaluation mode."""
    views = torch.rand(2, 7, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model.eval()
    for epoch in (1, 2):
        method.start_epoch(epoch)
        model.zero_grad()
        losses = model(views[epoch - 1][index], torch.tensor(index))
        losses.mean().backward()
        method.remember(torch.tensor(index), losses.detach())
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


def in_parallel(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/join{size}", rank=rank, world_size=size)
    method = small()
    gradient = two_epochs(method, DistributedDataParallel(method), share(rank, size))
    torch.save((gradient, memory_of(method)), f"{folder}/{size}_{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("size", quick_first([2, 3]))
def test_several_processes_give_gradient_and_state_of_one(tmp_path, size):
    spawn(in_parallel, (size, str(tmp_path)), size)
    method, whole = small(), [index for rank in range(size) for index in share(rank, size)]
    gradient = two_epochs(method, method, whole)
    state = memory_of(method)
    assert method.weight == 0.5 and method.estimated == 2 and gradient.norm() > 0
    for rank in range(size):
        theirs, memory = torch.load(tmp_path / f"{size}_{rank}.pt")
        assert relative_error(theirs, gradient) < 1e-5
        for name, value in state.items():
            torch.testing.assert_close(memory[name], value, rtol=1e-6, atol=1e-9)


# ---- the wrapped method

TAIL = ["--output_ch", "16", "--gh_classes", "12", "--gh_ramp", "1", "--save_freq", "1", "--precision", "fp32"]


@pytest.mark.parametrize("method", slow_but("bcl-i", ["simclr", "focal", "sdclr", "bcl-i", "bcl-d"]))
def test_it_is_the_wrapped_method_to_the_bit_until_the_warmup_ends(call, tmp_path, one_thread, method):
    options = [*SMALL, "--save_freq", "1", "--precision", "fp32", "--epochs", "3"]
    harmonised = [*options, *TAIL, "--gh_warmup", "2", "--method", f"{method}+gh"]
    assert call("train_simCLR.py", "plain", *options, "--method", method).returncode == 0
    done = call("train_simCLR.py", "gh", *harmonised)
    assert done.returncode == 0, done.stderr
    for epoch, alike in ((1, True), (2, True), (3, False)):
        plain, gh = (read_checkpoint(tmp_path / f"checkpoints/{n}/model_{epoch}.pt") for n in ("plain", "gh"))
        assert same(plain["state_dict"], gh["state_dict"]) == alike
        for name, value in plain.get("memory", {}).items():
            assert torch.equal(value, gh["memory"][f"method.{name}"]) or not alike
    assert gh["memory"]["estimated"] == 3 and (gh["memory"]["turn"] == 3).all()


def test_the_loss_moves_weights_towards_the_shared_out_directions():
    """By its gradient alone: the loss falls, the targets' directions become the nearest ones."""
    torch.manual_seed(0)
    method = around(SimCLR(build_encoder("res20_s", 16, 2), 0.2), 32, 4, 16)
    views, index = torch.rand(32, 2, 3, 8, 8), torch.arange(32)
    method.start_epoch(1)
    optimizer, losses = torch.optim.SGD(method.parameters(), 0.1), []
    for _ in range(12):
        total = method(views, index)
        loss = (total - nt_xent(*method.projections, 0.2)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


# ---- command lines, names, recipes


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--epochs 4 --gh_warmup 4", "gh_warmup 4 leaves none of 4 epochs"),
        ("--epochs 4 --gh_warmup 500", "gh_warmup 500 leaves none of 4 epochs"),
        ("--gh_classes 18", "gh_classes 18: a simplex has 2 to 17 directions"),
        ("--gh_classes 1", "1 is not between 2 and"),
        ("--output_ch 512 --gh_classes 406", "gh_classes 406 is more than the 405 images"),
        ("--gh_classes 9 --gh_refresh 0", "--gh_refresh"),
        ("--gh_classes 9 --gh_ramp 1.5", "1.5 is neither a whole number of epochs nor a share below 1"),
        ("--gh_classes 9 --gh_warmup -1", "--gh_warmup"),
        ("--gh_classes 9 --gh_warmup nan", "--gh_warmup"),
        ("--gh_classes 9 --gh_add -1", "--gh_add"),
        ("--gh False --gh_classes 9", "--gh_classes needs --gh"),
        ("--method simclr+gh+gh", "has a wrapper twice"),
    ],
)
def test_mistakes_are_one_line(call, words, told):
    words = words.split() if "--gh" in words.split() or "--method" in words else ["--gh", *words.split()]
    one_line_error(call("train_simCLR.py", "x", *PRETRAIN, *words), told)


def test_names_of_compositions():
    assert [label_of(f"{m}+gh") for m in ("simclr", "sdclr", "focal", "bcl-i", "bcl-d")] == [
        "SimCLR+GH", "SDCLR+GH", "Focal+GH", "BCL-I+GH", "BCL-D+GH",
    ]  # fmt: skip
    assert method_in("_pruneP0.9DualBN_bclK2_ghK100W400R30A100") == "bcl-d+gh"
    assert method_in("_ghK100_bclK1") == "simclr+gh+bcl"


def training(*words: str) -> list[str]:
    return commands(parse_recipe(words, ""))[0][1:]


def settings_of(words: list[str]) -> dict[str, str]:
    return {word[2:]: words[i + 1] for i, word in enumerate(words[:-1]) if word.startswith("--")}


@pytest.mark.parametrize(
    ("words", "wanted", "ending"),
    [
        ("cifar100", "100 0.5 0.01 20 0", "_ghK100"),
        ("cifar100 -e 60 --gh_classes 50", "50 0.5 0.01 20 0", "_ghK50"),
        ("imagenet", "100 400 30 20 100", "_ghK100W400R30A100"),
        ("places", "100 400 30 20 100", "_ghK100W400R30A100"),
        ("imagenet -e 100", "100 0.5 0.01 20 100", "_ghK100A100"),
        ("imagenet --gh_warmup 0.25", "100 0.25 30 20 100", "_ghK100W0.25R30A100"),
    ],
)
def test_recipes_have_the_published_settings_of_their_family(words, wanted, ending):
    found = training("--dataset", *words.split(), "--method", "simclr+gh")
    names = ("gh_classes", "gh_warmup", "gh_ramp", "gh_refresh", "gh_add")
    assert [settings_of(found)[name] for name in names] == wanted.split()
    experiment = next(word for word in found if ending in word)
    assert experiment.endswith(ending) and "--stage_epochs" not in found
    assert "--gh" in found and "--method" not in found


def test_recipes_may_have_the_learning_rate_of_two_stages():
    two = ["--method", "sdclr+gh", "--scheduler", "two-stage"]
    cifar, imagenet = training("--dataset", "cifar10", *two), training("--dataset", "imagenet", *two)
    assert settings_of(cifar)["scheduler"] == "two-stage" and "--stage_epochs" not in cifar
    found = settings_of(imagenet)
    assert [found[n] for n in ("scheduler", "stage_epochs", "stage_decay")] == ["two-stage", "400", "0.2"]
    assert any(word.endswith("_two-stageE400D0.2_ghK100W400R30A100") for word in imagenet)
    shorter = training("--dataset", "imagenet", *two, "-e", "100")
    assert settings_of(shorter)["stage_decay"] == "0.2" and "--stage_epochs" not in shorter
    with pytest.raises(InputError, match="--stage_epochs has no effect without --scheduler two-stage"):
        training("--dataset", "cifar10", "--stage_epochs", "3")


def test_the_order_of_wrappers_is_told_where_flags_do_not():
    assert "--method" not in training("--dataset", "cifar10", "--method", "bcl-d+gh")
    outside = training("--dataset", "cifar10", "--method", "simclr+gh+bcl")
    assert settings_of(outside)["method"] == "simclr+gh+bcl"
