"""Learning rates as closed-form functions of the step or epoch, so that resuming replays nothing."""

import math
from bisect import bisect_right
from typing import NamedTuple

FINAL_LR = 1e-6
TWO_STAGE = "two-stage"


class Stage(NamedTuple):
    """The first of two stages: its epochs, and the learning rate that it ends with."""

    epochs: int
    lr: float


def pretrain_lr(step: int, total: int, warmup: int, lr: float, scheduler: str = "cosine") -> float:
    """Learning rate of update `step` (0-based) of `total`.

    As published (SDCLR's train_simCLR.py), the scheduler steps before the optimizer, so the first update uses
    lr / warmup and the last one 1e-6. `cosine`: linear to lr over `warmup` updates, then a half cosine to 1e-6.
    `constant`: lr, without warm-up. In a run that is shorter than its warm-up the rate only rises.
    """
    if scheduler == "constant":
        return lr
    step += 1
    if step <= warmup:
        return lr * step / warmup
    progress = (step - warmup) / (total - warmup)
    return FINAL_LR + (lr - FINAL_LR) * (1 + math.cos(math.pi * progress)) / 2


def two_stage_lr(epoch: int, epochs: int, warmup: int, lr: float, first: Stage) -> float:
    """Learning rate of `epoch` (1-based) of `epochs`: two half cosines, for a loss that changes between them.

    As published (Geometric Harmonization's utils.py), the rate changes from epoch to epoch: linear to lr over `warmup`
    epochs, a half cosine to `first.lr` in epoch `first.epochs`, and another one to 1e-6 in the last epoch. In a run
    that is shorter than its warm-up the rate only rises.
    """
    if epoch < warmup:
        return lr * epoch / warmup
    if epoch < first.epochs:
        high, low, begin, end = lr, first.lr, warmup, first.epochs
    else:
        high, low, begin, end = first.lr, FINAL_LR, first.epochs, epochs
    progress = (epoch - begin) / max(1, end - begin)
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2


def supervised_lr(step: int, total: int, warmup: int, lr: float) -> float:
    """Learning rate of update `step` (0-based) of `total` in supervised learning: linear to lr over `warmup` updates,
    then a half cosine that would reach 0 one update after the last.

    That it changes with each update is our choice; in the code of Kang et al. (2020) it changes from epoch to epoch,
    and is 0 in the last one.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    angle = math.pi * (step - warmup) / (total - warmup)
    return lr * (1 + math.cos(angle)) / 2


def probe_lr(epoch: int, lr: float, milestones: list[int]) -> float:
    """Learning rate of the probe's `epoch` (1-based): divided by ten at each milestone.

    As published (SDCLR's train_cifar.py), the scheduler steps at the start of an epoch, so milestone 10 is already in
    effect in epoch 10. A probe's cosine schedule is pretrain_lr without warm-up.
    """
    return lr * 0.1 ** bisect_right(sorted(milestones), epoch)
