"""The loader of augmented images for the probes."""

from collections.abc import Iterable

from data.flags import Views
from data.images import ImageList
from data.loader import Batch, EpochSampler, view_loader
from data.opened import Opened
from utils.distributed import World
from utils.errors import InputError


def train_loader(
    data: Opened, chosen: ImageList, views: Views, batch: int, world: World, steps: int = 1
) -> Iterable[Batch]:
    """Shuffled, augmented Batches of this process with views [n, 1, 3, H, W]; the last one may be short.

    Args:
        batch: images of a step, of all processes. steps: that a Batch has images for.

    Raises:
        InputError: the images are not there, or the batch size does not divide by the processes.
    """
    if batch % world.size:
        raise InputError(f"the batch of {batch} images is not divisible by {world.size} processes")
    dataset = data.probing(chosen, views)
    sampler = EpochSampler(dataset, world.size, world.rank, shuffle=True, seed=views.seed)
    return view_loader(dataset, sampler, batch // world.size * steps, views.workers, world.device)
