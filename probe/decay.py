"""Weight decay of a classifier on features, selected on a held-out tenth of the training images.

BCL's probe uses 5e-6 for CIFAR. That value was not tuned for fine-grained sets, which have other features and a tenth
of CIFAR's images per class, so it can be selected; test images are not used for it. The paper does not say how; this
procedure is our choice:

    Of each class with n images, round(n / 10) are held out, at least one if n > 1, drawn by a separate generator from
    the seed. The value with the highest top-1 accuracy on them is taken, the first of DECAYS among equal ones. Then the
    classifier is trained again with it on all training images.
"""

import numpy as np
import torch

from features.extract import Features
from probe.on_features import DECAY, linear
from utils.errors import InputError

HELD_OUT = 0.1  # share of the training images
DECAYS = (DECAY, 0.0, 5e-7, 5e-5, 5e-4)


def held_out(labels: np.ndarray, seed: int) -> np.ndarray:
    """Whether each of the images with labels [N] is held out, [N] bool."""
    chosen, rng = np.zeros(len(labels), bool), np.random.RandomState(seed)
    for label in np.unique(labels):
        images = rng.permutation(np.flatnonzero(labels == label))
        chosen[images[: min(len(images) - 1, max(1, round(HELD_OUT * len(images))))]] = True
    return chosen


def choose_decay(train: Features, classes: int, epochs: int, seed: int) -> tuple[float, dict[float, float]]:
    """The selected weight decay, and value -> top-1 accuracy in percent on the held-out images for all of DECAYS.

    Each classifier starts from the seed, as the one that is evaluated does.

    Raises:
        InputError: no class has two training images.
    """
    is_out = torch.from_numpy(held_out(train.labels.cpu().numpy(), seed)).to(train.labels.device)
    fitted, tested = (Features(*(part[chosen] for part in train)) for chosen in (~is_out, is_out))
    if not is_out.any():
        raise InputError("no class has two training images: there is none to hold out for weight decay")
    scores = {}
    for decay in DECAYS:
        torch.manual_seed(seed)
        predicted = linear(fitted, tested.values, classes, epochs, decay).argmax(1)
        scores[decay] = 100 * (predicted == tested.labels).double().mean().item()
    return max(scores, key=scores.get), scores
