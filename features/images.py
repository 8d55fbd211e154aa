"""Images that a frozen network reads: batches of tensors, without those that cannot be read."""

from collections.abc import Iterable, Iterator

import torch

from data.loader import Batch
from run.bad_images import BadImages

Images = Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def images_of(batches: Iterable[Batch], bad: BadImages) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(images [n, 3, H, W] in [0, 1], labels [n], sample ids [n]) of Batches of one view; bad images are left out.

    Raises:
        InputError: an image is bad, and is not to be skipped.
    """
    for batch in batches:
        bad.take(batch, training=False)
        if len(batch.labels):
            yield batch.views[:, 0], batch.labels, batch.index
