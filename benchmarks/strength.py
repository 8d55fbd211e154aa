"""Accuracy of Many, Medium and Few against the strength of augmentation: which classes gain from stronger views.

    python -m benchmarks.strength --dataset digits --work FOLDER [--strengths 0 0.5 1 1.5 2] [--splits 1 2 3] [--jobs 2]

BCL's paper (Zhou et al., ICML 2022, section 3) argues that rare classes need stronger augmentation than frequent ones
to be learnt as well, an "information discrepancy", and so sets the strength for each image. Here SimCLR is trained with
one strength for all images: the factor on the colour jitter of train_simCLR.py, published as 1. All else is the recipe
of the data set. Writes results/strength_DATASET.txt and .png; results of single runs stay in FOLDER, and a run with
results is not repeated.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.study.kept import PROBES, Results, folder_of, folders, keep, results_in, run_all, run_steps, steps_of
from benchmarks.study.table import runs_of, table
from data.groups import GROUPS
from data.sets.base import Split
from data.sets.registry import data_set
from models import MODELS
from utils.cli import Parser, number, positive
from utils.errors import run_main
from utils.files import PROJECT, replace_file
from utils.plotting import finish, new_panels, styles, write_figure

SCRIPTS = {"digits": "digits", "fashion_mnist": "fashion-mnist", "cifar10": "cifar-10", "cifar100": "cifar-100"}


def name_of(strength: float) -> str:
    """The name of the run with a strength."""
    return f"strength-{strength:g}"


def commands_of(strength: float, split: int, options: argparse.Namespace) -> list[list[str]]:
    """The command lines of SimCLR's recipe with this strength; their experiments have names of their own."""
    dataset = data_set(options.dataset)
    settings = {
        "split": dataset.list_of(Split(split, True, "")), "root": options.work, "workers": 1, "resume": True,
        "tensorboard": False, "quiet": True, "data": options.data, "epochs": options.epochs, "model": options.model,
    }  # fmt: skip
    words = [word for key, value in settings.items() if value not in ("", None) for word in (f"--{key}", str(value))]
    script = PROJECT / "cmds" / "shell_scrips" / f"{SCRIPTS[options.dataset]}-LT.sh"
    steps = steps_of(["bash", str(script), *words])
    experiment = folder_of(steps[0]).name
    steps = [[word.replace(experiment, f"{experiment}_{name_of(strength)}") for word in step] for step in steps]
    steps[0] += ["--strength", f"{strength:g}"]
    return steps


def run_one(strength: float, split: int, options: argparse.Namespace) -> None:
    """Run all steps of a run with one thread, and keep its results.

    Raises:
        InputError: a step failed.
    """
    steps, kept = commands_of(strength, split, options), kept_in(options)
    seconds = kept / "seconds" / f"split{split}-{name_of(strength)}.json"
    run_steps(steps, seconds, f"{name_of(strength)} of split {split}")
    record = {"name": name_of(strength), "split": split, "strength": strength}
    keep(kept / f"split{split}" / name_of(strength), record, *folders(steps), seconds)


def kept_in(options: argparse.Namespace) -> Path:
    """The folder of the results with these settings; results with other settings are not mixed with them."""
    return options.work / "kept" / f"{options.dataset}-{options.model or 'usual'}-{options.epochs or 'usual'}"


def write_results(results: Results, options: argparse.Namespace) -> str:
    """Write the table and the figure to options.out, and return the table."""
    names = [name_of(strength) for strength in sorted({record["strength"] for record in results.values()})]
    title = f"SimCLR on {options.dataset}, by the strength of the colour jitter"
    text = (
        f"{title}; python -m benchmarks.strength\n"
        "Test accuracy in percent, mean of the classes of each group, Std of the three, All: mean ± standard deviation "
        f"over splits\n\n{table(results, names)}\n"
    )
    replace_file(options.out.with_suffix(".txt"), text.encode())
    figure, looks = new_panels(len(PROBES), sharey=True), styles(list(GROUPS))
    for axis, probe in zip(figure.axes, PROBES, strict=True):
        for group in GROUPS:
            by_strength = {records[0]["strength"]: records for records in (runs_of(results, name) for name in names)}
            values = [[record[probe]["groups"][group] for record in records] for records in by_strength.values()]
            means, deviations = [np.mean(v) for v in values], [np.std(v) for v in values]
            axis.errorbar(list(by_strength), means, deviations, capsize=2, **looks[group].line(group))
        axis.set_title(f"{probe} probe", fontsize=8)
        axis.set_xlabel("strength of the colour jitter (1: published)")
    finish(figure, title, "test accuracy (%)")
    write_figure(figure, options.out.with_suffix(".png"))
    return text


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--dataset", default="digits", choices=SCRIPTS)
    add("--data", default="", help="where its images are")
    add("--work", type=Path, required=True, help="where the runs live: checkpoints, logs, results")
    add("--out", type=Path, help="of table and figure, without ending; default results/strength_DATASET")
    add("--strengths", type=number(float, 0, 5), nargs="+", default=[0.0, 0.5, 1.0, 1.5, 2.0])
    add("--splits", type=positive, nargs="+", default=[1, 2, 3, 4, 5], choices=range(1, 6))
    add("--epochs", type=positive, help="of pre-training; default the recipe's")
    add("--model", choices=MODELS, help="default the recipe's")
    add("--jobs", type=positive, default=2, help="runs at a time")
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.data = str(Path(options.data).resolve()) if options.data else ""
    options.out = options.out or PROJECT / "results" / f"strength_{options.dataset}"
    return options


def main() -> None:
    options = parse()
    kept = kept_in(options)
    results = results_in(kept)
    wanted = [(s, split) for split in options.splits for s in options.strengths if (name_of(s), split) not in results]
    run_all(wanted, lambda strength, split: run_one(strength, split, options), options.jobs)
    print(write_results(results_in(kept), options), end="")


if __name__ == "__main__":
    sys.exit(run_main(main))
