"""The convolution that chooses: what takes which way, and the weight gradient by patches against loops and float64."""

import numpy as np
import pytest
import torch
from torch import nn

from models import build_encoder
from models.conv import Conv2d, PatchConv, make_fast
from models.mask import MaskedConv2d, compute_masks, pruned, set_masks
from models.winograd import WinogradConv

pytestmark = pytest.mark.usefixtures("one_thread")


def wide(inputs: int, outputs: int = 512, stride: int = 1, kind: type = Conv2d) -> nn.Conv2d:
    """A 3x3 convolution as training has it: without bias, channels-last."""
    return kind(inputs, outputs, 3, stride, 1, bias=False).to(memory_format=torch.channels_last)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"), [(4, 3, 1, 1), (5, 3, 2, 1), (4, 1, 2, 0), (6, 3, 2, 0)]
)
def test_gradients_in_float64(size, kernel, stride, padding):
    x, weight = draw(2, 3, size, size).requires_grad_(), draw(4, 3, kernel, kernel, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: PatchConv.apply(a, b, stride, padding), (x, weight))
    expected = nn.functional.conv2d(x, weight, None, stride, padding)
    assert torch.equal(PatchConv.apply(x, weight, stride, padding), expected)


def test_the_weight_gradient_is_a_loop_over_output_positions():
    x, weight, stride = draw(2, 3, 5, 5), draw(4, 3, 3, 3, seed=1).requires_grad_(), 2
    out = PatchConv.apply(x, weight, stride, 1)
    grad = draw(*out.shape, seed=2)
    out.backward(grad)
    padded, expected = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1))), np.zeros(weight.shape)
    for n, o, i, j in np.ndindex(*out.shape):
        patch = padded[n, :, stride * i : stride * i + 3, stride * j : stride * j + 3]
        expected[o] += grad[n, o, i, j].item() * patch
    np.testing.assert_allclose(weight.grad, expected, atol=1e-12)


class Calls:
    """How often each of the two was applied."""

    def __init__(self, monkeypatch) -> None:
        self.patches = self.winograd = 0
        for kind, name in ((PatchConv, "patches"), (WinogradConv, "winograd")):
            monkeypatch.setattr(kind, "apply", self._counted(kind.apply, name))

    def _counted(self, apply, name):
        def counted(*arguments):
            setattr(self, name, getattr(self, name) + 1)
            return apply(*arguments)

        return counted

    def __iter__(self):
        return iter((self.patches, self.winograd))


@pytest.mark.parametrize(("stride", "bound"), [(1, 0.007), (2, 0.0025)])
def test_bfloat16_training_takes_it_and_is_near_to_float64(monkeypatch, stride, bound):
    calls, size = Calls(monkeypatch), 4 * stride
    exact = nn.Conv2d(64, 512, 3, stride, 1, bias=False).double()
    ours, theirs = (wide(64, stride=stride, kind=kind) for kind in (Conv2d, nn.Conv2d))
    x = draw(32, 64, size, size).bfloat16()
    found = []
    for conv in (exact, ours, theirs):
        conv.load_state_dict({"weight": draw(512, 64, 3, 3, seed=1).bfloat16()})
        mine = x.to(torch.float64 if conv is exact else torch.bfloat16, copy=True).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=conv is not exact):
            out = conv(mine)
        out.backward(draw(*out.shape, seed=2).bfloat16().to(out.dtype))
        found.append((conv.weight.grad.double(), mine.grad.double()))
    assert tuple(calls) == ((0, 1) if stride == 1 else (1, 0))
    assert ours.weight.grad.dtype == torch.float32
    for expected, by_ours, by_theirs in zip(*found, strict=True):
        errors = [((g - expected).norm() / expected.norm()).item() for g in (by_ours, by_theirs)]
        assert errors[0] < bound and errors[1] < 0.0025
        assert stride == 1 or errors[0] < 1.1 * errors[1]


@pytest.mark.parametrize(
    ("outputs", "size", "stride", "in_float32", "in_bfloat16"),
    [
        (512, 4, 1, "winograd", "winograd"),
        (512, 5, 1, None, "winograd"),
        (256, 8, 1, None, "winograd"),
        (256, 4, 1, None, "winograd"),
        (256, 9, 1, None, None),
        (128, 8, 1, None, None),
        (512, 8, 2, None, "patches"),
        (512, 7, 2, None, "patches"),
        (512, 9, 2, None, None),
        (256, 8, 2, None, None),
    ],
)
def test_where_which_is_taken(monkeypatch, outputs, size, stride, in_float32, in_bfloat16):
    conv, x = wide(8, outputs, stride), draw(2, 8, size, size).float()
    expected = nn.functional.conv2d(x, conv.weight, None, stride, 1)
    for dtype, kind in ((torch.float32, in_float32), (torch.bfloat16, in_bfloat16)):
        calls = Calls(monkeypatch)
        with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
            out = conv(x)
        assert tuple(calls) == (kind == "patches", kind == "winograd")
        assert out.dtype is dtype
        error = (out.float() - expected).norm() / expected.norm()
        assert error < (1e-6 if dtype is torch.float32 else 0.007)


def test_nothing_else_takes_it(monkeypatch):
    calls, x, conv = Calls(monkeypatch), torch.rand(2, 64, 4, 4), wide(64)
    with torch.autocast("cpu", torch.float16):
        conv(x)
    conv.double()(x.double())
    conv.float()
    with pytest.raises(RuntimeError, match="type"):
        conv(x.double())
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            with torch.no_grad():
                conv(x)
            conv.fast = False
            conv(x)
            conv.fast = True
            Conv2d(64, 512, 3, 1, 1, bias=False)(x)  # contiguous
            for arguments in (
                {"bias": True}, {"groups": 2}, {"dilation": 2, "padding": 2}, {"padding_mode": "circular"},
                {"padding": 0}, {"kernel_size": 1, "padding": 0}, {"stride": (1, 2)},
            ):  # fmt: skip
                other = Conv2d(64, 512, **({"kernel_size": 3, "padding": 1, "bias": False} | arguments))
                other.to(memory_format=torch.channels_last)(x)
    assert tuple(calls) == (0, 0)
    conv(x)
    assert tuple(calls) == (0, 1)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_memory_formats_stay(memory_format):
    """The output's, and the weight gradient's, which DistributedDataParallel wants to be the weight's."""
    conv, x = wide(8).to(memory_format=memory_format), draw(2, 8, 4, 4).float().to(memory_format=memory_format)
    for enabled in (False, True):
        conv.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = conv(x)
        out.float().sum().backward()
        assert out.is_contiguous(memory_format=memory_format)
        assert conv.weight.grad.stride() == conv.weight.stride()


def test_a_compiled_network_has_pytorch_s_own(monkeypatch):
    calls, conv, x = Calls(monkeypatch), wide(8), draw(2, 8, 4, 4).float()
    compiled = torch.compile(conv, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), nn.functional.conv2d(x, conv.weight, None, 1, 1))
    assert tuple(calls) == (0, 0)


@pytest.mark.parametrize(("prune", "kind"), [(False, Conv2d), (True, MaskedConv2d)])
def test_every_convolution_of_an_encoder_has_it(monkeypatch, prune, kind):
    encoder, calls = build_encoder("res18", 8, 2, prune=prune, dual_bn=prune), Calls(monkeypatch)
    encoder.to(memory_format=torch.channels_last)
    assert {type(m) for m in encoder.modules() if isinstance(m, nn.Conv2d)} == {kind}
    with torch.autocast("cpu", torch.bfloat16):
        encoder(torch.rand(2, 3, 32, 32)).float().sum().backward()
    assert tuple(calls) == (1, 6)  # layer4's first; the others of layers 3 and 4 but for that of layer 3


def test_the_pruned_branch_has_the_masked_gradient():
    encoder = build_encoder("res18", 8, 2, prune=True).to(memory_format=torch.channels_last)
    set_masks(encoder, compute_masks(encoder, 0.5))
    with torch.autocast("cpu", torch.bfloat16), pruned(encoder):
        encoder(torch.rand(2, 3, 32, 32)).float().square().sum().backward()
    conv = encoder.layer4[1].conv2
    assert 0 < conv.mask.sum() < conv.mask.numel()
    assert (conv.weight.grad[~conv.mask] == 0).all()
    assert (conv.weight.grad[conv.mask] != 0).any()


def test_make_fast_leaves_other_kinds_alone():
    mixed = nn.Sequential(nn.Conv2d(3, 4, 3), MaskedConv2d(4, 4, 3), nn.Linear(2, 2))
    weight = mixed[0].weight
    assert make_fast(mixed) is mixed
    assert [type(m) for m in mixed] == [Conv2d, MaskedConv2d, nn.Linear]
    assert mixed[0].weight is weight


@pytest.mark.parametrize("shape", [(8, 4, 4), (0, 8, 4, 4)])
def test_one_image_without_a_batch_and_no_image(monkeypatch, shape):
    calls, conv = Calls(monkeypatch), wide(8)
    assert torch.equal(conv(torch.ones(shape)), nn.functional.conv2d(torch.ones(shape), conv.weight, None, 1, 1))
    assert tuple(calls) == (0, 0)


def test_types_that_autocast_leaves_alone(monkeypatch):
    calls = Calls(monkeypatch)
    for stride in (1, 2):
        conv, x = wide(8, stride=stride).double(), draw(2, 8, 4, 4)
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(x)
        assert torch.equal(out, nn.functional.conv2d(x, conv.weight, None, stride, 1))
    with pytest.raises(RuntimeError, match="type"), torch.autocast("cpu", torch.bfloat16):
        wide(8)(torch.ones(2, 8, 4, 4, dtype=torch.uint8))
    assert tuple(calls) == (0, 0)


def test_a_network_with_it_has_the_gradient_of_pytorch_s():
    """res18 in float32: layer4 by Winograd, beside the same network without."""
    torch.manual_seed(0)
    encoder, views = build_encoder("res18", 8, 2).to(memory_format=torch.channels_last), torch.rand(4, 3, 32, 32)
    gradients = []
    for fast in (True, False):
        for module in encoder.modules():
            if isinstance(module, Conv2d):
                module.fast = fast
        encoder.zero_grad()
        encoder(views).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters()]))
    assert not torch.equal(*gradients)
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[1].norm()
