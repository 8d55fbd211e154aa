"""Slow, obvious implementations to test against."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def nt_xent_loops(view1, view2, temperature: float) -> np.ndarray:
    """NT-Xent [N] of the images, the mean of both anchors, in nats: loops over its definition in float64."""
    z = [np.asarray(v, np.float64) for v in [*view1, *view2]]
    z = [v / np.sqrt((v * v).sum()) for v in z]
    n, losses = len(view1), []
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        total = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in range(2 * n) if k != i)
        losses.append(-math.log(math.exp(float(z[i] @ z[partner]) / temperature) / total))
    return np.array([(losses[i] + losses[i + n]) / 2 for i in range(n)])


def nt_xent_with_mask(view1: torch.Tensor, view2: torch.Tensor, temperature: float, *_) -> torch.Tensor:
    """NT-Xent [2N] of the anchors in its published form: a mask removes self and positive, which is added again."""
    a, b = F.normalize(view1, dim=1), F.normalize(view2, dim=1)
    n = len(a)
    z = torch.cat([a, b])
    negatives = ~(torch.eye(2 * n, dtype=torch.bool) | torch.eye(2 * n, dtype=torch.bool).roll(n, 1))
    similarity = torch.exp(z @ z.t().contiguous() / temperature)
    negative = similarity.masked_select(negatives).view(2 * n, -1).sum(-1)
    positive = torch.exp((a * b).sum(-1) / temperature)
    positive = torch.cat([positive, positive])
    return -torch.log(positive / (positive + negative))


def hits_within(logits, labels, best: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """For each image, whether its label is certainly, and whether it may be, among the `best` largest of [N, C] logits.

    The two differ if the label's logit is within float32 rounding of another one, since rounding depends on the
    processor and the batch; fewer than a tenth of the images may be such cases.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    slack = 1e-4 * np.abs(logits).max()
    of_label = logits[np.arange(len(labels)), labels][:, None]
    others = np.arange(logits.shape[1]) != labels[:, None]
    sure = ((logits > of_label - slack) & others).sum(1) < best
    may_be = ((logits > of_label + slack) & others).sum(1) < best
    assert (sure != may_be).mean() < 0.1
    return sure, may_be
