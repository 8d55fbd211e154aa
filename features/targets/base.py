"""An encoder to be exported, the interface of a target, and the check that each file passes before it is written."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from importlib.metadata import version
from typing import Any, ClassVar, NamedTuple

import torch

from models.published import State
from models.resnet import ResNet, SmallResNet
from utils.errors import InputError

# torchvision's names, which are timm's, too; torchvision has no resnet10.
NAMES = {name: name.replace("res", "resnet") for name in ("res10", "res18", "res34", "res50", "res101", "res152")}
NAMES["res50w2"] = "wide_resnet50_2"
CLOSE = 1e-5  # largest difference, as a share of the largest feature
ROUNDING = 4  # two float32 networks differ by less than so many times the rounding error of one of them

Features = Callable[[torch.Tensor], torch.Tensor]  # [N, 3, H, W] in [0, 1] -> [N, features]


class Network(NamedTuple):
    """An encoder to be exported.

    model: in evaluation mode, without head. name: one of models.MODELS. stem: one of models.resnet.STEMS. mean, std: by
    which it normalises red, green and blue in [0, 1]. source: `file`, the name of the checkpoint, and its `sha256`.
    provenance: versions that the file is made with.
    """

    model: ResNet | SmallResNet
    name: str
    stem: str
    mean: list[float]
    std: list[float]
    source: dict[str, str]
    provenance: dict[str, str]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes in pixels of the images that it is checked with, smallest first."""
        return (64, 97, 224) if self.stem == "imagenet" else (32, 33, 64)

    @property
    def usual_size(self) -> int:
        """Size in pixels of the images that its stem is made for."""
        return 224 if self.stem == "imagenet" else 32

    @property
    def small(self) -> bool:
        """Whether it is one of the small ResNets, which no other library has."""
        return isinstance(self.model, SmallResNet)

    @property
    def description(self) -> dict[str, Any]:
        """What a file says of its weights."""
        return {
            "architecture": NAMES.get(self.name, self.name),
            "stem": self.stem,
            "mean": self.mean,
            "std": self.std,
            "features": self.model.channels,
            "source": self.source,
            "provenance": self.provenance,
        }

    def state(self) -> State:
        """The weights: of the small ResNets by our names, with mean and standard deviation; else by torchvision's."""
        left_out = ("fc.",) if self.small else ("fc.", "normalize.")
        return {k: v for k, v in self.model.state_dict().items() if not k.startswith(left_out)}


class Target(ABC):
    """An output format of the export.

    needs: packages that it uses, in the order of their imports; install: those that requirements.txt lacks, as
    arguments of pip install. suffix: of its files' names; '' for any that is no other target's. inside: whether the
    network of the file normalises its input itself (the small ResNets always do).
    """

    needs: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = ""
    suffix: ClassVar[str] = ""
    inside: ClassVar[bool] = False

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether it supports a network, one of models.MODELS."""

    @abstractmethod
    def encode(self, network: Network) -> bytes:
        """The content of the file."""

    @abstractmethod
    def read(self, content: bytes, network: Network) -> Features:
        """A function that gives the library's features of images, from the content of a file."""

    @abstractmethod
    def reader(self, network: Network) -> str:
        """The library and its network that `read` uses, for messages: `torchvision's resnet18`."""

    @abstractmethod
    def lines(self, path: str, network: Network) -> str:
        """The lines of Python that load the file at `path`, and compute `features` of `images`."""

    def import_needs(self) -> None:
        """Import the packages that it uses.

        Raises:
            InputError: one is not installed, or cannot be imported here.
        """
        for name in self.needs:
            try:
                import_module(name)
            except ImportError as error:
                raise InputError(f"the package {name} is missing ({error}): pip install {self.install}") from error

    def versions(self) -> str:
        """Versions of the packages that it uses: `onnx 1.23.2, ...`."""
        return ", ".join(f"{name} {version(name)}" for name in self.needs)


@torch.inference_mode()
def largest_difference(target: Target, content: bytes, network: Network) -> float:
    """The largest difference between our features of random images and those of the library that reads the file.

    Ours are also computed in float64: their difference from float32 is the rounding error of this network.

    Raises:
        InputError: the difference is more than rounding, or a feature is not finite.
    """
    theirs, worst = target.read(content, network), 0.0
    exact = deepcopy(network.model).double()
    generator = torch.Generator().manual_seed(0)
    for count, size in enumerate(network.sizes, start=1):
        images = torch.rand(count, 3, size, size, generator=generator)
        ours, expected = network.model.features(images), exact.features(images.double())
        difference = (theirs(images) - ours).abs().max().item()
        largest, rounding = expected.abs().max().item(), (ours - expected).abs().max().item()
        if not difference <= max(CLOSE * largest, ROUNDING * rounding):  # so that NaN is refused, too
            raise InputError(
                f"nothing was written: features of {size} px images differ by {difference:g} in "
                f"{target.reader(network)}, of at most {largest:g}: weights or batch statistics are damaged"
            )
        worst = max(worst, difference)
    return worst


def normalised(model: Features, network: Network) -> Features:
    """The features of images by a model that takes normalised ones."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (network.mean, network.std))
    return lambda images: model((images - mean) / std)


def usage(network: Network, inside: bool) -> str:
    """Lines of Python that compute `features` of `images` by a PyTorch `model`. inside: it normalises its own input."""
    size = network.usual_size
    lines = ["model.eval()", f"images = torch.rand(2, 3, {size}, {size})  # yours: RGB in [0, 1]"]
    if not inside:
        both = f"({network.mean}, {network.std})"
        lines.append(f"mean, std = (torch.tensor(values)[:, None, None] for values in {both})")
    given = "images" if inside else "(images - mean) / std"
    return "\n".join([*lines, "with torch.inference_mode():", f"    features = model({given})"])
