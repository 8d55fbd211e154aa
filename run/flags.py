"""Flags of a run: its name and folder, how it computes, and how it is resumed."""

import argparse
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

from utils.cli import Parser, natural, taken
from utils.errors import InputError

START_OVER = "--overwrite True starts over"
RESUME = "--resume True goes on"
RESUME_OR_START_OVER = f"{RESUME} with it, {START_OVER}"
ACCEPT_CHANGES = "--accept_changes True goes on with the new ones"
INSTALL_BOARD = "`python -m pip install -r requirements.txt`, or leave it out with --tensorboard False"
AUTO_PRECISION = "what --precision auto takes"
OTHER_FOLDER = "choose another --save-dir"
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Precision:
    """How a network computes.

    precision: one of PRECISIONS, or `auto`. memory_format: of convolutions. tf32: on CUDA, float32 convolutions in
    TF32. deterministic: only operations that give the same bits each time.
    """

    precision: str
    memory_format: str
    tf32: bool
    deterministic: bool


@dataclass(frozen=True)
class Saving:
    """Where a run is saved, how it begins, and what it saves.

    folder: the experiment's. epochs: of the whole run. checkpoint: file of the weights it starts from, '' for none.
    settings: all of them; a checkpoint has them as 'config', and a resumed run must have the same.
    save_steps: within an epoch, steps between savings of model.pt, 0 for never. every: epochs between savings of
    model.pt. numbered: epochs between model_<epoch>.pt, 0 for none. last_numbered: whether the last epoch has one.
    """

    folder: Path
    epochs: int
    checkpoint: str
    resume: bool
    overwrite: bool
    accept_changes: bool
    save_steps: int
    settings: dict[str, Any]
    every: int = 1
    numbered: int = 0
    last_numbered: bool = False


def saving_of(args: argparse.Namespace, **settings: Any) -> Saving:
    """The Saving of a command line.

    Args:
        settings: what changes the result besides the options: number of processes, hashes of lists and images.
    """
    names = ("epochs", "checkpoint", "resume", "overwrite", "accept_changes", "save_steps")
    options = {name: getattr(args, name) for name in names}
    return Saving(Path(args.save_dir) / args.experiment, **options, settings={**vars(args), **settings})


def add_experiment(parser: Parser, save_dir: str) -> None:
    """Add the positional `experiment`, and --save-dir, the folder that the experiment's folder is in."""
    parser.add_argument("experiment", type=run_name, help="name of the run: its folder below --save-dir")
    parser.add_argument("--save-dir", default=save_dir, help="where experiments are kept")


def run_name(word: str) -> str:
    """An argparse type: the name of a run, which is its folder's path below --save-dir."""
    parts = PurePath(word).parts
    if not word.strip() or not parts:
        raise argparse.ArgumentTypeError("the run needs a name")
    if word.startswith("/") or ".." in parts or any(len(part.encode()) > 255 for part in parts):
        raise argparse.ArgumentTypeError(f"{word[:80]!r} leads out of --save-dir, or is too long")
    return word


def add_compute_options(parser: Parser, precision: str = "auto") -> None:
    """Add --precision, --memory_format, --tf32, --deterministic: the same in every script that runs a network."""
    how = "of the network, but its loss, statistics and optimizer; auto: bf16 where the device has it, else fp32"
    parser.add_argument("--precision", default=precision, choices=["auto", *PRECISIONS], help=how)
    formats = ["channels_last", "contiguous_format"]
    parser.add_argument("--memory_format", default=formats[0], choices=formats, help="of convolutions")
    parser.add_flag("--tf32", help="on CUDA, float32 convolutions in TF32")
    parser.add_flag("--deterministic", help="only operations that give the same bits each time (slower on CUDA)")


def precision_of(args: argparse.Namespace) -> Precision:
    """The Precision of a command line."""
    return taken(Precision, args)


def add_resume(parser: Parser, source: str) -> None:
    """Add --resume, --overwrite, --accept_changes, --save_steps: the same in every script that trains."""
    parser.add_flag("--resume", help=f"go on from {source}")
    parser.add_flag("--overwrite", help="remove the run that the experiment's folder holds, and start over")
    parser.add_flag("--accept_changes", help="resume with settings that change the result")
    parser.add_argument("--save_steps", type=natural, default=0, help="save every so many steps of an epoch; 0: never")


def add_check(parser: Parser) -> None:
    """Add --check: the same in every script that trains."""
    parser.add_flag(
        "--check",
        help="set everything up, do a few real steps, tell what they took and the run would take; write nothing",
    )


def check_board(args: argparse.Namespace) -> None:
    """Fill in --tensorboard where it is not given: on if the package is installed.

    Raises:
        InputError: it is asked for, and the package is not installed.
    """
    installed = find_spec("tensorboard") is not None
    if args.tensorboard and not installed:
        raise InputError(f"--tensorboard True needs the package tensorboard, which is not installed: {INSTALL_BOARD}")
    args.tensorboard = installed if args.tensorboard is None else args.tensorboard
