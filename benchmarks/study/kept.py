"""Runs the steps of a study's runs, and keeps their results in `results/STUDY/splitN/RUN/`.

A folder has results.json of each probe as PROBE.json, metrics.jsonl of the pre-training, and run.json. That one is
written last, so a run with a run.json is complete.
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
Results = dict[tuple[str, int], dict[str, Any]]  # (run, split) -> its record, see results_in


def one_thread() -> dict[str, str]:
    """The environment variables of a run: one thread, and this Python."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable}


def steps_of(command: Sequence[str]) -> list[list[str]]:
    """The command lines of a recipe's steps, as its script prints them with DRY_RUN=1; the first word is this Python.

    Raises:
        InputError: the script refuses its options.
    """
    done = subprocess.run(command, env=os.environ | {"DRY_RUN": "1"}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"a recipe ended with code {done.returncode}: {done.stderr.strip()}")
    return [shlex.split(line) for line in done.stdout.splitlines()]


def folder_of(words: Sequence[str]) -> Path:
    """The folder of the experiment that a training script's command line names."""
    name = next(word for before, word in zip(words, words[1:], strict=False) if before.endswith(".py"))
    return Path(words[words.index("--save-dir") + 1]) / name


def folders(steps: Sequence[Sequence[str]]) -> tuple[Path, dict[str, Path]]:
    """The experiments' folders in a recipe's command lines: the pre-training's, and {name in PROBES: the probe's}."""
    pretraining, *probes = map(folder_of, steps)
    return pretraining, dict(zip(PROBES, probes, strict=True))


def run_program(words: Sequence[str]) -> int:
    """Run a command in the project's folder with one thread; returns its exit code."""
    return subprocess.run(words, cwd=PROJECT, env=one_thread(), stdin=subprocess.DEVNULL, check=False).returncode


def run_steps(commands: Iterable[Sequence[str]], seconds: Path, run: str) -> None:
    """Run the commands of a run one after the other, and count their time.

    Args:
        seconds: the file of `counted`. run: its name in the error message.

    Raises:
        InputError: one failed.
    """
    for words in commands:
        with counted(seconds):
            code = run_program(words)
        if code:
            raise InputError(f"{run} ended with code {code}; the same command goes on")


def run_all(wanted: Iterable[tuple[str, int]], run_one: Callable[[str, int], None], jobs: int) -> None:
    """Call run_one(name, split) for each run, `jobs` of them at a time.

    Raises:
        InputError: of the first run that failed; all other runs have been run to their end by then.
    """
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run_one, name, split) for name, split in wanted]
        try:
            for future in futures:
                future.result()
        except (KeyboardInterrupt, SystemExit):  # queued runs must not start any more
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextlib.contextmanager
def counted(path: Path) -> Iterator[None]:
    """Add the seconds spent inside to the number in a file: an interrupted run then has the time of all its parts."""
    start = time.monotonic()
    try:
        yield
    finally:
        replace_file(path, json.dumps(_seconds(path) + time.monotonic() - start).encode())


def _seconds(path: Path) -> float:
    """The number in a file of `counted`; 0 if there is none."""
    return float(json.loads(path.read_bytes())) if path.exists() else 0.0


def keep(
    out: Path, record: dict[str, Any], pretraining: Path | None, probes: Mapping[str, Path], seconds: Path
) -> None:
    """Copy the results of a run to `out`.

    Args:
        record: content of run.json: 'name', 'split' and the settings. pretraining: folder of its experiment; None if
            it belongs to another study. probes: probe -> folder of its experiment. seconds: the file of `counted`.
    """
    lines = [json.loads(line) for line in _lines(pretraining / "metrics.jsonl")] if pretraining else []
    if lines:
        replace_file(out / "metrics.jsonl", (pretraining / "metrics.jsonl").read_bytes())
    for probe, folder in probes.items():
        replace_file(out / f"{probe}.json", json.dumps(_public(folder / "results.json"), indent=1).encode())
    epoch_seconds = np.diff([line["time"] for line in lines])
    times = {
        "minutes": round(_seconds(seconds) / 60, 1),
        "seconds_per_epoch": round(float(np.median(epoch_seconds)), 2) if len(epoch_seconds) else None,
    }
    replace_file(out / "run.json", json.dumps(record | times, indent=1).encode())


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def _public(path: Path) -> dict[str, Any]:
    """A results.json without paths of the machine, which must not be published."""
    result = json.loads(path.read_bytes())
    pretraining = {k: v for k, v in (result["pretraining"] or {}).items() if k != "settings"}
    result["pretraining"] = pretraining
    if isinstance(pretraining.get("list"), dict):
        pretraining["list"]["name"] = Path(pretraining["list"]["name"]).name
    supervised = result.get("supervised") or {}
    if supervised.get("ce"):
        supervised["ce"] = Path(supervised["ce"]).name
    return result | {"checkpoint": Path(result["checkpoint"]).name}


def write_encoder(checkpoint: Path, out: Path) -> None:
    """Write the backbone in a pre-training's checkpoint, of SDCLR the dense branch's, as a safetensors file."""
    from safetensors.torch import save_file  # here: benchmarks.gpu_study runs where it may be missing

    state = from_published(read_checkpoint(checkpoint)["state_dict"])
    backbone = to_backbone(state, 0 if has_dual_batch_norm(state) else -1)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in backbone.items()}, out)


def results_in(folder: Path) -> Results:
    """(run, split) -> its record: the content of run.json, with the result of each probe under the probe's name, and
    the lines of metrics.jsonl under 'metrics'."""
    results = {}
    for path in sorted(folder.glob("split*/*/run.json")):
        record = json.loads(path.read_bytes())
        record |= {probe.stem: json.loads(probe.read_bytes()) for probe in path.parent.glob("*.json") if probe != path}
        record["metrics"] = [json.loads(line) for line in _lines(path.parent / "metrics.jsonl")]
        results[record["name"], record["split"]] = record
    return results


def some_results_in(folder: Path) -> Results:
    """results_in, of which there must be at least one.

    Raises:
        InputError: there is none.
    """
    if not (results := results_in(folder)):
        raise InputError(f"{folder} has no result yet")
    return results


def of_whole_splits(results: Results) -> tuple[Results, str]:
    """The results of the splits on which every run was made, as a mean over others would compare unlike splits.

    Returns:
        All results where no split has every run; and a line on what is left out, '' for nothing.
    """
    names, runs_on = {name for name, _ in results}, {}
    for name, split in results:
        runs_on.setdefault(split, set()).add(name)
    partial = {split: names - made for split, made in runs_on.items() if made != names}
    if not partial or partial.keys() == runs_on.keys():
        return results, ""
    lacking = "; ".join(f"split {split} lacks {', '.join(sorted(partial[split]))}" for split in sorted(partial))
    whole = {key: record for key, record in results.items() if key[1] not in partial}
    return whole, f"Left out, until all runs of a split are there: {lacking}"


def run_missing(
    options: argparse.Namespace, run_one: Callable[[str, int], None], wanted: Iterable[tuple[str, int]] | None = None
) -> None:
    """run_all of the runs that have no result yet.

    Args:
        options: of benchmarks.study.flags. wanted: (run, split) of the runs that are asked for; by default each of
            options.runs on each of options.splits.

    Raises:
        InputError: a run failed, or there is a result with other settings, such as another number of epochs, which
            must not share a table with the new ones.
    """
    results = results_in(options.out)
    for (name, split), record in results.items():
        different = {key: value for key, value in record.items() if getattr(options, key, value) != value}
        if name == "untrained":
            different.pop("epochs", None)
        for key, value in different.items():
            problem = f"{options.out} has {name} of split {split} with {key} {value}, not {getattr(options, key)}"
            raise InputError(f"{problem}: move it, or choose another folder for results")
    wanted = wanted or [(name, split) for split in options.splits for name in options.runs]
    run_all([run for run in wanted if run not in results], run_one, options.jobs)


def run_study(
    options: argparse.Namespace,
    run_one: Callable[[str, int, argparse.Namespace], None],
    write_table: Callable[[Path], str],
    wanted: Iterable[tuple[str, int]] | None = None,
) -> None:
    """The main program of a study: run what is missing, unless only the table is asked for, and print the table.

    Args:
        options: of benchmarks.study.flags. run_one: takes a run's name, its split and the options. write_table: takes
            the folder of results. wanted: as run_missing's.

    Raises:
        InputError: as run_missing; or there is no result.
    """
    if not options.table:
        run_missing(options, lambda name, split: run_one(name, split, options), wanted)
    print(write_table(options.out), end="")
