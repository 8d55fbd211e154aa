"""Slow, obvious implementations to test against."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def nt_xent_loops(view1, view2, temperature: float) -> np.ndarray:
    """NT-Xent of each image straight from its definition: Python loops, float64."""
    a = [np.asarray(v, np.float64) for v in [*view1, *view2]]
    a = [v / np.sqrt((v * v).sum()) for v in a]
    n, losses = len(view1), []
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        total = sum(math.exp(float(a[i] @ a[k]) / temperature) for k in range(2 * n) if k != i)
        losses.append(-math.log(math.exp(float(a[i] @ a[partner]) / temperature) / total))
    return np.array([(losses[i] + losses[i + n]) / 2 for i in range(n)])


def nt_xent_with_mask(view1: torch.Tensor, view2: torch.Tensor, temperature: float, *_) -> torch.Tensor:
    """The published form: all exponentials, self and positive cut out by a mask, the positive added back."""
    a, b = F.normalize(view1, dim=1), F.normalize(view2, dim=1)
    n = len(a)
    both = torch.cat([a, b])
    negatives = ~(torch.eye(2 * n, dtype=torch.bool) | torch.eye(2 * n, dtype=torch.bool).roll(n, 1))
    similarity = torch.exp(both @ both.t().contiguous() / temperature)
    negative = similarity.masked_select(negatives).view(2 * n, -1).sum(-1)
    positive = torch.exp((a * b).sum(-1) / temperature)
    positive = torch.cat([positive, positive])
    return -torch.log(positive / (positive + negative))


def hits_within(logits, labels, best: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """For each image, whether its label is surely, and whether it may be, among the `best` largest of [N, C] logits.

    Where the label's is as close to another as rounding in float32, which depends on the processor and the batch, both
    answers are right; few images may be like that.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    slack = 1e-4 * np.abs(logits).max()
    own = logits[np.arange(len(labels)), labels][:, None]
    others = np.arange(logits.shape[1]) != labels[:, None]
    sure = ((logits > own - slack) & others).sum(1) < best
    may_be = ((logits > own + slack) & others).sum(1) < best
    assert (sure != may_be).mean() < 0.1
    return sure, may_be
