"""Weights & Biases: the numbers of metrics.jsonl, histograms and images, as in TensorBoard.

    train_simCLR.py EXPERIMENT ... --wandb PROJECT
    WANDB_MODE=offline train_simCLR.py EXPERIMENT ... --wandb PROJECT; wandb sync checkpoints/EXPERIMENT/wandb/offline-*

The package wandb is optional. It writes its files to `wandb/` in the experiment's folder.
"""

import uuid
from pathlib import Path
from typing import Any

import torch

from run.board import Board, writing
from run.views import grid
from utils.errors import InputError

INSTEAD = "WANDB_MODE=offline keeps them in the experiment's folder"


class WandbBoard(Board):
    """Logs to a run of Weights & Biases, whose steps are epochs. A context manager.

    Args:
        folder: the experiment's. project: of Weights & Biases. settings: shown as the run's configuration.
        resume: go on with the same run of Weights & Biases. An epoch that it already has keeps its numbers when it is
            repeated, which gives the same ones.
        quiet: wandb prints nothing on the terminal.

    Raises:
        InputError: the package cannot be imported, or cannot begin a run; its folder cannot be written.
    """

    def __init__(
        self, folder: Path, project: str, settings: dict[str, Any], resume: bool = False, quiet: bool = False
    ) -> None:
        super().__init__(None)
        try:
            import wandb  # here, as it is slow and optional
        except ImportError as error:
            raise InputError(f"wandb cannot be imported ({error}): `python -m pip install wandb`") from error
        self.wandb, files = wandb, folder / "wandb"
        with writing(files):
            files.mkdir(parents=True, exist_ok=True)
            id_file = files / "id.txt"
            if not (resume and id_file.is_file()):
                id_file.write_text(uuid.uuid4().hex[:16])
            run_id = id_file.read_text().strip()
        output = wandb.Settings(console="off", silent=quiet)
        where = {"project": project, "name": folder.name, "id": run_id, "dir": str(folder), "resume": "allow"}
        try:
            self.run = wandb.init(**where, config=settings, settings=output)
        except wandb.Error as error:  # no account, no connection, or no access to the project
            message = " ".join(str(error).split())
            raise InputError(f"wandb does not begin ({message}): {INSTEAD}") from error

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.run.finish(exit_code=0 if kind is None else 1)

    def metrics(self, epoch: int, **numbers: Any) -> None:
        """Log the values that are numbers, each under its name."""
        self.run.log({k: v for k, v in numbers.items() if isinstance(v, int | float)}, step=epoch)

    def histogram(self, name: str, values: torch.Tensor, epoch: int) -> None:
        """Log a histogram of values [N]."""
        self.run.log({name: self.wandb.Histogram(values.float().cpu().numpy())}, step=epoch)

    def views(self, views: torch.Tensor, epoch: int) -> None:
        """Log the grid of views.png, made of views [n, V, 3, H, W] in [0, 1]."""
        self.run.log({"views": self.wandb.Image(grid(views))}, step=epoch)


class Boards(Board):
    """Several boards as one: each call goes to all of them."""

    def __init__(self, boards: list[Board]) -> None:
        super().__init__(None)
        self.boards = boards

    def __exit__(self, *error: object) -> None:
        for board in self.boards:
            board.__exit__(*error)

    def metrics(self, epoch: int, **numbers: Any) -> None:
        for board in self.boards:
            board.metrics(epoch, **numbers)

    def histogram(self, name: str, values: torch.Tensor, epoch: int) -> None:
        for board in self.boards:
            board.histogram(name, values, epoch)

    def views(self, views: torch.Tensor, epoch: int) -> None:
        for board in self.boards:
            board.views(views, epoch)
