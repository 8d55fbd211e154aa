"""Weights & Biases: the numbers of metrics.jsonl, and what is no number, as TensorBoard has them.

    train_simCLR.py EXPERIMENT ... --wandb PROJECT
    WANDB_MODE=offline train_simCLR.py EXPERIMENT ... --wandb PROJECT; wandb sync checkpoints/EXPERIMENT/wandb/offline-*

The package wandb is no requirement. What it keeps lies in `wandb/` of the experiment's folder.
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
    """Logs to a run of Weights & Biases; steps are epochs. A context manager.

    Args:
        folder: the experiment's. project: of Weights & Biases. settings: what is shown as the run's configuration.
        resume: go on as the run that the experiment was before. Epochs that it has, and that are run again, keep
            their numbers, which come out the same.
        quiet: wandb itself says nothing on the terminal.

    Raises:
        InputError: the package cannot be imported, or refuses to begin; its folder cannot be written.
    """

    def __init__(
        self, folder: Path, project: str, settings: dict[str, Any], resume: bool = False, quiet: bool = False
    ) -> None:
        super().__init__(None)
        try:
            import wandb  # takes a while, which others need not wait
        except ImportError as error:
            raise InputError(f"wandb cannot be imported ({error}): `python -m pip install wandb`") from error
        self.wandb, own = wandb, folder / "wandb"
        with writing(own):
            own.mkdir(parents=True, exist_ok=True)
            named = own / "id.txt"
            if not (resume and named.is_file()):
                named.write_text(uuid.uuid4().hex[:16])
            name = named.read_text().strip()
        how = wandb.Settings(console="off", silent=quiet)
        where = {"project": project, "name": folder.name, "id": name, "dir": str(folder), "resume": "allow"}
        try:
            self.run = wandb.init(**where, config=settings, settings=how)
        except wandb.Error as error:  # no account, no connection, no right to the project
            told = " ".join(str(error).split())
            raise InputError(f"wandb does not begin ({told}): {INSTEAD}") from error

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.run.finish(exit_code=0 if kind is None else 1)

    def metrics(self, epoch: int, **numbers: Any) -> None:
        """The numbers among the values, each under its name."""
        self.run.log({k: v for k, v in numbers.items() if isinstance(v, int | float)}, step=epoch)

    def histogram(self, name: str, values: torch.Tensor, epoch: int) -> None:
        """Of values [N]."""
        self.run.log({name: self.wandb.Histogram(values.float().cpu().numpy())}, step=epoch)

    def views(self, views: torch.Tensor, epoch: int) -> None:
        """The grid of views.png, of views [n, V, 3, H, W] in [0, 1]."""
        self.run.log({"views": self.wandb.Image(grid(views))}, step=epoch)


class Boards(Board):
    """Several boards as one: each is told what this one is."""

    def __init__(self, boards: list[Board]) -> None:
        super().__init__(None)
        self.boards = boards

    def __exit__(self, *how: object) -> None:
        for board in self.boards:
            board.__exit__(*how)

    def metrics(self, epoch: int, **numbers: Any) -> None:
        for board in self.boards:
            board.metrics(epoch, **numbers)

    def histogram(self, name: str, values: torch.Tensor, epoch: int) -> None:
        for board in self.boards:
            board.histogram(name, values, epoch)

    def views(self, views: torch.Tensor, epoch: int) -> None:
        for board in self.boards:
            board.views(views, epoch)
