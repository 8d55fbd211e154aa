"""Logit adjustment: against slow loops, at tau 0, post-hoc, and on two Gaussians whose Bayes error is known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from models import build_classifier
from probe.supervised.losses import LogitAdjusted, adjust, cross_entropy, log_priors
from utils.errors import InputError

CPU = torch.device("cpu")
COUNTS = [50, 7, 1, 12]


def logits(n: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, 4, generator=generator), torch.randint(4, (n,), generator=generator)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_loss_and_gradient_equal_slow_loops(tau):
    x, labels = logits()
    losses, gradient = [], np.zeros((9, 4))
    for i in range(9):
        weights = [math.exp(float(x[i, c])) * (COUNTS[c] / sum(COUNTS)) ** tau for c in range(4)]
        y = int(labels[i])
        losses.append(-math.log(weights[y] / sum(weights)))
        for c in range(4):
            gradient[i, c] = weights[c] / sum(weights) - (c == y)
    x.requires_grad_()
    found = LogitAdjusted(COUNTS, tau, CPU)(x, labels)
    found.sum().backward()
    np.testing.assert_allclose(found.detach(), losses, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(x.grad, gradient, rtol=1e-5, atol=1e-6)


def test_at_tau_0_it_is_cross_entropy_to_the_bit():
    x, labels = logits(200)
    x[:5] = torch.tensor([0.0, -0.0, 1e-30, -1e-30])
    gradients = []
    for loss in (cross_entropy, LogitAdjusted(COUNTS, 0.0, CPU)):
        leaf = x.clone().requires_grad_()
        losses = loss(leaf, labels)
        losses.mean().backward()
        gradients.append((losses, leaf.grad))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_classes_in_another_order_have_the_same_losses():
    x, labels = logits()
    order = torch.tensor([2, 0, 3, 1])
    moved = LogitAdjusted([COUNTS[c] for c in order], 1.0, CPU)(x[:, order], order.argsort()[labels])
    torch.testing.assert_close(moved, LogitAdjusted(COUNTS, 1.0, CPU)(x, labels))


def test_equally_many_images_of_each_class_change_nothing():
    x, labels = logits()
    torch.testing.assert_close(LogitAdjusted([8] * 4, 1.0, CPU)(x, labels), cross_entropy(x, labels))


def test_post_hoc_adjustment_moves_the_bias_alone():
    model = build_classifier("res10", 4).eval()
    nn.init.normal_(model.fc.weight)
    images = torch.rand(6, 3, 16, 16)
    before, backbone = model(images), {k: v.clone() for k, v in model.state_dict().items() if k != "fc.bias"}
    adjust(model.fc, COUNTS, 1.5)
    wanted = before - 1.5 * torch.tensor([math.log(n / 70) for n in COUNTS])
    torch.testing.assert_close(model(images), wanted)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in backbone.items())
    assert not any(v.requires_grad is False for v in model.parameters())


def test_post_hoc_at_tau_0_changes_nothing():
    layer = nn.Linear(3, 4)
    before = layer.bias.detach().clone()
    adjust(layer, COUNTS, 0.0)
    assert torch.equal(before, layer.bias)


def test_a_class_without_an_image_is_refused():
    with pytest.raises(InputError, match="class 2 has no training image"):
        log_priors([4, 1, 0, 2])


def trained_on_gaussians(seed: int, adjusted: bool) -> nn.Linear:
    """A linear classifier of N((-1, 0), 1) with 10,000 and N((1, 0), 1) with 100 samples, by all of them at once."""
    rng = np.random.RandomState(seed)
    counts = [10_000, 100]
    values = np.concatenate([rng.randn(n, 2) + [centre, 0] for n, centre in zip(counts, (-1, 1), strict=True)])
    x, labels = torch.from_numpy(values).float(), torch.arange(2).repeat_interleave(torch.tensor(counts))
    layer, loss = nn.Linear(2, 2), LogitAdjusted(counts, 1.0, CPU) if adjusted else cross_entropy
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(layer(x), labels).mean()
        value.backward()
        return value

    optimizer.step(closure)
    return layer


def balanced_error(layer: nn.Linear) -> float:
    """In percent, exactly: the share of each Gaussian beyond the line where both logits are equal."""
    weight, bias = layer.weight.detach().double(), layer.bias.detach()
    w, b = weight[1] - weight[0], float(bias[1] - bias[0])
    length = float(w.norm())

    def beyond(distance: float) -> float:
        return 0.5 * math.erfc(distance / math.sqrt(2))

    taken, missed = beyond(-(b - float(w[0])) / length), beyond((b + float(w[0])) / length)
    return 50 * (taken + missed)


def test_on_two_gaussians_the_balanced_error_is_near_bayes():
    bayes = 50 * math.erfc(1 / math.sqrt(2))  # of the line halfway, one standard deviation from each centre
    plain, adjusted, posthoc = [], [], []
    for seed in range(5):
        layer = trained_on_gaussians(seed, adjusted=False)
        plain.append(balanced_error(layer) - bayes)
        adjust(layer, [10_000, 100], 1.0)
        posthoc.append(balanced_error(layer) - bayes)
        adjusted.append(balanced_error(trained_on_gaussians(seed, adjusted=True)) - bayes)
    assert max(adjusted) < 2 and max(posthoc) < 2, (adjusted, posthoc)
    assert min(*adjusted, *posthoc) > -1e-9  # nothing is better than Bayes
    assert min(plain) > 10, plain
