"""Weighted k nearest neighbours on features (Wu et al., CVPR 2018, section 3.4)."""

import torch
import torch.nn.functional as F

from features.extract import Features

K, TEMPERATURE = 200, 0.1

BLOCK = 2**24  # similarities that are held at once: 64 MiB


def knn_scores(bank: Features, queries: torch.Tensor, classes: int, k: int = K) -> torch.Tensor:
    """Sums of weights [n, classes] of the k nearest of the bank (of all, where it has fewer) to queries [n, C]."""
    values = F.normalize(bank.values, dim=1)
    parts = []
    for some in F.normalize(queries, dim=1).split(max(1, BLOCK // max(1, len(values)))):
        nearest = (some @ values.T).topk(min(k, len(values)), 1)
        weights = (nearest.values / TEMPERATURE).exp()
        parts.append(weights.new_zeros(len(some), classes).scatter_add_(1, bank.labels[nearest.indices], weights))
    return torch.cat(parts)
