"""Networks like a given one: with new random weights, or with single batch norm in place of dual."""

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from models.batch_norm import DENSE, DualBatchNorm
from models.resnet import draw_convolution


@torch.no_grad()
def renewed(network: nn.Module) -> nn.Module:
    """A copy of a backbone with its head, on the same device, whose weights and statistics are new: drawn as
    models.build_encoder draws them."""
    found = copy.deepcopy(network).requires_grad_(True)
    for module in found.modules():
        if isinstance(module, nn.Conv2d):
            draw_convolution(module)
        elif isinstance(module, nn.Linear | BatchNorm):
            module.reset_parameters()
    return found


def with_single_batch_norm(network: nn.Module) -> nn.Module:
    """The network, each of whose dual batch norms is now the dense branch's."""
    for name, module in network.named_children():
        if isinstance(module, DualBatchNorm):
            setattr(network, name, module.bn_list[DENSE])
        else:
            with_single_batch_norm(module)
    return network
