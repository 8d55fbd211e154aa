"""Supervised learning from long-tailed labels: table 3 of BCL's paper (Zhou et al., ICML 2022).

A network, from random weights or from an encoder, is trained with all labels of a long-tailed list, and tested on the
balanced test set:

- ce: the whole network, cross-entropy, each image once in an epoch;
- crt: classifier re-training (Kang et al., ICLR 2020, section 4.1): the backbone of a run of ce is frozen, its linear
  layer is drawn anew and learns from classes that are drawn equally often (data/class_aware.py);
- la, la-posthoc: logit adjustment (losses.py), of the loss, and of the logits of a run of ce.

The paper tells no settings. Chosen here, and in probe/protocols.py: of images in memory SGD 0.1 with Nesterov's
momentum 0.9, weight decay 5e-4, batches of 128, 200 epochs with 5 of warm-up and a cosine, the probes' shifted crop and
flip; of image files stage 1 of Kang et al. (their config/ImageNet_LT/feat_uniform.yaml): SGD 0.2, batches of 512, 90
epochs, crop, flip and colour jitter 0.4. The last epoch counts. A frozen backbone keeps its batch statistics, which
drift in the code of Kang et al.; both, and validation as there, are options.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from data.class_aware import ClassAwareSampler
from data.images import ImageList
from data.loader import AugmentedImages
from data.samplers import EpochSampler
from probe.protocols import Protocol, supervised
from probe.supervised.losses import LogitAdjusted, cross_entropy
from run.schedule import supervised_lr
from utils.distributed import World
from utils.errors import InputError

if TYPE_CHECKING:
    from probe.flags import Settings


@dataclass(frozen=True)
class WarmUpCosine:
    """The learning rate of supervised learning: linear over `warmup` of the epochs, then a cosine to 0."""

    epochs: int
    lr: float
    warmup: int

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """Of step 0, 1, ... of an epoch (1-based) of so many steps."""
        total = self.epochs * steps
        return supervised_lr((epoch - 1) * steps + step, total, min(self.warmup * steps, total), self.lr)


def class_counts(images: ImageList, classes: int) -> list[int]:
    """Images of each class in a training list.

    Raises:
        InputError: a class has none, or a label is none of the classes.
    """
    counts = np.bincount(images.labels, minlength=classes).tolist()
    if len(counts) > classes:
        raise InputError(f"{images.path} has label {len(counts) - 1}, of classes 0 to {classes - 1}: make it again")
    if 0 in counts:
        none = [c for c, n in enumerate(counts) if not n]
        raise InputError(f"{images.path} has no image of {len(none)} of {classes} classes, {none[0]} first: "
                         "supervised learning needs some of each, choose another list")  # fmt: skip
    return counts


def check_list(protocol: Protocol, before: dict[str, Any], images: ImageList) -> None:
    """Refuse a run of protocol ce that was trained on another list.

    Args:
        before: its results.json, {} for none.
    """
    theirs = ((before.get("lists") or {}).get("train") or {}).get("sha1")
    if protocol.after_ce and theirs not in (None, images.sha1):
        raise InputError(f"{images.path} is another list than the run of protocol ce was trained on: choose that one")


def sampler_of(settings: "Settings", images: AugmentedImages, world: World, seed: int) -> EpochSampler:
    """Which images an epoch has: each once, or all classes equally often."""
    protocol = supervised(settings.protocol)
    if protocol and protocol.supervised == "classifier":
        return ClassAwareSampler(images, world.size, world.rank, seed)
    return EpochSampler(images, world.size, world.rank, shuffle=True, seed=seed)


def loss_of(settings: "Settings", counts: list[int], device: torch.device) -> Any:
    """The loss of each image of (logits, labels), by the protocol and the images of each class."""
    protocol = supervised(settings.protocol)
    adjusted = protocol and protocol.adjusted and protocol.supervised == "whole"
    return LogitAdjusted(counts, settings.tau, device) if adjusted else cross_entropy


def parameter_groups(model: nn.Module, scale: float) -> list[nn.Parameter] | list[dict[str, Any]]:
    """What is trained, the backbone in a group of its own where its learning rate is scaled (run.optim.set_rate)."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    backbone = [p for name, p in trained if not name.startswith("fc.")]
    if scale == 1 or not backbone:
        return [p for _, p in trained]
    own = {"params": [p for name, p in trained if name.startswith("fc.")], "scale": 1.0}
    return [own, {"params": backbone, "scale": scale}]
