"""torchvision: a dict with `state_dict`, by the keys of its ResNets and without `fc`, and entries that describe it.

For torch.load with weights_only=True. Beside `state_dict` it holds `architecture` and `stem`, `mean` and `std` (the
input is RGB in [0, 1], then (x - mean) / std), `features` (numbers per image), `source` (name and SHA-256 of the
checkpoint) and `provenance`.
"""

import io
from typing import ClassVar

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as TorchvisionResNet

from features.targets.base import NAMES, Features, Network, Target, normalised, usage
from run.checkpoint import packed


def with_stem(model: nn.Module, stem: str, activation: str = "relu") -> nn.Module:
    """The network with one of models.resnet.STEMS in place of ImageNet's. activation: its name of the stem's ReLU."""
    if stem != "imagenet":
        model.conv1 = nn.Conv2d(3, 64, 3, padding=2 if stem == "cifar-padded" else 1, bias=False)
        model.maxpool = nn.Identity()
    if stem == "cifar-linear":
        setattr(model, activation, nn.Identity())
    return model


def stem_lines(stem: str, activation: str = "relu") -> list[str]:
    """Lines of Python that do the same as with_stem."""
    if stem == "imagenet":
        return []
    padding = 2 if stem == "cifar-padded" else 1
    lines = [f"model.conv1 = torch.nn.Conv2d(3, 64, 3, padding={padding}, bias=False)"]
    lines.append("model.maxpool = torch.nn.Identity()")
    return lines + [f"model.{activation} = torch.nn.Identity()"] * (stem == "cifar-linear")


def torchvision_model(name: str, stem: str) -> TorchvisionResNet:
    """torchvision's network for a name of NAMES, [N, 3, H, W] -> [N, features], as a user of the file builds it."""
    if name == "res10":
        model = TorchvisionResNet(BasicBlock, [1, 1, 1, 1])
    else:
        model = torchvision.models.get_model(NAMES[name], weights=None)
    model.fc = nn.Identity()
    return with_stem(model, stem)


def model_lines(name: str, stem: str) -> list[str]:
    """Lines of Python that do the same as torchvision_model."""
    kind = f"torchvision.models.{NAMES[name]}()"
    if name == "res10":
        kind = "torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])"
    return [f"model = {kind}", "model.fc = torch.nn.Identity()", *stem_lines(stem)]


class Torchvision(Target):
    """torchvision's ResNets."""

    needs: ClassVar[tuple[str, ...]] = ("torchvision",)

    def has(self, name: str) -> bool:
        return name in NAMES

    def encode(self, network: Network) -> bytes:
        return packed({"state_dict": network.state(), **network.description})

    def read(self, content: bytes, network: Network) -> Features:
        model = self.build(network)
        model.load_state_dict(torch.load(io.BytesIO(content), weights_only=True)["state_dict"], strict=True)
        return normalised(model.eval(), network)

    def build(self, network: Network) -> nn.Module:
        """The library's network without classifier, as a user of the file builds it."""
        return torchvision_model(network.name, network.stem)

    def reader(self, network: Network) -> str:
        return f"torchvision's {NAMES[network.name]}"

    def lines(self, path: str, network: Network) -> str:
        load = f"model.load_state_dict(torch.load({path!r}, weights_only=True)['state_dict'], strict=True)"
        lines = ["import torch, torchvision", *model_lines(network.name, network.stem), load]
        return "\n".join([*lines, usage(network, inside=False)])
