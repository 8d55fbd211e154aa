"""BCL's table 3 on photographs: CE, cRT and LA on CIFAR-10-LT, from random weights and from pre-trained encoders.

    python -m benchmarks.cifar10_supervised --data cifar10.npz --work FOLDER [--splits 1] [--runs random bcl-i]
    python -m benchmarks.cifar10_supervised --table

Each run is the protocols ce, crt, la and la-posthoc (docs/supervised.md) with one thread, on the authors' long-tailed
list, from random weights or from an encoder of benchmarks/cifar10_study.py, with equally many epochs. Results of a run
in `results/cifar10_supervised/splitN/RUN/`: results.json of each protocol, and times in run.json. A run with results is
not repeated; an interrupted one continues if FOLDER still has its files.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import cifar10_study
from benchmarks.study.flags import parsed, study_parser
from benchmarks.study.kept import folder_of, keep, run_steps, run_study, some_results_in
from benchmarks.study.table import groups_table, runs_of
from data.sets.base import Split
from data.sets.registry import data_set
from probe.protocols import PROTOCOLS
from utils.cli import positive
from utils.errors import InputError, run_main
from utils.files import PROJECT, replace_file

CIFAR = data_set("cifar10")
RESULTS = PROJECT / "results" / "cifar10_supervised"
RANDOM = "random"
RUNS = (RANDOM, *(name for name in cifar10_study.RUNS if name != "untrained"))
LEARNED = [name for name, protocol in PROTOCOLS.items() if protocol.supervised]  # ce first: others build on it


def encoder_of(name: str, split: int, options: argparse.Namespace) -> Path | None:
    """The file of the encoder that a run starts from; None for random weights."""
    return None if name == RANDOM else options.encoders / f"split{split}" / name / "encoder.safetensors"


def commands_of(name: str, split: int, options: argparse.Namespace) -> list[list[str]]:
    """The command lines of a run, one for each protocol."""
    encoder, epochs = encoder_of(name, split, options), {"crt": options.crt_epochs, "la-posthoc": None}
    commands = []
    for protocol in LEARNED:
        settings = {
            "save-dir": options.work / "checkpoints_tune", "dataset": CIFAR.name, "data": options.data,
            "trainSplit": CIFAR.split_list(CIFAR.list_of(Split(split, True, ""))), "model": options.model,
            "protocol": protocol, "num_workers": 1, "epochs": epochs.get(protocol, options.epochs), "resume": True,
            "quiet": True,
        }  # fmt: skip
        if PROTOCOLS[protocol].after_ce:
            settings["ce"] = folder_of(commands[0])
        elif encoder:
            settings |= {"checkpoint": encoder, "cvt_state_dict": True}
        given = [word for key, value in settings.items() if value is not None for word in (f"--{key}", str(value))]
        commands.append([sys.executable, "train_cifar.py", f"split{split}_{name}_{protocol}", *given])
    return commands


def run_one(name: str, split: int, options: argparse.Namespace) -> None:
    """Run all protocols of a run with one thread, and keep its results.

    Raises:
        InputError: a protocol failed.
    """
    commands, seconds = commands_of(name, split, options), options.work / "seconds" / f"split{split}-{name}.json"
    run_steps(commands, seconds, f"{name} of split {split}")
    record = {"name": name, "split": split, "model": options.model, "epochs": options.epochs}
    record["crt_epochs"] = options.crt_epochs
    folders = dict(zip(LEARNED, map(folder_of, commands), strict=True))
    keep(options.out / f"split{split}" / name, record, None, folders, seconds)


def write_table(folder: Path) -> str:
    """Write results/cifar10_supervised.txt beside the folder of results, and return the text.

    Raises:
        InputError: there is no result yet.
    """
    results = some_results_in(folder)
    first, runs = next(iter(results.values())), {name: records for name in RUNS if (records := runs_of(results, name))}
    parts = [f"{protocol}\n\n{groups_table(runs, protocol)}\n" for protocol in LEARNED]
    text = (
        f"CIFAR-10-LT from JPEG files, the authors' long-tailed lists with their labels, {first['model']}, "
        f"{first['epochs']} epochs (cRT's classifier: {first['crt_epochs']}), one thread;\n"
        "python -m benchmarks.cifar10_supervised\n"
        "Test accuracy in percent, mean of the classes of each group, Std of the three, All; of several splits mean ± "
        "standard deviation. run: what the network begins with, of python -m benchmarks.cifar10_study\n\n"
        + "\n".join(parts)
    )
    replace_file(folder.with_suffix(".txt"), text.encode())
    return text


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one, or if an encoder is missing."""
    parser = study_parser(__doc__, RESULTS, RUNS, splits=[1], epochs=30, model="res20_s")
    parser.add_argument("--crt_epochs", type=positive, default=10, help="of cRT's classifier")
    parser.add_argument("--encoders", type=Path, default=cifar10_study.RESULTS, help="what the study has left")
    options = parsed(parser)
    for split in () if options.table else options.splits:
        missing = [name for name in options.runs if (path := encoder_of(name, split, options)) and not path.exists()]
        if missing:
            raise InputError(f"{options.encoders} has no encoder of split {split} of {', '.join(missing)}")
    return options


def main() -> None:
    run_study(parse(), run_one, write_table)


if __name__ == "__main__":
    sys.exit(run_main(main))
