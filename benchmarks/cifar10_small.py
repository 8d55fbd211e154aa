"""Compares methods where the network can memorise its data: ResNet-18 on 1,396 images of CIFAR-10-LT at 16 pixels.

    python -m benchmarks.cifar10_small --data cifar10.npz --work FOLDER [--splits 1] [--runs simclr bcl-i] [--jobs 2]
    python -m benchmarks.cifar10_small --table

The counterpart of benchmarks/cifar10_study.py in the regime that the papers study: the published recipe (its views,
learning rates and probes) with every eighth image of the authors' long-tailed list. The list is sorted by class, so
each class keeps an eighth of its images, the rarest one 5 or 6. The linear probe trains on every eighth labelled image,
5,625, because all of them would take half an hour; the few-shot probe trains on the authors' whole list of 450;
validation and test sets are whole. The groups follow from the class sizes of the thinned list, which is written into
FOLDER only.

Results of a run in `results/cifar10_small/splitN/RUN/`: results.json of both probes, metrics.jsonl of the pre-training
with the loss of Many, Medium and Few by epoch, times in run.json. The encoder of 11 million weights (45 MB) stays in
FOLDER. A run with results is not repeated; an interrupted one continues if FOLDER still has its files. A table is of
the splits on which all runs were made.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.study.figure import write_figures
from benchmarks.study.flags import parsed, pretraining_parser
from benchmarks.study.kept import folders, keep, of_whole_splits, run_steps, run_study, some_results_in
from benchmarks.study.table import LAST, loss_table, table
from data.opened import Opened
from data.sets.base import Split
from data.sets.registry import data_set
from recipes.flags import parse_recipe
from recipes.steps import commands
from split.lists import npy
from split.open import Lists
from utils.cli import number, positive
from utils.errors import InputError, run_main
from utils.files import PROJECT, replace_file

RESULTS = PROJECT / "results" / "cifar10_small"
CIFAR = data_set("cifar10")
RUNS = {
    "untrained": ["--method", "untrained"],
    "simclr": ["--method", "simclr"],
    "sdclr-0.9": ["--method", "sdclr", "--prune_percent", "0.9"],
    "bcl-i": ["--method", "bcl-i"],
    "bcl-d": ["--method", "bcl-d"],
}
PROTOCOLS = ("sdclr-linear", "sdclr-fewshot")


def shape(options: argparse.Namespace) -> str:
    """The part of a thinned list's name that distinguishes it from the whole list's."""
    return f"thin{options.thin}"


def thinned_list(split: int, options: argparse.Namespace) -> Path:
    """The path of a split's thinned long-tailed list."""
    return options.work / "lists" / f"{CIFAR.list_of(Split(split, True, shape(options)))}.npy"


def labelled_list(options: argparse.Namespace) -> Path:
    """The path of the linear probe's thinned list."""
    return options.work / "lists" / f"{Path(CIFAR.train_list).stem}_{shape(options)}.npy"


def thin(ids: np.ndarray, labels: np.ndarray, every: int) -> np.ndarray:
    """The 1st, (every + 1)-th, ... of a list of image numbers [N] with labels [N].

    Raises:
        InputError: a class has no image left.
    """
    if lost := set(labels.tolist()) - set(labels[::every].tolist()):
        raise InputError(f"class {min(lost)} has no image left of every {every}th: choose a smaller --thin")
    return ids[::every]


def write_lists(data: Opened, options: argparse.Namespace) -> None:
    """Write the thinned lists into the work folder.

    Raises:
        InputError: a list is missing or bad, or a class would have no image left.
    """
    lists = {labelled_list(options): CIFAR.train_list}
    for split in options.splits:
        lists[thinned_list(split, options)] = CIFAR.split_list(CIFAR.list_of(Split(split, True, "")))
    for path, name in lists.items():
        whole = Lists().open(name, data)
        replace_file(path, npy(thin(whole.ids, whole.labels, options.thin)))


def commands_of(name: str, split: int, options: argparse.Namespace) -> list[list[str]]:
    """The command lines of a run: those of the recipe, with the thinned lists."""
    settings = {
        "dataset": CIFAR.name, "data": options.data, "root": options.work, "model": options.model,
        "split": CIFAR.list_of(Split(split, True, shape(options))), "image_size": options.image_size,
        "batch_size": options.batch_size, "linear_epochs": options.linear_epochs, "workers": 1,
        "few_shot_epochs": options.few_shot_epochs, "resume": True, "tensorboard": False, "quiet": True,
    }  # fmt: skip
    if name != "untrained":
        settings["epochs"] = options.epochs
    given = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    pretraining, *probes = commands(parse_recipe([*given, *RUNS[name]], ""))
    long_tailed, few_shot = thinned_list(split, options), CIFAR.few_shot_list(Split(split, True, ""))
    steps = [_with_list(pretraining, long_tailed)]
    for words, protocol, chosen in zip(probes, PROTOCOLS, (labelled_list(options), few_shot), strict=True):
        steps.append([*_with_list(words, chosen), "--groupSplit", str(long_tailed), "--protocol", protocol])
    return steps


def _with_list(words: list[str], chosen: Path | str) -> list[str]:
    """The command line with another training list."""
    at = words.index("--trainSplit") + 1
    return [*words[:at], str(chosen), *words[at + 1 :]]


def run_one(name: str, split: int, options: argparse.Namespace) -> None:
    """Run all steps of a run with one thread, and keep its results.

    Raises:
        InputError: a step failed.
    """
    steps, seconds = commands_of(name, split, options), options.work / "seconds" / f"split{split}-{name}.json"
    run_steps(steps, seconds, f"{name} of split {split}")
    record = {"name": name, "split": split, "epochs": 0 if name == "untrained" else options.epochs}
    record |= {key: getattr(options, key) for key in ("model", "batch_size", "image_size", "thin")}
    keep(options.out / f"split{split}" / name, record, *folders(steps), seconds)


def write_table(folder: Path) -> str:
    """Write results/cifar10_small.txt and the figures beside the folder of results, and return the text.

    Raises:
        InputError: there is no result yet.
    """
    results, left_out = of_whole_splits(some_results_in(folder))
    first = next(iter(results.values()))
    counts, epochs = first["linear"]["class_counts"], max(record["epochs"] for record in results.values())
    text = (
        f"CIFAR-10-LT, every {first['thin']}th image of the authors' lists ({sum(counts):,} images, classes of "
        f"{max(counts)} to {min(counts)}), {first['image_size']} pixels, {first['model']},\n"
        f"batch {first['batch_size']}, {epochs} epochs, one thread; python -m benchmarks.cifar10_small\n"
        "Test accuracy in percent, mean of the classes of each group, Std of the three, All; of several splits mean ± "
        "standard deviation. val: the linear probe's accuracy on the validation list\n"
        f"\n{table(results, RUNS)}\n"
    )
    text += f"\n{left_out}\n" if left_out else ""
    if losses := loss_table(results, RUNS):
        text += f"\nLoss of pre-training in nats, mean of the {LAST} epochs that end there\n\n{losses}\n"
    replace_file(folder.with_suffix(".txt"), text.encode())
    title = f"{sum(counts):,} images of CIFAR-10-LT, {first['image_size']} pixels, {first['model']}, {epochs} epochs"
    write_figures(results, RUNS, folder, title)
    return text


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
    parser = pretraining_parser(__doc__, RESULTS, RUNS, splits=[1, 2, 3], epochs=240, model="res18", batch_size=256)
    parser.add_argument("--image_size", type=number(int, 8, 32), default=16)
    parser.add_argument("--thin", type=positive, default=8, help="of so many images of a list, the first is taken")
    return parsed(parser)


def main() -> None:
    options = parse()
    if not options.table:
        write_lists(CIFAR.open(options.data), options)
    run_study(options, run_one, write_table)


if __name__ == "__main__":
    sys.exit(run_main(main))
