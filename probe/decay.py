"""Weight decay of a classifier on features, chosen on a held-out tenth of the training images.

BCL's probe has 5e-6 for CIFAR. Fine-grained sets have a tenth of CIFAR's images a class and features that nobody tuned
it for, so it may be chosen; the test images have no part in it. All is chosen here: the paper does not say.

    the held-out tenth: of each class with n images round(n / 10), at least one where n > 1, drawn by a generator of its
    own from the seed; the value with the highest top-1 accuracy on it, of equal ones the first of DECAYS; then the
    classifier is trained anew with it, on all training images.
"""

import numpy as np
import torch

from features.extract import Features
from probe.on_features import DECAY, linear
from utils.errors import InputError

HELD_OUT = 0.1  # share of the training images
DECAYS = (DECAY, 0.0, 5e-7, 5e-5, 5e-4)


def held_out(labels: np.ndarray, seed: int) -> np.ndarray:
    """Which of the images with these labels [N] are held out, [N] bool."""
    chosen, rng = np.zeros(len(labels), bool), np.random.RandomState(seed)
    for label in np.unique(labels):
        images = rng.permutation(np.flatnonzero(labels == label))
        chosen[images[: min(len(images) - 1, max(1, round(HELD_OUT * len(images))))]] = True
    return chosen


def choose_decay(train: Features, classes: int, epochs: int, seed: int) -> tuple[float, dict[float, float]]:
    """The weight decay, and value -> top-1 accuracy in percent on the held-out images, of all classifiers.

    Each classifier starts as the one that is evaluated does: from the seed.

    Raises:
        InputError: no class has two training images.
    """
    out = torch.from_numpy(held_out(train.labels.cpu().numpy(), seed)).to(train.labels.device)
    fitted, tested = (Features(*(part[which] for part in train)) for which in (~out, out))
    if not out.any():
        raise InputError("no class has two training images: there is none to hold out for weight decay")
    scores = {}
    for decay in DECAYS:
        torch.manual_seed(seed)
        found = linear(fitted, tested.values, classes, epochs, decay).argmax(1)
        scores[decay] = 100 * (found == tested.labels).double().mean().item()
    return max(scores, key=scores.get), scores
