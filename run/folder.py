"""An experiment's folder: what a run resumes from it, when it saves there, and how a signal ends the run."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from run.board import events
from run.changes import OF_AN_EPOCH, changed_settings, within_epoch
from run.checkpoint import newest_checkpoint, previous_of, write_checkpoint
from run.flags import ACCEPT_CHANGES, RESUME, RESUME_OR_START_OVER, START_OVER, Saving
from run.lock import lock_for_all
from run.log import Log, forget_metrics
from run.meters import Meters
from run.parts import ODD, Part
from run.signals import Signals
from utils.distributed import World, gather_objects, wait_for_all
from utils.errors import InputError, Interrupted
from utils.files import replace_file

CHECKPOINTS = re.compile(r"model(\.previous|_\d+)?\.pt")
RUN_FILES = re.compile(rf"{CHECKPOINTS.pattern}|best_model\.pt|results\.json")  # where one is, there is a run
RESULTS = re.compile(r"best_model(\.previous)?\.pt|mask_\d+\.pt|results\.json|metrics\.jsonl|log\.txt|views\.png")


class Run:
    """A run and its folder: model.pt and model_<epoch>.pt; a resumed run ends as an undisturbed one, to the bit.

    A checkpoint is a dict: 'epoch', the number of finished epochs, an entry for each named part, and 'config', all
    settings. One that is written within epoch e has 'epoch' e - 1, the parts as they are after the last step, and
    'within': the meters, and the parts that exist only during an epoch.

    Args:
        parts: what a checkpoint holds, name -> part; they are loaded in this order.
        within: the parts of 'within'; they are loaded when that epoch begins again.
        resumable: whether --resume can go on from a checkpoint of this run.

    `notes` has the parts of the message on what the run starts from.
    """

    def __init__(
        self,
        saving: Saving,
        world: World,
        parts: dict[str, Part],
        within: dict[str, Part] | None = None,
        resumable: bool = True,
    ) -> None:
        self.saving, self.world, self.parts, self.parts_within = saving, world, parts, within or {}
        self.folder, self.resumable = saving.folder, resumable
        self.notes, self.signals = [], None
        self.interrupted: dict[str, Any] = {}  # 'within' of the checkpoint, until that epoch begins again
        self._numbered: Path | None = None  # the model_<epoch>.pt that is resumed, where it is newer than model.pt
        self._damaged, self._changed, self._stop = False, False, 0
        self._seen_files = self._run_files()

    @property
    def message(self) -> str:
        """What the run starts from."""
        return "; ".join(self.notes)

    def log_start(self, log: Log) -> None:
        """Log what the run starts from; as a warning where a checkpoint is damaged or settings have changed."""
        write = log.warn if self._damaged or self._changed else log.info
        write(self.message)

    def newest_checkpoint(self) -> tuple[Path, dict[str, Any]] | None:
        """The experiment's newest whole checkpoint, where --resume asks for it.

        Raises:
            InputError: the folder holds a run, and neither --resume nor --overwrite is given; or both are; or --resume
                finds a finished run without its checkpoints, or all of them are damaged.
        """
        saving, self._seen_files = self.saving, self._run_files()
        names, start = self._seen_files.keys(), saving.checkpoint
        if saving.resume and saving.overwrite:
            raise InputError("a run is either resumed or overwritten: choose one")
        if saving.overwrite and start and Path(start).parent.resolve() == self.folder.resolve():
            raise InputError(f"overwriting would remove {start}: copy it to another folder")
        if names and not saving.resume and not saving.overwrite:
            raise InputError(f"{self.folder} holds a run: {RESUME_OR_START_OVER}")
        if not saving.resume or not self.resumable:
            return None
        newest = newest_checkpoint(self.folder)
        if newest is None and "results.json" in names:
            raise InputError(f"{self.folder} has results but no checkpoint to resume: {START_OVER}")
        if newest is None:
            self.notes.append(f"nothing to resume in {self.folder}")
            return None
        path, content, problems = newest
        self._damaged, self._numbered = bool(problems), path if path.stem[6:].isdecimal() else None
        self.notes += [problems, f"using {path.name}"] if problems else []
        return path, content

    def compare(self, path: Path, content: dict[str, Any], *harmless: str) -> None:
        """Check that the settings are those of the checkpoint.

        Args:
            harmless: settings that may differ, besides those of run/changes.py.

        Raises:
            InputError: others differ, and --accept_changes is not given, or they would divide an epoch that has begun.
        """
        changes = changed_settings(content, self.saving.settings, harmless)
        problem = f"cannot resume from {path} with other settings: {'; '.join(changes.values())}"
        if changes and not self.saving.accept_changes:
            raise InputError(f"{problem}; {ACCEPT_CHANGES}")
        if within_epoch(content) and changes.keys() & OF_AN_EPOCH:
            raise InputError(f"{problem}: it stopped within an epoch, which they divide into other steps")
        self.notes += [f"{change} from here on" for change in changes.values()]
        self._changed = bool(changes)

    def epoch_of(self, path: Path, content: dict[str, Any]) -> int:
        """The number of epochs that are done at a checkpoint.

        Raises:
            InputError: the checkpoint does not say, or it is more than the run has.
        """
        epoch = content.get("epoch")
        if not isinstance(epoch, int | np.integer) or epoch < 0:
            raise InputError(f"cannot resume from {path}: its epoch is {epoch!r}")
        if epoch > self.saving.epochs:
            raise InputError(f"{path} is at epoch {epoch}, beyond the {self.saving.epochs} epochs of this run")
        return int(epoch)

    def load_checkpoint(self, path: Path, content: dict[str, Any]) -> int:
        """Load all parts, and the state of an interrupted epoch; returns the number of epochs that are done.

        Raises:
            InputError: the file is of another run, or damaged.
        """
        epoch = self.epoch_of(path, content)
        try:
            for name, part in self.parts.items():
                part.load_state_dict(content.get(name))
            self.interrupted = dict(content.get("within") or {})
        except (InputError, *ODD) as error:
            raise InputError(f"cannot resume from {path}: {error}") from error
        finished = " (finished)" * (epoch == self.saving.epochs)
        self.notes.append(f"resuming from {path} after epoch {epoch}{self._steps_done()}{finished}")
        return epoch

    def _steps_done(self) -> str:
        """The number of steps that are done of an interrupted epoch, in words; '' for none."""
        try:
            return f" and {int(self.interrupted['meters']['done'])} steps" if self.interrupted else ""
        except ODD:
            return ""

    def begin_epoch(
        self, steps: Callable[[], int], part_of: torch.Tensor | None = None, more: Sequence[str] = ()
    ) -> Meters:
        """Meters of the coming epoch; where it was interrupted, its state is loaded.

        Args:
            steps: gives its number of steps; called after the other parts are loaded. part_of, more: of Meters.

        Raises:
            InputError: the state does not fit.
        """
        within, self.interrupted = self.interrupted, {}
        try:
            if within:
                for name, part in self.parts_within.items():
                    part.load_state_dict(within[name])
            meters = Meters(steps(), part_of, more)
            if within:
                meters.load_state_dict(within["meters"])
        except (InputError, *ODD) as error:
            if not within:
                raise
            reason = f"what it had done of the epoch does not fit ({error})"
            raise InputError(f"cannot resume from {self.folder}: {reason}") from error
        return meters

    def _run_files(self) -> dict[str, tuple[int, int]]:
        """The files of a run that are in the folder: name -> time of the last change in ns, and size."""
        files = {}
        for path in self.folder.glob("*.*"):
            with suppress(FileNotFoundError):  # another run may be removing it
                if RUN_FILES.fullmatch(path.name):
                    files[path.name] = path.stat().st_mtime_ns, path.stat().st_size
        return files

    @contextmanager
    def alone(self, prepare: Callable[[], None] | None = None) -> Iterator[None]:
        """A context that holds the folder's lock; with --overwrite, the earlier run's files are removed first.

        Args:
            prepare: called by the main process, which makes more ready in the folder.

        Raises:
            InputError: another run has the folder, or the processes do not see the same files there.
        """
        with lock_for_all(self.folder, self.world):
            # Each process read the folder on its own, before it was locked.
            states = gather_objects((self.message, self._run_files() == self._seen_files))
            if not all(unchanged for _, unchanged in states):
                problem = f"another run has written to {self.folder} while this one was set up: start it again"
                raise InputError(problem) if self.world.main else SystemExit(2)
            if len({message for message, _ in states}) > 1:
                raise InputError("the processes found different checkpoints") if self.world.main else SystemExit(2)
            if self.world.main:
                self._prepare()
                if prepare:
                    prepare()
            wait_for_all()
            yield

    def _prepare(self) -> None:
        """Before the run, in the main process: remove what --overwrite removes; make model.pt the newest checkpoint."""
        if self.saving.overwrite:
            for path in [*self.folder.iterdir(), *events(self.folder)]:
                if path.parent != self.folder or CHECKPOINTS.fullmatch(path.name) or RESULTS.fullmatch(path.name):
                    path.unlink()
        if self._numbered:
            # model_<epoch>.pt is written before model.pt; the run was killed in between, perhaps after its last epoch.
            newest = self.folder / "model.pt"
            replace_file(newest, self._numbered.read_bytes(), None if self._damaged else previous_of(newest))

    def epochs(self, done: int) -> Iterator[int]:
        """The epochs after `done`, 1-based. Meanwhile a signal ends the run after the current step, which is saved.

        Raises:
            Interrupted: a signal has come after the last step.
        """
        if self.world.main:
            forget_metrics(self.folder, done)
        with Signals(self.world) as self.signals:
            yield from range(done + 1, self.saving.epochs + 1)
            # With several processes, a call returns the signals up to the call before, so it takes two.
            _ = self.signalled() or self.signalled()
        self.signals = None
        self._end_if_signalled("the last epoch")

    def signalled(self) -> int:
        """Exit code of a signal that has come, or 0; all processes must call it at the same place."""
        if self.signals and not self._stop:
            self._stop = self.signals.requested()
        return self._stop

    def stepped(self, epoch: int, meters: Meters, read: Callable[[], None]) -> None:
        """Called after each step of `epoch` by all processes: saves if a signal has come or save_steps are done.

        Args:
            read: reads the meters; called before saving.

        Raises:
            Interrupted: a signal has come; all is saved.
        """
        stopping, every, done = self.signalled(), self.saving.save_steps, meters.done
        due = every and done % every == 0 and done != meters.steps  # after the last one, the epoch's own is written
        if stopping or due:
            read()
            within = {"meters": meters.state_dict(), **{name: p.state_dict() for name, p in self.parts_within.items()}}
            self.write({**self.content(epoch - 1), "within": within}, "model.pt")
        self._end_if_signalled(f"epoch {epoch}, step {meters.done} of {meters.steps}")

    def save(self, epoch: int) -> None:
        """Write the checkpoints that are due after `epoch`; all processes call it, the main one writes.

        Raises:
            Interrupted: a signal has come; model.pt is of this epoch.
        """
        saving, last = self.saving, epoch == self.saving.epochs
        numbered = bool(saving.numbered) and epoch % saving.numbered == 0 or saving.last_numbered and last
        names = [f"model_{epoch}.pt"] if numbered else []
        if self.signalled() or names or last or epoch % saving.every == 0:
            self.write(self.content(epoch), *names, "model.pt")
        self._end_if_signalled(f"epoch {epoch}")

    def _end_if_signalled(self, where: str) -> None:
        """End the run if a signal has come, after everything was saved."""
        if self._stop:
            if self.signals:
                self.signals.settle()
            wait_for_all()
            raise Interrupted(self._stop, f"saved after {where} in {self.folder}; {RESUME}")

    def content(self, epoch: int) -> dict[str, Any]:
        """The content of a checkpoint after `epoch`; all processes call it."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        present = {name: state for name, state in states.items() if state is not None}
        return {"epoch": epoch, **present, "config": self.saving.settings}

    def write(self, content: dict[str, Any], *names: str) -> None:
        """Write a checkpoint under each of the names, in the main process; the file it replaces becomes previous."""
        if not self.world.main:
            return
        for name in names:
            path = self.folder / name
            # A damaged model.pt must not replace the whole model.previous.pt.
            kept = name == "best_model.pt" or name == "model.pt" and not self._damaged
            write_checkpoint(path, content, previous_of(path) if kept else None)
            self._damaged = self._damaged and name != "model.pt"
