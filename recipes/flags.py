"""Flags of recipes.pretrained."""

import argparse
from pathlib import Path

from utils.cli import Parser, not_negative
from utils.errors import InputError
from utils.files import PROJECT

ANY_HASH = "--overwrite True takes it all the same"
FROM_FILE = "--from FILE"
RAISE_LIMIT = "raise --max_gb if that is right"


def parse(description: str, archives: list[str]) -> argparse.Namespace:
    """The command, the archives and where they go.

    Args:
        archives: the names that there are.

    Raises:
        InputError: an unknown flag, archive or folder, or nothing to get.
    """
    parser = Parser(description)
    add = parser.add_argument
    add("command", choices=["list", "get"])
    add("names", nargs="*", metavar="NAME", help=", ".join(archives))
    add("--from", dest="source", type=Path, help="the archive, downloaded otherwise; with one NAME")
    add("--root", type=Path, default=PROJECT, help="folder of checkpoints, ...; default the project's")
    parser.add_flag("--overwrite", help="replace files of other content, and accept an archive of another hash")
    add("--max_gb", type=not_negative, default=50.0, help="the largest archive to take, unpacked")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in archives]:
        raise InputError(f"unknown archive {unknown[0]!r}: choose from {', '.join(archives)}")
    if not args.root.is_dir():
        raise InputError(f"--root {args.root} is no folder")
    if args.command == "get" and (not args.names or (args.source and len(args.names) > 1)):
        raise InputError("name what to get, one NAME if it is --from a file; the command list shows what there is")
    return args
