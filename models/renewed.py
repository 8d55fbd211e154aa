"""Networks like a given one: with new random weights, or with single in place of dual batch norm."""

import copy

import torch
from torch import nn

from models.batch_norm import BATCH_NORMS, DENSE, DualBatchNorm
from models.resnet import draw_convolution


@torch.no_grad()
def renewed(network: nn.Module) -> nn.Module:
    """A copy of a backbone with its head, on the same device, with new batch statistics and with random weights as
    models.build_encoder draws them."""
    fresh = copy.deepcopy(network).requires_grad_(True)
    for module in fresh.modules():
        if isinstance(module, nn.Conv2d):
            draw_convolution(module)
        elif isinstance(module, (nn.Linear, *BATCH_NORMS)):
            module.reset_parameters()
    return fresh


def with_single_batch_norm(network: nn.Module) -> nn.Module:
    """The network, in which the dense branch's batch norm replaces each dual one, in place."""
    for name, module in network.named_children():
        if isinstance(module, DualBatchNorm):
            setattr(network, name, module.bn_list[DENSE])
        else:
            with_single_batch_norm(module)
    return network
