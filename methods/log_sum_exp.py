"""The denominator of NT-Xent, whose memory grows with the batch and not with its square.

For an anchor a and keys k, total_a = log sum_{k != own} exp(a . k). The gradient is d total_a / d (a . k) = p_ak, the
softmax, so nothing of the size of all products needs to be kept: the backward pass computes them again, a block of rows
at a time (as Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, do for layers).
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

# Products that are held at once: 64 MiB in float32; 512 MiB on a GPU, which small blocks leave idle. Where all fit, the
# softmax is kept instead.
BLOCK, GPU_BLOCK = 2**24, 2**27


class LogSumExp(torch.autograd.Function):
    """anchors [n, D], keys [m, D], own [n] (a row of keys for each anchor, left out) -> totals [n].

    Float32 or float64; gradients flow to anchors and keys, once.
    """

    @staticmethod
    def forward(ctx: Any, anchors: torch.Tensor, keys: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        rows, totals = _rows(keys), anchors.new_empty(len(anchors), 1)
        room = _room(anchors, keys, rows)
        for a, o, total in zip(anchors.split(rows), own.split(rows), totals.split(rows), strict=True):
            products = _products(a, keys, o, room)
            top = products.amax(1, keepdim=True)
            torch.sum(products.sub_(top).exp_(), 1, keepdim=True, out=total)
            if rows >= len(anchors):
                room.div_(total)  # the softmax
            total.log_().add_(top)
        ctx.save_for_backward(anchors, keys, own, totals, room if rows >= len(anchors) else None)
        return totals[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        anchors, keys, own, totals, kept = ctx.saved_tensors
        if kept is not None:
            share = kept * gradient[:, None]
            return share @ keys, share.T @ anchors, None
        rows = _rows(keys)
        room = _room(anchors, keys, rows)
        to_anchors, to_keys = torch.empty_like(anchors), torch.zeros_like(keys)
        blocks = (t.split(rows) for t in (anchors, own, totals, gradient[:, None], to_anchors))
        for a, o, total, g, found in zip(*blocks, strict=True):
            share = _products(a, keys, o, room).sub_(total).exp_().mul_(g)
            torch.mm(share, keys, out=found)
            to_keys.addmm_(share.T, a)
        return to_anchors, to_keys, None


def _rows(keys: torch.Tensor) -> int:
    """Anchors of a block."""
    return max(1, (GPU_BLOCK if keys.is_cuda else BLOCK) // len(keys))


def _room(anchors: torch.Tensor, keys: torch.Tensor, rows: int) -> torch.Tensor:
    """The one place for all blocks' products: a new one for each would scatter the heap."""
    return anchors.new_empty(min(rows, len(anchors)), len(keys))


def _products(anchors: torch.Tensor, keys: torch.Tensor, own: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """anchors @ keys^T, -inf at each anchor's own key, in `room`."""
    products = torch.mm(anchors, keys.T, out=room[: len(anchors)])
    return products.scatter_(1, own[:, None], -torch.inf)
