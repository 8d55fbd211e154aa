"""Winograd's convolution beside PyTorch's in float64 and a loop over output pixels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from models import winograd
from models.winograd import WinogradConv

pytestmark = pytest.mark.usefixtures("one_thread")
FLOAT32, BFLOAT16 = 1e-6, 0.007


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def found(conv, x, weight, grad) -> list[torch.Tensor]:
    """The output and the gradients of x and weight, in float64."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    out = conv(x, weight)
    out.backward(grad.to(out.dtype))
    return [t.detach().double() for t in (out, x.grad, weight.grad)]


def pytorch(x, weight):
    return F.conv2d(x, weight, None, 1, 1)


def errors(conv, x, weight, grad) -> list[float]:
    """Euclidean errors of output and gradients, relative, of the same numbers in float64."""
    exact = found(pytorch, x.double(), weight.double(), grad.double())
    return [((a - b).norm() / b.norm()).item() for a, b in zip(found(conv, x, weight, grad), exact, strict=True)]


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 9)] * 2), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.booleans()
)  # fmt: skip
def test_any_image_in_float64(size, images, inputs, outputs, channels_last):
    x, weight = draw(images, inputs, *size), draw(outputs, inputs, 3, 3, seed=1)
    if channels_last:
        x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
    grad = draw(images, outputs, *size, seed=2)
    for ours, theirs in zip(*(found(conv, x, weight, grad) for conv in (WinogradConv.apply, pytorch)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


def test_a_loop_over_output_pixels():
    x, weight = draw(2, 3, 3, 4), draw(2, 3, 3, 3, seed=1)
    padded, expected = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1))), np.zeros((2, 2, 3, 4))
    for n, o, i, j in np.ndindex(*expected.shape):
        expected[n, o, i, j] = (padded[n, :, i : i + 3, j : j + 3] * weight[o].numpy()).sum()
    np.testing.assert_allclose(WinogradConv.apply(x, weight), expected, atol=1e-12)


def test_numerical_gradients():
    x, weight = draw(1, 2, 3, 4).requires_grad_(), draw(2, 2, 3, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(WinogradConv.apply, (x, weight))


def test_a_tile_by_the_formula():
    """Lavin and Gray, section 4.1: 16 products of transformed numbers."""
    b, g, a = (np.array(m, dtype=float) for m in (winograd.B, winograd.G, winograd.A))
    image, weight = draw(1, 1, 2, 2), draw(1, 1, 3, 3, seed=1)
    tile = np.pad(image[0, 0].numpy(), 1)
    by_formula = a @ ((g @ weight[0, 0].numpy() @ g.T) * (b @ tile @ b.T)) @ a.T
    np.testing.assert_allclose(WinogradConv.apply(image, weight)[0, 0], by_formula, atol=1e-12)
    np.testing.assert_allclose(pytorch(image, weight)[0, 0], by_formula, atol=1e-12)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16)])
@pytest.mark.parametrize(("channels", "size"), [(512, 4), (256, 8), (256, 7), (512, 1)])
def test_rounding(dtype, bound, channels, size):
    """Relative errors as the docstring of models.conv.Conv2d has them, after a ReLU and with weights as in training."""
    x, grad = draw(8, channels, size, size).relu(), draw(8, channels, size, size, seed=2)
    weight = draw(channels, channels, 3, 3, seed=1) * 0.02
    x, weight, grad = (t.to(dtype).to(memory_format=torch.channels_last) for t in (x, weight, grad))
    assert max(errors(WinogradConv.apply, x, weight, grad)) < bound
    assert min(errors(WinogradConv.apply, x, weight, grad)) > 0  # it rounds at all: not float64 by mistake


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, FLOAT32), (torch.bfloat16, 0.01)])
def test_rounding_where_sums_cancel(dtype, bound):
    """Nearly constant images beside filters whose sum is zero."""
    x, weight = 1 + 0.05 * draw(8, 256, 8, 8), draw(256, 256, 3, 3, seed=1) * 0.02
    weight -= weight.mean((2, 3), keepdim=True)
    x, weight, grad = (t.to(dtype) for t in (x, weight, draw(8, 256, 8, 8, seed=2)))
    assert max(errors(WinogradConv.apply, x, weight, grad)) < bound


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
def test_float32_products_are_onednn_s(monkeypatch):
    calls, original = [], torch.ops.mkldnn._linear_pointwise

    def counted(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(winograd.torch.ops, "mkldnn", SimpleNamespace(_linear_pointwise=counted))
    found(WinogradConv.apply, draw(2, 8, 4, 4).float(), draw(8, 8, 3, 3, seed=1).float(), draw(2, 8, 4, 4, seed=2))
    assert len(calls) == 3 + 16 + 3 + 2 * 16  # transforms and sums, forward and backward


def test_without_onednn_it_is_the_same_sum(monkeypatch):
    x, weight, grad = draw(4, 8, 4, 4).float(), draw(8, 8, 3, 3, seed=1).float(), draw(4, 8, 4, 4, seed=2).float()
    monkeypatch.setattr(winograd.torch.ops, "mkldnn", SimpleNamespace())
    assert max(errors(WinogradConv.apply, x, weight, grad)) < FLOAT32


def test_only_what_is_asked_for_has_a_gradient():
    x, weight = draw(2, 3, 4, 4), draw(4, 3, 3, 3, seed=1)
    WinogradConv.apply(x.requires_grad_(), weight).sum().backward()
    assert weight.grad is None
    expected = x.grad.clone()
    x = x.detach()
    WinogradConv.apply(x, weight.requires_grad_()).sum().backward()
    assert x.grad is None
    pytorch(y := x.clone().requires_grad_(), weight.detach()).sum().backward()
    torch.testing.assert_close(expected, y.grad)


def test_a_second_derivative_is_refused():
    x, weight = draw(1, 2, 4, 4).requires_grad_(), draw(2, 2, 3, 3, seed=1).requires_grad_()
    (of_x,) = torch.autograd.grad(WinogradConv.apply(x, weight).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        of_x.sum().backward()


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (2, 3, 1, 1), (2, 3, 4, 4)])
def test_what_follows_may_work_in_place(shape):
    x, weight = draw(*shape), draw(5, 3, 3, 3, seed=1).requires_grad_()
    out = WinogradConv.apply(x, weight).relu_()
    out.sum().backward()
    torch.testing.assert_close(out, pytorch(x, weight).relu())


def test_results_are_channels_last():
    out = WinogradConv.apply(draw(2, 3, 4, 4), draw(5, 3, 3, 3, seed=1))
    assert out.is_contiguous(memory_format=torch.channels_last) and out.shape == (2, 5, 4, 4)
