"""Learning rates as closed-form functions of the step or epoch, so that resuming replays nothing."""

import math
from bisect import bisect_right

FINAL_LR = 1e-6


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


def probe_lr(epoch: int, lr: float, milestones: list[int]) -> float:
    """Learning rate of the probe's `epoch` (1-based): a tenth at each milestone.

    Published stepping (SDCLR's train_cifar.py): the schedule moves at the start of an epoch, so milestone 10 already
    holds in epoch 10. Its cosine is pretrain_lr without warm-up.
    """
    return lr * 0.1 ** bisect_right(sorted(milestones), epoch)
