"""An experiment's folder: what a run takes up from it, when it saves there, and how a signal ends it."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from run.board import events
from run.changes import OF_AN_EPOCH, changed_settings
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
    """A run and its folder: model.pt every so many epochs and steps, model_<epoch>.pt, resumed to the bit.

    A checkpoint is a dict: 'epoch', how many are finished, an entry for each named part, and 'config', all settings.
    One that is written within epoch e has epoch e - 1, the parts as they are after its last step, and 'within': the
    meters, and the parts that there are only during an epoch.

    Args:
        parts: what a checkpoint holds, name -> part; they are taken up in this order.
        within: those of 'within'; they are loaded when that epoch begins again.
        resumable: whether --resume has a checkpoint of its own to go on from.

    `told` has the parts of the message on what the run starts from.
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
        self.told, self.signals = [], None
        self.interrupted: dict[str, Any] = {}  # 'within' of the checkpoint, until that epoch begins again
        self._numbered: Path | None = None  # what is resumed, where it is newer than model.pt
        self._damaged, self._changed, self._stop = False, False, 0
        self._seen_files = self._run_files()

    @property
    def message(self) -> str:
        """What the run starts from."""
        return "; ".join(self.told)

    def tell(self, log: Log) -> None:
        """Log what the run starts from; as a warning where that is not what was asked for."""
        tell = log.warn if self._damaged or self._changed else log.info
        tell(self.message)

    def own(self) -> tuple[Path, dict[str, Any]] | None:
        """The experiment's newest whole checkpoint, where --resume asks for it.

        Raises:
            InputError: the folder holds a run, and neither --resume nor --overwrite is given; or both are; or --resume
                finds a finished run without its checkpoints, or all of them are damaged.
        """
        how, self._seen_files = self.saving, self._run_files()
        names = self._seen_files.keys()
        if how.resume and how.overwrite:
            raise InputError("a run is either resumed or overwritten: choose one")
        if how.overwrite and how.checkpoint and Path(how.checkpoint).parent.resolve() == self.folder.resolve():
            raise InputError(f"overwriting would remove {how.checkpoint}: copy it to another folder")
        if names and not how.resume and not how.overwrite:
            raise InputError(f"{self.folder} holds a run: {RESUME_OR_START_OVER}")
        if not how.resume or not self.resumable:
            return None
        found = newest_checkpoint(self.folder)
        if found is None and "results.json" in names:
            raise InputError(f"{self.folder} has results but no checkpoint to resume: {START_OVER}")
        if found is None:
            self.told.append(f"nothing to resume in {self.folder}")
            return None
        path, content, reasons = found
        self._damaged, self._numbered = bool(reasons), path if path.stem[6:].isdecimal() else None
        self.told += [reasons, f"using {path.name}"] if reasons else []
        return path, content

    def compare(self, path: Path, content: dict[str, Any], *harmless: str) -> None:
        """Check that the run goes on with the settings it had.

        Args:
            harmless: settings that are others without harm.

        Raises:
            InputError: they are others, and --accept_changes is not given or is no help.
        """
        changes = changed_settings(content, self.saving.settings, harmless)
        told = f"cannot resume from {path} with other settings: {'; '.join(changes.values())}"
        if changes and not self.saving.accept_changes:
            raise InputError(f"{told}; {ACCEPT_CHANGES}")
        if content.get("within") and changes.keys() & OF_AN_EPOCH:
            raise InputError(f"{told}: it stopped within an epoch, which they divide into other steps")
        self.told += [f"{change} from here on" for change in changes.values()]
        self._changed = bool(changes)

    def epoch_of(self, path: Path, content: dict[str, Any]) -> int:
        """The epochs that are done after a checkpoint.

        Raises:
            InputError: it does not say, or they are more than the run has.
        """
        epoch = content.get("epoch")
        if not isinstance(epoch, int | np.integer) or epoch < 0:
            raise InputError(f"cannot resume from {path}: its epoch is {epoch!r}")
        if epoch > self.saving.epochs:
            raise InputError(f"{path} is at epoch {epoch}, beyond the {self.saving.epochs} epochs of this run")
        return int(epoch)

    def take_up(self, path: Path, content: dict[str, Any]) -> int:
        """Load all parts, and what an epoch had done; returns the epochs that are done.

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
        self.told.append(f"resuming from {path} after epoch {epoch}{self._steps_done()}{finished}")
        return epoch

    def _steps_done(self) -> str:
        """Steps that are done of an interrupted epoch, in words."""
        try:
            return f" and {int(self.interrupted['meters']['done'])} steps" if self.interrupted else ""
        except ODD:
            return ""

    def begin_epoch(
        self, steps: Callable[[], int], part_of: torch.Tensor | None = None, more: Sequence[str] = ()
    ) -> Meters:
        """Meters of the coming epoch; takes up what was done of it before an interruption.

        Args:
            steps: how many it has, asked once all else is taken up. part_of, more: as Meters takes them.

        Raises:
            InputError: that does not fit.
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
        found = {}
        for path in self.folder.glob("*.*"):
            with suppress(FileNotFoundError):  # another run may be removing it
                if RUN_FILES.fullmatch(path.name):
                    found[path.name] = path.stat().st_mtime_ns, path.stat().st_size
        return found

    @contextmanager
    def alone(self, prepare: Callable[[], None] | None = None) -> Iterator[None]:
        """Inside, the folder is this run's, and with --overwrite what it held is gone.

        Args:
            prepare: what else the main process makes ready in the folder.

        Raises:
            InputError: another run has the folder, or the processes do not see the same files there.
        """
        with lock_for_all(self.folder, self.world):
            # Each process has read the files by itself, before the folder was locked.
            found = gather_objects((self.message, self._run_files() == self._seen_files))
            if not all(unchanged for _, unchanged in found):
                told = f"another run has written to {self.folder} while this one was set up: start it again"
                raise InputError(told) if self.world.main else SystemExit(2)
            if len({message for message, _ in found}) > 1:
                raise InputError("the processes found different checkpoints") if self.world.main else SystemExit(2)
            if self.world.main:
                self._prepare()
                if prepare:
                    prepare()
            wait_for_all()
            yield

    def _prepare(self) -> None:
        """Before the run, of the main process alone: remove what --overwrite removes; let model.pt be the newest."""
        if self.saving.overwrite:
            for path in [*self.folder.iterdir(), *events(self.folder)]:
                if path.parent != self.folder or CHECKPOINTS.fullmatch(path.name) or RESULTS.fullmatch(path.name):
                    path.unlink()
        if self._numbered:
            # It is written before model.pt, and the run was killed in between, perhaps after its last epoch.
            newest = self.folder / "model.pt"
            replace_file(newest, self._numbered.read_bytes(), None if self._damaged else previous_of(newest))

    def epochs(self, done: int) -> Iterator[int]:
        """The epochs after `done`, 1-based; until they are over, a signal ends the run after a step, saved.

        Raises:
            Interrupted: a signal has come after the last step.
        """
        if self.world.main:
            forget_metrics(self.folder, done)
        with Signals(self.world) as self.signals:
            yield from range(done + 1, self.saving.epochs + 1)
            # Several processes hear at the second call of what one of them had at the first.
            _ = self.signalled() or self.signalled()
        self.signals = None
        self._end_if_signalled("the last epoch")

    def signalled(self) -> int:
        """Exit code of a signal that has come, or 0; to be asked by all processes at the same place."""
        if self.signals and not self._stop:
            self._stop = self.signals.requested()
        return self._stop

    def stepped(self, epoch: int, meters: Meters, read: Callable[[], None]) -> None:
        """To be called after each step of `epoch` by all processes: saves where it is time to.

        Args:
            read: reads the meters, which precedes saving.

        Raises:
            Interrupted: a signal has come; all is saved.
        """
        stopping, last = self.signalled(), meters.done == meters.steps  # then the epoch's own checkpoint comes next
        every = self.saving.save_steps
        if stopping or not last and every and meters.done % every == 0:
            read()
            within = {"meters": meters.state_dict(), **{name: p.state_dict() for name, p in self.parts_within.items()}}
            self.write({**self.content(epoch - 1), "within": within}, "model.pt")
        self._end_if_signalled(f"epoch {epoch}, step {meters.done} of {meters.steps}")

    def save(self, epoch: int) -> None:
        """Write what is due after `epoch`, in all processes; the main one writes.

        Raises:
            Interrupted: a signal has come; model.pt is of this epoch.
        """
        how, last = self.saving, epoch == self.saving.epochs
        due = bool(how.numbered) and epoch % how.numbered == 0 or how.last_numbered and last
        names = [f"model_{epoch}.pt"] if due else []
        if self.signalled() or names or last or epoch % how.every == 0:
            self.write(self.content(epoch), *names, "model.pt")
        self._end_if_signalled(f"epoch {epoch}")

    def _end_if_signalled(self, where: str) -> None:
        """End the run if a signal has come; everything is saved."""
        if self._stop:
            if self.signals:
                self.signals.settle()
            wait_for_all()
            raise Interrupted(self._stop, f"saved after {where} in {self.folder}; {RESUME}")

    def content(self, epoch: int) -> dict[str, Any]:
        """What a checkpoint holds after `epoch`; all processes call it."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        held = {name: state for name, state in states.items() if state is not None}
        return {"epoch": epoch, **held, "config": self.saving.settings}

    def write(self, content: dict[str, Any], *names: str) -> None:
        """Write a checkpoint under each of the names, and keep the model.pt that was there; the main process does."""
        if not self.world.main:
            return
        for name in names:
            path = self.folder / name
            # A damaged model.pt must not take the place of the whole one before it.
            kept = name == "best_model.pt" or name == "model.pt" and not self._damaged
            write_checkpoint(path, content, previous_of(path) if kept else None)
            self._damaged = self._damaged and name != "model.pt"
