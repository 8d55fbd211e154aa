"""A convolution that trains faster than PyTorch's where images are small and channels many, on a CPU."""

import torch
import torch.nn.functional as F
from torch import nn

from models.winograd import WinogradConv

# Forward and backward of a 3x3 convolution in PyTorch's time, measured at 64 to 512 images, with as many inputs as
# outputs, on two cores. Winograd in bfloat16: 0.5 with 512 outputs on 4x4 positions, 0.9 with 256 on 8x8; in float32:
# 0.7 and 1.0, and more than 1 with few images. Patches with stride 2, in bfloat16: 0.9 with 512, above 1 with 64.
WINOGRAD = {torch.bfloat16: (64, 256), torch.float32: (16, 512)}  # most positions, fewest outputs
PATCHES = {torch.bfloat16: (16, 512)}


class Conv2d(nn.Conv2d):
    """nn.Conv2d up to rounding, and with `fast` False to the bit.

    x is [N, C, H, W] (or, as PyTorch has it, one image alone). Winograd's relative errors, measured against float64:
    below 1e-6 in float32; in bfloat16 about 0.5%, up to 0.9% where sums cancel, beside 0.2% of PyTorch's.
    """

    fast = True

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        dtype = _computed_in(x, weight)
        if self.stride == (1, 1) and self._pays(WINOGRAD, x, dtype):
            return WinogradConv.apply(x.to(dtype), weight.to(dtype))
        if self.stride == (2, 2) and self._pays(PATCHES, x, dtype):
            return PatchConv.apply(x.to(dtype), weight.to(dtype), 2, 1)
        return super()._conv_forward(x, weight, bias)

    def _pays(self, limits: dict[torch.dtype, tuple[int, int]], x: torch.Tensor, dtype: torch.dtype | None) -> bool:
        if not self.fast or x.dim() != 4 or not len(x):
            return False
        most_positions, least_outputs = limits.get(dtype, (0, 0))
        positions = -(-x.shape[2] // self.stride[0]) * -(-x.shape[3] // self.stride[1])
        trains = x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        plain = self.bias is None and self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        is_3x3 = self.kernel_size == (3, 3) and self.padding == (1, 1)
        # Results are channels-last; where the run has the other format, rounding would change with it.
        is_last = self.weight.is_contiguous(memory_format=torch.channels_last)
        pays = positions <= most_positions and self.out_channels >= least_outputs
        return trains and plain and is_3x3 and is_last and pays


def _computed_in(x: torch.Tensor, weight: torch.Tensor) -> torch.dtype | None:
    """The type of the products; None where PyTorch refuses the two, or autocast leaves them as they are."""
    if not torch.is_autocast_enabled("cpu"):
        return x.dtype if x.dtype is weight.dtype else None
    cast = {x.dtype, weight.dtype} <= {torch.float32, torch.bfloat16}
    return torch.get_autocast_dtype("cpu") if cast else None


def make_fast(network: nn.Module) -> nn.Module:
    """Turn every nn.Conv2d of `network` into a Conv2d in place, with the weights it has."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Conv2d
    return network


class PatchConv(torch.autograd.Function):
    """conv2d(x, weight, stride, padding) of x [N, C, H, W] and weight [O, C, K, K], whose weight gradient is G^T P.

    Row (n, i, j) of G [N I J, O] is the output's gradient there; of P [N I J, K K C] it is the patch of x seen there.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        (x, weight), stride, p = ctx.saved_tensors, ctx.stride, ctx.padding
        outputs, channels, size, _ = weight.shape
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = torch.nn.grad.conv2d_input(x.shape, weight, grad, stride, p)
        if ctx.needs_input_grad[1]:
            rows = F.pad(x.permute(0, 2, 3, 1), (0, 0, p, p, p, p))
            patches = rows.unfold(1, size, stride).unfold(2, size, stride).permute(0, 1, 2, 4, 5, 3)
            product = grad.permute(0, 2, 3, 1).reshape(-1, outputs).t() @ patches.reshape(-1, size * size * channels)
            of_weight = product.view(outputs, size, size, channels).permute(0, 3, 1, 2)
        return of_x, of_weight, None, None
