"""BCL's memory of losses: the update of a batch beside the published loop over its samples, on one core, in one run.

    python -m benchmarks.memory [--rounds 15]

The loop does for each sample what BCL's train.py does: the moving average, its write to the memory, and its write to
the table of all epochs. Prints medians over rounds that alternate between the two; both end with the same memory.
"""

import statistics
from itertools import count

import torch
from torch import nn

from benchmarks.views import interleaved
from methods.bcl import BCL
from utils.cli import Parser, positive

BATCH, BETA = 512, 0.97
REPEATS = 20  # calls in a round
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
    """Median seconds of the loop and of BCL for a batch, and the largest difference of their memories."""
    generator = torch.Generator().manual_seed(0)
    method, loop = BCL(nn.Identity(), images, BETA), Loop(images, epochs=rounds * REPEATS + REPEATS)
    index = torch.randperm(images, generator=generator)[:BATCH]
    losses = 5 * torch.rand(rounds * REPEATS + REPEATS, BATCH, generator=generator)
    theirs, ours = count(1), count(1)  # each call is the batch of the next epoch

    def run_loop() -> None:
        epoch = next(theirs)
        loop.remember(epoch, index, losses[epoch - 1])

    def run_ours() -> None:
        method.epoch = next(ours)
        method.remember(index, losses[method.epoch - 1])

    times = interleaved([run_loop, run_ours], rounds, REPEATS)
    return *times, float((loop.shadow - method.momentum_loss).abs().max())


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--rounds", type=positive, default=15)
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
