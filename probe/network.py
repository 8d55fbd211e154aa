"""What a probe trains and what it freezes."""

from typing import Any

import torch
from torch import nn

from features.accuracy import accuracy_on, evaluate
from features.extract import Images, features_of
from models.frozen import frozen_backbone
from run.compute import Compute
from utils.distributed import World, mean_over_processes

STAGES = ("layer1", "layer2", "layer3", "layer4")


class Frozen:
    """A copy of the frozen weights and buffers, taken before training, to check that they do not change."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.tensors = {k: v.detach().clone() for k, v in state.items()}

    def moved(self, model: nn.Module) -> list[str]:
        """Names of the frozen tensors whose values have changed."""
        state = model.state_dict()
        return [name for name, value in self.tensors.items() if not torch.equal(value, state[name].to(value.device))]

    def check(self, model: nn.Module) -> None:
        """Raise RuntimeError if a frozen tensor has changed: the probe would not be linear."""
        if moved := self.moved(model):
            raise RuntimeError(f"{len(moved)} frozen tensors moved during the probe, {moved[0]} first")


def frozen_modules(model: nn.Module, fixto: str) -> dict[str, nn.Module]:
    """Stem and stages up to `fixto`, name -> module; none for 'nothing'. The small ResNets end with layer3."""
    names = ("conv1", "bn1", *STAGES[: STAGES.index(fixto) + 1]) if fixto in STAGES else ()
    return {name: module for name, module in model.named_children() if name in names}


def freeze(model: nn.Module, fixto: str, fixbn: bool) -> Frozen:
    """Freeze the parameters of the stages up to `fixto`; returns a copy of them to check.

    With `fixbn`, the batch-norm statistics of those stages are frozen, too: Network.train() keeps them in evaluation
    mode.
    """
    fixed = {}
    for name, module in frozen_modules(model, fixto).items():
        module.requires_grad_(False)
        fixed.update(module.named_parameters(prefix=name))
        if fixbn:
            fixed.update(module.named_buffers(prefix=name))
    return Frozen(fixed)


class Network:
    """A model, and the part that is trained: all that is not frozen, or only the classifier on a frozen backbone.

    Args:
        model: after `freeze`. still: the frozen modules that stay in evaluation mode. fixbn: whether all frozen stages
            are among them; only then can a FrozenBackbone compute their features.
    """

    def __init__(
        self, model: nn.Module, still: dict[str, nn.Module], fixbn: bool, compute: Compute, world: World
    ) -> None:
        self.model, self.still, self.compute, self.world = model, still, compute, world
        trained = any(p.requires_grad for name, p in model.named_parameters() if not name.startswith("fc."))
        self.backbone = frozen_backbone(model, *compute.placement) if fixbn and not trained else None
        self.trained = compute.distributed(model if self.backbone is None else model.fc, world)
        self._validation: list | None = None
        buffers = [] if self.backbone is not None or world.size == 1 else [*model.named_buffers()]
        self._statistics = [value for name, value in buffers if name.endswith(("running_mean", "running_var"))]

    def share_statistics(self) -> None:
        """Set the running statistics of batch norm to their mean over the processes, after each step.

        Validation images are divided among the processes, and a checkpoint has the statistics of one of them. On CUDA,
        synchronised batch norm has made them equal already.
        """
        if self._statistics:
            means = mean_over_processes(torch.cat([value.flatten() for value in self._statistics]))
            sizes = [value.numel() for value in self._statistics]
            for value, mean in zip(self._statistics, means.split(sizes), strict=True):
                value.copy_(mean.view_as(value))

    def train(self) -> None:
        """Set training mode, except for the modules `still`, whose batch norms keep their running statistics."""
        self.model.train()
        for module in self.still.values():
            module.eval()

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """The inputs of `logits`: of images [n, 3, H, W] in [0, 1] a frozen backbone's features [n, C], else images."""
        return images if self.backbone is None else self.backbone.features(images)

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """[n, classes] float32, with the autograd graph to the trained parameters."""
        if self.backbone is not None:
            return self.trained(inputs)
        with self.compute.autocast():
            return self.trained(inputs).float()

    def evaluate(self, images: Images, classes: int) -> dict[str, Any]:
        """Accuracy on the validation images. They must be the same at each call: of a frozen backbone, the features of
        the first call's images are kept and used again."""
        if self.backbone is None:
            return evaluate(self.model, images, classes, self.compute)
        if self._validation is None:
            self._validation = list(features_of(self.backbone, images, self.compute.device))
        return accuracy_on(self.model.fc, self._validation, classes, self.compute.device)
