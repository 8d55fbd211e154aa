"""MoCLR: SimCLR whose keys come from a moving average of the network (Tian et al., "Divide and Contrast", 2021).

The base learner of DnC (arXiv 2105.08054, section 3.1, eq. 1). The online network with weights w gives the anchors q; a
copy of it, whose weights v follow w, gives the keys k. With views 1 and 2 of N images, s the cosine similarity:

    l(q1_i, k2) = -log( exp(s(q1_i, k2_i) / t) / sum_j exp(s(q1_i, k2_j) / t) )
    loss of image i = (l(q1_i, k2) + l(q2_i, k1)) / 2
    after each step  v <- m v + (1 - m) w,    m = 1 - (1 - 0.996) (1 + cos(pi x)) / 2

where x is the share of the training that is done, so that m rises from 0.996 to 1 (appendix E, as in BYOL). Keys have
no gradient. An anchor's negatives are the other images' keys of the other view only; there is no predictor or queue.

Chosen here, as the paper does not say: the keys of the anchor's own view are no negatives; the temperature is that of
the command line; the loss is the mean of the two directions, as a sum would need half the learning rate; both views of
a batch go through each network together, as in SimCLR here, and the copy has its own batch statistics. The head's
hidden layer has 4096 units in the paper, and here as many as the backbone's features unless the command line says
otherwise.
"""

import argparse
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from methods.base import Method
from methods.simclr import at_least_float32
from utils.distributed import all_gather

MOMENTUM = 0.996  # of the moving average at the start


def momentum_at(progress: float) -> float:
    """The momentum m after a step; progress: share of the training that is done, in [0, 1]."""
    return 1 - (1 - MOMENTUM) * (1 + math.cos(math.pi * progress)) / 2


def info_nce(anchors: torch.Tensor, keys: torch.Tensor, temperature: float, offset: int = 0) -> torch.Tensor:
    """InfoNCE losses [n] in nats of anchors [n, D] with keys [m, D] of the global batch, both of any scale.

    Args:
        temperature: t > 0. offset: row in `keys` of the first anchor's positive.
    """
    # The loss is not computed in the lower precision of the network.
    with torch.autocast(anchors.device.type, enabled=False):
        q, k = (F.normalize(at_least_float32(x), dim=1) for x in (anchors, keys))
        positives = torch.arange(len(q), device=q.device) + offset
        return F.cross_entropy(q @ k.T / temperature, positives, reduction="none")


class MoCLR(Method):
    """The online network, `encoder`, and its moving average, `average`; a checkpoint has both.

    Args:
        encoder: backbone and projection head, [2N, 3, H, W] -> [2N, D].
        temperature: t > 0. epochs: of the training, over which m rises.
    """

    @classmethod
    def build(cls, encoder: nn.Module, options: argparse.Namespace, images: int) -> "MoCLR":
        return cls(encoder, options.temperature, options.epochs)

    def __init__(self, encoder: nn.Module, temperature: float, epochs: int) -> None:
        super().__init__()
        self.encoder, self.temperature, self.epochs = encoder, temperature, epochs
        self.average = copy.deepcopy(encoder).requires_grad_(False)
        self.momentum = MOMENTUM  # of the running step

    def start_phase(self, number: int) -> None:
        """Begin the average with the network's weights, which may come from a checkpoint."""
        self.average.load_state_dict(self.encoder.state_dict())

    def start_step(self, done: float) -> None:
        self.momentum = momentum_at(done / self.epochs)

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1], index [N] (sample ids, unused here) -> losses [N]."""
        images = views.flatten(0, 1)
        q = self.encoder(images)
        with torch.no_grad():
            k = at_least_float32(self.average(images))
            (k1, k2), offset = all_gather(k[0::2], k[1::2])
        self.projections = q.unflatten(0, (-1, 2)).transpose(0, 1)
        loss1, loss2 = info_nce(q[0::2], k2, self.temperature, offset), info_nce(q[1::2], k1, self.temperature, offset)
        return (loss1 + loss2) / 2

    @torch.no_grad()
    def remember(self, index: torch.Tensor, losses: torch.Tensor) -> None:
        """Move the average's weights towards the network's after the step; its batch statistics are its own."""
        move = get_ema_multi_avg_fn(self.momentum)
        move(list(self.average.parameters()), list(self.encoder.parameters()), None)
