"""Options of recipes.transfer."""

import os
from pathlib import Path
from typing import NamedTuple

from data.sets.registry import TRANSFER_SETS
from probe.protocols import PROTOCOLS
from utils.cli import Parser
from utils.files import PROJECT


class Transfers(NamedTuple):
    """A checkpoint and the sets it is transferred to.

    others: further words of each probe's command. checks: the probes are only checked, so that there is no table. name:
    how the names of the results' folders begin; '' for the usual one.
    """

    checkpoint: Path
    data: Path
    sets: list[str]
    protocols: list[str]
    root: Path
    others: list[str]
    checks: bool
    name: str


def parse(description: str) -> Transfers:
    """The command line of recipes.transfer; relative paths start at the folder that the script was called in.

    Raises:
        InputError: an option or a value is unknown.
    """
    parser, protocols = Parser(description), [name for name, p in PROTOCOLS.items() if p.transfer]
    parser.prog = "python -m recipes.transfer"
    add, caller = parser.add_argument, Path(os.environ.get("RECIPE_CALLER", "."))
    add("--checkpoint", type=Path, required=True, help="of pre-training, or another library's")
    add("--data", type=Path, required=True, help="folder that holds the sets as their archives unpack")
    add("--sets", nargs="+", choices=list(TRANSFER_SETS), default=list(TRANSFER_SETS), help="default all")
    add("--protocols", nargs="+", choices=protocols, default=protocols[:1], help=f"default {protocols[0]}")
    add("--root", type=Path, default=PROJECT, help="folder of the checkpoints folders; default the project's")
    handed_on = [
        add("--epochs", help="in place of the protocol's"),
        add("--image_size", help="pixels of the centre crop in place of 224"),
        add("--num_workers", help="processes that decode images"),
        add("--precision", help="as of python -m probe"),
        add("--name", help="of the results' folders; default: the checkpoint's, and its hash"),
    ]
    flags = ("select_wd", "overwrite", "check", "no-cuda")
    for flag in flags:
        parser.add_flag(f"--{flag}", help="as of python -m probe")
    args = parser.parse_args()
    given = {option.option_strings[0]: getattr(args, option.dest) for option in handed_on}
    others = [f"{option}={value}" for option, value in given.items() if value is not None]
    others += [f"--{flag}=True" for flag in (*flags, "quiet") if getattr(args, flag.replace("-", "_"))]
    others += [] if args.overwrite or args.check else ["--resume=True"]
    sets, protocols = list(dict.fromkeys(args.sets)), list(dict.fromkeys(args.protocols))
    paths = (caller / path.expanduser() for path in (args.checkpoint, args.data))
    return Transfers(*paths, sets, protocols, caller / args.root, others, args.check, args.name or "")
