"""TensorBoard's events of a run: the numbers of metrics.jsonl, which stays the record, and what is no number.

tensorboard --logdir checkpoints
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from run.flags import INSTALL_BOARD
from run.views import SHOWN
from utils.errors import InputError


def events(folder: Path) -> list[Path]:
    """The event files of the run in an experiment's folder."""
    return sorted((folder / "tensorboard").glob("events.out.tfevents.*"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what writing to a full disk raises, which names no file, into an InputError that does."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def _in_a_thread(failed: threading.ExceptHookArgs) -> None:
    """Say nothing of what fails in TensorBoard's thread: its next call here raises it again."""
    if not type(failed.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failed)


class Board:
    """Writes events below `tensorboard/` of an experiment's folder; steps are epochs. A context manager.

    Args:
        folder: the experiment's; None writes nothing. first: epoch that comes next; events of it and of later ones,
            which an interrupted run had written, are no longer shown.

    Raises:
        InputError: the package cannot be imported; from each method, the events cannot be written.
    """

    def __init__(self, folder: Path | None, first: int = 1) -> None:
        self.writer = None
        if folder is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter  # takes a while, which others need not wait
            except (ImportError, TypeError, AttributeError) as error:  # versions of other packages do not fit
                raise InputError(f"tensorboard cannot be imported ({error}): {INSTALL_BOARD}") from error
            threading.excepthook, self.folder = _in_a_thread, folder / "tensorboard"
            with writing(self.folder):
                self.writer = SummaryWriter(str(self.folder), purge_step=first)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer:
            with writing(self.folder):
                self.writer.close()

    def metrics(self, epoch: int, **numbers: Any) -> None:
        """The numbers among the values, each under its name; then all is on the disk, should the run be killed."""
        if self.writer:
            with writing(self.folder):
                for name, value in numbers.items():
                    if isinstance(value, int | float):
                        self.writer.add_scalar(name, value, epoch)
                self.writer.flush()

    def histogram(self, name: str, values: torch.Tensor, epoch: int) -> None:
        """Of values [N]."""
        if self.writer:
            with writing(self.folder):
                self.writer.add_histogram(name, values.float().cpu(), epoch)

    def views(self, views: torch.Tensor, epoch: int) -> None:
        """A grid of the views [n, V, 3, H, W] in [0, 1] of the first images: a column for each, a row for each view."""
        if self.writer:
            with writing(self.folder):
                self.writer.add_images("views", views[:SHOWN].transpose(0, 1).flatten(0, 1).cpu(), epoch)
