"""What methods share that remember something of each image."""

import torch


def first_of_each(index: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
    """Of each row [n], the row at which its image comes first among the ids `index` [n]: a sampler that pads repeats.

    Args:
        scratch: [images] int64, any values, for the work.
    """
    position = torch.arange(len(index), device=index.device)
    scratch.scatter_reduce_(0, index, position, "amin", include_self=False)
    return scratch.index_select(0, index)
