"""A function shared by the methods that keep a value for each image."""

import torch


def first_of_each(index: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
    """For each of the sample ids `index` [n] the first row that has it, [n]: [7, 3, 7] -> [0, 1, 0].

    Samplers repeat images as padding.

    Args:
        scratch: [images] int64, working memory of any values.
    """
    position = torch.arange(len(index), device=index.device)
    scratch.scatter_reduce_(0, index, position, "amin", include_self=False)
    return scratch.index_select(0, index)
