"""BCL's probes: features that are extracted once, and a linear classifier on them.

Protocol (Zhou et al., ICML 2022; their eval_cifar.py, test.py): features before the head, in evaluation mode; a linear
layer of PyTorch's own initialisation; cross-entropy, Adam from 1e-2 to 1e-6, a factor each epoch, 500 epochs, batches
of 1,000, weight decay 5e-6; the last epoch counts. Few-shot accuracy is the mean over five lists.

The features are of plain images; those of the labelled ImageNet and Places images are of one random crop and flip each,
as in the later Geometric-Harmonization code of BCL's authors (test_imagenet_places.py), whose list is the only one.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from models.frozen import FrozenBackbone
from utils.distributed import gather_samples
from utils.errors import InputError
from utils.metrics import accuracy, count_hits
from utils.probe import Images, features_of
from utils.results import FEATURE_EPOCHS, FEATURE_SEED

BATCH, DECAY = 1000, 5e-6
FIRST_LR, LAST_LR = 1e-2, 1e-6


class Features(NamedTuple):
    """values [N, C] float32, labels [N], sample ids [N], in the order of the ids."""

    values: torch.Tensor
    labels: torch.Tensor
    ids: torch.Tensor


def extract(backbone: FrozenBackbone, images: Images, device: torch.device) -> Features:
    """Features before the head of the images [n, 3, H, W] in [0, 1] of all processes, on `device`."""
    parts = [(ids.to(device), x, labels.to(device)) for x, labels, ids in features_of(backbone, images, device)]
    # A process may have no image: these give the shapes.
    parts.append((torch.empty(0, dtype=torch.long, device=device), torch.empty(0, backbone.channels, device=device),
                  torch.empty(0, dtype=torch.long, device=device)))  # fmt: skip
    ids, values, labels = gather_samples(*(torch.cat(part) for part in zip(*parts, strict=True)))
    return Features(values, labels, ids)


def fit(features: Features, classes: int, epochs: int = FEATURE_EPOCHS) -> nn.Linear:
    """The linear classifier [C] -> [classes] after `epochs` epochs on values [N, C] and labels in 0..classes-1."""
    device = features.values.device
    layer = nn.Linear(features.values.shape[1], classes).to(device)
    optimizer = torch.optim.Adam(layer.parameters(), FIRST_LR, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, (LAST_LR / FIRST_LR) ** (1 / epochs))
    for _ in range(epochs):
        for chosen in torch.randperm(len(features.labels)).to(device).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(layer(features.values[chosen]), features.labels[chosen]).backward()
            optimizer.step()
        schedule.step()
    return layer


def run(
    train: list[Features],
    test: Features,
    classes: int,
    epochs: int = FEATURE_EPOCHS,
    seed: int = FEATURE_SEED,
    show: bool = True,
) -> dict[str, Any]:
    """Scores (utils.metrics.accuracy) on the test features, averaged over the training sets; the seed is set once.

    Args:
        show: a progress bar on a terminal.

    Raises:
        InputError: a set is empty.
    """
    if not all(len(features.labels) for features in (*train, test)):
        raise InputError("no image of a list could be read: there are no features to probe")
    torch.manual_seed(seed)
    scores = []
    for features in tqdm(train, "linear classifiers", disable=None if show else True):
        layer = fit(features, classes, epochs)
        with torch.no_grad():
            logits = layer(test.values)
        scores.append(accuracy(count_hits(logits.cpu().numpy(), test.labels.cpu().numpy(), classes)))
    means = {key: float(np.mean([s[key] for s in scores])) for key in ("top1", "top5")}
    rows = zip(*(s["per_class"] for s in scores), strict=True)
    per_class = [None if None in row else float(np.mean(row)) for row in rows]
    return {**means, "per_class": per_class, "images": scores[0]["images"]}
