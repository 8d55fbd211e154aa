"""Class-aware sampling: each class is drawn equally often, however many images it has.

Shen et al., "Relay backpropagation" (ECCV 2016), section 4.1, as decoupled training uses it to retrain the classifier
(Kang et al., ICLR 2020, section 4.1). An epoch is a sequence of rounds. A round has all classes in random order, and
EACH images of a class one after another, as in the code of Kang et al. The images of a class come in random order, and
none comes again before all have come.

Chosen here: an epoch has as many draws as the list has images, so its last round may be cut short; its order is a
function of seed and epoch alone, so a resumed run needs no state of the sampler; and an image that comes again within
an epoch has another augmented view.
"""

from collections.abc import Iterator

import torch

from data.loader import AugmentedImages
from data.samplers import EpochSampler, mixed_seed

EACH = 4  # images of a class in a row


def class_aware_order(labels: torch.Tensor, draws: int, *seeds: int) -> torch.Tensor:
    """Sample ids [draws] of an epoch. A smaller number of draws gives the beginning of the order of a larger one.

    Args:
        labels: [N] int64, of all samples; classes without a sample are not drawn. seeds: of the run, and the epoch.
    """
    classes = labels.unique()
    rounds = -(-draws // (EACH * len(classes)))
    generator = torch.Generator().manual_seed(mixed_seed(*seeds, 0))
    class_orders = torch.stack([classes[torch.randperm(len(classes), generator=generator)] for _ in range(rounds)])
    drawn_classes = class_orders.flatten().repeat_interleave(EACH)[:draws]
    order = torch.empty(draws, dtype=torch.long)
    for c in classes:
        places, members = (drawn_classes == c).nonzero()[:, 0], (labels == c).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(mixed_seed(*seeds, 1 + int(c)))
        cycles = -(-len(places) // len(members))
        shuffled = [members[torch.randperm(len(members), generator=generator)] for _ in range(cycles)]
        order[places] = torch.cat([members[:0], *shuffled])[: len(places)]
    return order


def earlier_draws(order: torch.Tensor) -> torch.Tensor:
    """How often the sample of each draw was drawn before, [draws], of sample ids [draws]."""
    ids, places = order.sort(stable=True)
    earlier = torch.empty_like(order)
    earlier[places] = torch.arange(len(order)) - torch.searchsorted(ids, ids)  # since the first place of this id
    return earlier


class ClassAwareSampler(EpochSampler):
    """An EpochSampler whose epochs draw all classes equally often. Several processes share the order of a single one:
    process r of R takes draws r, r + R, r + 2 R, ..."""

    def __init__(self, dataset: AugmentedImages, replicas: int, rank: int, seed: int) -> None:
        super().__init__(dataset, replicas, rank, shuffle=True, seed=seed)
        self.labels = torch.as_tensor(dataset.labels)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(epoch, sample id, number of this image's earlier draws in it), so that each draw has a view of its own."""
        order = class_aware_order(self.labels, self.num_samples * self.num_replicas, self.seed, self.epoch)
        drawn = torch.stack([order, earlier_draws(order)], 1)[self.rank :: self.num_replicas][self.skip :]
        return ((self.epoch, i, earlier) for piece in drawn.split(4096) for i, earlier in piece.tolist())
