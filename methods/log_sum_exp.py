"""The denominator of NT-Xent, in memory that grows with the batch size and not with its square.

For an anchor a and keys k, total_a = log sum_{k != own} exp(a . k), without the anchor's own key. Its gradient is
d total_a / d (a . k) = p_ak, the softmax. So the matrix of all products need not be kept: the backward pass computes it
again, a block of rows at a time (as Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, do for layers).
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

# Products in memory at a time: 64 MiB in float32; 512 MiB on a GPU, which small blocks would leave idle. If all of them
# fit into one block, their softmax is kept for the backward pass.
BLOCK, GPU_BLOCK = 2**24, 2**27


class LogSumExp(torch.autograd.Function):
    """anchors [n, D], keys [m, D], own_rows [n] (each anchor's own key, which is left out) -> totals [n].

    Float32 or float64; gradients flow to anchors and keys, and cannot be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, anchors: torch.Tensor, keys: torch.Tensor, own_rows: torch.Tensor) -> torch.Tensor:
        size, totals = _block_size(keys), anchors.new_empty(len(anchors), 1)
        whole, buffer = size >= len(anchors), _buffer(anchors, keys, size)
        for a, own, total in zip(anchors.split(size), own_rows.split(size), totals.split(size), strict=True):
            products = _products(a, keys, own, buffer)
            top = products.amax(1, keepdim=True)
            torch.sum(products.sub_(top).exp_(), 1, keepdim=True, out=total)
            if whole:
                buffer.div_(total)  # the softmax
            total.log_().add_(top)
        ctx.save_for_backward(anchors, keys, own_rows, totals, buffer if whole else None)
        return totals[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        anchors, keys, own_rows, totals, softmax = ctx.saved_tensors
        if softmax is not None:
            share = softmax * gradient[:, None]
            return share @ keys, share.T @ anchors, None
        size = _block_size(keys)
        buffer = _buffer(anchors, keys, size)
        to_anchors, to_keys = torch.empty_like(anchors), torch.zeros_like(keys)
        blocks = (t.split(size) for t in (anchors, own_rows, totals, gradient[:, None], to_anchors))
        for a, own, total, g, to_a in zip(*blocks, strict=True):
            share = _products(a, keys, own, buffer).sub_(total).exp_().mul_(g)
            torch.mm(share, keys, out=to_a)
            to_keys.addmm_(share.T, a)
        return to_anchors, to_keys, None


def _block_size(keys: torch.Tensor) -> int:
    """The number of anchors in a block."""
    return max(1, (GPU_BLOCK if keys.is_cuda else BLOCK) // len(keys))


def _buffer(anchors: torch.Tensor, keys: torch.Tensor, size: int) -> torch.Tensor:
    """Memory for the products of one block, used for all: new memory for each would fragment the heap."""
    return anchors.new_empty(min(size, len(anchors)), len(keys))


def _products(anchors: torch.Tensor, keys: torch.Tensor, own: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
    """anchors @ keys^T in `buffer`, -inf at each anchor's own key."""
    products = torch.mm(anchors, keys.T, out=buffer[: len(anchors)])
    return products.scatter_(1, own[:, None], -torch.inf)
