"""Quality of the features during pre-training: weighted kNN accuracy on the validation list, never on the test set.

Wu et al., CVPR 2018, section 3.4: an image is assigned the class with the largest sum of exp(s / 0.1) over its k
nearest training images, s the cosine similarity of features before the head. Nothing is trained, so it is cheap.
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
    """kNN accuracy of a pre-training; images and lists are found and checked when it is made.

    Args:
        training: the training images; without augmentation, they are the bank, the neighbours that vote. Their class
            sizes define Many, Medium and Few; a balanced list has no groups. extractor: computes the features.
        lists: where the validation list is looked for.

    Raises:
        InputError: the validation list is missing or bad, or shares images with the training list; its images are
            missing; or own images are trained on as a whole, so that none are left to validate on.
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
        extractor.batches(self.val)  # raises if the images are missing
        groups = dataset.groups(counts) if max(counts) > min(counts) else {}
        self.groups = {"All": list(range(self.classes)), **{name: groups.get(name, []) for name in GROUPS}}

    def report(self, encoder: nn.Module, epoch: int, log: Log, bad: BadImages) -> None:
        """Log the accuracy in percent after `epoch`, and write it to metrics.jsonl; all processes call it.

        Raises:
            InputError: an image is bad and --on_bad_image is error.
        """
        bank, val = self.extractor(encoder, (self.bank, self.val), bad)
        bad.report()
        if not self.world.main:
            return
        scores = knn_scores(bank, val.values, self.classes).cpu().numpy()
        per_class = accuracy(count_hits(scores, val.labels.cpu().numpy(), self.classes))["per_class"]
        accuracies = {}
        for name, classes in self.groups.items():
            known = [per_class[c] for c in classes if per_class[c] is not None]
            accuracies[name] = float(np.mean(known)) if known else None
        summary = ", ".join(f"{name} {value:.2f}" for name, value in accuracies.items() if value is not None)
        log.info(f"kNN on the validation list after epoch {epoch}, accuracy in %: {summary}")
        log.metrics(epoch=epoch, **{f"knn_{name.lower()}": value for name, value in accuracies.items()})
