"""Command lines: one-line errors, published boolean flags, and the groups that the scripts share."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import PurePath

from utils.errors import InputError

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Parser(argparse.ArgumentParser):
    """ArgumentParser whose mistakes are InputErrors, and whose flags take an optional True or False.

    The published commands write `--prune` in one script and `--prune True` in another: both work everywhere.
    """

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        self._flags: set[str] = set()

    def add_flag(self, *names: str, help: str = "") -> None:
        """A boolean option, off by default: `--flag`, `--flag True`, `--flag False`."""
        self.add_argument(*names, nargs="?", const=True, default=False, type=_boolean, metavar="True|False", help=help)
        self._flags.update(names)

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:
        """Parse; a flag followed by another kind of word (the experiment's name, say) does not swallow it.

        Raises:
            InputError: an option is unknown, lacks its value, or has one of the wrong kind; a word is not text.
        """
        words = list(sys.argv[1:] if args is None else args)
        # They go to logs, file names and terminals: no control characters, and no bytes that are not UTF-8.
        if bad := next((word for word in words if re.search("[\0-\x1f\x7f-\x9f\ud800-\udfff]", word)), None):
            raise InputError(f"{bad[:80]!r} is not text: it has control characters, or is not UTF-8")
        # argparse drops `--` where it is a value, and lets the option have none.
        if bad := next((word for word in words if re.fullmatch("--?[^-=][^=]*=--", word)), None):
            self.error(f"argument {bad[:-3]}: expected one argument")
        for i, word in enumerate(words):
            following = words[i + 1].lower() if i + 1 < len(words) else ""
            if word in self._flags and following not in _WORDS:
                words[i] = f"{word}=True"
        return super().parse_args(words, namespace)

    def error(self, message: str) -> None:
        """Raise InputError instead of printing the usage."""
        raise InputError(f"{message} (see --help)")


def _boolean(word: str) -> bool:
    if word.lower() not in _WORDS:
        raise argparse.ArgumentTypeError(f"{word!r} is neither True nor False")
    return _WORDS[word.lower()]


def milestones(word: str) -> list[int]:
    """'10,20' -> [10, 20]."""
    try:
        return [int(part) for part in word.split(",") if part]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is not a list of epochs such as 10,20") from None


def number(kind: type, least: float, most: float = 2**32 - 1) -> Callable[[str], int | float]:
    """An argparse type: a whole number (int) or any (float) between `least` and `most`, both included."""

    def parse(word: str) -> int | float:
        try:
            value = kind(word)
        except ValueError:
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{word!r} is not a {what}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{word} is not between {least} and {most}")
        return value

    return parse


positive, natural, not_negative = number(int, 1), number(int, 0), number(float, 0)


def add_experiment(parser: Parser, save_dir: str) -> None:
    """The positional experiment and --save-dir, the folder that holds its folder."""
    parser.add_argument("experiment", type=_name, help="name of the run: its folder below --save-dir")
    parser.add_argument("--save-dir", default=save_dir, help="where experiments are kept")


def _name(word: str) -> str:
    parts = PurePath(word).parts
    if not word.strip() or not parts:
        raise argparse.ArgumentTypeError("the run needs a name")
    if word.startswith("/") or ".." in parts or any(len(part.encode()) > 255 for part in parts):
        raise argparse.ArgumentTypeError(f"{word[:80]!r} leads out of --save-dir, or is too long")
    return word


def add_data_options(parser: Parser) -> None:
    """--data, --download, --num_workers: the same in every script."""
    parser.add_argument("--data", default="", help="folder of the data set (digits need none)")
    parser.add_flag("--download", help="fetch CIFAR or Fashion-MNIST where they are missing")
    parser.add_argument(
        "--num_workers",
        type=natural,
        default=10,
        help="processes that make single images' views, at most one per core; batched views need none",
    )


def add_resume(parser: Parser, source: str) -> None:
    """--resume, --overwrite, --accept_changes, --save_steps: the same in every script that trains."""
    parser.add_flag("--resume", help=f"go on from {source}")
    parser.add_flag("--overwrite", help="remove the run that the experiment's folder holds, and start over")
    parser.add_flag("--accept_changes", help="resume with settings that change the result")
    parser.add_argument("--save_steps", type=natural, default=0, help="save every so many steps of an epoch; 0: never")


def add_augment(parser: Parser) -> None:
    """--augment: who makes the views."""
    how = (
        "pillow: views as published, one by one; batched: whole batches on the device, images in memory; "
        "opencv: one by one, over twice as fast, image files; auto: batched or opencv"
    )
    parser.add_argument("--augment", default="auto", choices=["auto", "batched", "opencv", "pillow"], help=how)


def add_image_file_options(parser: Parser) -> None:
    """--image_size, --on_bad_image: for data sets of image files."""
    add = parser.add_argument
    add("--image_size", type=number(int, 8, 4096), help="pixels of a view; default as published, 224 for image files")
    add("--on_bad_image", default="error", choices=["error", "skip"], help="skip: leave out, count and report")


def check_augment(args: argparse.Namespace, files: bool) -> None:
    """Fill in what --augment auto stands for.

    Raises:
        InputError: --augment or --image_size is not for images in memory, or not for image files.
    """
    if not files and (getattr(args, "image_size", None) or args.augment == "opencv"):
        raise InputError(f"--image_size and --augment opencv are for image files, not for {args.dataset}")
    if files and args.augment == "batched":
        raise InputError(f"--augment batched is for images in memory, not for {args.dataset}: choose opencv or pillow")
    if args.augment == "auto":
        args.augment = "opencv" if files else "batched"
