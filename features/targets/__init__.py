"""The output formats of features.export, one line each; a target's module is imported only if the target is used.

A target is one file beside this one: a Target (features/targets/base.py), which writes a file, reads it by the library
that it is for, and gives the lines of Python that do so.
"""

from typing import TYPE_CHECKING

from utils.files import load_object

if TYPE_CHECKING:
    from features.targets.base import Target

# Name on the command line -> module and class.
TARGETS = {
    "torchvision": "features.targets.torchvision:Torchvision",
    "timm": "features.targets.timm:Timm",
    "safetensors": "features.targets.safetensors:Safetensors",
    "onnx": "features.targets.onnx:Onnx",
}


def target(name: str) -> "Target":
    """The target of a name of TARGETS."""
    return load_object(TARGETS[name])()


def targets_of(model: str) -> list[str]:
    """The names of the targets that take a network, one of models.MODELS."""
    return [name for name in TARGETS if target(name).has(model)]
