"""Convolutions of small maps give what torch's own give."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import build_encoder
from models.convolution import Conv2d, convolve_2x2
from models.mask import compute_masks, make_prunable, pruned, set_masks


@pytest.mark.parametrize(("inputs", "outputs", "images"), [(1, 1, 1), (5, 3, 4), (3, 8, 1), (4, 2, 0)])
def test_as_torchs_convolution_with_its_gradients(inputs, outputs, images):
    x = torch.randn(images, inputs, 2, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, inputs, 3, 3, dtype=torch.float64, requires_grad=True)
    ours, theirs = convolve_2x2(x, weight), F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(ours, theirs)
    towards = torch.randn_like(theirs)
    for found, expected in zip(
        torch.autograd.grad(ours, (x, weight), towards), torch.autograd.grad(theirs, (x, weight), towards), strict=True
    ):
        torch.testing.assert_close(found, expected)


OTHERS = {
    "map": (5, {"padding": 1}),
    "kernel": (2, {"kernel_size": 1}),
    "stride": (2, {"padding": 1, "stride": 2}),
    "padding": (2, {"padding": 2}),
    "bias": (2, {"padding": 1, "bias": True}),
    "groups": (2, {"padding": 1, "groups": 2}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_any_other_is_torchs(case):
    size, changed = OTHERS[case]
    layer = Conv2d(4, 6, **({"kernel_size": 3, "bias": False} | changed)).train()
    theirs = nn.Conv2d(4, 6, **({"kernel_size": 3, "bias": False} | changed))
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(3, 4, size, size)
    assert torch.equal(layer(x), theirs(x))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.9])
def test_a_resnet_on_16_pixels_trains_as_with_torchs(share, monkeypatch):
    """Each gradient in float64, dense and pruned; the quick way has been taken by the three layers of 2x2 maps."""
    network = make_prunable(build_encoder("res18", 8, 2, dual_bn=True)).double().train()
    set_masks(network, compute_masks(network, share))
    x = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    taken = []

    def gradients(way):
        monkeypatch.setattr("models.convolution.convolve_2x2", way)
        with pruned(network):
            loss = network(x).square().sum()
        network.zero_grad()
        loss.backward()
        return [p.grad.clone() for p in network.parameters() if p.grad is not None]

    def told(x, weight):
        taken.append(weight.shape)
        return convolve_2x2(x, weight)

    ours = gradients(told)
    assert taken == [(512, 512, 3, 3)] * 3
    for found, expected in zip(ours, gradients(lambda x, w: F.conv2d(x, w, padding=1)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_as_torchs_where_nothing_is_trained():
    """A probe's frozen features are those of the library, to the bit."""
    layer = Conv2d(4, 4, 3, padding=1, bias=False).eval()
    x = torch.randn(2, 4, 2, 2)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, padding=1))


@pytest.mark.slow
def test_each_branch_is_compiled_once():
    """torch.compile makes a graph of the dense branch and one of the pruned one, and no third at their first switch."""
    encoder, graphs = make_prunable(build_encoder("res20_s", 8, 2, dual_bn=True)), []

    def backend(module, inputs):
        graphs.append(module)
        return module.forward

    encoder.compile(backend=backend)
    try:
        for _ in range(2):
            encoder(torch.rand(4, 3, 8, 8))
            with pruned(encoder):
                encoder(torch.rand(4, 3, 8, 8))
    finally:
        torch.compiler.reset()
    assert len(graphs) == 2
