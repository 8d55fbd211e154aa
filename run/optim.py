"""Optimizers, with the published weight decay of pre-training for each."""

from collections.abc import Iterable
from typing import Any

import torch

from utils.errors import InputError

WEIGHT_DECAY = {"sgd": 1e-4, "adam": 0.0, "lars": 1e-6}


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman, Ginsburg, 2017, algorithm 1), for all tensors, as published.

    v <- momentum * v + lr * eta * |w| / (|g| + wd * |w|) * (g + wd * w);  w <- w - v.
    Where w or g is zero, as in a bias at the start, the factor eta * |w| / (|g| + wd * |w|) is replaced by 1.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        eta: float = 0.001,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                decay = group["weight_decay"]
                weight_norm, gradient_norm = p.norm(), p.grad.norm()
                scaled = group["eta"] * weight_norm / (gradient_norm + decay * weight_norm)
                ratio = torch.where((weight_norm > 0) & (gradient_norm > 0), scaled, 1.0)
                velocity = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                velocity.mul_(group["momentum"]).add_((p.grad + decay * p) * ratio * group["lr"])
                p.sub_(velocity)


def build_optimizer(
    name: str, params: Iterable[torch.nn.Parameter], lr: float, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """SGD (momentum 0.9), Adam or LARS; weight decay as published unless given (SDCLR's train_simCLR.py).

    Weight decay covers all parameters, batch norms and biases included.

    Raises:
        InputError: unknown name, negative learning rate or weight decay.
    """
    if name not in WEIGHT_DECAY:
        raise InputError(f"unknown optimizer {name!r}; choose one of {', '.join(WEIGHT_DECAY)}")
    decay = WEIGHT_DECAY[name] if weight_decay is None else weight_decay
    if lr < 0 or decay < 0:
        raise InputError(f"lr and weight_decay must not be negative, not {lr} and {decay}")
    if name == "adam":
        return torch.optim.Adam(params, lr, weight_decay=decay, fused=True)
    if name == "lars":
        return LARS(params, lr, weight_decay=decay)
    return sgd(params, lr, 0.9, decay)


def sgd(
    params: Iterable[torch.nn.Parameter] | list[dict[str, Any]],
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool = False,
) -> torch.optim.SGD:
    """PyTorch's fused SGD, which passes over the weights once; params: weights, or parameter groups (see set_rate)."""
    settings = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    optimizer = torch.optim.SGD(params, lr, **settings, fused=True)
    if momentum:
        # Zeros, as after a step with zero gradients: where GradScaler skips the first step, the fused step of PyTorch
        # 2.14 would go on from uninitialised memory.
        for p in (p for group in optimizer.param_groups for p in group["params"]):
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> float:
    """Set the learning rate of all groups to `lr`, times the group's `scale` where it has one; returns `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("scale", 1.0)
    return lr
