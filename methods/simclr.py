"""SimCLR: two views of an image attract, views of different images repel (Chen et al., ICML 2020).

NT-Xent (section 2.1, eq. 1), for anchor a with partner p among the 2N views of N images, s the cosine similarity:

    l_a = -log( exp(s_ap / t) / sum_{k != a} exp(s_ak / t) )
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Method
from methods.log_sum_exp import LogSumExp
from utils.distributed import all_gather

Loss = Callable[[torch.Tensor], torch.Tensor]  # NT-Xent [2, N] of the anchors, views 1 and 2 -> losses [N] of images


def nt_xent(
    view1: torch.Tensor,
    view2: torch.Tensor,
    temperature: float,
    keys: tuple[torch.Tensor, torch.Tensor] | None = None,
    offset: int = 0,
) -> torch.Tensor:
    """NT-Xent of every image: losses [N] in nats; arguments as of anchor_losses."""
    return mean_of_anchors(anchor_losses(view1, view2, temperature, keys, offset))


def mean_of_anchors(losses: torch.Tensor) -> torch.Tensor:
    """Losses of anchors [2, N] -> losses of images [N]."""
    return losses.mean(0)


def anchor_losses(
    view1: torch.Tensor,
    view2: torch.Tensor,
    temperature: float,
    keys: tuple[torch.Tensor, torch.Tensor] | None = None,
    offset: int = 0,
) -> torch.Tensor:
    """NT-Xent of every anchor.

    Args:
        view1, view2: projections [N, D] of this process's images, of any scale; computed at least in float32.
        temperature: t > 0.
        keys: projections (view 1, view 2) [M, D] of the global batch, if it is larger than this process's.
        offset: row of this process's first image in `keys`.

    Returns:
        Losses [2, N] in nats of views 1 and 2, between 0 and log(2M - 1) + 2 / t.
    """
    n = len(view1)
    # The loss is not computed in the lower precision of the network.
    with torch.autocast(view1.device.type, enabled=False):
        anchors = F.normalize(at_least_float32(torch.cat([view1, view2])), dim=1)
        others = anchors if keys is None else F.normalize(at_least_float32(torch.cat(keys)), dim=1)
        m = len(others) // 2
        first_view = torch.arange(n, device=anchors.device) + offset
        own_rows = torch.cat([first_view, first_view + m])  # of the anchors among the keys
        anchors = anchors / temperature
        partners = others[(own_rows + m) % (2 * m)]
        positive = (anchors * partners).sum(1)
        return (LogSumExp.apply(anchors, others, own_rows) - positive).view(2, n)


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 if it has a lower precision."""
    return x if x.dtype == torch.float64 else x.float()


def contrast(z1: torch.Tensor, z2: torch.Tensor, temperature: float, loss: Loss = mean_of_anchors) -> torch.Tensor:
    """Losses [N] of this process's images with the negatives of all processes; gradients flow to all."""
    z1, z2 = at_least_float32(z1), at_least_float32(z2)  # the gradients of all processes are summed in this type
    keys, offset = all_gather(z1, z2)
    return loss(anchor_losses(z1, z2, temperature, keys, offset))


class SimCLR(Method):
    """SimCLR as SDCLR's authors train it: all 2N views in one forward pass, so batch statistics are of both views.

    Args:
        encoder: backbone and projection head, [2N, 3, H, W] -> [2N, D].
        temperature: t > 0 of NT-Xent.
        loss: from the losses of anchors to those of images.
    """

    def __init__(self, encoder: nn.Module, temperature: float, loss: Loss = mean_of_anchors) -> None:
        super().__init__()
        self.encoder, self.temperature, self.loss = encoder, temperature, loss

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1], index [N] (sample ids, unused here) -> losses [N]."""
        z = self.encoder(views.flatten(0, 1))
        self.projections = z.unflatten(0, (-1, 2)).transpose(0, 1)
        return contrast(z[0::2], z[1::2], self.temperature, self.loss)
