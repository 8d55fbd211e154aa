"""Magnitude and random pruning masks: how SDCLR makes the self-competitor."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from models.batch_norm import DENSE, PRUNED, DualBatchNorm
from models.convolution import Conv2d
from utils.errors import InputError

Masks = dict[str, torch.Tensor]


class MaskedConv2d(Conv2d):
    """A convolution whose weight is multiplied by `mask` while `pruned` is set.

    The mask acts in the forward pass, so the pruned branch's gradient is masked, too. It is a buffer that is not in the
    state_dict, as published.
    """

    pruned: bool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight * self.mask if self.pruned else self.weight
        return self.convolve(x, weight)


def make_prunable(backbone: nn.Module) -> nn.Module:
    """Turn every convolution of `backbone` into a MaskedConv2d in place (same weights, all-ones mask)."""
    for conv in _convolutions(backbone).values():
        if not isinstance(conv, MaskedConv2d):
            conv.__class__ = MaskedConv2d
            # Of the instance: torch.compile would compile the dense branch once more when it first appears there.
            conv.pruned = False
            conv.register_buffer("mask", torch.ones_like(conv.weight, dtype=torch.bool), persistent=False)
    return backbone


def _convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}


def check_fractions(fraction: float, random_fraction: float = 0.0) -> None:
    """Raise InputError unless 0 <= random_fraction <= fraction < 1."""
    if not 0 <= fraction < 1:
        raise InputError(f"prune_percent must be in [0, 1), not {fraction}")
    if not 0 <= random_fraction <= fraction:
        raise InputError(f"random_prune_percent must be in [0, {fraction}], not {random_fraction}")


def compute_masks(
    model: nn.Module,
    fraction: float,
    random_fraction: float = 0.0,
    generator: torch.Generator | None = None,
) -> Masks:
    """Keep |w| >= t, with t the ceil(p n)-th smallest (0-based) of the n convolution weights together.

    Global magnitude pruning over all convolutions, stem and 1x1 shortcuts included, but no linear layers and batch
    norms (SDCLR, section 3.2; its prune/mask.py). With `random_fraction` r, magnitude pruning takes p - r, and each
    weight that is left is set to zero with probability r n / (n - pruned).

    Args:
        model: its convolution weights are read, not changed.
        fraction: p in [0, 1), share of the weights that are pruned.
        random_fraction: r in [0, p], the part of p that is pruned at random.
        generator: a CPU generator for the random part.

    Returns:
        Module name -> boolean mask of the weight's shape, on the weight's device.

    Raises:
        InputError: a fraction is out of range.
    """
    check_fractions(fraction, random_fraction)
    weights = {name: conv.weight.detach() for name, conv in _convolutions(model).items()}
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
    n = magnitudes.numel()
    # For a fraction close to 1 the rank may be n, which is no element: the largest weight always stays.
    rank = min(math.ceil((fraction - random_fraction) * n), n - 1)
    threshold = _smallest(magnitudes, rank)
    masks = {name: w.abs() >= threshold for name, w in weights.items()}
    if random_fraction > 0:
        drop = random_fraction * n / (n - rank)
        for mask in masks.values():
            mask &= (torch.rand(mask.shape, generator=generator) >= drop).to(mask.device)
    return masks


def _smallest(values: torch.Tensor, rank: int) -> torch.Tensor | float:
    """The `rank`-th smallest (0-based) of values [n]."""
    if values.device.type != "cpu":
        return values.sort().values[rank]  # older versions of torch refuse kthvalue under deterministic algorithms
    return float(np.partition(values.numpy(), rank)[rank])  # several times as fast as kthvalue


def set_masks(model: nn.Module, masks: Masks) -> None:
    """Install masks in the MaskedConv2d of `model`.

    Raises:
        InputError: the masks' names or shapes are not those of the model's convolutions.
    """
    convolutions = _convolutions(model)
    if {n: tuple(m.shape) for n, m in masks.items()} != {n: tuple(c.weight.shape) for n, c in convolutions.items()}:
        raise InputError("the pruning mask belongs to another model; delete it or choose the model it was made for")
    for name, conv in convolutions.items():
        conv.mask.copy_(masks[name])


def get_masks(model: nn.Module) -> Masks:
    """The installed masks, module name -> boolean tensor."""
    return {name: conv.mask for name, conv in _convolutions(model).items()}


@contextmanager
def pruned(model: nn.Module) -> Iterator[None]:
    """A context in which `model` is the self-competitor: masked weights, second batch norm; afterwards dense again."""
    _select(model, True)
    try:
        yield
    finally:
        _select(model, False)


def _select(model: nn.Module, prune: bool) -> None:
    for module in model.modules():
        if isinstance(module, MaskedConv2d):
            module.pruned = prune
        elif isinstance(module, DualBatchNorm):
            module.branch = PRUNED if prune else DENSE


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Masks) -> None:
    """Multiply the weights by the masks permanently, to probe the pruned network."""
    for name, conv in _convolutions(model).items():
        conv.weight *= masks[name]
