"""BCL's probes: features that are extracted once, and a linear classifier on them.

Protocol (Zhou et al., ICML 2022; their eval_cifar.py, test.py): features before the head, in evaluation mode; a linear
layer with PyTorch's default initialisation; cross-entropy; Adam with a learning rate that falls exponentially from 1e-2
to 1e-6; 500 epochs; batches of 1,000; weight decay 5e-6; the last epoch is tested. Few-shot accuracy is the mean over
five lists.

Images are not augmented, except for the labelled ImageNet and Places images, which get one random crop and flip each,
as in the later Geometric-Harmonization code of BCL's authors (test_imagenet_places.py), which has a single list.
For transfer to fine-grained sets (BCL's table 4), the paper says only which sets, and that a frozen ResNet-50 is used.
The same classifier, on features of 224-pixel centre crops of training and test images, is our choice.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from features.accuracy import accuracy, count_hits
from features.extract import Features
from probe.flags import Settings
from probe.protocols import PROTOCOLS
from utils.errors import InputError
from utils.files import load_object

BATCH, DECAY = 1000, 5e-6
FIRST_LR, LAST_LR = 1e-2, 1e-6

Classifier = Callable[[Features, torch.Tensor, int], torch.Tensor]  # (train, values [n, C], classes) -> [n, classes]


def fit(features: Features, classes: int, epochs: int, decay: float = DECAY) -> nn.Linear:
    """A linear classifier [C] -> [classes], trained for `epochs` epochs on features [N, C] and labels in 0..classes-1.

    Args:
        decay: weight decay of Adam, which adds it to the gradient.
    """
    device = features.values.device
    layer = nn.Linear(features.values.shape[1], classes).to(device)
    optimizer = torch.optim.Adam(layer.parameters(), FIRST_LR, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, (LAST_LR / FIRST_LR) ** (1 / epochs))
    for _ in range(epochs):
        for chosen in torch.randperm(len(features.labels)).to(device).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(layer(features.values[chosen]), features.labels[chosen]).backward()
            optimizer.step()
        schedule.step()
    return layer


def linear(train: Features, values: torch.Tensor, classes: int, epochs: int, decay: float = DECAY) -> torch.Tensor:
    """Scores [n, classes] of features `values` [n, C] by a linear classifier that is trained for `epochs` epochs."""
    layer = fit(train, classes, epochs, decay)
    with torch.no_grad():
        return layer(values)


def classifier_of(settings: Settings, **other: Any) -> Classifier:
    """The classifier of a probe's protocol with the probe's settings; other: arguments in place of these."""
    protocol = PROTOCOLS[settings.protocol]
    options = {name: getattr(settings, name) for name in protocol.takes} | other
    return partial(load_object(protocol.classifier), **options)


def evaluate_classifier(
    train: list[Features], test: Features, classes: int, classifier: Classifier, seed: int, show: bool = True
) -> dict[str, Any]:
    """Accuracies (features.accuracy.accuracy) on the test features, averaged over the training sets.

    Args:
        seed: set once, before the first training set. show: a progress bar on a terminal.

    Raises:
        InputError: a set is empty.
    """
    if not all(len(features.labels) for features in (*train, test)):
        raise InputError("no image of a list could be read: there are no features to probe")
    torch.manual_seed(seed)
    scores = []
    for features in tqdm(train, "classifiers", disable=None if show else True):
        outputs = classifier(features, test.values, classes)
        scores.append(accuracy(count_hits(outputs.cpu().numpy(), test.labels.cpu().numpy(), classes)))
    means = {key: float(np.mean([s[key] for s in scores])) for key in ("top1", "top5")}
    rows = zip(*(s["per_class"] for s in scores), strict=True)
    per_class = [None if None in row else float(np.mean(row)) for row in rows]
    return {**means, "per_class": per_class, "images": scores[0]["images"]}
