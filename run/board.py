"""TensorBoard events of a run: the numbers of metrics.jsonl, which remains the record, histograms, and images.

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
    """Turn an OSError, which on a full disk names no file, into an InputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def _thread_excepthook(failure: threading.ExceptHookArgs) -> None:
    """A threading.excepthook without a traceback for TensorBoard's writer thread: the next write raises its error."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failure)


class Board:
    """Writes events to `tensorboard/` in an experiment's folder; TensorBoard's steps are epochs. A context manager.

    Args:
        folder: the experiment's; None writes nothing. first: the epoch that comes next; TensorBoard hides what an
            interrupted run wrote of this epoch and later ones.

    Raises:
        InputError: the package cannot be imported; any method: the events cannot be written.
    """

    def __init__(self, folder: Path | None, first: int = 1) -> None:
        self.writer = None
        if folder is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter  # here, as it is slow and not all runs need it
            except (ImportError, TypeError, AttributeError) as error:  # the last two from versions that do not match
                raise InputError(f"tensorboard cannot be imported ({error}): {INSTALL_BOARD}") from error
            threading.excepthook, self.folder = _thread_excepthook, folder / "tensorboard"
            with writing(self.folder):
                self.writer = SummaryWriter(str(self.folder), purge_step=first)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer:
            with writing(self.folder):
                self.writer.close()

    def metrics(self, epoch: int, **numbers: Any) -> None:
        """Write the values that are numbers, each under its name, and flush them to disk, as the run may be killed."""
        if self.writer:
            with writing(self.folder):
                for name, value in numbers.items():
                    if isinstance(value, int | float):
                        self.writer.add_scalar(name, value, epoch)
                self.writer.flush()

    def histogram(self, name: str, values: torch.Tensor, epoch: int) -> None:
        """Write a histogram of values [N]."""
        if self.writer:
            with writing(self.folder):
                self.writer.add_histogram(name, values.float().cpu(), epoch)

    def views(self, views: torch.Tensor, epoch: int) -> None:
        """Write a grid of the first images' views [n, V, 3, H, W] in [0, 1]: a column per image, a row per view."""

        if self.writer:
            with writing(self.folder):
                self.writer.add_images("views", views[:SHOWN].transpose(0, 1).flatten(0, 1).cpu(), epoch)
