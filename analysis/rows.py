"""Find the experiments that were run, read their results, aggregate them over the splits."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from analysis.flags import CHOOSE, GROUP_AGAIN, Wanted
from analysis.read import Pretraining, read_pretraining, read_result, read_text
from data.groups import COLUMNS, summarise
from data.sets.base import DataSet, Split
from methods import label_of, method_in, method_of
from probe.protocols import PROBES, PROTOCOLS, supervised
from run.changes import HARMLESS, HASHES
from run.names import read_name
from split.flags import FETCH
from split.lists import known_sizes
from utils.errors import InputError

# Settings of a pre-training that may differ between the splits of one row: those that name the split and its files, and
# those of precision and speed. A table compares precision and augment by itself (analysis/read.py).
OF_A_SPLIT = {*HARMLESS, *HASHES, "precision", "augment", "memory_format", "tf32", "deterministic", "compile"}


@dataclass
class Row:
    """One method's results, by the number of the split; in table 4 of BCL's paper by that of the data set.

    values: {'Many', 'Medium', 'Few', 'Std', 'All'} in percent. results: read_result's 'per_class' in percent,
    'class_counts' in images, and more, with the classes of the 'groups'. folders: those of the pre-training and of the
    probe.
    """

    method: str
    values: dict[int, dict[str, float]] = field(default_factory=dict)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    folders: dict[int, tuple[Path, Path]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def mean_and_std(self) -> dict[str, tuple[float, float | None]]:
        """Mean and population standard deviation over the splits, as published; of one split no deviation."""
        columns = {c: [v[c] for v in self.values.values() if v[c] is not None] for c in COLUMNS}
        return {c: (float(np.mean(v)), float(np.std(v)) if len(v) > 1 else None) for c, v in columns.items() if v}


class Experiment(NamedTuple):
    """A probe that was run.

    method: its name. probe: of PROBES. epochs: of pre-training. recorded, named: two texts that are the same for all
    splits of one experiment, '' where they are not known: the settings of the pre-training that results.json has, and
    the folder's name without its split, where the recipes have given it.
    """

    folder: Path
    pretrained: Path
    split: Split
    method: str
    probe: str
    epochs: int
    recorded: str
    named: str


def probed(dataset: DataSet, root: Path) -> Path:
    """Folder of the probes, as the recipes name it."""
    return root / f"{dataset.checkpoints}_tune"


def experiments_of(dataset: DataSet, root: Path) -> list[Experiment]:
    """The probes of a data set's splits that were run, by what their results.json tells of the pre-training.

    Where it tells nothing (older ones, and the authors' logs), the folder's name does.
    """
    found = []
    for folder in sorted(probed(dataset, root).glob("*")):
        told, named = read_pretraining(folder), _by_name(dataset, folder)
        if told and folder.name != told.probe and (folder.parent / told.probe).is_dir():
            continue  # a copy
        found.append(_by_record(dataset, folder, told, named) if told else named)
    return [experiment for experiment in found if experiment]


def _by_name(dataset: DataSet, folder: Path) -> Experiment | None:
    name = read_name(folder.name, dataset.style)
    split = dataset.split_of(name.list) if name else None
    if split is None or name.labelled and not dataset.is_few_shot(name.labelled):
        return None
    method = method_in(name.method) if name.epochs else "untrained"
    probe = name.protocol or ("fewShot" if name.labelled else "linear")
    pretrained = folder.parents[1] / dataset.checkpoints / name.pretraining
    named = _with_any_split(folder, dataset, split)
    return Experiment(folder, pretrained, split, method, probe, name.epochs, "", named)


def _by_record(dataset: DataSet, folder: Path, told: Pretraining, named: Experiment | None) -> Experiment | None:
    """named: what the name tells, '' for a result of no known protocol."""
    split = dataset.split_of(told.list)
    if split is None or {told.dataset, told.pretrained_on} != {dataset.name}:
        return None
    if dataset.is_few_shot(told.labelled) and told.labelled != PurePath(dataset.few_shot_list(split)).name:
        return None  # of another split
    learned = supervised(told.protocol) and dataset.split_of(told.labelled)
    if learned and split.number and (learned.number, learned.shape) != (split.number, split.shape):
        return None  # on the labels of another split
    try:
        method = method_of(told.settings)
    except InputError:
        return None  # a method that there is not, or no longer
    probe, name = (named.probe, named.named) if named else ("", "")
    if told.protocol in PROTOCOLS:
        probe = PROTOCOLS[told.protocol].label
    usual = {"image_size": dataset.size}  # older records have None for it
    kept = sorted((k, v) for k, v in told.settings.items() if k not in OF_A_SPLIT and v not in (None, usual.get(k)))
    recorded = json.dumps([told.epochs, kept])
    pretrained = folder.parents[1] / dataset.checkpoints / told.experiment
    return Experiment(folder, pretrained, split, method, probe, told.epochs, recorded, name)


def _with_any_split(folder: Path, dataset: DataSet, split: Split) -> str:
    return folder.name.replace(dataset.split_name(*split), "*")


def collect(dataset: DataSet, methods: Sequence[str], probe: str, wanted: Wanted) -> dict[str, Row]:
    """Label of the method -> its row: every split's result, or where it was looked for.

    Args:
        methods: their names. probe: of PROBES.

    Raises:
        InputError: there are no lists of that shape, several settings match, a result is damaged or of another
            protocol, or the class sizes are unknown.
    """
    splits, rows = wanted.splits_of(dataset), {}
    found = [
        e
        for e in experiments_of(dataset, wanted.root)
        if e.probe == probe
        and e.split in splits
        and wanted.contains in e.folder.name
        and (wanted.experiments is None or e.pretrained.name in wanted.experiments)
        and (wanted.epochs in (None, e.epochs) or e.method == "untrained")
    ]
    for method in methods:
        label, own = label_of(method), [e for e in found if e.method == method]
        _check_one_setting(dataset, label, own)
        rows[label] = _row(dataset, label, {e.split: e for e in own}, probe, wanted)
    return rows


def _row(dataset: DataSet, label: str, experiments: dict[Split, Experiment], probe: str, wanted: Wanted) -> Row:
    row = Row(label)
    for split in wanted.splits_of(dataset):
        n, e = split.number, experiments.get(split)
        where = f"{label}, {f'split {n}' if len(dataset.splits) > 1 else dataset.split_name(*split)}"
        result = read_result(e.folder, PROBES[probe], dataset.classes, wanted.mix) if e else None
        if e is None:
            row.missing.append(f"{where}: nothing of it below {probed(dataset, wanted.root)}")
        elif result is None:
            row.missing.append(f"{where}: no result in {e.folder}")
        else:
            counts = result["class_counts"] or class_counts(dataset, e)
            groups = dataset.groups(counts)
            row.values[n] = summarise(result["per_class"], groups)
            row.results[n] = {**result, "class_counts": counts, "groups": groups}
            row.folders[n] = e.pretrained, e.folder
    return row


def _check_one_setting(dataset: DataSet, label: str, experiments: list[Experiment]) -> None:
    """Raise InputError if a split has several experiments, or two splits have other settings."""
    # Older results have no record, and other people's folders names of their own.
    known = [{e.recorded for e in experiments}, {e.named for e in experiments}, {str(e.epochs) for e in experiments}]
    splits = Counter(e.split for e in experiments)
    if any(len(texts - {""}) > 1 for texts in known) or max([0, *splits.values()]) > 1:
        names = ", ".join(sorted({_with_any_split(e.folder, dataset, e.split) for e in experiments}))
        raise InputError(f"several settings of {label} were run: {names}; {CHOOSE}")


def class_counts(dataset: DataSet, experiment: Experiment) -> list[int]:
    """Images per class of a split's long-tailed list: from the log of a pre-training on it, else from a published list.

    Raises:
        InputError: neither is here.
    """
    own, tailed = experiment.pretrained, dataset.tailed_list(experiment.split)
    # A balanced pre-training has another one, of the same split, beside it.
    others = (f for f in sorted(own.parent.glob("*")) if dataset.is_tailed(f.name))
    folders = [folder for folder in others if dataset.grouping_list(folder.name) == tailed]
    for log in (folder / "log.txt" for folder in ([own, *folders] if experiment.split.long_tailed else folders)):
        text = read_text(log) if log.is_file() else ""
        found = re.search(r"class distribution in training set is \[([^][]*)\]", text)
        words = found[1].replace(",", " ").split() if found else []
        if len(words) == dataset.classes and all(re.fullmatch(r"\d{1,9}(\.0*)?", word) for word in words):
            return [int(float(word)) for word in words]
        if found:
            raise InputError(f"{log} is damaged: its class distribution is not one of {dataset.classes} classes")
    if sizes := known_sizes(tailed, dataset):
        return sizes
    advice = f"run `{FETCH} {dataset.name}`" if dataset.labels_in_lists else GROUP_AGAIN
    raise InputError(f"class sizes of {tailed} are unknown: no distribution in {own / 'log.txt'}; {advice}")
