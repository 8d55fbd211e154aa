"""The result line of a quiet pre-training."""

from pathlib import Path

from run.log import done_before, last_metrics
from utils.text import duration


def outcome(experiment: str, epochs: int, done: int, seconds: float, folder: Path) -> str:
    """One line: the run, its loss (and kNN accuracy in percent, if it was measured) after the last epoch, its log.

    Args:
        done: epochs that were finished before this run began. seconds: wall time of the run. folder: the experiment's.
    """
    count, before = f"{epochs} epoch{'s' * (epochs != 1)}", done_before(done, epochs)
    took = "" if done == epochs > 0 else f" in {duration(seconds)}"
    numbers = last_metrics(folder, epochs)
    results = [f"loss {numbers['loss']:.3f}"] if "loss" in numbers else []
    results += [f"kNN {numbers['knn_all']:.2f}"] if "knn_all" in numbers else []
    summary = ", ".join([", ".join(filter(None, [count, before])) + took, *results])
    return f"pre-trained {experiment}: {summary}, log in {folder / 'log.txt'}"
