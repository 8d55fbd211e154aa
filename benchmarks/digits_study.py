"""Compares all methods on scikit-learn's digits: five splits, one thread a run, equally many training images for each.

    python -m benchmarks.digits_study --work FOLDER [--splits 1 2 3 4 5] [--runs simclr bcl-i] [--jobs 2]
    python -m benchmarks.digits_study --table

Each run is the recipe cmds/shell_scrips/digits-LT.sh: pre-training, linear probe, few-shot probe. All pre-train on the
long-tailed list but simclr-D_b, on the balanced one of as many images. On split 1 also: BCL around MoCLR and around
Focal, and SimCLR and SDCLR on lists with the same largest class, but 10, 50 and 100 times as large as the smallest one.
Results of a run in `results/digits/splitN/RUN/`: results.json of both probes, metrics.jsonl of the pre-training, with
the loss, alignment and memorisation score of Many, Medium and Few, and times in run.json. A run with results is not
repeated; an interrupted one continues if FOLDER still has its files.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.methods import operations
from benchmarks.study.figure import plot_bars, write_figures, write_monitored
from benchmarks.study.flags import parsed, study_parser
from benchmarks.study.kept import PROBES, Results, folders, keep, run_steps, run_study, some_results_in, steps_of
from benchmarks.study.table import differences, groups_table, runs_of
from data.sets.base import Split
from data.sets.registry import data_set
from methods import ORDER
from utils.errors import run_main
from utils.files import PROJECT, replace_file
from utils.plotting import write_figure
from utils.text import align

DIGITS = data_set("digits")
RESULTS = PROJECT / "results" / "digits"
RECIPE = PROJECT / "cmds" / "shell_scrips" / "digits-LT.sh"
BATCH = 128  # the recipe's
BASELINE = "simclr"
BALANCED = "simclr-D_b"
# What is drawn by epoch -> runs: the distance of an image's two projections, in SDCLR one of them by the pruned
# network; BCL's memorisation score.
MONITORED = {"alignment": ("simclr", "sdclr"), "score": ("bcl-i", "bcl-d")}
AROUND = ("moclr", "moclr+bcl", "focal", "focal+bcl")
IMBALANCES = (10, 50, 100)
TAILS = [f"{method}-imb{factor}" for factor in IMBALANCES for method in ("simclr", "sdclr")]
ONCE = ("moclr+bcl", "focal+bcl", *TAILS)  # on split 1 only


def recipe_of(name: str, split: int, options: argparse.Namespace) -> list[str]:
    """The command line of a run: the recipe's script with its options."""
    method, _, factor = name.removesuffix("-D_b").partition("-imb")
    images = DIGITS.list_of(Split(split, name != BALANCED, f"imb{factor}" if factor else ""))
    usual = {
        "method": method, "split": images, "model": options.model, "workers": 0,
        "precision": options.precision, "monitor": "groups", "root": options.work, "resume": "True", "quiet": "True",
        "tensorboard": "False",
    }  # fmt: skip
    words = [word for key, value in usual.items() for word in (f"--{key}", str(value))]
    return ["bash", str(RECIPE), *words, *([] if method == "untrained" else ["--epochs", str(options.epochs)])]


def run_one(name: str, split: int, options: argparse.Namespace) -> None:
    """Run a recipe with one thread, and keep its results.

    Raises:
        InputError: it failed.
    """
    command, seconds = recipe_of(name, split, options), options.work / "seconds" / f"split{split}-{name}.json"
    run_steps([command], seconds, f"{name} of split {split}")
    epochs = 0 if name == "untrained" else options.epochs
    record = {"name": name, "split": split, "model": options.model, "epochs": epochs, "batch_size": BATCH}
    keep(options.out / f"split{split}" / name, record, *folders(steps_of(command)), seconds)


def write_table(folder: Path) -> str:
    """Write results/digits.txt and the figures beside the folder of results, and return the text.

    Raises:
        InputError: there is no result yet.
    """
    results = some_results_in(folder)
    model, names = next(iter(results.values()))["model"], [name for name in ORDER if runs_of(results, name)]
    precisions = {record["linear"]["pretraining"].get("precision") for record in results.values()}
    epochs = max(record["epochs"] for record in results.values())
    parts = [
        f"scikit-learn's digits, {model}, batch {BATCH}, {epochs} epochs, "
        f"{'/'.join(sorted(filter(None, precisions)))}, one thread; python -m benchmarks.digits_study\n"
        "Test accuracy in percent, mean of the classes of each group, Std of the three, All; of several splits mean ± "
        "standard deviation",
        *_of_all(results, names),
        *_of_both_lists(results),
        *_of_one_split(results, "BCL around other methods", AROUND),
        *_of_one_split(results, "Other imbalances than 20 (largest class by smallest)", (*TAILS, "simclr", "sdclr")),
        f"How they were run\n\n{align(_costs(results, names, model))}",
    ]
    text = "\n\n".join(parts) + "\n"
    replace_file(folder.with_suffix(".txt"), text.encode())
    write_figures(results, names, folder, f"scikit-learn's digits, {model}")
    write_monitored(results, MONITORED, folder, f"scikit-learn's digits, {model}")
    if runs_of(results, BALANCED):
        title = f"SimCLR on balanced and long-tailed digits, {model}"
        # Bars alone: classes of one size have no groups whose losses pre-training could record.
        write_figure(plot_bars(results, [BASELINE, BALANCED], title), folder.with_name(f"{folder.name}_balanced.png"))
    return text


def _of_all(results: Results, names: list[str]) -> list[str]:
    """For each probe: the accuracies of all methods, and their differences from the baseline."""
    runs, parts = {name: runs_of(results, name) for name in names}, []
    for probe in PROBES:
        parts.append(f"{probe} probe\n\n{groups_table(runs, probe)}")
        if BASELINE in runs:
            title = f"{probe} probe, more than {BASELINE}: mean [95% interval] p (paired t-test over splits)"
            parts.append(f"{title}\n\n{differences(runs, probe, BASELINE)}")
    return parts


def _of_both_lists(results: Results) -> list[str]:
    """SimCLR's accuracies on the long-tailed and on the balanced lists, and their differences; [] unless both ran."""
    runs, parts = {name: records for name in (BASELINE, BALANCED) if (records := runs_of(results, name))}, []
    for probe in PROBES if len(runs) == 2 else ():
        title = f"A balanced list of as many images beside the long-tailed one, {probe} probe"
        parts.append(f"{title}\n\n{groups_table(runs, probe)}\n{differences(runs, probe, BASELINE)}")
    return parts


def _of_one_split(results: Results, title: str, names: tuple[str, ...]) -> list[str]:
    """The accuracies of these runs on split 1 by each probe; [] until all of them have a result."""
    runs: dict[str, list[dict[str, Any]]] = {name: [results[name, 1]] for name in names if (name, 1) in results}
    if len(runs) < len(names):
        return []
    return [f"{title}, split 1, {probe} probe\n\n{groups_table(runs, probe)}" for probe in PROBES]


def _costs(results: Results, names: list[str], model: str) -> list[tuple[str, ...]]:
    """A row a method: floating-point operations of its pre-training, SimCLR's being 1, and mean minutes of a run."""
    trained = [name for name in names if name != "untrained"]
    counts = operations(trained, BATCH, model)
    rows = [("run", "compute", "minutes in all")]
    for name in names:
        minutes = [record["minutes"] for record in runs_of(results, name)]
        rows.append((name, f"{counts[name]:.2f}" if name in counts else "-", f"{sum(minutes) / len(minutes):.1f}"))
    return rows


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
    names = (*ORDER, BALANCED, *ONCE)
    parser = study_parser(__doc__, RESULTS, names, data=False, splits=[1, 2, 3, 4, 5], epochs=100, model="res20_s")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="fp32 is the same anywhere")
    return parsed(parser)


def main() -> None:
    options = parse()
    wanted = [(name, s) for s in options.splits for name in options.runs if s == 1 or name not in ONCE]
    run_study(options, run_one, write_table, wanted)


if __name__ == "__main__":
    sys.exit(run_main(main))
