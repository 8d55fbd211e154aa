"""The published procedure, written plainly, as the reference of benchmarks and tests.

Sources: SDCLR's train_simCLR.py (views, loader, steps of SimCLR), utils.py (loss), prune/prune_simCLR.py (steps of
SDCLR), prune/mask.py (masks) and train_cifar.py (linear probe); SimCLR (Chen et al., ICML 2020), section 2.1; SDCLR
(Jiang et al., ICML 2021), section 3. It does the same operations in the same order, but has none of their code. All is
float32 in the default memory format, without autocast; nothing here sets threads, allocators or global seeds. BCL's
memory update is `Loop` in benchmarks/memory.py.
"""

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from models.mask import Masks, pruned


def view_transform(size: int) -> T.Compose:
    """One view of a Pillow image: [3, size, size] in [0, 1] (SDCLR's train_simCLR.py, for CIFAR)."""
    jitter = T.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    crop = T.RandomResizedCrop(size, scale=(0.1, 1.0), interpolation=T.InterpolationMode.BICUBIC)
    colour = [T.RandomApply([jitter], p=0.8), T.RandomGrayscale(p=0.2)]
    return T.Compose([crop, T.RandomHorizontalFlip(), *colour, T.ToTensor()])


class TwoViews(Dataset):
    """Two independent views of each image, [2, 3, S, S] in [0, 1], drawn from torch's global generator.

    Args:
        images: [N, S, S, 3] uint8; views have the images' size.
    """

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.transform = images, view_transform(images.shape[1])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.fromarray(self.images[index])
        return torch.stack([self.transform(image), self.transform(image)])


def view_loader(images: np.ndarray, batch: int, workers: int, seed: int) -> DataLoader:
    """Shuffled batches of views [n, 2, 3, S, S] in [0, 1]; the last one may be short (SDCLR's train_simCLR.py).

    Args:
        images: [N, S, S, 3] uint8. batch: images. workers: processes, restarted in each epoch.
        seed: of the order and, with workers, of the views; without workers these use PyTorch's global generator.
    """
    return _loader(TwoViews(images), batch, workers, torch.Generator().manual_seed(seed))


def _loader(dataset: Dataset, batch: int, workers: int, shuffled: torch.Generator | None) -> DataLoader:
    order = {"shuffle": shuffled is not None, "generator": shuffled}
    return DataLoader(dataset, batch, num_workers=workers, pin_memory=torch.cuda.is_available(), **order)


def nt_xent(view1: torch.Tensor, view2: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent as published (SDCLR's utils.py; SimCLR, section 2.1, eq. 1): the mean of anchor_losses, in nats."""
    return anchor_losses(view1, view2, temperature).mean()


def anchor_losses(view1: torch.Tensor, view2: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent [2N] of the anchors, those of view 1 first.

    The similarities are exponentiated without subtracting their maximum; a mask removes the anchor itself and its
    positive from the matrix, and the positive is added to the sum of the rest. Below t = 0.0113 float32 overflows.

    Args:
        view1, view2: projections [N, D], any scale. temperature: t > 0.
    """
    n = len(view1)
    z = F.normalize(torch.cat([view1, view2]), dim=1)
    similarities = torch.exp(z @ z.T / temperature)
    image = torch.arange(n, device=z.device).repeat(2)
    is_negative = image[:, None] != image[None, :]
    negatives = similarities.masked_select(is_negative).view(2 * n, 2 * n - 2).sum(1)
    positives = torch.exp((z[:n] * z[n:]).sum(1) / temperature).repeat(2)
    return -torch.log(positives / (positives + negatives))


def simclr_step(encoder: nn.Module, optimizer: torch.optim.Optimizer, views: torch.Tensor, temperature: float) -> float:
    """One update of SimCLR: a forward of all 2n views, interleaved, so that they share batch statistics; a backward.

    Args:
        encoder: in training mode, [2n, 3, H, W] -> [2n, D]. optimizer: of its parameters.
        views: [n, 2, 3, H, W] in [0, 1]. temperature: t > 0.

    Returns:
        The loss in nats, copied from the device at each step as published (SDCLR's train_simCLR.py).
    """
    projections = encoder(views.flatten(0, 1))
    loss = nt_xent(projections[0::2], projections[1::2], temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def sdclr_step(encoder: nn.Module, optimizer: torch.optim.Optimizer, views: torch.Tensor, temperature: float) -> float:
    """One update of SDCLR, see half_steps; returns the dense branch's loss in nats, equal to the pruned branch's."""
    return half_steps(encoder, optimizer, views, temperature).mean().item()


def half_steps(
    encoder: nn.Module, optimizer: torch.optim.Optimizer, views: torch.Tensor, temperature: float
) -> torch.Tensor:
    """One update of SDCLR as published (prune/prune_simCLR.py): three forwards, two backwards.

    The dense branch's loss uses a forward of the pruned branch (the self-competitor) without gradient; then the pruned
    branch has a forward with gradient, of the same views with the same weights, and a loss and a backward of its own.
    So the running statistics of its batch norms are updated twice.

    Args:
        encoder: in training mode, prunable (models.mask) with its masks set, [n, 3, H, W] -> [n, D].
        optimizer: of its parameters. views: [n, 2, 3, H, W] in [0, 1]. temperature: t > 0.

    Returns:
        The losses [2n] of the anchors in nats, of the dense branch's loss, detached.
    """
    view1, view2 = views[:, 0], views[:, 1]
    optimizer.zero_grad()
    with torch.no_grad(), pruned(encoder):
        competitor = encoder(view2)
    dense = encoder(view1)
    losses = anchor_losses(dense, competitor, temperature)
    losses.mean().backward()
    # The backward stays inside: if it recomputes activations, they must be those of the pruned branch.
    with pruned(encoder):
        nt_xent(dense.detach(), encoder(view2), temperature).backward()
    optimizer.step()
    return losses.detach()


def pruning_masks(encoder: nn.Module, fraction: float) -> Masks:
    """Magnitude masks of all convolutions together, by a full sort (SDCLR, section 3.2; its prune/mask.py).

    Args:
        encoder: its n convolution weights are read, not changed.
        fraction: p; a weight is kept if |w| >= element ceil(p n) of the ascending |w|, counted from 0.

    Returns:
        Module name -> boolean mask of the weight's shape, on the weight's device; True: kept.

    Raises:
        IndexError: p is so close to 1 that there is no such element.
    """
    sizes = {name: m.weight.detach().abs() for name, m in encoder.named_modules() if isinstance(m, nn.Conv2d)}
    ascending = torch.cat([size.flatten() for size in sizes.values()]).sort().values
    threshold = ascending[math.ceil(fraction * len(ascending))]
    return {name: size >= threshold for name, size in sizes.items()}


class Labelled(Dataset):
    """Images [N, S, S, 3] uint8 through a transform of Pillow images, with their labels [N]."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: T.Compose) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def shifted_crop_and_flip(size: int) -> T.Compose:
    """The probe's augmentation of a Pillow image: [3, size, size] in [0, 1], shifted by up to size / 8 pixels."""
    return T.Compose([T.RandomCrop(size, padding=size // 8), T.RandomHorizontalFlip(), T.ToTensor()])


def probe(
    model: nn.Module,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    val_images: np.ndarray,
    val_labels: np.ndarray,
    epochs: int,
    batch: int = 128,
    workers: int = 2,
    seed: int = 1,
    lr: float = 30.0,
    milestones: Sequence[int] = (10, 20),
) -> Iterator[float]:
    """The linear probe as published (SDCLR's train_cifar.py); the iterator trains one epoch for each item.

    Before the first epoch, a pass over the augmented training set counts the classes. An epoch trains the classifier
    on freshly augmented images through the whole network, evaluates it on the augmented training set, then on the
    validation set. SGD with momentum 0.9 and no weight decay; the learning rate is divided by 10 at the start of each
    milestone's epoch. After the last epoch the model has the weights of the best one.

    Args:
        model: of models.build_classifier; all of it but `fc` is frozen, including batch norm.
        train_images, val_images: [N, S, S, 3] uint8. train_labels, val_labels: [N], from 0.
        epochs: >= 1, published 30. batch: images, also in evaluation.
        workers: of the training set's loader; the validation set has none.
        seed: of the order and, with workers, of the augmentation; without, that uses PyTorch's global generator.
        lr: learning rate of the first epoch. milestones: the epochs (1-based) that lower it.

    Yields:
        Top-1 accuracy on the validation set in [0, 1], after each epoch.
    """
    transform, generator = shifted_crop_and_flip(train_images.shape[1]), torch.Generator().manual_seed(seed)
    train = _loader(Labelled(train_images, train_labels, transform), batch, workers, generator)
    val = _loader(Labelled(val_images, val_labels, T.ToTensor()), batch, 0, None)
    count_classes(train, model.fc.out_features)  # only for the log, but its time is part of the procedure's
    model.requires_grad_(False).fc.requires_grad_(True)
    optimizer = torch.optim.SGD(model.fc.parameters(), lr, momentum=0.9)
    best, kept = -1.0, {}
    for epoch in range(1, epochs + 1):
        passed = sum(epoch >= milestone for milestone in milestones)
        optimizer.param_groups[0]["lr"] = lr * 0.1**passed
        train_probe(model, train, optimizer)
        evaluate(model, train)
        accuracy = evaluate(model, val)[1]
        if accuracy > best:
            best, kept = accuracy, copy.deepcopy(model.state_dict())
        yield accuracy
    model.load_state_dict(kept)


def count_classes(loader: DataLoader, classes: int) -> torch.Tensor:
    """Number of images of each class, [classes], by a pass over a loader of (images, labels [n])."""
    return sum((labels.bincount(minlength=classes) for _, labels in loader), torch.zeros(classes, dtype=torch.long))


def train_probe(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> float:
    """One epoch of cross-entropy with the network in evaluation mode; returns the mean loss of the steps, in nats.

    Args:
        model: [n, 3, S, S] -> [n, classes]. loader: (images [n, 3, S, S] in [0, 1], labels [n]).
        optimizer: of the parameters to train.
    """
    model.eval()
    device, total = model.fc.weight.device, 0.0
    for images, labels in loader:
        loss = F.cross_entropy(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Mean cross-entropy in nats and top-1 accuracy in [0, 1] over the images of a loader like train_probe's."""
    model.eval()
    device, loss, hits = model.fc.weight.device, 0.0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        scores = model(images)
        loss += F.cross_entropy(scores, labels, reduction="sum").item()
        hits += (scores.argmax(1) == labels).sum().item()
    return loss / len(loader.dataset), hits / len(loader.dataset)
