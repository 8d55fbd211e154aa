"""Supervised learning from long-tailed labels: table 3 of BCL's paper (Zhou et al., ICML 2022).

A network, from random weights or from an encoder, is trained with all labels of a long-tailed list, and tested on the
balanced test set:

- ce: the whole network, with cross-entropy, each image once in an epoch;
- crt: classifier re-training (Kang et al., ICLR 2020, section 4.1): the backbone of a run of ce is frozen, and a new
  linear layer is trained on classes that are sampled equally often (data/class_aware.py);
- la, la-posthoc: logit adjustment (losses.py), of the loss, and of the logits of a run of ce.

The paper gives no settings. Our choice, in probe/protocols.py, is for images in memory: SGD with learning rate 0.1 and
Nesterov momentum 0.9, weight decay 5e-4, batches of 128, 200 epochs with 5 of warm-up and a cosine, the probes' shifted
crop and flip; and for image files stage 1 of Kang et al. (their config/ImageNet_LT/feat_uniform.yaml): SGD with a
learning rate of 0.2, batches of 512, 90 epochs, crop, flip and colour jitter 0.4. The last epoch is tested. A frozen
backbone keeps its batch-norm statistics, which change in the code of Kang et al.; options choose that, and selection by
validation as they do it.
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
        """The learning rate of step 0, 1, ..., steps - 1 of an epoch (1-based)."""
        total = self.epochs * steps
        return supervised_lr((epoch - 1) * steps + step, total, min(self.warmup * steps, total), self.lr)


def class_counts(images: ImageList, classes: int) -> list[int]:
    """Number of images of each class in a training list.

    Raises:
        InputError: a class has none, or a label is out of range.
    """
    counts = np.bincount(images.labels, minlength=classes).tolist()
    if len(counts) > classes:
        raise InputError(f"{images.path} has label {len(counts) - 1}, of classes 0 to {classes - 1}: make it again")
    if 0 in counts:
        empty = [c for c, n in enumerate(counts) if not n]
        raise InputError(f"{images.path} has no image of {len(empty)} of {classes} classes, {empty[0]} first: "
                         "supervised learning needs some of each, choose another list")  # fmt: skip
    return counts


def check_list(protocol: Protocol, ce_result: dict[str, Any], images: ImageList) -> None:
    """Raise InputError if the run of protocol ce was trained on another list.

    Args:
        ce_result: its results.json, {} for none.
    """
    lists = ce_result.get("lists")
    trained_on = lists.get("train") if isinstance(lists, dict) else None
    ce_hash = trained_on.get("sha1") if isinstance(trained_on, dict) else None
    if protocol.after_ce and ce_hash not in (None, images.sha1):
        raise InputError(f"{images.path} is another list than the run of protocol ce was trained on: choose that one")


def sampler_of(settings: "Settings", images: AugmentedImages, world: World, seed: int) -> EpochSampler:
    """A sampler that draws each image once in an epoch, or, for a new classifier, all classes equally often.

    Where supervised learning trains batch norm, which cannot take a batch of one image, such a last batch of a process
    gets a second image.

    Raises:
        InputError: all batches of a process have one image.
    """
    protocol, batch = supervised(settings.protocol), settings.batch_size // world.size
    new_classifier = protocol and protocol.supervised == "classifier"
    if new_classifier:
        sampler = ClassAwareSampler(images, world.size, world.rank, seed)
    else:
        sampler = EpochSampler(images, world.size, world.rank, shuffle=True, seed=seed)
    if protocol and not (new_classifier and settings.fixbn):
        if batch < 2:
            raise InputError(f"batch size {settings.batch_size} leaves a batch of one image, "
                             "which batch norm cannot take: choose a larger one")  # fmt: skip
        sampler.choose(torch.arange(len(images)), batch, 2)
    return sampler


def loss_of(settings: "Settings", counts: list[int], device: torch.device) -> Any:
    """The protocol's loss of each image, a function of (logits, labels); counts: training images of each class."""
    protocol = supervised(settings.protocol)
    adjusted = protocol and protocol.adjusted and protocol.supervised == "whole"
    return LogitAdjusted(counts, settings.tau, device) if adjusted else cross_entropy


def parameter_groups(model: nn.Module, scale: float) -> list[nn.Parameter] | list[dict[str, Any]]:
    """The trained parameters; where the backbone's learning rate is scaled, in two groups (run.optim.set_rate)."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    backbone = [p for name, p in trained if not name.startswith("fc.")]
    if scale == 1 or not backbone:
        return [p for _, p in trained]
    classifier = [p for name, p in trained if name.startswith("fc.")]
    return [{"params": classifier, "scale": 1.0}, {"params": backbone, "scale": scale}]
