"""Compares methods on photographs: CIFAR-10-LT with the authors' lists, a small ResNet, equally many epochs for each.

    python -m benchmarks.cifar10_study --data cifar10.npz --work FOLDER [--splits 1] [--runs simclr bcl-i] [--jobs 2]
    python -m benchmarks.cifar10_study --table

Each run is the recipe cmds/shell_scrips/cifar-10-LT.sh with one thread: pre-training, linear probe, few-shot probe.
Results of a run in `results/cifar10_study/splitN/RUN/`: results.json of both probes, metrics.jsonl of the pre-training,
times in run.json, and the encoder as safetensors. A run with results is not repeated; an interrupted one continues if
FOLDER still has its files. The table shows all results that exist. SDCLR's share of pruned weights is the one whose
linear probe has the best accuracy on the validation images of split 1; nothing is chosen by the test images.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.study.figure import write_figures
from benchmarks.study.flags import parsed, pretraining_parser
from benchmarks.study.kept import Results, folders, keep, run_steps, run_study, some_results_in, steps_of, write_encoder
from benchmarks.study.table import table
from data.sets.base import Split
from data.sets.registry import data_set
from utils.errors import run_main
from utils.files import PROJECT, replace_file

CIFAR = data_set("cifar10")
RESULTS = PROJECT / "results" / "cifar10_study"
RECIPE = PROJECT / "cmds" / "shell_scrips" / "cifar-10-LT.sh"
SDCLR = {f"sdclr-{share:g}": ["--method", "sdclr", "--prune_percent", f"{share:g}"] for share in (0.2, 0.5, 0.9)}
# A run's name -> options of its recipe. All pre-train on the long-tailed list but simclr-D_b, on the balanced one.
RUNS = {
    "untrained": ["--method", "untrained"],
    "simclr": ["--method", "simclr"],
    "simclr-D_b": ["--method", "simclr"],
    **SDCLR,
    "bcl-i": ["--method", "bcl-i"],
    "bcl-d": ["--method", "bcl-d"],
    **{name: ["--method", name] for name in ("focal", "moclr", "dnc", "rwsam", "ts", "simclr+gh")},
}  # fmt: skip


def recipe_of(name: str, split: int, options: argparse.Namespace) -> list[str]:
    """The command line of a run: the recipe's script with its options."""
    epochs = [] if name == "untrained" else ["--epochs", str(options.epochs)]
    usual = {
        "split": CIFAR.list_of(Split(split, not name.endswith("D_b"), "")), "data": options.data, "download": "False",
        "model": options.model, "batch_size": options.batch_size, "workers": 1, "linear_epochs": options.linear_epochs,
        "few_shot_epochs": options.few_shot_epochs, "root": options.work, "resume": "True", "quiet": "True",
        "monitor": "groups",
    }  # fmt: skip
    words = [word for key, value in usual.items() for word in (f"--{key}", str(value))]
    return ["bash", str(RECIPE), *RUNS[name], *epochs, *words]


def run_one(name: str, split: int, options: argparse.Namespace) -> None:
    """Run a recipe with one thread, and keep its results and its encoder.

    Raises:
        InputError: it failed.
    """
    command, out = recipe_of(name, split, options), options.out / f"split{split}" / name
    seconds = options.work / "seconds" / f"split{split}-{name}.json"
    run_steps([command], seconds, f"{name} of split {split}")
    steps = steps_of(command)
    write_encoder(Path(steps[1][steps[1].index("--checkpoint") + 1]), out / "encoder.safetensors")
    epochs = 0 if name == "untrained" else options.epochs
    record = {"name": name, "split": split, "model": options.model, "epochs": epochs, "batch_size": options.batch_size}
    keep(out, record, *folders(steps), seconds)


def chosen_share(results: Results) -> str:
    """The SDCLR run of split 1 with the best linear validation accuracy; '' until all of them have a result."""
    accuracies = {name: results[name, 1]["linear"]["best"]["val"] for name in SDCLR if (name, 1) in results}
    return max(accuracies, key=accuracies.get) if len(accuracies) == len(SDCLR) else ""


def write_table(folder: Path) -> str:
    """Write results/cifar10_study.txt and the figures beside the folder of results, and return the text."""
    results = some_results_in(folder)
    first, epochs = next(iter(results.values())), max(record["epochs"] for record in results.values())
    chosen = chosen_share(results)
    text = (
        f"CIFAR-10-LT from JPEG files, the authors' lists, {first['model']}, batch {first['batch_size']}, "
        f"{epochs} epochs, one thread; python -m benchmarks.cifar10_study\n"
        "Test accuracy in percent, mean of the classes of each group, Std of the three, All; of several splits mean ± "
        "standard deviation. val: the linear probe's accuracy on the validation list\n"
        + (f"SDCLR's share of pruned weights by val, split 1: {chosen}\n" if chosen else "")
        + f"\n{table(results, RUNS)}\n"
    )
    replace_file(folder.with_suffix(".txt"), text.encode())
    drawn = [name for name in RUNS if name not in SDCLR or chosen in ("", name)]
    write_figures(results, drawn, folder, f"CIFAR-10-LT, {first['model']}, {epochs} epochs")
    return text


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
    return parsed(pretraining_parser(__doc__, RESULTS, RUNS, splits=[1], epochs=60, model="res20_s", batch_size=512))


def main() -> None:
    run_study(parse(), run_one, write_table)


if __name__ == "__main__":
    sys.exit(run_main(main))
