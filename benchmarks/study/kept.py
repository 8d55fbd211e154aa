"""What a run of a study leaves in `results/STUDY/splitN/RUN/`, and runs one after the other.

results.json of each probe as PROBE.json, metrics.jsonl of the pre-training, and run.json, which is written last: where
it is, the run is complete.
"""

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from models.published import from_published, has_dual_batch_norm, to_backbone
from run.checkpoint import read_checkpoint
from utils.errors import InputError
from utils.files import PROJECT, replace_file

PROBES = ("linear", "few-shot")
Results = dict[tuple[str, int], dict[str, Any]]  # (run, split) -> what it left


def one_thread() -> dict[str, str]:
    """The environment of a run: one thread, and this Python."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable}


def steps_of(command: Sequence[str]) -> list[list[str]]:
    """The command lines of the steps of a recipe's script, which begin with this project's Python.

    Raises:
        InputError: the script refuses its options.
    """
    said = subprocess.run(command, env=os.environ | {"DRY_RUN": "1"}, capture_output=True, text=True, check=False)
    if said.returncode:
        raise InputError(f"a recipe ended with code {said.returncode}: {said.stderr.strip()}")
    return [shlex.split(line) for line in said.stdout.splitlines()]


def folder_of(words: Sequence[str]) -> Path:
    """The folder of the experiment of a command line."""
    name = next(word for before, word in zip(words, words[1:], strict=False) if before.endswith(".py"))
    return Path(words[words.index("--save-dir") + 1]) / name


def folders(steps: Sequence[Sequence[str]]) -> tuple[Path, dict[str, Path]]:
    """Of the command lines of a recipe: the folder of pre-training, and of PROBES those of both probes."""
    pretraining, *probes = map(folder_of, steps)
    return pretraining, dict(zip(PROBES, probes, strict=True))


def run_program(words: Sequence[str]) -> int:
    """Run a command in the project's folder with one thread; returns its exit code."""
    return subprocess.run(words, cwd=PROJECT, env=one_thread(), stdin=subprocess.DEVNULL, check=False).returncode


def run_steps(commands: Iterable[Sequence[str]], seconds: Path, what: str) -> None:
    """Run the commands of a run one after the other, and count their time.

    Args:
        seconds: the file of `counted`. what: the run, for the message.

    Raises:
        InputError: one failed.
    """
    for words in commands:
        with counted(seconds):
            code = run_program(words)
        if code:
            raise InputError(f"{what} ended with code {code}; the same command goes on")


def run_all(wanted: Iterable[tuple[str, int]], run_one: Callable[[str, int], None], jobs: int) -> None:
    """Call run_one(name, split) of each run, so many at a time.

    Raises:
        InputError: the first that failed; the others have been run.
    """
    with ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(run_one, name, split) for name, split in wanted]
        try:
            for each in runs:
                each.result()
        except (KeyboardInterrupt, SystemExit):  # no run of the queue begins
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextlib.contextmanager
def counted(path: Path) -> Iterator[None]:
    """Add the seconds that are spent inside to those in a file, so that a run of several starts has the time of all."""
    begun = time.monotonic()
    try:
        yield
    finally:
        replace_file(path, json.dumps(_seconds(path) + time.monotonic() - begun).encode())


def _seconds(path: Path) -> float:
    """Of `counted`."""
    return float(json.loads(path.read_bytes())) if path.exists() else 0.0


def keep(out: Path, told: dict[str, Any], pretraining: Path | None, probes: Mapping[str, Path], seconds: Path) -> None:
    """Copy what a run left to `out`.

    Args:
        told: for run.json: 'name', 'split', and how it was run. pretraining: folder of its experiment; None where it is
            of another study. probes: name, as PROBES, to the folder of its experiment. seconds: the file of `counted`.
    """
    lines = [json.loads(line) for line in _lines(pretraining / "metrics.jsonl")] if pretraining else []
    if lines:
        replace_file(out / "metrics.jsonl", (pretraining / "metrics.jsonl").read_bytes())
    for probe, folder in probes.items():
        replace_file(out / f"{probe}.json", json.dumps(_public(folder / "results.json"), indent=1).encode())
    each = np.diff([line["time"] for line in lines])
    times = {
        "minutes": round(_seconds(seconds) / 60, 1),
        "seconds_per_epoch": round(float(np.median(each)), 2) if len(each) else None,
    }
    replace_file(out / "run.json", json.dumps(told | times, indent=1).encode())


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def _public(path: Path) -> dict[str, Any]:
    """A results.json without paths of this machine, which are nobody's business."""
    result = json.loads(path.read_bytes())
    told = result["pretraining"] = {k: v for k, v in (result["pretraining"] or {}).items() if k != "settings"}
    if isinstance(told.get("list"), dict):
        told["list"]["name"] = Path(told["list"]["name"]).name
    learned = result.get("supervised") or {}
    if learned.get("ce"):
        learned["ce"] = Path(learned["ce"]).name
    return result | {"checkpoint": Path(result["checkpoint"]).name}


def write_encoder(checkpoint: Path, out: Path) -> None:
    """The dense branch's backbone of a checkpoint of pre-training, without head, for safetensors."""
    from safetensors.torch import save_file  # here, as a GPU machine's own Python may lack it

    state = from_published(read_checkpoint(checkpoint)["state_dict"])
    backbone = to_backbone(state, 0 if has_dual_batch_norm(state) else -1)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in backbone.items()}, out)


def results_in(folder: Path) -> Results:
    """What runs have left: (name, split) -> run.json's content, under the name of each probe its results, and under
    'metrics' the lines of metrics.jsonl."""
    found = {}
    for path in sorted(folder.glob("split*/*/run.json")):
        told = json.loads(path.read_bytes())
        told |= {probe.stem: json.loads(probe.read_bytes()) for probe in path.parent.glob("*.json") if probe != path}
        told["metrics"] = [json.loads(line) for line in _lines(path.parent / "metrics.jsonl")]
        found[told["name"], told["split"]] = told
    return found


def some_results_in(folder: Path) -> Results:
    """results_in, where there are any.

    Raises:
        InputError: there is none.
    """
    if not (found := results_in(folder)):
        raise InputError(f"{folder} has no result yet")
    return found


def run_missing(
    options: argparse.Namespace, run_one: Callable[[str, int], None], wanted: Iterable[tuple[str, int]] | None = None
) -> None:
    """run_all of the runs that have left no result.

    Args:
        options: of benchmarks.study.flags. wanted: (run, split) of those that are asked for; by default each of
            options.runs on each of options.splits.

    Raises:
        InputError: a run failed, or a result is there that was made with other settings, such as another number of
            epochs: they would share a table.
    """
    there = results_in(options.out)
    for (name, split), told in there.items():
        other = {key: value for key, value in told.items() if getattr(options, key, value) != value}
        if name == "untrained":
            other.pop("epochs", None)
        for key, value in other.items():
            told_of = f"{options.out} has {name} of split {split} with {key} {value}, not {getattr(options, key)}"
            raise InputError(f"{told_of}: move it, or choose another folder for results")
    wanted = wanted or [(name, split) for split in options.splits for name in options.runs]
    run_all([run for run in wanted if run not in there], run_one, options.jobs)


def run_study(
    options: argparse.Namespace,
    run_one: Callable[[str, int, argparse.Namespace], None],
    write_table: Callable[[Path], str],
    wanted: Iterable[tuple[str, int]] | None = None,
) -> None:
    """What a study's program does: run what is missing, unless only the table is asked for, and print the table.

    Args:
        options: of benchmarks.study.flags. run_one: of a run's name and split, and the options. write_table: of the
            folder of results. wanted: as run_missing takes it.

    Raises:
        InputError: as run_missing; or there is no result.
    """
    if not options.table:
        run_missing(options, lambda name, split: run_one(name, split, options), wanted)
    print(write_table(options.out), end="")
