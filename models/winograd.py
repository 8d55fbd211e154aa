"""3x3 convolutions with 2.25 times fewer multiplications: Winograd's F(2x2, 3x3) (Lavin, Gray, CVPR 2016, section 4.1).

A tile of 4x4 pixels d of the padded image x and a filter g make 2x2 pixels of the output:

    Y = A^T [ (G g G^T) * (B^T d B) ] A        16 products instead of 36, summed over channels before A is applied

The three transforms are linear in the pixels. For small images each of them is one product of matrices, whatever the
tiles, and so is each of the 16 sums over channels. The gradients are the transposed maps, so they cost as little.
"""

import functools

import torch
from torch.autograd.function import once_differentiable

B = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
A = ((1, 1, 1, 0), (0, 1, -1, -1))


class Transforms:
    """The three maps of H x W pixels with T = ceil(H/2) ceil(W/2) tiles; a tile's 16 numbers are the outer index.

    Attributes:
        image [16 T, H W], B^T . B of each tile. filter [16, 9], G . G^T. output [H W, 16 T], A^T . A of each tile.
    """

    def __init__(self, height: int, width: int, dtype: torch.dtype) -> None:
        (image_h, output_h), (image_w, output_w) = (_along(n) for n in (height, width))
        g = torch.tensor(G)
        image = torch.einsum("ktp,lsq->kltspq", image_h, image_w).reshape(-1, height * width)
        output = torch.einsum("pkt,qls->pqklts", output_h, output_w).reshape(height * width, -1)
        self.image, self.output = image.to(dtype), output.to(dtype)
        self.filter = torch.einsum("ka,lb->klab", g, g).reshape(16, 9).to(dtype)


transforms = functools.cache(Transforms)


def _along(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """B of each tile of n pixels in a row with zeros around them, [4, T, n], and A of each, [n, 4, T]."""
    tiles = -(-n // 2)
    image, output = torch.zeros(4, tiles, 2 * tiles + 2), torch.zeros(2 * tiles, 4, tiles)
    for t in range(tiles):
        image[:, t, 2 * t : 2 * t + 4] = torch.tensor(B)
        output[2 * t : 2 * t + 2, :, t] = torch.tensor(A)
    return image[:, :, 1 : n + 1], output[:n]


class WinogradConv(torch.autograd.Function):
    """conv2d(x, weight, padding=1): x [N, C, H, W] and weight [O, C, 3, 3] of one type -> channels-last [N, O, H, W].

    On a CPU; N >= 1. The backward keeps the transformed image and filter: 4 and 16/9 times their numbers.

    Raises:
        RuntimeError: a second derivative is asked for.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        maps, outputs, channels = transforms(*x.shape[2:], x.dtype), *weight.shape[:2]
        tiles = product(maps.image, _pixels_first(x)).view(16, -1, channels)
        filters = product(maps.filter, _pixels_first(weight)).view(16, outputs, channels)
        ctx.save_for_backward(tiles, filters)
        ctx.shape = x.shape
        sums = products(tiles, filters.transpose(1, 2))
        return _pixels_last(
            product(maps.output, sums.view(maps.output.shape[1], -1)), (x.shape[0], outputs, *x.shape[2:])
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        tiles, filters = ctx.saved_tensors
        maps, outputs, channels = transforms(*ctx.shape[2:], tiles.dtype), *filters.shape[1:]
        of_x = of_weight = None
        of_sums = product(maps.output.t(), _pixels_first(grad)).view(16, -1, outputs)
        if ctx.needs_input_grad[0]:
            of_tiles = products(of_sums, filters).view(maps.image.shape[0], -1)
            of_x = _pixels_last(product(maps.image.t(), of_tiles), ctx.shape)
        if ctx.needs_input_grad[1]:
            of_filters = products(of_sums.transpose(1, 2), tiles).view(16, -1)
            of_weight = _pixels_last(product(maps.filter.t(), of_filters), (outputs, channels, 3, 3))
        return of_x, of_weight


def _pixels_first(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [H W, N C]."""
    return x.permute(2, 3, 0, 1).reshape(x.shape[2] * x.shape[3], -1)


def _pixels_last(x: torch.Tensor, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """[H W, N C] -> [N, C, H, W], channels-last."""
    n, channels, height, width = shape
    pixels = x.view(height, width, n, channels).permute(2, 3, 0, 1)
    return pixels.clone(memory_format=torch.channels_last)  # never a view: what follows may work in place


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b, [R, K] @ [K, S] -> [R, S]."""
    if a.dtype is torch.float32 and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        # oneDNN's, as torch.compile calls it: PyTorch's own choice, MKL, has half its speed on AMD's processors.
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    return a @ b


def products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b, [16, R, K] @ [16, K, S] -> [16, R, S]."""
    if a.dtype is not torch.float32:
        return torch.bmm(a, b)
    result = a.new_empty(16, a.shape[1], b.shape[2])
    for into, x, y in zip(result, a, b, strict=True):
        into.copy_(product(x, y))
    return result
