"""Weighted k nearest neighbours on features (Wu et al., CVPR 2018, section 3.4)."""

import torch
import torch.nn.functional as F

from features.extract import Features

K, TEMPERATURE = 200, 0.1

BLOCK = 2**24  # similarities in memory at a time: 64 MiB


def knn_scores(bank: Features, queries: torch.Tensor, classes: int, k: int = K) -> torch.Tensor:
    """Sums of weights [n, classes], by class, of the k nearest features of `bank` to each of the queries [n, C]; of all
    if it has fewer than k."""
    values = F.normalize(bank.values, dim=1)
    parts = []
    for block in F.normalize(queries, dim=1).split(max(1, BLOCK // max(1, len(values)))):
        nearest = (block @ values.T).topk(min(k, len(values)), 1)
        weights = (nearest.values / TEMPERATURE).exp()
        parts.append(weights.new_zeros(len(block), classes).scatter_add_(1, bank.labels[nearest.indices], weights))
    return torch.cat(parts)
