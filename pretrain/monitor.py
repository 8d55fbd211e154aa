"""How good the features are while pre-training runs: weighted kNN on the validation list, never on the test set.

Wu et al., CVPR 2018, section 3.4: an image takes the class whose training images among its k nearest, by the cosine
similarity s of features before the head, have the largest sum of exp(s / 0.1). Nothing is trained, so it is cheap.
"""

import numpy as np
from torch import nn

from data.groups import GROUPS
from data.opened import TrainingImages
from features.accuracy import accuracy, count_hits
from features.knn import knn_scores
from pretrain.features import Extractor
from run.bad_images import BadImages
from run.log import Log
from split.open import Lists
from utils.errors import InputError


class Monitor:
    """kNN of a pre-training: images and lists are found, and checked, when it is made.

    Args:
        training: the training images; without augmentation they are the neighbours that vote, the bank. Their class
            sizes make Many, Medium and Few; a balanced list has no groups. extractor: of features. lists: where the
            validation list is looked for.

    Raises:
        InputError: the validation list is missing or bad, has images that are trained on, or its images are not there.
    """

    def __init__(self, training: TrainingImages, extractor: Extractor, lists: Lists) -> None:
        self.bank, self.extractor, counts = training.chosen, extractor, training.counts
        dataset, self.world = training.data.dataset, extractor.world
        self.classes = dataset.classes
        if dataset.own and self.bank.path.name == dataset.pretraining_list:
            given, other = self.bank.path, dataset.train_list
            raise InputError(
                f"kNN needs labelled images that are not trained on, and {given} has all: train on {other}"
            )
        self.val = lists.open(dataset.val_list, training.data, (self.bank,))
        extractor.batches(self.val)  # looks whether they are there
        groups = dataset.groups(counts) if max(counts) > min(counts) else {}
        self.groups = {"All": list(range(self.classes)), **{name: groups.get(name, []) for name in GROUPS}}

    def report(self, encoder: nn.Module, epoch: int, log: Log, bad: BadImages) -> None:
        """Tell, and record, the accuracy in percent after `epoch`, of all processes; training goes on as without.

        Raises:
            InputError: an image is bad and --on_bad_image is error.
        """
        bank, val = self.extractor(encoder, (self.bank, self.val), bad)
        bad.report()
        if not self.world.main:
            return
        scores = knn_scores(bank, val.values, self.classes).cpu().numpy()
        per_class = accuracy(count_hits(scores, val.labels.cpu().numpy(), self.classes))["per_class"]
        found = {}
        for name, classes in self.groups.items():
            known = [per_class[c] for c in classes if per_class[c] is not None]
            found[name] = float(np.mean(known)) if known else None
        told = ", ".join(f"{name} {value:.2f}" for name, value in found.items() if value is not None)
        log.info(f"kNN on the validation list after epoch {epoch}, accuracy in %: {told}")
        log.metrics(epoch=epoch, **{f"knn_{name.lower()}": value for name, value in found.items()})
