"""benchmarks/published.py gives the same numbers as this project, the product: loss, steps, masks, views, probe."""

import argparse
import copy
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T
from tqdm import tqdm

from benchmarks import published
from data.loader import Batch
from data.opened import to_batch
from data.views.published import pretrain_transform, probe_transform
from methods import simclr
from methods.sdclr import SDCLR
from methods.simclr import SimCLR
from models import build_classifier, build_encoder
from models.batch_norm import DualBatchNorm
from models.mask import compute_masks, get_masks, make_prunable, set_masks
from probe.epoch import Schedule, Training, train_epoch
from probe.network import Network, freeze, frozen_modules
from run.compute import Compute
from run.optim import build_optimizer
from run.reporter import Reporter
from run.world import world_from_environment
from tests.conftest import slow_but
from tests.oracles import hits_within, nt_xent_loops
from tests.reference import relative_error

TEMPERATURE = 0.2


def noise(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (n, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize(("n", "d", "temperature"), [(2, 3, 0.2), (5, 4, 0.05), (7, 2, 1.0), (1, 3, 0.5)])
def test_nt_xent_and_its_gradient_are_the_products_and_the_definitions(n, d, temperature):
    g = torch.Generator().manual_seed(n)
    theirs = [torch.randn(n, d, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    ours = [view.detach().clone().requires_grad_() for view in theirs]
    losses = published.nt_xent(*theirs, temperature), simclr.nt_xent(*ours, temperature).mean()
    slow = nt_xent_loops(*(view.detach() for view in ours), temperature).mean()
    assert losses[0].shape == () and losses[0].item() == pytest.approx(slow, rel=1e-10, abs=1e-12)
    torch.testing.assert_close(*losses, rtol=1e-10, atol=1e-12)
    for loss in losses:
        loss.backward()
    for a, b in zip(theirs, ours, strict=True):
        assert n == 1 or b.grad.norm() > 1e-3
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-10)


def sgd(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.5, momentum=0.9, weight_decay=1e-4)


def pair(kind: str, dtype: torch.dtype) -> tuple[SimCLR | SDCLR, torch.nn.Module]:
    """The product's method, and an encoder with the same weights; each computes its pruning masks itself."""
    torch.manual_seed(0)
    if kind == "simclr":
        method = SimCLR(build_encoder("res20_s", 16, 2), TEMPERATURE)
    else:
        method = SDCLR(build_encoder("res20_s", 16, 3, prune=True, dual_bn=True), TEMPERATURE, 0.9)
    method = method.to(dtype).train()
    encoder = copy.deepcopy(method.encoder)
    if kind == "sdclr":
        method.start_epoch(1)
        set_masks(encoder, published.pruning_masks(encoder, 0.9))
        assert all(torch.equal(m, get_masks(encoder)[name]) for name, m in get_masks(method.encoder).items())
    return method, encoder


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# In float32, rounding decides the sign of some inputs of ReLUs.
@pytest.mark.parametrize(("dtype", "of_loss", "of_step"), [(torch.float64, 1e-11, 1e-9), (torch.float32, 1e-4, 0.02)])
@pytest.mark.parametrize("kind", ["simclr", "sdclr"])
def test_steps_are_the_products(kind, dtype, of_loss, of_step):
    """Two steps, so that momentum counts, have the same loss and the same change of the parameters.

    Both sides start the second step from the same weights and momentum, since a step amplifies rounding differences.
    """
    method, encoder = pair(kind, dtype)
    step = published.simclr_step if kind == "simclr" else published.sdclr_step
    optimizers, moves = (sgd(method), sgd(encoder)), []
    for seed in (1, 2):
        start = parameters(encoder)
        views = torch.rand(6, 2, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        loss = method(views, torch.arange(6)).mean()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        returned = step(encoder, optimizers[1], views, TEMPERATURE)
        assert isinstance(returned, float) and returned == pytest.approx(loss.item(), rel=of_loss)
        ours, theirs = parameters(method.encoder) - start, parameters(encoder) - start
        assert ours.norm() > 0.01 * start.norm()
        assert relative_error(theirs, ours) < of_step
        moves.append(ours)
        encoder.load_state_dict(method.encoder.state_dict())
        optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    assert relative_error(*moves) > 0.1


def test_sdclr_step_moves_the_pruned_statistics_twice_and_no_others():
    """The only difference: published are r1 = 0.9 r0 + 0.1 m and then r2 = 0.9 r1 + 0.1 m; the product stops at r1."""
    method, encoder = pair("sdclr", torch.float64)
    before = copy.deepcopy(encoder)
    views = torch.rand(6, 2, 3, 8, 8, dtype=torch.float64)
    method(views, torch.arange(6))
    published.sdclr_step(encoder, sgd(encoder), views, TEMPERATURE)
    layers = [
        [m.bn_list for m in model.modules() if isinstance(m, DualBatchNorm)] for model in (before, method, encoder)
    ]
    assert len(layers[0]) == 22
    for start, ours, theirs in zip(*layers, strict=True):
        assert [bn.num_batches_tracked.item() for bn in (*ours, *theirs)] == [1, 1, 1, 2]
        for name in ("running_mean", "running_var"):
            r0, r1, r2 = (getattr(bn[1], name) for bn in (start, ours, theirs))
            torch.testing.assert_close(r2, 1.9 * r1 - 0.9 * r0, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(getattr(theirs[0], name), getattr(ours[0], name), rtol=1e-9, atol=1e-11)


def test_sdclr_step_does_three_forwards_and_two_backwards(monkeypatch):
    _, encoder = pair("sdclr", torch.float32)
    forwards, backwards = [], itertools.count()
    prunable = [m for m in encoder.modules() if hasattr(m, "pruned")]
    encoder.register_forward_hook(lambda *_: forwards.append((prunable[0].pruned, torch.is_grad_enabled())))
    original = torch.autograd.backward
    monkeypatch.setattr(torch.autograd, "backward", lambda *a, **k: (next(backwards), original(*a, **k))[1])
    published.sdclr_step(encoder, sgd(encoder), torch.rand(4, 2, 3, 8, 8), TEMPERATURE)
    assert (forwards, next(backwards)) == ([(True, False), (False, True), (True, True)], 2)
    assert not any(m.pruned for m in prunable)


@pytest.mark.parametrize("name", slow_but("res20_s", ["res18", "res20_s"]))
@pytest.mark.parametrize("ties", [False, True])
def test_masks_are_the_products_bit_for_bit(name, ties):
    torch.manual_seed(1)
    encoder = make_prunable(build_encoder(name, 16, 2))
    convolutions = [m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    if ties:
        with torch.no_grad():
            for m in convolutions:
                m.weight.copy_((m.weight * 20).round() / 20)
    n = sum(m.weight.numel() for m in convolutions)
    fractions = (0.3, 0.9) if name == "res18" else (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1 - 1 / n)
    for fraction in fractions:
        theirs, ours = published.pruning_masks(encoder, fraction), compute_masks(encoder, fraction)
        assert theirs.keys() == ours.keys() and all(torch.equal(m, ours[k]) for k, m in theirs.items())
        dropped = sum(int((~m).sum()) for m in theirs.values())
        assert (dropped <= fraction * n) if ties else (0 <= dropped - fraction * n < 1)
    with pytest.raises(IndexError):
        published.pruning_masks(encoder, 1.0)


@pytest.mark.parametrize("name", ["pretrain", "probe"])
def test_transforms_are_the_products(name):
    """The same random numbers give the same pixels, other random numbers other pixels."""
    theirs = {"pretrain": published.view_transform, "probe": published.shifted_crop_and_flip}[name](32)
    ours = {"pretrain": pretrain_transform, "probe": probe_transform}[name](32, True)
    views = []
    for seed in range(60):
        image = Image.fromarray(noise(1, 32, seed % 3)[0])
        of_both = []
        for transform in (theirs, ours):
            torch.manual_seed(seed)
            of_both.append(transform(image))
        assert torch.equal(*of_both)
        views.append(of_both[0])
    assert len({view.numpy().tobytes() for view in views}) > 50


def test_view_loader_shuffles_all_images_and_keeps_the_short_batch():
    images = noise(10, 32)
    loader = published.view_loader(images, 4, 0, seed=3)
    epochs = [list(loader) for _ in range(2)]
    assert [b.shape for b in epochs[0]] == [(4, 2, 3, 32, 32), (4, 2, 3, 32, 32), (2, 2, 3, 32, 32)]
    orders = [list(loader.sampler) for _ in range(2)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])
    views = torch.cat(epochs[0] + epochs[1]).flatten(0, 1)
    assert len({view.numpy().tobytes() for view in views}) == 40
    assert views.min() >= 0 and views.max() <= 1 and views.dtype == torch.float32


def test_views_of_workers_follow_the_seed():
    first, same, other = (torch.cat(list(published.view_loader(noise(6, 16), 3, 1, seed))) for seed in (5, 5, 6))
    assert torch.equal(first, same) and not torch.equal(first, other)


def coloured(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Image i has one colour, red = 10 i + 5, by which its views can be identified; random labels of 3 classes."""
    random = np.random.RandomState(0)
    colours = random.randint(0, 256, (n, 1, 1, 3)).astype(np.uint8)
    colours[:, 0, 0, 0] = 10 * np.arange(n) + 5
    return colours.repeat(16, 1).repeat(16, 2), random.randint(0, 3, n)


def product_probe(model, batches: list[list[Batch]], images, labels) -> list[float]:
    """The product's epochs on recorded batches: validation accuracy after each, in [0, 1]."""
    settings = {"precision": "fp32", "memory_format": "channels_last", "tf32": False, "deterministic": False}
    compute = Compute(argparse.Namespace(**settings), torch.device("cpu"))
    frozen, log = freeze(model, "layer4", True), SimpleNamespace(detail=lambda *_: 0, metrics=lambda **_: 0)
    reporter = Reporter(log, tqdm(disable=True), SimpleNamespace(take=lambda *_, **__: 0, report=lambda: 0), 10)
    optimizer, accuracies = build_optimizer("sgd", model.fc.parameters(), 30.0, 0.0), []
    world, schedule = world_from_environment(True), Schedule(3, 30.0, [2, 3])

    class Loader(list):
        @property
        def sampler(self):
            return Sampler(range(sum(len(batch.labels) for batch in self)))

    class Sampler(list):
        def set_epoch(self, epoch, skip=0):
            pass

    network = Network(model, frozen_modules(model, "layer4"), True, compute, world)
    for epoch, recorded in enumerate(batches, 1):
        train_epoch(Training(network, Loader(recorded), optimizer, schedule, 8, world), epoch, reporter)
        whole = [(to_batch(images), torch.from_numpy(labels), None)]
        accuracies.append(network.evaluate(whole, 3)["top1"] / 100)
    frozen.check(model)
    return accuracies


def test_probe_of_the_same_batches_is_the_products(monkeypatch):
    """Trained on the published loop's batches, the product has the same classifier, up to rounding."""
    images, labels = coloured(20)
    torch.manual_seed(9)  # with which the best epoch is the second, neither the first nor the last
    model = build_classifier("res20_s", 3)
    ours, start, inputs, drawn = copy.deepcopy(model), copy.deepcopy(model.state_dict()), [], []
    model.register_forward_pre_hook(lambda _, x: inputs.append((torch.is_grad_enabled(), x[0].clone())))
    scores = []
    model.register_forward_hook(lambda _, x, y: scores.append(y.detach()))
    original = published.Labelled.__getitem__
    monkeypatch.setattr(published.Labelled, "__getitem__", lambda s, i: (drawn.append(i), original(s, i))[1])
    accuracies, weights = [], []
    for accuracy in published.probe(model, images, labels, images, labels, 3, 8, 0, milestones=(2, 3)):
        accuracies.append(accuracy)
        weights.append(model.fc.weight.detach().clone())
    assert [grad for grad, _ in inputs] == ([True] * 3 + [False] * 6) * 3, "training, training set, validation set"
    assert [len(x) for _, x in inputs] == [8, 8, 4] * 9 and len(drawn) == 20 * (1 + 3 * 3), "one pass counts classes"
    for best, second in (y.topk(2, 1).values.T for (grad, _), y in zip(inputs, scores, strict=True) if not grad):
        assert (best - second).min() > 1e-4 * best.abs().max(), "no accuracy depends on rounding"
    trained_on = [(x, torch.from_numpy(labels[image_numbers(x)])) for grad, x in inputs if grad]
    batches = [Batch(x[:, None], torch.arange(len(x)), y, [], 0) for x, y in trained_on]
    assert sorted(sum((image_numbers(b.views[:, 0]) for b in batches[:3]), [])) == list(range(20))
    assert (batches[0].views == 0).any(), "a crop that is shifted has a black border"
    assert product_probe(ours, [batches[:3], batches[3:6], batches[6:]], images, labels) == pytest.approx(accuracies)
    # The product folds batch norm into the convolutions before it, which changes the last bits of the features.
    assert relative_error(ours.fc.weight.detach(), weights[-1]) < 1e-5
    assert relative_error(weights[-2], weights[-1]) > 1e-2
    assert torch.equal(model.fc.weight, weights[int(np.argmax(accuracies))]), "the best epoch is kept"
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, start[k])]
    assert moved == ["fc.weight", "fc.bias"]


def image_numbers(batch: torch.Tensor) -> list[int]:
    """The numbers of the images of `coloured` in a batch [n, 3, 16, 16], from their middle pixels."""
    return ((batch[:, 0, 8, 8] * 255 - 5) / 10).round().long().tolist()


def test_probe_counts_classes_and_evaluates():
    images, labels = coloured(20)
    data = published.Labelled(images, labels, T.ToTensor())
    loader = torch.utils.data.DataLoader(data, 8)
    assert published.count_classes(loader, 4).tolist() == np.bincount(labels, minlength=4).tolist()
    torch.manual_seed(0)
    model = build_classifier("res20_s", 3).eval()
    loss, accuracy = published.evaluate(model, loader)
    scores = model(to_batch(images)).detach()
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels)).item(), rel=1e-5)
    sure, may_be = hits_within(scores, labels)
    assert sure.mean() - 1e-6 <= accuracy <= may_be.mean() + 1e-6
