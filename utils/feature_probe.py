"""BCL's probes: features of un-augmented images, extracted once, and a linear classifier on them.

Protocol (Zhou et al., ICML 2022; their eval_cifar.py): features before the head, in evaluation mode; a linear layer of
PyTorch's own initialisation; Adam from 1e-2 to 1e-6, a factor each epoch, 500 epochs, batches of 1,000, weight decay
5e-6; the last epoch counts. Few-shot accuracy is the mean over five lists.
"""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from utils.metrics import accuracy, count_hits

EPOCHS, BATCH, DECAY, SEED = 500, 1000, 5e-6, 10
FIRST_LR, LAST_LR = 1e-2, 1e-6


@torch.no_grad()
def extract(
    model: nn.Module, images: Iterable[tuple[torch.Tensor, torch.Tensor]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [N, C] float32 and labels [N] of batches (images [n, 3, H, W] in [0, 1], labels [n]), on `device`."""
    model.eval()
    parts = [(model.features(batch.to(device)).float(), labels.to(device)) for batch, labels in images]
    features, labels = zip(*parts, strict=True)
    return torch.cat(features), torch.cat(labels)


def fit(features: torch.Tensor, labels: torch.Tensor, classes: int, epochs: int = EPOCHS) -> nn.Linear:
    """The linear classifier after `epochs` epochs; features [N, C], labels [N] in 0..classes-1."""
    layer = nn.Linear(features.shape[1], classes).to(features.device)
    optimizer = torch.optim.Adam(layer.parameters(), FIRST_LR, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, (LAST_LR / FIRST_LR) ** (1 / epochs))
    for _ in range(epochs):
        for chosen in torch.randperm(len(features), device="cpu").to(features.device).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(layer(features[chosen]), labels[chosen]).backward()
            optimizer.step()
        schedule.step()
    return layer


def probe(
    train: list[tuple[torch.Tensor, torch.Tensor]],
    test: tuple[torch.Tensor, torch.Tensor],
    classes: int,
    epochs: int = EPOCHS,
) -> dict:
    """Scores (utils.metrics.accuracy) on the test features, averaged over the training sets (features, labels)."""
    scores = []
    for features, labels in tqdm(train, "linear classifiers", disable=None):
        layer = fit(features, labels, classes, epochs)
        with torch.no_grad():
            logits = layer(test[0])
        scores.append(accuracy(count_hits(logits.cpu().numpy(), test[1].cpu().numpy(), classes)))
    mean = {key: float(np.mean([s[key] for s in scores])) for key in ("top1", "top5")}
    per_class = [
        None if a[0] is None else float(np.mean(a)) for a in zip(*(s["per_class"] for s in scores), strict=True)
    ]
    return {**mean, "per_class": per_class, "images": scores[0]["images"]}
