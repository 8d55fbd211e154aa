"""The contrastive focal loss: SimCLR with less weight on easy anchors (a baseline of BCL's paper).

With p = exp(-l) for an anchor's NT-Xent loss l, the probability of its positive in the softmax:

    l_focal = -(1 - p)^gamma log(p)        (Lin et al., ICCV 2017, eq. 4, on contrastive similarities)

gamma = 2, and gradients flow through the weight, as in later code of BCL's authors (Geometric-Harmonization, utils.py).
"""

import argparse
from functools import partial

import torch

from methods.simclr import SimCLR
from utils.cli import Parser, not_negative


def focal_loss(loss: torch.Tensor, gamma: float) -> torch.Tensor:
    """NT-Xent [2, N] of the anchors -> focal loss [N] of the images, in nats; gamma: at least 0, where 0 is NT-Xent."""
    # expm1, as 1 - exp(-l) loses its digits for small l; l > 0, as the power's gradient may be infinite at 0.
    weight = -torch.expm1(-loss.clamp(min=torch.finfo(loss.dtype).tiny))
    return (weight**gamma * loss).mean(0)


class Focal(SimCLR):
    """SimCLR with the focal loss.

    Args:
        encoder, temperature: as SimCLR's. gamma: focusing parameter, at least 0.
    """

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        parser.add_flag("--focal", help="contrastive focal loss instead of NT-Xent")
        how = "focusing parameter gamma: larger values weigh down easy anchors more"
        parser.add_argument("--focal_gamma", type=not_negative, default=2.0, help=how)

    @classmethod
    def build(cls, encoder: torch.nn.Module, options: argparse.Namespace, images: int) -> "Focal":
        return cls(encoder, options.temperature, options.focal_gamma)

    def __init__(self, encoder: torch.nn.Module, temperature: float, gamma: float = 2.0) -> None:
        super().__init__(encoder, temperature, partial(focal_loss, gamma=gamma))
