"""Tables of a study's results."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from analysis.paired import compare
from analysis.table import difference_cell
from benchmarks.study.kept import PROBES, Results
from data.groups import COLUMNS, GROUPS
from utils.text import align

LAST = 5  # epochs over which a loss is averaged: that of the rare classes, of few images, is noisy


def runs_of(results: Results, name: str) -> list[dict[str, Any]]:
    """The records of the runs with this name, one a split."""
    return [record for (run, _), record in results.items() if run == name]


def table(results: Results, names: Iterable[str]) -> str:
    """Many, Medium, Few, Std and All of both probes, then precision and time of the runs; one row a run.

    With several splits: mean and standard deviation over them, and one table a probe. Else both probes side by side.
    val: the linear probe's accuracy on the validation list.
    """
    runs = {name: records for name in names if (records := runs_of(results, name))}
    if any(len(records) > 1 for records in runs.values()):
        parts = [f"{probe} probe\n\n{groups_table(runs, probe)}" for probe in PROBES]
    else:
        parts = [_side_by_side(runs)]
    rows = [("run", "val", "precision", "minutes in all", "s an epoch")]
    for name, records in runs.items():
        precision = "/".join(sorted({r["linear"]["pretraining"].get("precision") or "-" for r in records}))
        seconds = [duration for record in records for duration in _seconds(record["metrics"])]
        val = _cell([record["linear"]["best"]["val"] for record in records])
        minutes = f"{np.mean([record['minutes'] for record in records]):.0f}"
        rows.append((name, val, precision, minutes, f"{np.median(seconds):.0f}" if seconds else "-"))
    return "\n\n".join([*parts, f"how they were run\n\n{align(rows)}"])


def groups_table(runs: Mapping[str, list[dict[str, Any]]], probe: str) -> str:
    """Many, Medium, Few, Std and All of a probe, a row a run; runs: name -> its records, of runs_of."""
    rows = [("run", "splits", *COLUMNS)]
    for name, records in runs.items():
        splits = ",".join(str(record["split"]) for record in records)
        rows.append((name, splits, *(_cell([record[probe]["groups"][c] for record in records]) for c in COLUMNS)))
    return align(rows)


def differences(runs: Mapping[str, list[dict[str, Any]]], probe: str, baseline: str) -> str:
    """A row a run: its difference from `baseline` in each column, in percentage points, mean over the splits that both
    have, with its 95% interval and the p-value of the paired t-test (analysis/paired.py)."""
    rows = [("run", "splits", *COLUMNS)]
    of_baseline = {record["split"]: record[probe]["groups"] for record in runs[baseline]}
    for name, records in runs.items():
        both = [(r[probe]["groups"], of_baseline[r["split"]]) for r in records if r["split"] in of_baseline]
        if name == baseline or not both:
            continue
        tests = [compare([ours[c] for ours, _ in both], [theirs[c] for _, theirs in both]) for c in COLUMNS]
        rows.append((name, str(len(both)), *map(difference_cell, tests)))
    return align(rows)


def _side_by_side(runs: Mapping[str, list[dict[str, Any]]]) -> str:
    """groups_table of both probes as one table, each under the probe's name."""
    left, right = (groups_table(runs, probe).splitlines() for probe in PROBES)
    first, width = left[0].index(COLUMNS[0]), max(map(len, left))
    titles = " " * first + f"{PROBES[0]} probe".ljust(width - first)
    lines = [f"{a.ljust(width)}   {b[first:]}" for a, b in zip(left, right, strict=True)]
    return "\n".join([f"{titles}   {PROBES[1]} probe", *lines])


def _seconds(metrics: list[dict]) -> list[float]:
    """Seconds from the end of each epoch to the end of the next."""
    return np.diff([line["time"] for line in metrics if "time" in line]).tolist()


def _cell(values: list[float]) -> str:
    """The mean, with the standard deviation if there are several values."""
    deviation = f" ± {np.std(values):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{deviation}"


def loss_table(results: Results, names: Iterable[str]) -> str:
    """A row a run and group: the loss of pre-training on the group's images at the first epoch and at each quarter,
    averaged over splits and the LAST epochs up to there. '' if no run recorded it."""
    curves = {key: curve_of(record["metrics"]) for key, record in results.items()}
    curves = {key: curve for key, curve in curves.items() if curve}
    if not curves:
        return ""
    last = min(max(curve) for curve in curves.values())
    epochs = sorted({1, *(max(1, round(last * part / 4)) for part in range(1, 5))})
    rows = [("run", "group", *(f"epoch {epoch}" for epoch in epochs))]
    for name in names:
        of_splits = [curve for (run, _), curve in curves.items() if run == name]
        for place, group in enumerate(GROUPS if of_splits else ()):
            windows = [range(max(1, epoch - LAST + 1), epoch + 1) for epoch in epochs]
            values = [np.mean([curve[e][place] for curve in of_splits for e in window]) for window in windows]
            rows.append((name, group, *(f"{value:.3f}" for value in values)))
    return align(rows)


def curve_of(metrics: list[dict]) -> dict[int, list[float]]:
    """Epoch -> the loss of each of GROUPS, from the lines of metrics.jsonl that have it."""
    keys = [f"loss_{group.lower()}" for group in GROUPS]
    return {line["epoch"]: [line[key] for key in keys] for line in metrics if line.get(keys[0]) is not None}
