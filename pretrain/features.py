"""Features of the network during training, of images without augmentation; the training itself is not affected."""

from collections.abc import Iterable

import torch
from torch import nn

from data.flags import Views
from data.images import ImageList
from data.loader import Batch
from data.opened import Opened
from features.extract import Features, backbone_of, extract, images_of
from models.frozen import frozen_backbone
from run.bad_images import BadImages
from run.compute import Compute
from run.randomness import undisturbed
from utils.distributed import World, take_buffers

BATCH = 256  # the same for any number of processes, so that the features are the same, too


class Extractor:
    """Computes features before the projection head, with a copy of the backbone that has single batch norm; of dual
    batch norm it has that of the dense branch.

    Args:
        data: the data set of the lists. views: how images are read. model: name of the backbone.
    """

    def __init__(self, data: Opened, views: Views, model: str, compute: Compute, world: World) -> None:
        self.data, self.views, self.model, self.compute, self.world = data, views, model, compute, world

    def __call__(self, encoder: nn.Module, lists: Iterable[ImageList], bad: BadImages) -> list[Features]:
        """Features of the images of each list, in all processes; images that cannot be read are left out.

        Raises:
            InputError: an image is bad, and is not to be skipped.
        """
        with undisturbed(self.world.device):
            # A copy, as the network that trains may have synchronised or dual batch norm.
            stem = self.data.dataset.stem(self.views.size)
            backbone = self.compute.on_device(backbone_of(encoder.state_dict(), self.model, stem, "the network"))
            take_buffers(backbone)  # without synchronised batch norm, the processes' statistics differ
            frozen = frozen_backbone(backbone, *self.compute.placement)
            return [extract(frozen, images_of(self.batches(chosen), bad), self.world.device) for chosen in lists]

    def batches(self, chosen: ImageList) -> Iterable[Batch]:
        """This process's share of the whole batches of a list, without augmentation.

        The loader is made anew at each call, as the workers of one that is kept would stay until the run ends.

        Raises:
            InputError: the images are not there.
        """
        return self.data.plain(chosen, self.views, BATCH, self.world)

    def of_training(self, encoder: nn.Module, chosen: ImageList, bad: BadImages) -> torch.Tensor:
        """Features [N, C] of the images of a list, in its order; NaN for those that cannot be read."""
        (features,) = self(encoder, [chosen], bad)
        values = features.values.new_full((len(chosen), features.values.shape[1]), torch.nan)
        values[features.ids] = features.values
        return values
