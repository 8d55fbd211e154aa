"""Losses of supervised learning from long-tailed labels: cross-entropy, and logit adjustment.

Menon et al., "Long-tail learning via logit adjustment" (ICLR 2021), section 4. With logits f_y(x), and pi_y the share
of class y among the training images, the adjusted loss (its equation 10)

    L(x, y) = -log softmax_y(f(x) + tau log pi)

trains f for a balanced test set, so that argmax_y f_y(x) is predicted. With post-hoc adjustment (its equation 9), a
network that was trained with cross-entropy predicts argmax_y f_y(x) - tau log pi_y instead. tau = 1 minimises the
balanced error; with tau = 0 both are cross-entropy, to the bit.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from utils.errors import InputError


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of each image, [n] in nats, of logits [n, classes] and labels [n]."""
    return F.cross_entropy(logits, labels, reduction="none")


def log_priors(counts: list[int]) -> torch.Tensor:
    """log pi, [classes] float32.

    Args:
        counts: training images of each class.

    Raises:
        InputError: a class has none.
    """
    if 0 in counts:
        raise InputError(f"class {counts.index(0)} has no training image: its logit cannot be adjusted")
    return torch.from_numpy(np.log(np.asarray(counts, np.float64) / sum(counts))).float()


class LogitAdjusted:
    """The adjusted loss of each image, with the interface of `cross_entropy`.

    Args:
        counts: training images of each class. tau: factor of log pi.
    """

    def __init__(self, counts: list[int], tau: float, device: torch.device) -> None:
        self.shift = (tau * log_priors(counts)).to(device)

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits + self.shift, labels)


@torch.no_grad()
def adjust(classifier: nn.Linear, counts: list[int], tau: float) -> None:
    """Post-hoc adjustment: subtract tau log pi from a linear classifier's logits, by way of its bias."""
    classifier.bias -= (tau * log_priors(counts)).to(classifier.bias.device)
