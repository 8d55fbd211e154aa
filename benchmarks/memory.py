"""BCL's memory of losses as published, which benchmarks/run.py compares with methods/bcl.py.

For each sample, the loop does what BCL's train.py does: it updates the moving average and writes it to the memory and
to the table of all epochs. Both implementations end with the same memory (tests/methods/test_bcl.py).
"""

import torch

BATCH, BETA = 512, 0.97


class Loop:
    """The published procedure: one image's moving average at a time."""

    def __init__(self, images: int, epochs: int) -> None:
        self.shadow, self.table = torch.zeros(images), torch.zeros(epochs, images)

    def remember(self, epoch: int, index: torch.Tensor, loss: torch.Tensor) -> None:
        """Update the memory with the losses [n] of the images `index` [n] in an epoch (1-based)."""
        for i in range(len(index)):
            average = loss[i].clone()
            if epoch > 1:
                average = (1.0 - BETA) * average + BETA * self.shadow[index[i]]
            self.shadow[index[i]] = average
            self.table[epoch - 1, index[i]] = average
