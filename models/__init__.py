"""Networks: backbone, dual batch norm, pruning masks, projection heads, and the authors' checkpoint formats."""

from models.heads import ProjectionHead, linear_classifier
from models.mask import make_prunable
from models.resnet import MODELS, ResNet, SmallResNet, build_backbone

__all__ = ["MODELS", "build_classifier", "build_encoder"]


def build_encoder(
    name: str, out: int, head_layers: int, stem: str = "cifar", prune: bool = False, dual_bn: bool = False
) -> ResNet | SmallResNet:
    """Backbone and projection head for pre-training: [N, 3, H, W] in [0, 1] -> [N, out].

    Args:
        name: one of MODELS. out: dimensions of a projection. head_layers: 2 or 3.
        stem: 'cifar' or 'imagenet'. prune: make the convolutions prunable. dual_bn: one batch norm per branch.

    Raises:
        InputError: unknown model or stem, or head_layers is neither 2 nor 3.
    """
    encoder = build_backbone(name, stem, dual_bn)
    if prune:
        make_prunable(encoder)
    encoder.fc = ProjectionHead(encoder.channels, out, head_layers, dual_bn)
    return encoder


def build_classifier(name: str, classes: int, stem: str = "cifar") -> ResNet | SmallResNet:
    """Backbone with single batch norm and a linear classifier, [N, 3, H, W] in [0, 1] -> [N, classes].

    Raises:
        InputError: unknown model or stem.
    """
    model = build_backbone(name, stem)
    model.fc = linear_classifier(model.channels, classes)
    return model
