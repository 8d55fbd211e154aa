"""Features of images by a frozen backbone, and the backbone of a checkpoint."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from data.loader import Batch
from models.frozen import FrozenBackbone
from models.published import State, has_dual_batch_norm, load_state, to_backbone
from models.resnet import build_backbone
from run.bad_images import BadImages
from utils.distributed import gather_samples
from utils.errors import warn

# Batches (images [n, 3, H, W] in [0, 1], or features [n, C]; labels [n]; sample ids [n]).
Images = Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def images_of(batches: Iterable[Batch], bad: BadImages) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Images of Batches that have one view of each; bad images are left out.

    Raises:
        InputError: an image is bad, and is not to be skipped.
    """
    for batch in batches:
        bad.take(batch, training=False)
        if len(batch.labels):
            yield batch.views[:, 0], batch.labels, batch.index


def features_of(backbone: FrozenBackbone, images: Images, device: torch.device) -> Images:
    """The same batches with features [n, C] float32 on `device` in place of the images."""
    for batch, labels, ids in images:
        yield backbone.features(batch.to(device, non_blocking=True)), labels, ids


class Features(NamedTuple):
    """values [N, C] float32, labels [N] and sample ids [N], in the order of the ids."""

    values: torch.Tensor
    labels: torch.Tensor
    ids: torch.Tensor


def extract(backbone: FrozenBackbone, images: Images, device: torch.device) -> Features:
    """Features before the head of the images [n, 3, H, W] in [0, 1] of all processes, on `device`."""
    parts = [(ids.to(device), x, labels.to(device)) for x, labels, ids in features_of(backbone, images, device)]
    # A process may have no image: empty tensors of the right shapes.
    parts.append((torch.empty(0, dtype=torch.long, device=device), torch.empty(0, backbone.channels, device=device),
                  torch.empty(0, dtype=torch.long, device=device)))  # fmt: skip
    ids, values, labels = gather_samples(*(torch.cat(part) for part in zip(*parts, strict=True)))
    return Features(values, labels, ids)


def backbone_of(state: State, name: str, stem: str, source: str, batch_norm: int | None = None) -> nn.Module:
    """A backbone with the weights of a checkpoint's state_dict, whose keys are ours.

    Args:
        source: the file's name, for messages.
        batch_norm: for dual batch norm only: 0 or None for the dense branch's, 1 for the pruned branch's.

    Raises:
        InputError: the checkpoint is of another model.
    """
    model = build_backbone(name, stem)
    if batch_norm is None:
        batch_norm = 0 if has_dual_batch_norm(state) else -1
    if missing := load_state(model, to_backbone(state, batch_norm), source, head=False):
        warn(f"{source}{missing}")
    return model
