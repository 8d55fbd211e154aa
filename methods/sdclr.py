"""SDCLR: contrast the network with a pruned copy of itself (Jiang et al., ICML 2021, section 3).

With weights w, mask m and the views x1, x2 of an image, the loss is NT-Xent between f(x1; w) and f(x2; m * w). Pruning
makes a network forget mostly tail images. So their two projections differ, their loss is larger, and training gives
them more weight. The mask is magnitude pruning of the dense weights, computed anew at the start of each epoch.

The authors compute the loss twice, each time with the other branch detached, and add the gradients. Their sum is
exactly the gradient of the one loss here, with one forward pass of each branch and one backward pass.
"""

import argparse

import torch
from torch import nn

from methods.base import Features, Method
from methods.simclr import contrast
from models.mask import Masks, check_fractions, compute_masks, get_masks, pruned, set_masks
from utils.cli import Parser


class SDCLR(Method):
    """View 1 goes through the dense branch, view 2 through the self-competitor, each with its own batch norm.

    Args:
        encoder: prunable backbone and projection head; single batch norm is shared by both branches.
        temperature: t > 0 of NT-Xent.
        prune_percent: share of the convolution weights that are pruned in the self-competitor, in [0, 1).
        random_prune_percent: the part of that share that is pruned at random, in [0, prune_percent].
        seed: of the random part; the same in all processes, so that all prune alike.

    Raises:
        InputError: a share is out of range.
    """

    smallest_batch = 2  # each branch gets one view of an image, and batch norm needs two samples

    @classmethod
    def add_options(cls, parser: Parser) -> None:
        parser.add_flag("--prune", help="SDCLR: contrast with a pruned self-competitor")
        parser.add_argument(
            "--random_prune_percent", type=float, default=0.0, help="the part of it that is set to zero at random"
        )
        parser.add_flag("--prune_dual_bn", help="one batch norm for each branch")

    @classmethod
    def encoder_options(cls, options: argparse.Namespace) -> dict[str, bool | int]:
        """Prunable; as published, the head has 3 layers with dual batch norm, else 2 (BCL's authors always have 2)."""
        dual_bn = options.prune_dual_bn
        return {"prune": True, "dual_bn": dual_bn, "head_layers": 3 if dual_bn else 2}

    @classmethod
    def build(cls, encoder: nn.Module, options: argparse.Namespace, images: int) -> "SDCLR":
        return cls(encoder, options.temperature, options.prune_percent, options.random_prune_percent, options.seed)

    def __init__(
        self,
        encoder: nn.Module,
        temperature: float,
        prune_percent: float,
        random_prune_percent: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_fractions(prune_percent, random_prune_percent)
        self.encoder, self.temperature, self.seed = encoder, temperature, seed
        self.prune_percent, self.random_prune_percent = prune_percent, random_prune_percent

    def start_epoch(self, epoch: int, features: Features | None = None) -> None:
        """Compute new masks: a function of the dense weights, the seed and the epoch (1-based) alone."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        masks = compute_masks(self.encoder, self.prune_percent, self.random_prune_percent, generator)
        set_masks(self.encoder, masks)

    def masks(self) -> Masks:
        """The running epoch's masks, by the weights at its beginning."""
        return get_masks(self.encoder)

    def measures(self) -> dict[str, float]:
        """'mask_density' of the running epoch: share of the convolution weights that the self-competitor keeps."""
        masks = self.masks().values()
        return {"mask_density": sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)}

    def forward(self, views: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """views [N, 2, 3, H, W] in [0, 1], index [N] (sample ids, unused here) -> losses [N]."""
        dense = self.encoder(views[:, 0])
        with pruned(self.encoder):
            competitor = self.encoder(views[:, 1])
        self.projections = torch.stack([dense, competitor])
        return contrast(dense, competitor, self.temperature)
