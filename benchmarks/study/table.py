"""Tables of a study's results."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from analysis.paired import compare
from analysis.table import difference_cell
from benchmarks.study.kept import PROBES, Results
from data.groups import COLUMNS, GROUPS
from utils.text import align

LAST = 5  # epochs whose mean loss is shown: a few images of the rare classes make it noisy


def runs_of(results: Results, name: str) -> list[dict[str, Any]]:
    """What the runs of a name have left, a split each."""
    return [told for (of, _), told in results.items() if of == name]


def table(results: Results, names: Iterable[str]) -> str:
    """Many, Medium, Few, Std and All of both probes, then how the runs were made; a row a run.

    Of several splits the mean and the standard deviation over them, and a part for each probe; else both side by side.
    val: the linear probe's accuracy on the validation list.
    """
    runs = {name: found for name in names if (found := runs_of(results, name))}
    if any(len(each) > 1 for each in runs.values()):
        parts = [f"{probe} probe\n\n{groups_table(runs, probe)}" for probe in PROBES]
    else:
        parts = [_side_by_side(runs)]
    lines = [("run", "val", "precision", "minutes in all", "s an epoch")]
    for name, each in runs.items():
        precision = "/".join(sorted({told["linear"]["pretraining"].get("precision") or "-" for told in each}))
        seconds = [between for told in each for between in _seconds(told["metrics"])]
        val = _cell([told["linear"]["best"]["val"] for told in each])
        minutes = f"{np.mean([told['minutes'] for told in each]):.0f}"
        lines.append((name, val, precision, minutes, f"{np.median(seconds):.0f}" if seconds else "-"))
    return "\n\n".join([*parts, f"how they were run\n\n{align(lines)}"])


def groups_table(runs: Mapping[str, list[dict[str, Any]]], probe: str) -> str:
    """Many, Medium, Few, Std and All of a probe, a row a run; `runs` are of runs_of, by name."""
    lines = [("run", "splits", *COLUMNS)]
    for name, each in runs.items():
        splits = ",".join(str(told["split"]) for told in each)
        lines.append((name, splits, *(_cell([told[probe]["groups"][c] for told in each]) for c in COLUMNS)))
    return align(lines)


def differences(runs: Mapping[str, list[dict[str, Any]]], probe: str, baseline: str) -> str:
    """A row a run: what it has more than `baseline` in each column, in percent points, mean over the splits that both
    have, with its 95% interval and the p-value of the paired t-test (analysis/paired.py)."""
    lines = [("run", "splits", *COLUMNS)]
    of_baseline = {told["split"]: told[probe]["groups"] for told in runs[baseline]}
    for name, each in runs.items():
        both = [(told[probe]["groups"], of_baseline[told["split"]]) for told in each if told["split"] in of_baseline]
        if name == baseline or not both:
            continue
        pairs = [compare([ours[c] for ours, _ in both], [theirs[c] for _, theirs in both]) for c in COLUMNS]
        lines.append((name, str(len(both)), *map(difference_cell, pairs)))
    return align(lines)


def _side_by_side(runs: Mapping[str, list[dict[str, Any]]]) -> str:
    """groups_table of both probes in one, under their names."""
    left, right = (groups_table(runs, probe).splitlines() for probe in PROBES)
    first, width = left[0].index(COLUMNS[0]), max(map(len, left))
    titles = " " * first + f"{PROBES[0]} probe".ljust(width - first)
    lines = [f"{one.ljust(width)}   {two[first:]}" for one, two in zip(left, right, strict=True)]
    return "\n".join([f"{titles}   {PROBES[1]} probe", *lines])


def _seconds(metrics: list[dict]) -> list[float]:
    """From the end of each epoch to that of the next."""
    return np.diff([line["time"] for line in metrics if "time" in line]).tolist()


def _cell(values: list[float]) -> str:
    """A mean, and of several values the standard deviation."""
    deviation = f" ± {np.std(values):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{deviation}"


def loss_table(results: Results, names: Iterable[str]) -> str:
    """A row a run and group: the loss of pre-training on its images, mean over splits, at the first epoch, at each
    quarter and at the end; of the LAST epochs up to there. '' where no run has told it."""
    curves = {key: curve_of(told["metrics"]) for key, told in results.items()}
    curves = {key: curve for key, curve in curves.items() if curve}
    if not curves:
        return ""
    last = min(max(curve) for curve in curves.values())
    epochs = sorted({1, *(max(1, round(last * part / 4)) for part in range(1, 5))})
    lines = [("run", "group", *(f"epoch {epoch}" for epoch in epochs))]
    for name in names:
        runs = [curve for (of, _), curve in curves.items() if of == name]
        for place, group in enumerate(GROUPS if runs else ()):
            windows = [range(max(1, epoch - LAST + 1), epoch + 1) for epoch in epochs]
            values = [np.mean([curve[e][place] for curve in runs for e in window]) for window in windows]
            lines.append((name, group, *(f"{value:.3f}" for value in values)))
    return align(lines)


def curve_of(metrics: list[dict]) -> dict[int, list[float]]:
    """Epoch -> the loss of each of GROUPS, of the lines of metrics.jsonl that tell it."""
    keys = [f"loss_{group.lower()}" for group in GROUPS]
    return {line["epoch"]: [line[key] for key in keys] for line in metrics if line.get(keys[0]) is not None}
