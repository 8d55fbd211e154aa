"""Compares SimCLR, SDCLR and BCL-D on a GPU in a limited time: CIFAR-10-LT, split 1, ResNet-18, as published.

    python -m benchmarks.gpu_study --data images.tar.xz --lists FOLDER --work FOLDER [--minutes 9] [--calls 3]
    python -m benchmarks.gpu_study --table

Runs the recipe cmds/shell_scrips/cifar-10-LT.sh with its published settings but for the number of epochs. A short trial
measures how long an epoch of each method and each probe takes; then all methods get the largest equal number of epochs
that fits into --calls calls of --minutes minutes. This plan is printed, and kept in the folder of --work. A call ends
in time, if necessary within an epoch, and the same command continues from there. Another machine continues from
--carry, whose files of at most 16 MiB have the weights, but not the optimizer's momentum: it restarts from zero, which
the table notes.

`--data` is CIFAR-10 as .npz, or an archive of JPEG files, which is converted to arrays in the order of
cifar10_train_labels.npy in the folder of --lists. `--lists` is a folder with the authors' lists, of which those that
split/ lacks are copied there. Needs a GPU (`--device cpu` is for trying the program), and the Python packages of make
gpu alone.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from analysis.published import published
from benchmarks.gpu.measure import Clock, check_first_gpu
from benchmarks.study.carry import momentum_anew, pack, seconds_before, unpack
from benchmarks.study.figure import write_figures
from benchmarks.study.jpegs import write_arrays
from benchmarks.study.kept import PROBES, counted, folders, keep, results_in, some_results_in, steps_of
from benchmarks.study.plan import PROBE_TRIAL, TRIAL, Plan, fit, measure, planned, seconds_planned
from benchmarks.study.table import table
from benchmarks.study.timed import run_step
from data.groups import COLUMNS
from data.sets.base import Split
from data.sets.registry import data_set
from methods import label_of
from utils.cli import Parser, positive
from utils.errors import InputError, run_main
from utils.files import PROJECT, locked, replace_file
from utils.text import align

CIFAR = data_set("cifar10")
RESULTS = PROJECT / "results" / "gpu_study"
RECIPE = PROJECT / "cmds" / "shell_scrips" / "cifar-10-LT.sh"
METHODS = ("simclr", "sdclr", "bcl-d")
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SPLIT = Split(1, True, "")
MOST = 2000  # epochs: the published number


def recipe_of(method: str, options: argparse.Namespace, **settings: int | str | Path) -> list[list[str]]:
    """The command lines of a method's recipe: pre-training, linear probe, few-shot probe."""
    given = {
        "split": CIFAR.list_of(SPLIT), "data": options.data, "download": "False", "root": options.work,
        "resume": "True", "quiet": "True", "method": method, "model": options.model, **settings,
    }  # fmt: skip
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    return steps_of(["env", f"PYTHON={sys.executable}", "bash", str(RECIPE), *words])


def plan(options: argparse.Namespace, clock: Clock) -> Plan:
    """Measure a few epochs of each method, and compute how many fit into the time.

    Raises:
        InputError: a trial fails, or not one epoch fits.
    """
    trial = options.work / "trial"
    shutil.rmtree(trial, ignore_errors=True)  # a trial that resumes would not measure whole epochs
    epochs = {"epochs": TRIAL, "linear_epochs": PROBE_TRIAL, "few_shot_epochs": PROBE_TRIAL}
    trials = {method: recipe_of(method, options, root=trial, **epochs) for method in options.methods}
    pretraining, probes = measure(trials, clock)
    whole = recipe_of(options.methods[0], options, epochs=MOST)[1:]
    probe_epochs = [int(words[words.index("--epochs") + 1]) for words in whole]
    seconds = seconds_planned(pretraining, options.calls, clock)
    possible = min(fit(pretraining, probes, probe_epochs, seconds), MOST)
    if not possible:
        limit = f"{options.calls} calls of {options.minutes} minutes"
        raise InputError(f"{limit} are too short for one epoch of each method: give more --minutes or --calls")
    return Plan(possible, pretraining, probes)


def run_method(method: str, options: argparse.Namespace, epochs: int, clock: Clock) -> bool:
    """Run a method; returns whether it was complete in time.

    If so, its results are kept; else its checkpoint is packed for another machine.

    Raises:
        InputError: a step failed, or a packet from another machine is damaged.
    """
    steps = recipe_of(method, options, epochs=epochs)
    pretraining, probes = folders(steps)
    packet = options.carry and options.carry / method
    note, seconds = (options.work / f"{method}-{name}.json" for name in ("momentum-anew", "seconds"))
    if packet and not any(pretraining.glob("model*.pt")):
        # Before the checkpoint: if only that were written, the run would pass for one that kept its momentum.
        replace_file(note, json.dumps([epoch for epoch in momentum_anew(packet) if epoch < epochs]).encode())
        if unpack(packet, pretraining):
            replace_file(seconds, json.dumps(seconds_before(packet)).encode())
    anew = json.loads(note.read_bytes()) if note.exists() else []
    with counted(seconds):
        finished = all(run_step(words, os.environ, clock.left) for words in steps)
    if not finished:
        if packet:
            pack(pretraining, packet, anew, json.loads(seconds.read_bytes()))
        return False
    record = {"name": method, "split": SPLIT.number, "epochs": epochs, "model": options.model, "batch_size": 512}
    record["momentum_anew"] = anew
    keep(options.out / f"split{SPLIT.number}" / method, record, pretraining, probes, seconds)
    return True


def missing(options: argparse.Namespace, epochs: int) -> list[str]:
    """The methods that have no result yet.

    Raises:
        InputError: there is a result with other epochs or another network, which must not share a table with these.
    """
    results = results_in(options.out)
    for (name, _), record in results.items():
        if (record["epochs"], record["model"]) != (epochs, options.model):
            settings = f"{record['epochs']} epochs of {record['model']}"
            raise InputError(f"{options.out} has a result of {name} of {settings}: move it, or choose another --out")
    return [method for method in options.methods if (method, SPLIT.number) not in results]


def write_table(folder: Path) -> str:
    """Write results/gpu_study.txt and the figures beside the folder of results, and return the text.

    Raises:
        InputError: there is no result yet.
    """
    results = some_results_in(folder)
    first = next(iter(results.values()))
    title = f"CIFAR-10-LT, split {SPLIT.number}, {first['model']}, {first['epochs']} epochs of {MOST}"
    text = (
        f"{title}, the authors' lists; python -m benchmarks.gpu_study\n"
        "Test accuracy in percent, mean of the classes of each group, Std of the three, All\n"
        f"\n{table(results, METHODS)}\n\n{published_table()}\n"
    )
    for (name, _), record in results.items():
        if anew := record["momentum_anew"]:
            epochs = ", ".join(map(str, anew))
            text += f"\n{name} went on on another machine after epoch {epochs}: its momentum began anew there\n"
    replace_file(folder.with_suffix(".txt"), text.encode())
    write_figures(results, METHODS, folder, title)
    return text


def published_table() -> str:
    """The accuracies in SDCLR's paper, means of five splits."""
    rows: list[tuple[Any, ...]] = [("published, 2,000 epochs, five splits", *COLUMNS)]
    for probe, name in zip(PROBES, ("linear", "fewShot"), strict=True):
        for method in METHODS:
            if cells := published(CIFAR, method, name):
                rows.append((f"{probe} {label_of(method)}", *(f"{cells[c][0]:.2f}" for c in COLUMNS)))
    return align(rows)


def prepare(options: argparse.Namespace) -> None:
    """Check the device, and put lists and images where the recipe expects them.

    Raises:
        InputError: there is no GPU, or lists or images are missing or bad.
    """
    if options.device == "cuda":
        check_first_gpu()
    if options.lists:
        with locked(PROJECT / "split"):
            copy_lists(options.lists)
    if ".tar" in options.data.name:
        if not options.lists:
            raise InputError("--lists is missing: its cifar10_train_labels.npy has the published order of the images")
        if not options.data.is_file():
            raise InputError(f"{options.data} is not there")
        stat = options.data.stat()
        arrays = options.work / f"cifar10-{stat.st_size}-{stat.st_mtime_ns}.npz"
        if not arrays.exists():
            write_arrays(options.data, options.lists / "cifar10_train_labels.npy", CLASSES, arrays)
        options.data = arrays


def copy_lists(folder: Path) -> None:
    """Copy those of the authors' lists that split/ lacks.

    Raises:
        InputError: split/ has another list of the same name; generated and authors' lists must not be mixed.
    """
    for name in (Path(CIFAR.split_list(CIFAR.list_of(SPLIT))).parent, Path(CIFAR.train_list).parent):
        for path in (folder / name).glob("*.npy"):
            target = PROJECT / "split" / name / path.name
            if not target.exists():
                replace_file(target, path.read_bytes())
            elif target.read_bytes() != path.read_bytes():
                raise InputError(f"{target} is another list than {path}: move the lists of {target.parent} away")


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, help="CIFAR-10 as .npz, or an archive of JPEG files")
    add("--lists", type=Path, help="the authors' lists, and cifar10_train_labels.npy")
    add("--work", type=Path, help="where the runs live: checkpoints, logs")
    add("--carry", type=Path, help="what another machine needs to go on, read and written")
    add("--out", type=Path, default=RESULTS)
    add("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    add("--minutes", type=positive, default=9, help="that a call may take")
    add("--calls", type=positive, default=3, help="into so many calls all must fit; the first one decides")
    add("--model", default="res18")
    add("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_flag("--table", help="only the table, of what is there")
    options = parser.parse_args()
    if not options.table:
        if not (options.data and options.work):
            raise InputError("--data and --work are missing: the images, and where the runs live (see --help)")
        options.data, options.work = options.data.resolve(), options.work.resolve()
    return options


def main() -> None:
    options = parse()
    if not options.table:
        clock = Clock(options.minutes)
        prepare(options)
        made = planned([folder for folder in (options.work, options.carry) if folder], lambda: plan(options, clock))
        print(made, flush=True)
        for method in missing(options, made.epochs):
            if not run_method(method, options, made.epochs, clock):
                print(f"the time is over within {method}; the same command goes on", flush=True)
                break
    if options.table or results_in(options.out):
        print(write_table(options.out), end="")


if __name__ == "__main__":
    sys.exit(run_main(main))
