"""Output of a run: log.txt in the published format, metrics.jsonl, a progress bar; TensorBoard is in run/board.py."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from run.board import Board, writing
from utils.files import replace_file
from utils.text import printable


class Log:
    """Writes lines to log.txt and the terminal, and numbers to metrics.jsonl.

    Control characters, which may be in a file's name, are escaped.

    Args:
        folder: the experiment's, made when the first line is written; None for the terminal alone.
        main: whether this process writes; else nothing is written.
        board: gets the numbers, too.
        quiet: show only warnings and results on the terminal; the files are the same.
    """

    def __init__(self, folder: Path | None, main: bool = True, board: Board | None = None, quiet: bool = False) -> None:
        self.folder, self.main, self.board, self.quiet = folder, main, board or Board(None), quiet

    def info(self, line: str) -> None:
        """Write a line to log.txt and, unless `quiet`, to the terminal."""
        self._write(line, shown=not self.quiet)

    def warn(self, line: str) -> None:
        """Write a line to log.txt and to the terminal, even if `quiet`."""
        self._write(line, shown=True)

    def detail(self, line: str) -> None:
        """Write a line to log.txt and, where it has no progress bar, to the terminal."""
        self._write(line, shown=not self.quiet and not sys.stderr.isatty())

    def result(self, line: str) -> None:
        """Write the result line of a quiet run, to the terminal alone: log.txt has the published lines instead."""
        self._write(line, shown=self.quiet, kept=False)

    def _write(self, line: str, shown: bool, kept: bool = True) -> None:
        if not self.main:
            return
        line = printable(line, kept="\t")
        if shown:
            tqdm.write(line)
            sys.stdout.flush()
        if kept:
            self._append("log.txt", line)

    def metrics(self, **numbers: Any) -> None:
        """Write a JSON object to metrics.jsonl, with the time in seconds since 1970."""
        if self.main:
            self._append("metrics.jsonl", json.dumps({**numbers, "time": round(time.time(), 3)}))
            self.board.metrics(**numbers)

    def _append(self, name: str, line: str) -> None:
        if self.folder is None:
            return
        with writing(self.folder / name):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def forget_metrics(folder: Path, epoch: int) -> None:
    """Remove from metrics.jsonl the lines of epochs after `epoch`, which a resumed run repeats."""
    path = folder / "metrics.jsonl"
    if path.is_file():
        lines = path.read_text("utf-8", "replace").splitlines()
        kept = [line for line in lines if _epoch(line) <= epoch]
        if kept != lines:
            replace_file(path, "".join(line + "\n" for line in kept).encode())


def last_metrics(folder: Path, epoch: int) -> dict[str, float]:
    """The numbers of an epoch in metrics.jsonl; {} where there are none."""
    path, numbers = folder / "metrics.jsonl", {}
    if not path.is_file():
        return numbers
    for line in path.read_text("utf-8", "replace").splitlines():
        if _epoch(line) == epoch:
            numbers |= {name: value for name, value in json.loads(line).items() if isinstance(value, int | float)}
    return numbers


def _epoch(line: str) -> float:
    """The epoch of a line of metrics.jsonl; infinite for a part of a line, which a killed run leaves."""
    try:
        return float(json.loads(line).get("epoch", 0))
    except (ValueError, TypeError, AttributeError):
        return float("inf")


def progress(total: int, done: int, title: str, main: bool) -> tqdm:
    """A tqdm bar of images on a terminal, with ETA and images a second; silent elsewhere and in other processes."""
    texts = {"desc": title, "unit": " images", "unit_scale": True}
    silent = None if main else True  # tqdm takes None as: silent where there is no terminal
    return tqdm(total=total, initial=done, disable=silent, dynamic_ncols=True, **texts)


def had_before(bar: tqdm, done: int) -> None:
    """Move the bar on by `done` images that were finished before this run began, without counting them in its rate."""
    if done:
        bar.initial = bar.last_print_n = bar.n = bar.n + done


def done_before(done: int, epochs: int) -> str:
    """How many of a run's epochs were done before it began, in words, for its result line; '' if none."""
    if not done:
        return ""
    return "finished before" if done == epochs else f"from epoch {done + 1} on"
