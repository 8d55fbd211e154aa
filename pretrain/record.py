"""What a quiet pre-training says at its end."""

import argparse
from pathlib import Path

from run.check import duration
from run.folder import done_before
from run.log import last_metrics


def outcome(args: argparse.Namespace, done: int, seconds: float, folder: Path) -> str:
    """One line: the run, its loss (and kNN accuracy in percent, if it was measured) after the last epoch, its log.

    Args:
        done: epochs that were done before. seconds: wall time of the run.
    """
    epochs, before = f"{args.epochs} epoch{'s' * (args.epochs != 1)}", done_before(done, args.epochs)
    took = "" if done == args.epochs > 0 else f" in {duration(seconds)}"
    numbers = last_metrics(folder, args.epochs)
    found = [f"loss {numbers['loss']:.3f}"] if "loss" in numbers else []
    found += [f"kNN {numbers['knn_all']:.2f}"] if "knn_all" in numbers else []
    told = ", ".join([", ".join(filter(None, [epochs, before])) + took, *found])
    return f"pre-trained {args.experiment}: {told}, log in {folder / 'log.txt'}"
