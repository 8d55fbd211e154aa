"""A frozen backbone for inference: it gives the probes' features, much faster than the network for training."""

import copy

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from models.resnet import ResNet, SmallResNet


class FrozenBackbone(nn.Module):
    """A copy of a backbone with its present weights, which later changes of the original do not affect.

    Each batch norm, with its running statistics, is folded into the convolution before it (Jacob et al., CVPR 2018,
    section 3.2). Weights have the type `dtype`; images are normalised in float32.

    Args:
        model: with single batch norm and without masks; its head or classifier is left out.
        dtype: float32, bfloat16 or float16. memory_format: of weights and activations.
    """

    def __init__(
        self,
        model: ResNet | SmallResNet,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        body = copy.deepcopy(model)
        self.normalize, self.channels, self.dtype = body.normalize, model.channels, dtype
        self.memory_format = memory_format
        body.normalize, body.fc = nn.Identity(), nn.Identity()
        for module in body.modules():
            if isinstance(module, nn.Conv2d):
                module.__class__ = nn.Conv2d  # torch.fx fuses this class alone, not its subclasses
            if isinstance(module, nn.SyncBatchNorm):  # after training by several processes
                module.__class__ = nn.BatchNorm2d
        self.body = fuse(body.eval()).to(dtype=dtype, memory_format=memory_format)
        self.requires_grad_(False)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] in [0, 1] -> [N, channels] float32, without a graph; a classifier can train on it."""
        with torch.inference_mode():
            features = self.body(self.normalize(images).to(self.dtype, memory_format=self.memory_format))
        return features.to(torch.float32, copy=True)  # inference tensors cannot be used in a backward pass


def frozen_backbone(
    model: ResNet | SmallResNet, dtype: torch.dtype, memory_format: torch.memory_format, device: torch.device
) -> FrozenBackbone:
    """FrozenBackbone of a model in this type and memory format, on the device."""
    return FrozenBackbone(model, dtype, memory_format).to(device)
