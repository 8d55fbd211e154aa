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

    Published stepping (SDCLR's train_simCLR.py): the schedule moves before the optimiser, so the first update uses
    lr / warmup and the last one 1e-6. `cosine`: linear to lr over `warmup` updates, then a half cosine to 1e-6.
    `constant`: lr, without warm-up. A run shorter than its warm-up only rises.
    """
    if scheduler == "constant":
        return lr
    step += 1
    if step <= warmup:
        return lr * step / warmup
    done = (step - warmup) / (total - warmup)
    return FINAL_LR + (lr - FINAL_LR) * (1 + math.cos(math.pi * done)) / 2


def two_stage_lr(epoch: int, epochs: int, warmup: int, lr: float, first: Stage) -> float:
    """Learning rate of `epoch` (1-based) of `epochs`: two half cosines, for a loss that changes between them.

    Published stepping (Geometric Harmonization's utils.py): it moves from epoch to epoch, linear to lr over `warmup`
    epochs, to `first.lr` by the epoch `first.epochs`, from there to 1e-6, which the last epoch has. A run shorter than
    its warm-up only rises.
    """
    if epoch < warmup:
        return lr * epoch / warmup
    if epoch < first.epochs:
        high, low, begin, end = lr, first.lr, warmup, first.epochs
    else:
        high, low, begin, end = first.lr, FINAL_LR, first.epochs, epochs
    done = (epoch - begin) / max(1, end - begin)
    return low + (high - low) * (1 + math.cos(math.pi * done)) / 2


def supervised_lr(step: int, total: int, warmup: int, lr: float) -> float:
    """Learning rate of update `step` (0-based) of `total` of supervised learning: linear to lr over `warmup` updates,
    then a half cosine to 0, which would be that of the update after the last one.

    Chosen here, update by update; the code of Kang et al. (2020) moves from epoch to epoch, and its last one has 0.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def probe_lr(epoch: int, lr: float, milestones: list[int]) -> float:
    """Learning rate of the probe's `epoch` (1-based): a tenth at each milestone.

    Published stepping (SDCLR's train_cifar.py): the schedule moves at the start of an epoch, so milestone 10 already
    holds in epoch 10. Its cosine is pretrain_lr without warm-up.
    """
    return lr * 0.1 ** bisect_right(sorted(milestones), epoch)
