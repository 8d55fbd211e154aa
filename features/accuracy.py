"""Accuracy of a classifier on frozen features: per class, top-1, top-5."""

from typing import Any

import numpy as np
import torch
from torch import nn

from features.extract import Images, features_of
from models.frozen import frozen_backbone
from run.compute import Compute
from utils.distributed import sum_over_processes


def count_hits(logits: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """[3, classes] int64: for each class its images, those correct by top-1, and those correct by top-5.

    Counts of parts of a test set add up to the counts of the whole.

    Args:
        logits: [N, classes]. labels: [N] int64. Ties go to the lower class.
    """
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :5] == labels[:, None]
    weights = (None, ranked[:, 0], ranked.any(1))
    return np.stack([np.bincount(labels, w, minlength=classes) for w in weights]).astype(np.int64)


def accuracy(hits: np.ndarray) -> dict[str, Any]:
    """Top-1, top-5 and accuracy per class from count_hits.

    Returns:
        {'top1', 'top5': percent; 'per_class': percentages, None for a class without an image; 'images': their number}.
    """
    images, first, five = hits.tolist()
    per_class = [100 * r / n if n else None for r, n in zip(first, images, strict=True)]
    total = max(sum(images), 1)
    share = {"top1": 100 * sum(first) / total, "top5": 100 * sum(five) / total}
    return {**share, "per_class": per_class, "images": sum(images)}


def evaluate(model: nn.Module, images: Images, classes: int, compute: Compute) -> dict[str, Any]:
    """Top-1, top-5 and per-class accuracy over the images of all processes (see features.accuracy.accuracy)."""
    features = features_of(frozen_backbone(model, *compute.placement), images, compute.device)
    return accuracy_on(model.fc, features, classes, compute.device)


@torch.no_grad()
def accuracy_on(classifier: nn.Module, features: Images, classes: int, device: torch.device) -> dict[str, Any]:
    """As evaluate, of a classifier [n, C] -> [n, classes] on batches (features, labels, sample ids)."""
    hits = np.zeros((3, classes), np.int64)
    for batch, labels, _ in features:
        hits += count_hits(classifier(batch).float().cpu().numpy(), labels.numpy(), classes)
    return accuracy(sum_over_processes(hits, device))
