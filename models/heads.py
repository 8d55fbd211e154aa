"""Projection heads: the part of the network that pre-training needs and the probes drop."""

import torch
from torch import nn

from models.batch_norm import dual_batch_norm_1d
from utils.errors import InputError


class ProjectionHead(nn.Module):
    """Linear - BN - ReLU blocks and a last Linear - BN, as both papers use it.

    Two layers (SimCLR, and everything in BCL): C -> C -> out. Three layers (SDCLR): C -> C -> C -> out.
    Only the first linear layer has a bias; every batch norm is dual when the backbone's are
    (SDCLR's models/utils.py and models/resnet_prune_multibn.py). Input [N, C], output [N, out], not normalised.

    Raises:
        InputError: layers is neither 2 nor 3.
    """

    def __init__(self, channels: int, out: int, layers: int, dual_bn: bool) -> None:
        super().__init__()
        if layers not in (2, 3):
            raise InputError(f"head_layers must be 2 or 3, not {layers}")
        norm = dual_batch_norm_1d if dual_bn else nn.BatchNorm1d
        self.layers = layers
        for i in range(1, layers + 1):
            width = out if i == layers else channels
            self.add_module(f"fc{i}", nn.Linear(channels, width, bias=i == 1))
            self.add_module(f"bn{i}", norm(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(1, self.layers + 1):
            x = getattr(self, f"bn{i}")(getattr(self, f"fc{i}")(x))
            if i < self.layers:
                x = torch.relu(x)
        return x


def linear_classifier(channels: int, classes: int) -> nn.Linear:
    """The probe's classifier, [N, channels] -> [N, classes]: weights N(0, 0.01), bias 0 (SDCLR's train_cifar.py)."""
    layer = nn.Linear(channels, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
