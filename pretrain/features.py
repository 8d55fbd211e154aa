"""Features of the network while it trains, of plain images: nothing of the training moves, and nothing is drawn."""

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

BATCH = 256  # images that go through the network at once, whatever the processes: so features are the same


class Extractor:
    """Features before the head, by a copy of the backbone with single batch norm, SDCLR's of the dense branch.

    Args:
        data: of the lists. views: how images are read. model: name of the backbone.
    """

    def __init__(self, data: Opened, views: Views, model: str, compute: Compute, world: World) -> None:
        self.data, self.views, self.model, self.compute, self.world = data, views, model, compute, world

    def __call__(self, encoder: nn.Module, lists: Iterable[ImageList], bad: BadImages) -> list[Features]:
        """Of each list, in all processes; images that cannot be read are left out.

        Raises:
            InputError: an image is bad, and is not to be skipped.
        """
        with undisturbed(self.world.device):
            # A network of its own: the one that trains may be synchronised, and has two branches.
            own = backbone_of(encoder.state_dict(), self.model, self.data.dataset.stem(self.views.size), "the network")
            own = self.compute.on_device(own)
            take_buffers(own)  # else each process has statistics of its own where they are not synchronised
            frozen = frozen_backbone(own, *self.compute.placement)
            return [extract(frozen, images_of(self.batches(one), bad), self.world.device) for one in lists]

    def batches(self, chosen: ImageList) -> Iterable[Batch]:
        """This process's, plain: whole ones are dealt. A new loader each time: its workers would stay to the end.

        Raises:
            InputError: the images are not there.
        """
        return self.data.plain(chosen, self.views, BATCH, self.world)

    def of_training(self, encoder: nn.Module, chosen: ImageList, bad: BadImages) -> torch.Tensor:
        """Features [N, C] of the images of a list, in its order; NaN for those that cannot be read."""
        (found,) = self(encoder, [chosen], bad)
        values = found.values.new_full((len(chosen), found.values.shape[1]), torch.nan)
        values[found.ids] = found.values
        return values
