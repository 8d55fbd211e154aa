"""Backbones: torchvision's ResNet with a CIFAR or an ImageNet stem, and the small CIFAR ResNets.

Every network takes RGB in [0, 1] and normalises it itself by the ImageNet mean and standard deviation, for all data
sets (SDCLR's models/resnet.py). `features` gives the probes' input, `fc` is a head or a classifier.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from models.batch_norm import DualBatchNorm
from models.convolution import Conv2d
from utils.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STEMS = ("cifar", "imagenet", "cifar-padded", "cifar-linear")
Norm = Callable[[int], nn.Module]


class Normalize(nn.Module):
    """(x - mean) / std per channel, x [N, 3, H, W] in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN))
        self.register_buffer("std", torch.tensor(IMAGENET_STD))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean[:, None, None]) / self.std[:, None, None]


def draw_convolution(layer: nn.Conv2d) -> None:
    """Draw new weights as torchvision's ResNets do: He et al., ICCV 2015, with the fan-out."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class ResNet(TorchvisionResNet):
    """torchvision's ResNet with input normalisation.

    Stem 'cifar' is a 3x3 convolution without max-pool. Two variants are other libraries': solo-learn pads that
    convolution by 2 pixels ('cifar-padded'); lightly's ResNetGenerator, as an nn.Sequential of its children, has no
    ReLU after the stem's batch norm ('cifar-linear').
    """

    def __init__(self, block: type, layers: list[int], stem: str, norm: Norm, width: int = 64) -> None:
        super().__init__(block, layers, norm_layer=norm, width_per_group=width)
        self.normalize = Normalize()
        self.channels = 512 * block.expansion
        self.fc = nn.Identity()
        if stem != "imagenet":
            self.conv1 = nn.Conv2d(3, 64, 3, padding=2 if stem == "cifar-padded" else 1, bias=False)
            draw_convolution(self.conv1)
            self.maxpool = nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.__class__ = Conv2d  # the same layer, faster on small maps
        if stem == "cifar-linear":
            self.relu = nn.Identity()  # of the stem alone: each block has its own

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] in [0, 1] -> [N, channels], the globally averaged output of layer4."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalize(x)))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.avgpool(x).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x))


@torch.fx.wrap  # not traced into: the torch.fx of torch 2.8 cannot trace a window whose size is a shape
def global_average(x: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, C]."""
    return F.avg_pool2d(x, x.shape[-2:]).flatten(1)


class SmallBlock(nn.Module):
    """Two 3x3 convolutions; if the shape changes, the shortcut subsamples and pads channels with zeros.

    The parameter-free shortcut is option A of He et al., CVPR 2016, section 4.2.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = norm(outputs)
        self.stride, self.pad = stride, (outputs - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return torch.relu(out + x)


class SmallResNet(nn.Module):
    """ResNet-20 and -32 of He et al. (CVPR 2016, section 4.2): widths 16, 32, 64, depth = 6 blocks + 2."""

    def __init__(self, blocks: int, norm: Norm) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = norm(16)
        for stage, (inputs, outputs) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
            first = SmallBlock(inputs, outputs, 1 if stage == 1 else 2, norm)
            rest = [SmallBlock(outputs, outputs, 1, norm) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(first, *rest))
        self.channels = 64
        self.fc = nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                draw_convolution(module)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] in [0, 1] -> [N, 64], the globally averaged output of layer3."""
        x = torch.relu(self.bn1(self.conv1(self.normalize(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return global_average(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x))


_TORCHVISION = {
    "res10": (BasicBlock, [1, 1, 1, 1], 64),
    "res18": (BasicBlock, [2, 2, 2, 2], 64),
    "res34": (BasicBlock, [3, 4, 6, 3], 64),
    "res50": (Bottleneck, [3, 4, 6, 3], 64),
    "res101": (Bottleneck, [3, 4, 23, 3], 64),
    "res152": (Bottleneck, [3, 8, 36, 3], 64),
    "res50w2": (Bottleneck, [3, 4, 6, 3], 128),
}
_SMALL = {"res20_s": 3, "res32_s": 5}
MODELS = (*_TORCHVISION, *_SMALL)


def build_backbone(name: str, stem: str = "cifar", dual_bn: bool = False) -> ResNet | SmallResNet:
    """A backbone with `.channels`, `.features(x)` and an identity `fc`.

    Args:
        name: one of MODELS. res50w2 has 3x3 convolutions of twice the width (torchvision's wide_resnet50_2).
        stem: one of STEMS: 'cifar' (32 px), 'imagenet' (224 px), or another library's; ignored by the small ResNets.
        dual_bn: two batch norms per layer, for SDCLR.

    Raises:
        InputError: unknown name or stem.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}; choose one of {', '.join(MODELS)}")
    if stem not in STEMS:
        raise InputError(f"unknown stem {stem!r}; choose one of {', '.join(STEMS)}")
    norm = DualBatchNorm if dual_bn else nn.BatchNorm2d
    if name in _SMALL:
        return SmallResNet(_SMALL[name], norm)
    block, layers, width = _TORCHVISION[name]
    return ResNet(block, layers, stem, norm, width)


def model_of(state: Mapping[str, torch.Tensor]) -> str:
    """The one of MODELS with the blocks and widths of a state_dict with torchvision's keys; '' for none.

    Args:
        state: name -> weight; only the convolutions of blocks matter.
    """
    blocks = [len({k.split(".")[1] for k in state if k.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)]
    width = state["layer1.0.conv2.weight"].shape[:1] if "layer1.0.conv2.weight" in state else ()
    deep = "layer1.0.conv3.weight" in state
    for name, (block, layers, per_group) in _TORCHVISION.items():
        if blocks == layers and deep == (block is Bottleneck) and width == (per_group,):
            return name
    small = (name for name, n in _SMALL.items() if blocks == [n, n, n, 0] and width == (16,))
    return next(small, "")
