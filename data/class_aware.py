"""Class-aware sampling: each class is drawn equally often, whatever its images.

Shen et al., "Relay backpropagation" (ECCV 2016), section 4.1, as decoupled training uses it to train a classifier anew
(Kang et al., ICLR 2020, section 4.1). An epoch is a sequence of rounds: a round has all classes in random order, and of
each EACH images one after another, as the code of Kang et al. has it. A class takes its images in random order, all of
them before one comes again.

Chosen here: an epoch has as many draws as the list has images, so that its last round may be a part of one; it is a
function of seed and epoch alone, so that a resumed run needs nothing of what came before.
"""

import torch

from data.loader import AugmentedImages, mixed_seed
from data.samplers import EpochSampler

EACH = 4  # images of a class in a row


def class_aware_order(labels: torch.Tensor, draws: int, *seeds: int) -> torch.Tensor:
    """Sample ids [draws] of an epoch; fewer draws are the beginning of more, as several processes need them.

    Args:
        labels: [N] int64, of all samples; classes without a sample are not drawn. seeds: of the epoch.
    """
    classes = labels.unique()
    rounds = -(-draws // (EACH * len(classes)))
    generator = torch.Generator().manual_seed(mixed_seed(*seeds, 0))
    orders = torch.stack([classes[torch.randperm(len(classes), generator=generator)] for _ in range(rounds)])
    drawn = orders.flatten().repeat_interleave(EACH)[:draws]
    found = torch.empty(draws, dtype=torch.long)
    for c in classes:
        places, own = (drawn == c).nonzero()[:, 0], (labels == c).nonzero()[:, 0]
        times, generator = -(-len(places) // len(own)), torch.Generator().manual_seed(mixed_seed(*seeds, 1 + int(c)))
        cycles = [own[torch.randperm(len(own), generator=generator)] for _ in range(times)]
        found[places] = torch.cat([own[:0], *cycles])[: len(places)]
    return found


class ClassAwareSampler(EpochSampler):
    """An EpochSampler whose epochs have all classes equally often; several processes share the order of one."""

    def __init__(self, dataset: AugmentedImages, replicas: int, rank: int, seed: int) -> None:
        super().__init__(dataset, replicas, rank, shuffle=True, seed=seed)
        self.labels = torch.as_tensor(dataset.labels)

    def _order(self) -> torch.Tensor:
        order = class_aware_order(self.labels, self.num_samples * self.num_replicas, self.seed, self.epoch)
        return order[self.rank :: self.num_replicas][self.skip :]
