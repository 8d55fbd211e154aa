"""Checkpoints as other libraries write them, with the network itself: random weights, random batch statistics.

torchvision, timm and lightly are themselves; the others are built from the facts of their sources.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import lightly.models
import timm
import torch
import torch.nn.functional as F
from lightly.models.modules.heads import MoCoProjectionHead, SimCLRProjectionHead
from torch import nn
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock, ResNet

SIZES = {"small": (32, 33), "large": (64, 97)}  # pixels that a network is compared at


class Case(NamedTuple):
    """content: of the file. state: the tensors in it. key: one of the encoder's. network: [N, 3, S, S] -> [N, C], of
    normalised images. size: of SIZES."""

    content: Any
    state: dict[str, torch.Tensor]
    key: str
    network: Callable[[torch.Tensor], torch.Tensor]
    size: str


def random(module: nn.Module) -> nn.Module:
    """Batch norms with statistics and weights that are no others'; in evaluation mode."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d) and norm.running_mean is not None:
            norm.running_mean.normal_(std=0.2)
            norm.running_var.uniform_(0.5, 2)
            norm.num_batches_tracked.fill_(5)
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, std=0.2)
    return module.eval()


def ten(small: bool = False, padding: int = 1, **options: Any) -> nn.Module:
    """torchvision's ResNet of ten layers; small: with a 3x3 stem and no max-pool."""
    model = ResNet(BasicBlock, [1, 1, 1, 1], **options)
    if small:
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, padding, bias=False), nn.Identity()
    return model


def without_fc(model: nn.Module) -> nn.Module:
    model.fc = nn.Identity()
    return model


def features(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Those before the `fc` of a network of torchvision, whatever `fc` is."""

    def run(x: torch.Tensor) -> torch.Tensor:
        x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        return model.avgpool(model.layer4(model.layer3(model.layer2(model.layer1(x))))).flatten(1)

    return run


def modules(prefix: str = "", **parts: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of a module with these parts."""
    return {f"{prefix}{k}": v for k, v in random(nn.ModuleDict(parts)).state_dict().items()}


def mlp(*widths: int, norm: bool = False) -> nn.Sequential:
    layers = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def torchvision_resnet() -> Case:
    model = random(resnet18())
    state = model.state_dict()
    return Case(state, state, "layer2.0.conv1.weight", features(model), "large")


def timm_resnet() -> Case:
    """As its training script saves it, with the command line."""
    model = random(timm.create_model("resnet18"))
    state = model.state_dict()
    content = {"epoch": 3, "arch": "resnet18", "state_dict": state, "optimizer": {}, "args": argparse.Namespace(lr=0.1)}
    return Case(content, state, "layer2.0.conv1.weight", lambda x: model.forward_head(model.forward_features(x), True),
                "large")  # fmt: skip


def timm_plain() -> Case:
    case = timm_resnet()
    return case._replace(content=case.state)


def moco(version: int) -> Case:
    """moco/builder.py under DistributedDataParallel; version 2 has a hidden layer in its head."""
    query, key = ten(), ten()
    for model in (query, key):
        model.fc = mlp(512, 512, 16) if version == 2 else nn.Linear(512, 16)
    state = modules("module.", encoder_q=query, encoder_k=key)
    state |= {"module.queue": torch.randn(16, 32), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    content = {"epoch": 200, "arch": "resnet10", "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}
    return Case(content, state, "module.encoder_q.layer2.0.conv1.weight", features(query), "large")


def mocov3() -> Case:
    base, momentum = ten(), ten()
    for model in (base, momentum):
        model.fc = mlp(512, 32, 16, norm=True)
    state = modules("module.", base_encoder=base, momentum_encoder=momentum, predictor=mlp(16, 32, 16, norm=True))
    content = {"epoch": 100, "arch": "resnet10", "state_dict": state, "optimizer": {}, "scaler": {"scale": 1.0}}
    return Case(content, state, "module.base_encoder.layer2.0.conv1.weight", features(base), "large")


def simsiam() -> Case:
    model = ten(zero_init_residual=True)
    model.fc = nn.Sequential(mlp(512, 512, 16, norm=True), nn.BatchNorm1d(16, affine=False))
    state = modules("module.", encoder=model, predictor=mlp(16, 8, 16, norm=True))
    content = {"epoch": 100, "arch": "resnet10", "state_dict": state, "optimizer": {}}
    return Case(content, state, "module.encoder.layer2.0.conv1.weight", features(model), "large")


class Block(nn.Module):
    """SupContrast's BasicBlock: the projection of a shortcut is `shortcut`, an empty Sequential elsewhere."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        projection = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Sequential(*(projection if changes else ()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class SupConResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        widths = (64, 64, 128, 256, 512)
        for i in range(1, 5):
            self.add_module(f"layer{i}", nn.Sequential(Block(widths[i - 1], widths[i], 1 if i == 1 else 2)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


def supcontrast() -> Case:
    """util.save_model, of a model whose encoder was DataParallel, with its command line."""
    encoder = SupConResNet()
    state = modules(encoder=nn.ModuleDict({"module": encoder}), head=mlp(512, 512, 16))
    content = {"opt": argparse.Namespace(batch_size=256), "model": state, "optimizer": {}, "epoch": 1000}
    return Case(content, state, "encoder.module.layer2.0.conv1.weight", encoder, "small")


def simclr() -> Case:
    """sthalles: torchvision's stem and max-pool, whatever the size of the images."""
    model = ten()
    model.fc = mlp(512, 512, 16)
    state = modules(backbone=model)
    content = {"epoch": 200, "arch": "resnet10", "state_dict": state, "optimizer": {}}
    return Case(content, state, "backbone.layer2.0.conv1.weight", features(model), "small")


def lightning(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What pytorch_lightning's Trainer saves."""
    callback = {"monitor": None, "best_model_score": None, "best_model_path": "x.ckpt", "last_model_path": ""}
    return {"epoch": 9, "global_step": 90, "pytorch-lightning_version": "2.6.6", "state_dict": state, "loops": {},
            "callbacks": {"ModelCheckpoint{'monitor': None}": callback}, "optimizer_states": [], "lr_schedulers": [],
            "hparams_name": "kwargs", "hyper_parameters": {"max_epochs": 10, "lr": 0.3}}  # fmt: skip


def solo(small: bool, name: str = "backbone") -> Case:
    """solo-learn's MoCo v2+: CIFAR's stem is padded by 2 pixels; older versions say `encoder`."""
    online, momentum = (without_fc(ten(small, padding=2)) for _ in range(2))
    parts = {name: online, "classifier": nn.Linear(512, 10), "projector": mlp(512, 32, 16, norm=True)}
    parts |= {f"momentum_{name}": momentum, "momentum_projector": mlp(512, 32, 16, norm=True)}
    state = modules(**parts) | {"queue": torch.randn(2, 16, 8), "queue_ptr": torch.zeros(1, dtype=torch.long)}
    size = "small" if small else "large"
    return Case(lightning(state), state, f"{name}.layer2.0.conv1.weight", features(online), size)


def lightly_children(small: bool) -> Case:
    """lightly's examples: nn.Sequential(*list(resnet.children())[:-1]); here its MoCo, with the momentum network."""
    backbone, other = (nn.Sequential(*list(ten(small).children())[:-1]) for _ in range(2))
    state = modules(backbone=backbone, projection_head=MoCoProjectionHead(512, 512, 16), backbone_momentum=other,
                    projection_head_momentum=MoCoProjectionHead(512, 512, 16))  # fmt: skip
    size = "small" if small else "large"
    return Case(lightning(state), state, "backbone.5.0.conv1.weight", lambda x: backbone(x).flatten(1), size)


def lightly_generator() -> Case:
    """lightly's benchmarks on CIFAR: its own ResNet, taken apart, and a pooling of its own."""
    resnet = lightly.models.ResNetGenerator("resnet-9")
    backbone = nn.Sequential(*list(resnet.children())[:-1], nn.AdaptiveAvgPool2d(1))
    state = modules(backbone=backbone, projection_head=SimCLRProjectionHead(512, 512, 16))
    return Case(lightning(state), state, "backbone.3.0.conv1.weight", lambda x: backbone(x).flatten(1), "small")


def lightly_whole(small: bool) -> Case:
    backbone = without_fc(ten(small))
    state = modules(backbone=backbone, projection_head=SimCLRProjectionHead(512, 512, 16))
    size = "small" if small else "large"
    return Case(lightning(state), state, "backbone.layer2.0.conv1.weight", backbone, size)


def vissl() -> Case:
    model = without_fc(ten())
    state = modules(_feature_blocks=model)
    heads = modules(**{"0": nn.ModuleDict({"clf": mlp(512, 512, 16)})})
    inner = {"model": {"trunk": state, "heads": heads}, "meta": {}}
    content = {"phase_idx": 9, "iteration": 90, "classy_state_dict": {"base_model": inner, "optimizer": {}}}
    return Case(content, state, "_feature_blocks.layer2.0.conv1.weight", model, "large")


def dino() -> Case:
    teacher, student = (without_fc(ten()) for _ in range(2))
    heads = [nn.ModuleDict({"mlp": mlp(512, 32, 16), "last_layer": nn.Linear(16, 64, bias=False)}) for _ in range(2)]
    state = modules(backbone=teacher, head=heads[0])
    content = {"student": modules("module.", backbone=student, head=heads[1]), "teacher": state, "optimizer": {}}
    content |= {"args": argparse.Namespace(arch="resnet10"), "dino_loss": {"center": torch.zeros(1, 64)}, "epoch": 100}
    return Case(content, state, "backbone.layer2.0.conv1.weight", teacher, "large")


def swav() -> Case:
    """The padding of its first convolution is one of 1 before it, and one of 2 of its own."""
    model = without_fc(ten())
    model.conv1.padding = (2, 2)
    state = modules("module.", **dict(model.named_children()), projection_head=mlp(512, 32, 16, norm=True),
                    prototypes=nn.Linear(16, 8, bias=False))  # fmt: skip
    pad = nn.ConstantPad2d(1, 0.0)
    return Case(state, state, "module.layer2.0.conv1.weight", lambda x: features(model)(pad(x)), "large")


def barlow() -> Case:
    model = without_fc(ten())
    state = modules("module.", backbone=model, projector=mlp(512, 32, 32, norm=True),
                    bn=nn.BatchNorm1d(32, affine=False))  # fmt: skip
    return Case({"epoch": 1, "model": state, "optimizer": {}}, state, "module.backbone.layer2.0.conv1.weight", model,
                "large")  # fmt: skip


CASES = {
    "torchvision": torchvision_resnet,
    "timm": timm_resnet,
    "timm.safetensors": timm_plain,
    "MoCo v1": lambda: moco(1),
    "MoCo v2": lambda: moco(2),
    "MoCo v3": mocov3,
    "SimSiam": simsiam,
    "SupContrast": supcontrast,
    "SimCLR": simclr,
    "solo-learn, CIFAR": lambda: solo(True),
    "solo-learn, ImageNet": lambda: solo(False),
    "solo-learn, older": lambda: solo(True, "encoder"),
    "lightly, children": lambda: lightly_children(False),
    "lightly, children of CIFAR's": lambda: lightly_children(True),
    "lightly, ResNetGenerator": lightly_generator,
    "lightly, whole": lambda: lightly_whole(False),
    "lightly, whole CIFAR's": lambda: lightly_whole(True),
    "VISSL": vissl,
    "DINO": dino,
    "SwAV": swav,
    "Barlow Twins": barlow,
}
# What each is read as.
READ_AS = {
    "torchvision": "torchvision", "timm": "torchvision", "timm.safetensors": "torchvision", "MoCo v1": "moco",
    "MoCo v2": "moco", "MoCo v3": "mocov3", "SupContrast": "supcontrast", "SimSiam": "simsiam", "SimCLR": "simclr",
    "solo-learn, CIFAR": "solo-learn", "solo-learn, ImageNet": "solo-learn", "solo-learn, older": "solo-learn",
    "lightly, children": "lightly-children", "lightly, children of CIFAR's": "lightly-children",
    "lightly, ResNetGenerator": "lightly-generator", "lightly, whole": "lightly", "lightly, whole CIFAR's": "lightly",
    "VISSL": "vissl", "DINO": "dino", "SwAV": "swav", "Barlow Twins": "barlow",
}  # fmt: skip
