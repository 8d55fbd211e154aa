"""Command lines: errors in one line, the published boolean flags, types of numbers."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TypeVar

from utils.errors import InputError

Settings = TypeVar("Settings")
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
        # Every program has it, so that a user's script can give it to all of them.
        self.add_flag("--quiet", help="no progress on the terminal: results, warnings and errors alone")

    def add_flag(self, *names: str, help: str = "") -> None:
        """A boolean option, off by default: `--flag`, `--flag True`, `--flag False`."""
        self.add_argument(*names, nargs="?", const=True, default=False, type=_boolean, metavar="True|False", help=help)
        self._flags.update(names)

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:
        """Parse; a flag does not take the next word for its value unless that is a boolean.

        Raises:
            InputError: an option is unknown, lacks its value, or has one of the wrong kind; a word is not text.
        """
        words = [home_expanded(word) for word in (sys.argv[1:] if args is None else args)]
        check_text(words)
        # argparse would drop `--` as a value, and accept the option without one.
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


def home_expanded(word: str) -> str:
    """The word with the home folder in place of `~`, which bash does not expand in `--data=~/images`."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path's raises an error where there is no home
    return re.sub("^(--[^=]*=)?~(?=/|$)", lambda match: (match[1] or "") + home, word)


def check_text(words: Sequence[str]) -> None:
    """Refuse words of a command line that are not text, since they get into logs, file names and terminals.

    Raises:
        InputError: one has control characters, or bytes that are not UTF-8.
    """
    if bad := next((word for word in words if re.search("[\0-\x1f\x7f-\x9f\ud800-\udfff]", word)), None):
        raise InputError(f"{bad[:80]!r} is not text: it has control characters, or is not UTF-8")


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
            name = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{word!r} is not a {name}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{word} is not between {least} and {most}")
        return value

    return parse


positive, natural, not_negative = number(int, 1), number(int, 0), number(float, 0)


def taken(kind: type[Settings], args: argparse.Namespace) -> Settings:
    """A dataclass of settings, each field from the parsed option of the same name."""
    return kind(**{field.name: getattr(args, field.name) for field in fields(kind)})
