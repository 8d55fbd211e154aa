"""How many epochs of some recipes fit into a limited time, estimated from a short trial run of each."""

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
SHARE = 0.93  # of the time is planned, as estimates may be too low
NAME = "plan.json"


class Plan(NamedTuple):
    """`epochs` of each method that fit, and the measured seconds behind it: method -> pre-training; each probe."""

    epochs: int
    pretraining: dict[str, Pace]
    probes: list[Pace]

    def __str__(self) -> str:
        methods = ", ".join(f"{name} {pace.epoch:.2f} s" for name, pace in self.pretraining.items())
        probes = " and ".join(f"{pace.epoch:.2f} s" for pace in self.probes)
        return f"{self.epochs} epochs of each method; an epoch takes {methods}, of the probes {probes}"


def measure(trials: dict[str, list[list[str]]], clock: Clock) -> tuple[dict[str, Pace], list[Pace]]:
    """Time the pre-training of each method, and each probe, which costs the same for all, with the first method.

    Args:
        trials: method -> command lines of its pre-training, of TRIAL epochs, and of its probes, of PROBE_TRIAL epochs;
            none of them may have been started before.

    Raises:
        InputError: one fails, or the clock's time ends before it does.
    """
    pretraining, probes = {}, []
    for method, (first, *others) in trials.items():
        pretraining[method] = pace_of(first, os.environ, clock.left)
        probes = probes or [pace_of(words, os.environ, clock.left) for words in others]
    return pretraining, probes


def fit(pretraining: dict[str, Pace], probes: Sequence[Pace], probe_epochs: Sequence[int], seconds: float) -> int:
    """The largest number of epochs, equal for all methods, that fits with the methods' probes into `seconds`; or 0."""
    of_probes = sum(pace.seconds(epochs) for pace, epochs in zip(probes, probe_epochs, strict=True))
    fixed = sum(pace.start + of_probes for pace in pretraining.values())
    return max(0, int((seconds - fixed) / sum(pace.epoch for pace in pretraining.values())))


def seconds_planned(pretraining: dict[str, Pace], calls: int, clock: Clock) -> float:
    """Seconds for runs in `calls` calls of the clock's length.

    At the end of each call but the last, a run is stopped, which takes up to GRACE, and has to start again.
    """
    stops = (calls - 1) * (GRACE + max(pace.start for pace in pretraining.values()))
    return SHARE * calls * clock.seconds - clock.spent - stops


def planned(folders: Sequence[Path], make: Callable[[], Plan]) -> Plan:
    """The plan in the first folder that has one, else a new one of `make`; it is written to all folders.

    Raises:
        InputError: the plan is damaged, or none can be made.
    """
    path = next((folder / NAME for folder in folders if (folder / NAME).exists()), None)
    plan = _read(path) if path else make()
    for folder in folders:
        replace_file(folder / NAME, json.dumps(plan._asdict(), indent=1).encode())
    return plan


def _read(path: Path) -> Plan:
    try:
        content = json.loads(path.read_bytes())
        paces = {name: Pace(*map(float, pace)) for name, pace in content["pretraining"].items()}
        return Plan(int(content["epochs"]), paces, [Pace(*map(float, pace)) for pace in content["probes"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: remove it, and a new plan is made") from error
