"""timm: the same file as torchvision's target writes, which timm.create_model reads, checked with timm's networks."""

from typing import ClassVar

from torch import nn

from features.targets.base import NAMES, Network, usage
from features.targets.torchvision import Torchvision, stem_lines, with_stem

ACTIVATION = "act1"  # timm's name of the stem's ReLU


class Timm(Torchvision):
    """timm's ResNets. There is none for res10: timm's resnet10t has another stem."""

    needs: ClassVar[tuple[str, ...]] = ("timm",)
    install: ClassVar[str] = "timm==1.0.31"

    def has(self, name: str) -> bool:
        return name in NAMES and name != "res10"

    def build(self, network: Network) -> nn.Module:
        import timm  # not in requirements.txt

        model = timm.create_model(NAMES[network.name], num_classes=0)
        return with_stem(model, network.stem, ACTIVATION)

    def reader(self, network: Network) -> str:
        return f"timm's {NAMES[network.name]}"

    def lines(self, path: str, network: Network) -> str:
        name = NAMES[network.name]
        if network.stem == "imagenet":
            lines = [f"model = timm.create_model({name!r}, num_classes=0, checkpoint_path={path!r})"]
        else:
            lines = [f"model = timm.create_model({name!r}, num_classes=0)", *stem_lines(network.stem, ACTIVATION)]
            lines.append(f"timm.models.load_checkpoint(model, {path!r})")
        return "\n".join(["import timm, torch", *lines, usage(network, inside=False)])
