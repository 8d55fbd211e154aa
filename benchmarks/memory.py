"""BCL's memory of losses: the update of a batch beside the published loop over its samples, on one core, in one run.

    python -m benchmarks.memory [--rounds 7]

The loop does for each sample what BCL's train.py does: the moving average, its write to the memory, and its write to
the table of all epochs. Prints medians over epochs that both go through in turn; both end with the same memory.
"""

import statistics
import time

import torch
from torch import nn

from methods.bcl import BCL
from utils.cli import Parser, positive

BATCH, BETA = 512, 0.97
IMAGES = {"CIFAR-100-LT": 9_754, "ImageNet-LT": 115_846}


class Loop:
    """The published procedure: one average at a time."""

    def __init__(self, images: int, epochs: int) -> None:
        self.shadow, self.table = torch.zeros(images), torch.zeros(epochs, images)

    def remember(self, epoch: int, index: torch.Tensor, loss: torch.Tensor) -> None:
        """Take in the losses [n] of the images `index` [n] in an epoch (1-based)."""
        for i in range(len(index)):
            average = loss[i].clone()
            if epoch > 1:
                average = (1.0 - BETA) * average + BETA * self.shadow[index[i]]
            self.shadow[index[i]] = average
            self.table[epoch - 1, index[i]] = average


def compare(images: int, rounds: int) -> tuple[float, float, float]:
    """Median seconds of the loop and of BCL for a batch, and the largest difference of their memories.

    A round is an epoch: first the loop takes all its batches, then BCL does.
    """
    generator = torch.Generator().manual_seed(0)
    method, loop = BCL(nn.Identity(), images, BETA), Loop(images, epochs=rounds + 1)
    method.method.start_epoch = lambda epoch: None
    taken = {loop: [], method: []}
    for epoch in range(1, rounds + 2):
        batches = torch.randperm(images, generator=generator).split(BATCH)
        losses = (5 * torch.rand(images, generator=generator)).split(BATCH)
        method.start_epoch(epoch)
        for memory, times in taken.items():
            start = time.perf_counter()
            for index, loss in zip(batches, losses, strict=True):
                memory.remember(*((epoch,) if memory is loop else ()), index, loss)
            times.append((time.perf_counter() - start) * BATCH / images)
    theirs, ours = (statistics.median(times[1:]) for times in taken.values())
    return theirs, ours, float((loop.shadow - method.momentum_loss).abs().max())


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--rounds", type=positive, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"memory update of {BATCH} losses, milliseconds: published loop, ours, ratio, largest difference")
    ratios = []
    for name, images in IMAGES.items():
        theirs, ours, difference = compare(images, args.rounds)
        ratios.append(theirs / ours)
        print(f"{name:14} {1e3 * theirs:8.2f} {1e3 * ours:8.3f} {ratios[-1]:6.0f} {difference:10.1e}")
    print(f"median ratio {statistics.median(ratios):.0f}")


if __name__ == "__main__":
    main()
