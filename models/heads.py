"""Projection heads, which pre-training needs and the probes drop; the probes' linear classifier."""

import torch
from torch import nn

from models.batch_norm import dual_batch_norm_1d
from utils.errors import InputError


class ProjectionHead(nn.Module):
    """Linear - BN - ReLU blocks and a last Linear - BN, as in both papers.

    Two layers (SimCLR, and everything in BCL): C -> width -> out. Three layers (SDCLR): C -> width -> width -> out.
    Only the first linear layer has a bias; every batch norm is dual when the backbone's are
    (SDCLR's models/utils.py and models/resnet_prune_multibn.py). Input [N, C], output [N, out], not normalised.

    Args:
        width: of the hidden layers; 0 for that of the input, C, as in both papers.

    Raises:
        InputError: layers is neither 2 nor 3.
    """

    def __init__(self, channels: int, out: int, layers: int, dual_bn: bool, width: int = 0) -> None:
        super().__init__()
        if layers not in (2, 3):
            raise InputError(f"head_layers must be 2 or 3, not {layers}")
        norm = dual_batch_norm_1d if dual_bn else nn.BatchNorm1d
        self.layers, self.dual_bn = layers, dual_bn
        self.widths = [channels, *[width or channels] * (layers - 1), out]
        for i in range(1, layers + 1):
            self.add_module(f"fc{i}", nn.Linear(self.widths[i - 1], self.widths[i], bias=i == 1))
            self.add_module(f"bn{i}", norm(self.widths[i]))

    def of_width(self, width: int) -> "ProjectionHead":
        """This head if its hidden layers have that width or `width` is 0; else a new one with that width."""
        if width in (0, self.widths[1]):
            return self
        return ProjectionHead(self.widths[0], self.widths[-1], self.layers, self.dual_bn, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.hidden(x)
        return getattr(self, f"bn{self.layers}")(getattr(self, f"fc{self.layers}")(x))

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C] -> [N, width], the last hidden layer after its ReLU."""
        for i in range(1, self.layers):
            x = torch.relu(getattr(self, f"bn{i}")(getattr(self, f"fc{i}")(x)))
        return x


def linear_classifier(channels: int, classes: int) -> nn.Linear:
    """The probe's classifier, [N, channels] -> [N, classes]: weights N(0, 0.01), bias 0 (SDCLR's train_cifar.py)."""
    layer = nn.Linear(channels, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
