"""Output of a run: log.txt in the published format, metrics.jsonl, a progress bar. TensorBoard is in run/board.py."""

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
    """Lines to log.txt and the terminal, numbers to metrics.jsonl; silent and harmless when not `main`.

    Args:
        folder: the experiment's; made when the first line is written; None for the terminal alone.
        main: only one process writes.
        board: TensorBoard's, which has the numbers, too.
        quiet: the terminal has warnings and results alone; the files are the same.

    What could steer a terminal, in a file's name say, is escaped.
    """

    def __init__(self, folder: Path | None, main: bool = True, board: Board | None = None, quiet: bool = False) -> None:
        self.folder, self.main, self.board, self.quiet = folder, main, board or Board(None), quiet

    def info(self, line: str) -> None:
        """One line to the terminal, unless it is to be quiet, and to log.txt."""
        self._tell(line, shown=not self.quiet)

    def warn(self, line: str) -> None:
        """One line to the terminal, even where it is to be quiet, and to log.txt."""
        self._tell(line, shown=True)

    def detail(self, line: str) -> None:
        """A line to log.txt. Shown only where there is no progress bar."""
        self._tell(line, shown=not self.quiet and not sys.stderr.isatty())

    def result(self, line: str) -> None:
        """The result line of a quiet run, to the terminal alone: log.txt has the published lines."""
        self._tell(line, shown=self.quiet, kept=False)

    def _tell(self, line: str, shown: bool, kept: bool = True) -> None:
        if not self.main:
            return
        line = printable(line, kept="\t")
        if shown:
            tqdm.write(line)
            sys.stdout.flush()
        if kept:
            self._append("log.txt", line)

    def metrics(self, **numbers: Any) -> None:
        """One JSON object to metrics.jsonl, with the time in seconds since 1970."""
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
    """Remove from metrics.jsonl what a run had written of later epochs, which a resumed one runs again."""
    path = folder / "metrics.jsonl"
    if path.is_file():
        lines = path.read_text("utf-8", "replace").splitlines()
        kept = [line for line in lines if _epoch(line) <= epoch]
        if kept != lines:
            replace_file(path, "".join(line + "\n" for line in kept).encode())


def last_metrics(folder: Path, epoch: int) -> dict[str, float]:
    """The numbers that metrics.jsonl has of an epoch; {} where it has none."""
    path, found = folder / "metrics.jsonl", {}
    if not path.is_file():
        return found
    for line in path.read_text("utf-8", "replace").splitlines():
        if _epoch(line) == epoch:
            found |= {name: value for name, value in json.loads(line).items() if isinstance(value, int | float)}
    return found


def _epoch(line: str) -> float:
    """Of a line of metrics.jsonl; infinite for half a line, which a killed run leaves."""
    try:
        return float(json.loads(line).get("epoch", 0))
    except (ValueError, TypeError, AttributeError):
        return float("inf")


def progress(total: int, done: int, what: str, main: bool) -> tqdm:
    """A tqdm bar of images, with ETA and images a second, on a terminal; elsewhere, and in other processes, silent."""
    words = {"desc": what, "unit": " images", "unit_scale": True}
    silent = None if main else True  # None: where it is no terminal
    return tqdm(total=total, initial=done, disable=silent, dynamic_ncols=True, **words)


def had_before(bar: tqdm, done: int) -> None:
    """Move the bar on by what was done before the run began, which is no part of its rate."""
    if done:
        bar.initial = bar.last_print_n = bar.n = bar.n + done


def done_before(done: int, epochs: int) -> str:
    """What a run of so many epochs found done, for the line of its result; '' if nothing."""
    if not done:
        return ""
    return "finished before" if done == epochs else f"from epoch {done + 1} on"
