"""How many epochs of some recipes fit into the time that there is, by a trial of a few."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu.measure import Clock
from benchmarks.study.timed import GRACE, Pace, pace_of
from utils.errors import InputError
from utils.files import replace_file

TRIAL = 3  # epochs of pre-training
PROBE_TRIAL = 11  # epochs of a probe: two rounds of the few-shot probe's tests
SHARE = 0.93  # of the time that is planned for
NAME = "plan.json"


class Plan(NamedTuple):
    """What fits: `epochs` of each method; seconds as they were measured, of pre-training by method, and of a probe."""

    epochs: int
    pretraining: dict[str, Pace]
    probes: list[Pace]

    def __str__(self) -> str:
        each = ", ".join(f"{name} {pace.epoch:.2f} s" for name, pace in self.pretraining.items())
        probes = " and ".join(f"{pace.epoch:.2f} s" for pace in self.probes)
        return f"{self.epochs} epochs of each method; an epoch takes {each}, of the probes {probes}"


def measure(trials: dict[str, list[list[str]]], clock: Clock) -> tuple[dict[str, Pace], list[Pace]]:
    """What pre-training takes by method, and each probe, which are those of the first method.

    Args:
        trials: method -> command lines of pre-training and probes, of TRIAL and PROBE_TRIAL epochs, not begun before.

    Raises:
        InputError: one fails, or the time is over before its end.
    """
    pretraining, probes = {}, []
    for method, (first, *others) in trials.items():
        pretraining[method] = pace_of(first, os.environ, clock.left)
        probes = probes or [pace_of(words, os.environ, clock.left) for words in others]
    return pretraining, probes


def fit(pretraining: dict[str, Pace], probes: Sequence[Pace], probe_epochs: Sequence[int], seconds: float) -> int:
    """The most epochs, the same of each method, that fit with both probes of each into so many seconds; 0 for none."""
    of_probes = sum(pace.seconds(epochs) for pace, epochs in zip(probes, probe_epochs, strict=True))
    fixed = sum(pace.start + of_probes for pace in pretraining.values())
    return max(0, int((seconds - fixed) / sum(pace.epoch for pace in pretraining.values())))


def seconds_planned(pretraining: dict[str, Pace], calls: int, clock: Clock) -> float:
    """Of so many calls of the clock's time, what is left for runs: each stop takes GRACE, and a start once more."""
    stops = (calls - 1) * (GRACE + max(pace.start for pace in pretraining.values()))
    return SHARE * calls * clock.seconds - clock.spent - stops


def planned(folders: Sequence[Path], make: Callable[[], Plan]) -> Plan:
    """The plan that the first of some folders has, or a new one; all have it then.

    Raises:
        InputError: one is damaged, or none can be made.
    """
    path = next((folder / NAME for folder in folders if (folder / NAME).exists()), None)
    found = _read(path) if path else make()
    for folder in folders:
        replace_file(folder / NAME, json.dumps(found._asdict(), indent=1).encode())
    return found


def _read(path: Path) -> Plan:
    try:
        told = json.loads(path.read_bytes())
        paces = {name: Pace(*map(float, pace)) for name, pace in told["pretraining"].items()}
        return Plan(int(told["epochs"]), paces, [Pace(*map(float, pace)) for pace in told["probes"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: remove it, and a new plan is made") from error
