"""Find the experiments that were run, read their results, and average these over the splits."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from analysis.flags import CHOOSE, GROUP_AGAIN, OTHER_IMAGES, Wanted
from analysis.read import Pretraining, own_images_of, read_pretraining, read_result, read_text
from data.groups import COLUMNS, summarise
from data.sets.base import DataSet, Split
from data.views.strength import default_floor
from methods import label_of, method_in, method_of
from probe.protocols import PROBES, PROTOCOLS, supervised
from run.changes import HARMLESS, HASHES
from run.names import read_name
from split.flags import FETCH
from split.lists import known_sizes
from utils.errors import InputError
from utils.text import one_line

# Settings of a pre-training that may differ between the splits of one row: those that name the split and its files, and
# those of precision and speed. check_alike compares precision and augment for the whole table.
OF_A_SPLIT = {*HARMLESS, *HASHES, "precision", "augment", "memory_format", "tf32", "deterministic", "compile"}

LONGEST = 100  # letters of the names of classes in a message


@dataclass
class Row:
    """One method's results, by the number of the split; in table 4 of BCL's paper by the number of the column.

    values: {'Many', 'Medium', 'Few', 'Std', 'All'} in percent. results: what read_result returns, with 'class_counts'
    and 'groups', group -> its classes. folders: of the pre-training and of the probe. missing: a line for each result
    that there is not. left_out: a line on results of other own images, if there are such.
    """

    method: str
    values: dict[int, dict[str, float]] = field(default_factory=dict)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    folders: dict[int, tuple[Path, Path]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def mean_and_std(self) -> dict[str, tuple[float, float | None]]:
        """Mean and population standard deviation (ddof 0) over the splits, as published; no deviation of one split."""
        columns = {c: [v[c] for v in self.values.values() if v[c] is not None] for c in COLUMNS}
        return {c: (float(np.mean(v)), float(np.std(v)) if len(v) > 1 else None) for c, v in columns.items() if v}


class Experiment(NamedTuple):
    """A probe that was run.

    method: its name. probe: a key of PROBES. epochs: of pre-training. recorded, named: texts that are the same for all
    splits of a row, '' where they are not known: the settings of the pre-training by results.json, and the folder's
    name without its split if it is a name that the recipes give. images: of own images, which ones (FolderSet.folder);
    '' where they are not known.
    """

    folder: Path
    pretrained: Path
    split: Split
    method: str
    probe: str
    epochs: int
    recorded: str
    named: str
    images: str = ""


def probed(dataset: DataSet, root: Path) -> Path:
    """The folder in which the recipes keep a data set's probes."""
    return root / f"{dataset.checkpoints}_tune"


def experiments_of(dataset: DataSet, root: Path) -> list[Experiment]:
    """The probes of a data set's splits that were run, by the pre-training that their results.json records.

    Where it records none (older files, and the authors' logs), by the folder's name.
    """
    experiments = []
    for folder in sorted(probed(dataset, root).glob("*")):
        pretraining, by_name = read_pretraining(folder), _by_name(dataset, folder)
        if pretraining and folder.name != pretraining.probe and (folder.parent / pretraining.probe).is_dir():
            continue  # a copy of that folder
        experiments.append(_by_record(dataset, folder, pretraining, by_name) if pretraining else by_name)
    known = [experiment for experiment in experiments if experiment]
    return [e._replace(images=own_images_of(e.folder)) for e in known] if dataset.own else known


def _by_name(dataset: DataSet, folder: Path) -> Experiment | None:
    """The experiment that the folder's name describes; None for a name that no recipe of the data set gives."""
    name = read_name(folder.name, dataset.style)
    split = dataset.split_of(name.list) if name else None
    if split is None or name.labelled and not dataset.is_few_shot(name.labelled):
        return None
    method = method_in(name.method) if name.epochs else "untrained"
    probe = name.protocol or ("fewShot" if name.labelled else "linear")
    pretrained = folder.parents[1] / dataset.checkpoints / name.pretraining
    named = _with_any_split(folder, dataset, split)
    return Experiment(folder, pretrained, split, method, probe, name.epochs, "", named)


def _by_record(
    dataset: DataSet, folder: Path, pretraining: Pretraining, by_name: Experiment | None
) -> Experiment | None:
    """The experiment that results.json records; None for another data set, another split's labels, an unknown method.

    Args:
        by_name: that of the folder's name, which tells the probe where the recorded protocol is unknown.
    """
    split = dataset.split_of(pretraining.list)
    if split is None or {pretraining.dataset, pretraining.pretrained_on} != {dataset.name}:
        return None
    few_shot_list = PurePath(dataset.few_shot_list(split)).name
    if dataset.is_few_shot(pretraining.labelled) and pretraining.labelled != few_shot_list:
        return None
    labelled = supervised(pretraining.protocol) and dataset.split_of(pretraining.labelled)
    if labelled and split.number and (labelled.number, labelled.shape) != (split.number, split.shape):
        return None
    try:
        method = method_of(pretraining.settings)
    except InputError:
        return None  # an unknown method, perhaps of an older version
    probe, named = (by_name.probe, by_name.named) if by_name else ("", "")
    if pretraining.protocol in PROTOCOLS:
        probe = PROTOCOLS[pretraining.protocol].label
    items, rand = pretraining.settings.items(), [pretraining.settings.get(k) for k in ("rand_k", "rand_strength")]
    # Older records have None for these.
    defaults = {"image_size": dataset.size}
    if all(isinstance(value, int | float) for value in rand):
        defaults["rand_floor"] = default_floor(*rand)
    settings = sorted((k, v) for k, v in items if k not in OF_A_SPLIT and v not in (None, defaults.get(k)))
    recorded = json.dumps([pretraining.epochs, settings])
    pretrained = folder.parents[1] / dataset.checkpoints / pretraining.experiment
    return Experiment(folder, pretrained, split, method, probe, pretraining.epochs, recorded, named)


def _with_any_split(folder: Path, dataset: DataSet, split: Split) -> str:
    """The folder's name with `*` for the split."""
    return folder.name.replace(dataset.split_name(*split), "*")


def collect(dataset: DataSet, methods: Sequence[str], probe: str, wanted: Wanted) -> dict[str, Row]:
    """Label of the method -> its row: each split's result, or a line that it is missing and where it was looked for.

    Args:
        methods: their names. probe: a key of PROBES.

    Raises:
        InputError: there are no lists of that shape, several settings match, a result is damaged or of another
            protocol, or the class sizes are unknown.
    """
    splits, rows = wanted.splits_of(dataset), {}
    experiments = [
        e
        for e in experiments_of(dataset, wanted.root)
        if e.probe == probe
        and e.split in splits
        and wanted.contains in e.folder.name
        and (wanted.experiments is None or e.pretrained.name in wanted.experiments)
        and (wanted.epochs in (None, e.epochs) or e.method == "untrained")
    ]
    for method in methods:
        label, of_method = label_of(method), [e for e in experiments if e.method == method]
        # Folders of one name share a folder of checkpoints.
        others = [e for e in of_method if dataset.own and e.images not in ("", dataset.folder) and not wanted.mix]
        of_images = [e for e in of_method if e not in others]
        _check_one_setting(dataset, label, of_images)
        rows[label] = _row(dataset, label, {e.split: e for e in of_images}, probe, wanted)
        if others:
            names = ", ".join(e.folder.name for e in others)
            rows[label].left_out.append(f"{label}: results of other images are left out: {names}; {OTHER_IMAGES}")
    return rows


def _row(dataset: DataSet, label: str, experiments: dict[Split, Experiment], probe: str, wanted: Wanted) -> Row:
    row = Row(label)
    for split in wanted.splits_of(dataset):
        n, experiment = split.number, experiments.get(split)
        name = f"{label}, {f'split {n}' if len(dataset.splits) > 1 else dataset.split_name(*split)}"
        if experiment is None:
            row.missing.append(f"{name}: nothing of it below {probed(dataset, wanted.root)}")
            continue
        result = read_result(experiment.folder, PROBES[probe], dataset.classes, wanted.mix)
        if result is None:
            row.missing.append(f"{name}: no result in {experiment.folder}")
            continue
        counts = result["class_counts"] or class_counts(dataset, experiment)
        groups = dataset.groups(counts)
        row.values[n] = summarise(result["per_class"], groups)
        row.results[n] = {**result, "class_counts": counts, "groups": groups, **_own(dataset, experiment, result)}
        row.folders[n] = experiment.pretrained, experiment.folder
    return row


def _own(dataset: DataSet, experiment: Experiment, result: dict[str, Any]) -> dict[str, Any]:
    """What a result of own images has in place of its kind and notes: the classes, and which images if others."""
    if not dataset.own:
        return {}
    names = result["class_names"]
    text = ", ".join(map(one_line, names or []))
    if len(text) > LONGEST:
        digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:8]
        text = f"{text[:LONGEST]}…, SHA-256 {digest}"
    classes = f"{len(result['per_class'])} classes, {text or 'names not told'}"
    other = experiment.images not in ("", dataset.folder)
    notes = {f"images are {experiment.images}, not {dataset.folder}"} if other else set()
    return {"kind": result["kind"] | {"classes": classes}, "notes": result["notes"] | notes}


def _check_one_setting(dataset: DataSet, label: str, experiments: list[Experiment]) -> None:
    """Raise InputError if a split has several experiments, or splits have different settings."""
    # One of the texts may be unknown: older results have no record, and a folder may have any name.
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
    pretrained, tailed_list = experiment.pretrained, dataset.tailed_list(experiment.split)
    # Also from other pre-trainings on that list, which a balanced pre-training may have beside it.
    tailed = (folder for folder in sorted(pretrained.parent.glob("*")) if dataset.is_tailed(folder.name))
    folders = [folder for folder in tailed if dataset.grouping_list(folder.name) == tailed_list]
    if experiment.split.long_tailed:
        folders.insert(0, pretrained)
    for log in (folder / "log.txt" for folder in folders):
        text = read_text(log) if log.is_file() else ""
        found = re.search(r"class distribution in training set is \[([^][]*)\]", text)
        words = found[1].replace(",", " ").split() if found else []
        if len(words) == dataset.classes and all(re.fullmatch(r"\d{1,9}(\.0*)?", word) for word in words):
            return [int(float(word)) for word in words]
        if found:
            raise InputError(f"{log} is damaged: its class distribution is not one of {dataset.classes} classes")
    if sizes := known_sizes(tailed_list, dataset):
        return sizes
    advice = f"run `{FETCH} {dataset.name}`" if dataset.labels_in_lists else GROUP_AGAIN
    raise InputError(f"class sizes of {tailed_list} are unknown: no distribution in {pretrained / 'log.txt'}; {advice}")
