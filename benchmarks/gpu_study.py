"""SimCLR, SDCLR and BCL-D as published on a GPU, in the time that there is: CIFAR-10-LT, split 1, ResNet-18.

    python -m benchmarks.gpu_study --data images.tar.xz --lists FOLDER --work FOLDER [--minutes 9] [--calls 3]
    python -m benchmarks.gpu_study --table

The recipe cmds/shell_scrips/cifar-10-LT.sh with its published settings but for the epochs: a trial of a few tells what
an epoch of each method and each probe takes, and all methods get as many as fit into so many calls of so many minutes.
The plan is told, and kept in the folder of --work. A call ends in time, within an epoch where it must, and the same
command goes on to the bit. Another machine goes on from --carry, which has what is needed in files of at most 16 MiB:
the weights, but not the optimizer's momentum, which begins anew; the table says so.

`--data` is CIFAR-10 as .npz, or an archive of JPEG files, of which arrays are made in the order of
FOLDER/cifar10_train_labels.npy; `--lists` is a folder with the authors' lists, copied into split/ where they are not.
Needs a GPU (`--device cpu` tries the program itself), and of Python no more than make gpu does.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from analysis.published import published
from benchmarks.gpu.measure import Clock
from benchmarks.study.carry import pack, unpack
from benchmarks.study.figure import write_figures
from benchmarks.study.jpegs import write_arrays
from benchmarks.study.kept import PROBES, folder_of, keep, results_in, steps_of
from benchmarks.study.table import table
from benchmarks.study.timed import GRACE, Pace, pace_of, run_step
from data.groups import COLUMNS
from data.sets.base import Split
from data.sets.registry import data_set
from methods import label_of
from run.gpu import check_gpu, visible_gpus
from utils.cli import Parser, positive
from utils.errors import InputError, run
from utils.files import PROJECT, replace_file
from utils.text import align

CIFAR = data_set("cifar10")
RESULTS = PROJECT / "results" / "gpu_study"
RECIPE = PROJECT / "cmds" / "shell_scrips" / "cifar-10-LT.sh"
METHODS = ("simclr", "sdclr", "bcl-d")
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SPLIT = Split(1, True, "")
MOST = 2000  # epochs, as published
TRIAL = 3  # epochs of pre-training
PROBE_TRIAL = 11  # epochs of a probe: two rounds of the few-shot probe's tests
SHARE = 0.93  # of the time that is planned for


class Plan(NamedTuple):
    """What fits: `epochs` of each method; seconds as they were measured, of pre-training by method, and of a probe."""

    epochs: int
    pretraining: dict[str, Pace]
    probes: list[Pace]

    def __str__(self) -> str:
        each = ", ".join(f"{name} {pace.epoch:.2f} s" for name, pace in self.pretraining.items())
        probes = " and ".join(f"{pace.epoch:.2f} s" for pace in self.probes)
        return f"{self.epochs} epochs of each method; an epoch takes {each}, of the probes {probes}"


def recipe_of(method: str, options: argparse.Namespace, **settings: int | str | Path) -> list[list[str]]:
    """The command lines of a method: pre-training, linear probe, few-shot probe."""
    given = {
        "split": CIFAR.list_of(SPLIT), "data": options.data, "download": "False", "root": options.work,
        "resume": "True", "quiet": "True", "method": method, **settings,
    }  # fmt: skip
    if options.model:
        given["model"] = options.model
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    return steps_of(["env", f"PYTHON={sys.executable}", "bash", str(RECIPE), *words])


def probe_epochs(words: list[str]) -> int:
    """How many a probe's command line asks for."""
    return int(words[words.index("--epochs") + 1])


def plan(options: argparse.Namespace, clock: Clock) -> Plan:
    """Measure a few epochs, and find how many fit.

    Raises:
        InputError: a trial fails, or not one epoch fits.
    """
    pretraining, probes = {}, []
    for method in options.methods:
        trial = {"epochs": TRIAL, "linear_epochs": PROBE_TRIAL, "few_shot_epochs": PROBE_TRIAL}
        first, *others = recipe_of(method, options, root=options.work / "trial", **trial)
        pretraining[method] = pace_of(first, os.environ, clock.left)
        probes = probes or [pace_of(words, os.environ, clock.left) for words in others]
    _, *others = recipe_of(options.methods[0], options, epochs=1)
    of_probes = sum(pace.seconds(probe_epochs(words)) for pace, words in zip(probes, others, strict=True))
    starts = sum(pace.start for pace in pretraining.values())
    stops = (options.calls - 1) * (GRACE + max(pace.start for pace in pretraining.values()))
    left = SHARE * options.calls * clock.seconds - clock.spent - len(pretraining) * of_probes - starts - stops
    epochs = min(int(left / sum(pace.epoch for pace in pretraining.values())), MOST)
    if epochs < 1:
        raise InputError(
            f"{options.calls} calls of {options.minutes} minutes are too short for one epoch of each method"
        )
    return Plan(epochs, pretraining, probes)


def planned(options: argparse.Namespace, clock: Clock) -> Plan:
    """The plan of the first call, on this machine or on the one that was carried from."""
    for folder in (options.work, options.carry):
        if folder and (folder / "plan.json").exists():
            told = json.loads((folder / "plan.json").read_bytes())
            paces = {name: Pace(*pace) for name, pace in told["pretraining"].items()}
            found = Plan(told["epochs"], paces, [Pace(*pace) for pace in told["probes"]])
            break
    else:
        found = plan(options, clock)
    for folder in filter(None, (options.work, options.carry)):
        replace_file(folder / "plan.json", json.dumps(found._asdict(), indent=1).encode())
    return found


def run_method(method: str, options: argparse.Namespace, epochs: int, clock: Clock) -> bool:
    """Whether a method came to its end in time, with its results kept; else what another machine needs is packed.

    Raises:
        InputError: a step failed.
    """
    begun, steps = time.time(), recipe_of(method, options, epochs=epochs)
    folders = [folder_of(words) for words in steps]
    anew = options.work / f"momentum-anew-{method}.json"
    if options.carry and (after := unpack(options.carry / method, folders[0].parent)):
        replace_file(anew, json.dumps([epoch for epoch in after if epoch < epochs]).encode())
    momentum_anew = json.loads(anew.read_bytes()) if anew.exists() else []
    for words in steps:
        if not run_step(words, os.environ, clock.left):
            if options.carry:
                pack(folders[0], options.carry / method, momentum_anew)
            return False
    told = {"name": method, "split": SPLIT.number, "model": options.model or "res18", "epochs": epochs}
    told |= {"batch_size": 512, "momentum_anew": momentum_anew}
    keep(options.out / f"split{SPLIT.number}" / method, told, folders[0], folders[1:], begun)
    return True


def write_table(folder: Path) -> str:
    """Write results/gpu_study.txt and the figures beside the folder of results, and return the text.

    Raises:
        InputError: there is no result yet.
    """
    results = results_in(folder)
    if not results:
        raise InputError(f"{folder} has no result yet")
    one = next(iter(results.values()))
    title = f"CIFAR-10-LT, split {SPLIT.number}, {one['model']}, {one['epochs']} epochs of {MOST}"
    text = (
        f"{title}, the authors' lists; python -m benchmarks.gpu_study\n"
        "Test accuracy in percent, mean of the classes of each group, Std of the three, All\n"
        f"\n{table(results, METHODS)}\n\n{published_table()}\n"
    )
    for (name, _), told in results.items():
        if after := told["momentum_anew"]:
            epochs = ", ".join(map(str, after))
            text += f"\n{name} went on on another machine after epoch {epochs}: its momentum began anew there\n"
    replace_file(folder.with_suffix(".txt"), text.encode())
    write_figures(results, METHODS, folder, title)
    return text


def published_table() -> str:
    """The numbers of SDCLR's paper, means of five splits."""
    lines: list[tuple[Any, ...]] = [("published, 2,000 epochs, five splits", *COLUMNS)]
    for probe, name in zip(PROBES, ("linear", "fewShot"), strict=True):
        for method in METHODS:
            if cells := published(CIFAR, method, name):
                lines.append((f"{probe} {label_of(method)}", *(f"{cells[c][0]:.2f}" for c in COLUMNS)))
    return align(lines)


def prepare(options: argparse.Namespace) -> None:
    """Check the device, and put lists and images where the recipe finds them.

    Raises:
        InputError: there is no GPU, or lists or images are missing or bad.
    """
    if options.device == "cuda":
        if not visible_gpus():
            raise InputError("there is no GPU here that this PyTorch can use: run it on a machine that has one")
        check_gpu(0)
    if options.lists:
        for folder in (CIFAR.list_of(SPLIT).split("/")[0], CIFAR.train_list.split("/")[0]):
            for path in (options.lists / folder).glob("*.npy"):
                if not (there := PROJECT / "split" / folder / path.name).exists():
                    there.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, there)
    if ".tar" in options.data.name:
        if not options.lists:
            raise InputError("--lists is missing: its cifar10_train_labels.npy has the published order of the images")
        arrays = options.work / "cifar10.npz"
        if not arrays.exists():
            write_arrays(options.data, options.lists / "cifar10_train_labels.npy", CLASSES, arrays)
        options.data = arrays


def parse() -> argparse.Namespace:
    """Flags; InputError for a bad one."""
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
    add("--model", default="", help="default: the published one")
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
        found = planned(options, clock)
        print(found, flush=True)
        for method in options.methods:
            there = (method, SPLIT.number) in results_in(options.out)
            if not there and not run_method(method, options, found.epochs, clock):
                print(f"the time is over within {method}; the same command goes on", flush=True)
                break
    if options.table or results_in(options.out):
        print(write_table(options.out), end="")


if __name__ == "__main__":
    sys.exit(run(main))
