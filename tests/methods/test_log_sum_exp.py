"""NT-Xent's denominator in blocks: torch.logsumexp's values and gradients, and memory that does not hold the whole."""

import subprocess
import sys

import pytest
import torch

from methods import log_sum_exp
from methods.log_sum_exp import LogSumExp
from methods.simclr import anchor_losses
from tests.conftest import PROJECT

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def tensors(n: int, m: int, d: int = 5, dtype=torch.float64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, d, generator=g, dtype=dtype).requires_grad_() for rows in (n, m))


def plain(anchors: torch.Tensor, keys: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Each anchor by itself, its own key cut out of the list."""
    rows = [a @ torch.cat([keys[:o], keys[o + 1 :]]).T for a, o in zip(anchors, own.tolist(), strict=True)]
    return torch.stack([row.logsumexp(0) for row in rows])


def with_gradients(function, anchors, keys, own, weights) -> tuple[torch.Tensor, ...]:
    anchors, keys = (t.detach().clone().requires_grad_() for t in (anchors, keys))
    totals = function(anchors, keys, own)
    return totals.detach(), *torch.autograd.grad((totals * weights).sum(), (anchors, keys))


CASES = {
    "keys are the anchors": (6, 6, list(range(6))),
    "second process of two": (6, 12, [3, 4, 5, 9, 10, 11]),  # two views of three images
    "one anchor": (1, 2, [0]),
    "an own key twice": (3, 4, [1, 1, 3]),
}


@pytest.mark.parametrize("block", [1, 12, 13, 25, 2**24])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_torchs_whatever_the_blocks(monkeypatch, case, block):
    """Blocks of one row, of several, with a short last one, and all rows at once."""
    monkeypatch.setattr(log_sum_exp, "BLOCK", block)
    n, m, own = CASES[case]
    (anchors, keys), own = tensors(n, m), torch.tensor(own)
    weights = torch.linspace(-1, 2, n, dtype=torch.float64)
    found = with_gradients(LogSumExp.apply, anchors, keys, own, weights)
    for ours, theirs in zip(found, with_gradients(plain, anchors, keys, own, weights), strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("block", [1, 9, 2**24])
def test_gradients_are_those_of_finite_differences(monkeypatch, block):
    monkeypatch.setattr(log_sum_exp, "BLOCK", block)
    assert torch.autograd.gradcheck(LogSumExp.apply, (*tensors(4, 8, 3), torch.tensor([2, 3, 6, 7])))


@pytest.mark.parametrize("block", [7, 2**24])
def test_anchors_that_are_their_own_keys_get_both_gradients(monkeypatch, block):
    """As in one process: the same tensor twice."""
    monkeypatch.setattr(log_sum_exp, "BLOCK", block)
    (x, _), own = tensors(7, 1), torch.arange(7)
    (ours,) = torch.autograd.grad(LogSumExp.apply(x, x, own).pow(2).sum(), x)
    (theirs,) = torch.autograd.grad(plain(x, x, own).pow(2).sum(), x)
    torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("block", [40, 2**24])
def test_the_own_key_has_no_part(monkeypatch, block):
    """Neither in the total nor in the gradients, to the bit, though it would be by far the largest."""
    monkeypatch.setattr(log_sum_exp, "BLOCK", block)
    anchors, keys = tensors(3, 20, dtype=torch.float32)
    own = torch.full((3,), 4)
    with torch.no_grad():
        keys[4] = 50 * anchors[0]
    expected = with_gradients(LogSumExp.apply, anchors, keys, own, torch.ones(3))
    assert (expected[2][4] == 0).all()
    with torch.no_grad():
        keys[4] = -7.0
    for ours, theirs in zip(with_gradients(LogSumExp.apply, anchors, keys, own, torch.ones(3)), expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("temperature", [0.01, 1e-3, 100.0])
@pytest.mark.parametrize("block", [64, 2**24])
def test_extreme_temperatures_are_finite_and_right(monkeypatch, temperature, block):
    monkeypatch.setattr(log_sum_exp, "BLOCK", block)
    one, two = tensors(16, 16, 4, torch.float32)
    losses = anchor_losses(one, two, temperature)
    gradients = torch.autograd.grad(losses.sum(), (one, two))
    assert all(torch.isfinite(t).all() for t in (losses, *gradients))
    both = torch.nn.functional.normalize(torch.cat([one, two]).double(), dim=1)
    own, partner = torch.arange(32), torch.arange(32).roll(16)
    products = both @ both.T / temperature
    exact = plain(both / temperature, both, own) - products[own, partner]
    # Rounding is of the products, which are as large as 1 / temperature.
    torch.testing.assert_close(losses.flatten().double(), exact, rtol=1e-6, atol=1e-6 * max(1, 1 / temperature))


def test_own_rows_of_the_second_process_are_those_of_the_whole_batch():
    """Losses of two processes' halves against those of one with all images."""
    one, two = tensors(10, 10)
    whole = anchor_losses(one, two, 0.2)
    for offset in (0, 5):
        rows = slice(offset, offset + 5)
        part = anchor_losses(one[rows], two[rows], 0.2, (one, two), offset)
        torch.testing.assert_close(part, whole[:, rows], **EXACT)


PEAK = """
import re, sys, torch
from methods import log_sum_exp
from methods.simclr import anchor_losses
torch.set_num_threads(1)  # each has buffers of its own
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
log_sum_exp.BLOCK = int(sys.argv[1])
anchor_losses(*(torch.randn(8, 16, requires_grad=True) for _ in range(2)), 0.2).sum().backward()
before = peak()
views = [torch.randn(4096, 16, requires_grad=True) for _ in range(2)]
anchor_losses(*views, 0.2).sum().backward()
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_hold_all_products():
    """8,192 anchors have 256 MiB of products; 2^18 of them at once have 1 MiB."""

    def mebibytes(block: int) -> float:
        command = [sys.executable, "-c", PEAK, str(block)]
        return float(subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout)

    assert mebibytes(2**18) < 40
    assert mebibytes(2**27) > 256, "where they are held at once, the measure tells"
