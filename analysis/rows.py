"""Find experiments by their published names, read their results, aggregate them over the splits."""

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.flags import CHOOSE
from analysis.read import read_result, read_text
from data.groups import COLUMNS, summarise
from data.sets.base import DataSet
from data.sets.memory import load
from methods import label_of, method_in
from probe.protocols import FEATURE_PROTOCOLS, PROBES
from split.counts import imagenet_100
from split.ensure import ensure_list, known_list
from split.flags import FETCH
from split.lists import read_list, read_path_list
from utils.errors import InputError


@dataclass
class Row:
    """One method's results: per split {'Many', 'Medium', 'Few', 'Std', 'All'}, in percent, and what they are of.

    Also per split: `results`, read_result's 'per_class' in percent, 'class_counts' in images, and more, with the
    classes of the 'groups'; `folders`, those of the pre-training and of the probe.
    """

    method: str
    values: dict[int, dict[str, float]] = field(default_factory=dict)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    folders: dict[int, tuple[Path, Path]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)

    def mean_and_std(self) -> dict[str, tuple[float, float | None]]:
        """Mean and population standard deviation over the splits, as published; of one split no deviation."""
        columns = {c: [v[c] for v in self.values.values() if v[c] is not None] for c in COLUMNS}
        return {c: (float(np.mean(v)), float(np.std(v)) if len(v) > 1 else None) for c, v in columns.items() if v}


def folders_of(spec: DataSet, root: Path) -> tuple[Path, Path]:
    """Folders of pre-training and probes, as the recipes name them."""
    return root / spec.checkpoints, root / f"{spec.checkpoints}_tune"


class Names(NamedTuple):
    """Name of a split's experiments, and the probe's folder as a glob and as a regular expression."""

    base: str
    glob: str
    pattern: re.Pattern


def names_of(spec: DataSet, split: int, long_tailed: bool, probe: str, shape: str) -> Names:
    """Names of the experiments on a split; see collect.

    Raises:
        InputError: there are no lists of that shape.
    """
    base = spec.split_name(split, long_tailed, shape)
    if spec.style == "imagenet":
        few_shot = f"{spec.few_shot}_" if probe == "fewShot" else ""
        before = rf"{base}_res.+_epoch(?P<epochs>\d+)_batch\d+(?P<suffix>(?:_(?!_).*)?)"
        start, after, glob = f"{base}_res*", rf"{re.escape(few_shot)}lr[\d.]+_.*", f"{few_shot}lr*"
    else:
        kind, few_shot = "D_i" if long_tailed else "D_b", f"{base}_S_b_" if probe == "fewShot" else ""
        before = rf".+_epoch(?P<epochs>\d+)_{re.escape(base)}_{kind}_newNT_s\d+(?P<suffix>.*)"
        start, after, glob = f"*{base}_{kind}*", rf"{re.escape(few_shot)}f2layer4_.*", f"{few_shot}f2layer4_*"
    if probe in FEATURE_PROTOCOLS:
        after = glob = probe
    return Names(base, f"{start}__{glob}", re.compile(f"(?P<pre>{before})__{after}"))


def collect(
    spec: DataSet,
    root: Path,
    method: str,
    probe: str,
    splits: list[int],
    long_tailed: bool,
    contains: str = "",
    data: str = "",
    epochs: int | None = None,
    shape: str = "",
    experiments: list[str] | None = None,
    mix: bool = False,
) -> Row:
    """One method's row: every split's result, or where it was looked for.

    Args:
        root: folder of the checkpoints folders. method: its name. probe: of PROBES.
        long_tailed: pre-trained on D_i (LT), else on D_b (BL).
        contains: a part of the names, where several settings were run.
        data: folder of the data set, for class sizes that no file has. epochs: of pre-training, where several ran.
        shape: of the lists where it is not the published one, as in their names: `imb50`, `pareto6_imb100`.
        experiments: names of the pre-trainings to take, None for any. mix: take results of another protocol, too.

    Raises:
        InputError: several settings match, a result is damaged or of another protocol, or the class sizes are unknown.
    """
    pretrained, probed = folders_of(spec, root)
    label = label_of(method)
    row, settings = Row(label), set()
    for split in splits:
        base, glob, pattern = names_of(spec, split, long_tailed, probe, shape)
        where = f"split {split}" if len(spec.splits) > 1 else base
        found = []
        for folder in sorted(probed.glob("*")):
            match = pattern.fullmatch(folder.name)
            wanted = match and contains in folder.name and _method_of(match) == method
            wanted = wanted and (experiments is None or match["pre"] in experiments)
            if wanted and (epochs is None or method == "untrained" or int(match["epochs"]) == epochs):
                found.append((folder, match["pre"]))
        if not found:
            row.missing.append(f"{label}, {where}: nothing like {probed / glob}")
        for folder, pre in found:
            settings.add(folder.name.replace(base, "*"))
            if len(settings) > 1:
                names = ", ".join(sorted(settings))
                raise InputError(f"several settings of {label} were run: {names}; {CHOOSE}")
            result = read_result(folder, PROBES[probe], spec.classes, mix)
            if result is None:
                row.missing.append(f"{label}, {where}: no result in {folder}")
                continue
            counts = result["class_counts"] or class_counts(spec, base, pretrained / pre, data)
            groups = spec.groups(counts)
            row.values[split] = summarise(result["per_class"], groups)
            row.results[split] = {**result, "class_counts": counts, "groups": groups}
            row.folders[split] = pretrained / pre, folder
            row.notes |= result["notes"]
    return row


def collect_as_told(
    args: argparse.Namespace, spec: DataSet, method: str, probe: str, long_tailed: bool, shape: str
) -> Row:
    """collect of what exp_analyse.py's flags choose."""
    splits = list(spec.splits) if len(spec.splits) == 1 or not args.splits else args.splits
    only = (args.contains, args.data, args.epochs, shape, args.experiments, args.mix)
    return collect(spec, args.root, method, probe, splits, long_tailed, *only)


def _method_of(match: re.Match) -> str:
    if int(match["epochs"]) == 0:
        return "untrained"
    return method_in(match["suffix"])


def class_counts(spec: DataSet, split: str, pretrained: Path, data: str) -> list[int]:
    """Images per class of a split's D_i: from the pre-training log, else from the list and the labels.

    For image files, `split` is the list of the pre-training; the sizes are of the long-tailed list of its pair.

    Raises:
        InputError: neither is here.
    """
    log = pretrained / "log.txt"
    if spec.is_tailed(pretrained.name) and log.is_file():
        match = re.search(r"class distribution in training set is \[([^][]*)\]", read_text(log))
        words = match.group(1).replace(",", " ").split() if match else []
        if len(words) == spec.classes and all(re.fullmatch(r"\d{1,9}(\.0*)?", word) for word in words):
            return [int(float(word)) for word in words]
        if match:
            raise InputError(f"{log} is damaged: its class distribution is not one of {spec.classes} classes")
    if spec.style == "imagenet":
        tailed = spec.grouping_list(f"{split}_res")
        if spec.name == "imagenet-100":
            return imagenet_100()[1].tolist()
        # Generated lists give a class another size than the authors' do, so only theirs will do.
        path = known_list(spec, tailed)
        chosen = read_path_list(path, spec) if path else None
        if chosen is None or chosen.source != "published":
            why = f"no distribution in {log}; run `{FETCH} {spec.name}`"
            raise InputError(f"class sizes of {tailed} are unknown: {why}")
        return np.bincount(chosen.labels, minlength=spec.classes).tolist()
    try:
        labels = load(spec, data, train=True).labels
    except InputError as error:
        raise InputError(f"class sizes of {split} are unknown: no distribution in {log}; {error}") from error
    chosen = read_list(ensure_list(spec.split_list(f"{split}_D_i"), spec, labels), spec, labels=labels)
    return np.bincount(chosen.labels, minlength=spec.classes).tolist()
