"""How a number was made: what results.json records of the probe and of its pre-training; paths are shortened."""

import json
from pathlib import Path
from typing import Any

from analysis.curves import read_curve
from analysis.read import LARGEST
from analysis.report.markup import Html, folded, joined, tag
from analysis.report.tables import made_id
from analysis.rows import Row
from analysis.table import Table
from probe.protocols import PROBES, PROTOCOLS
from run.made import short_text
from utils.files import read_file
from utils.text import duration

UNKNOWN = "not recorded"


def how_made(table: Table, key: str) -> Html:
    """A list of the runs of each method behind a table's numbers; '' where there are none."""
    methods = [
        tag("div", *_runs(table, row), id=made_id(key, row.method)) for row in table.rows.values() if row.results
    ]
    return folded("How these numbers were made", *methods, class_="made") if methods else Html("")


def _runs(table: Table, row: Row) -> list[Html]:
    """An element for each split of a row or, in a table of transfer, for each data set."""
    runs, transfer = [], PROTOCOLS[PROBES.get(table.protocol, table.protocol)].transfer
    for n, result in row.results.items():
        record = read_record(result["file"])
        part = str(record.get("dataset")) if transfer else f"split {n}" if n else ""
        name = ", ".join(filter(None, [row.method, part]))
        probe, pretraining = _of_probe(record, result["file"]), _of_pretraining(record, row.folders[n][0])
        precision, commit = str(record.get("precision") or UNKNOWN), f"commit {_provenance(record, 'git')}"
        summary = joined(tag("strong", name), f" {', '.join([precision, commit, probe['time']])}")
        sections = [
            tag("section", tag("h4", heading), _list(lines))
            for heading, lines in (("Probe", probe), ("Pre-training", pretraining))
        ]
        runs.append(folded(summary, *sections))
    return runs


def read_record(file: Path) -> dict[str, Any]:
    """The content of results.json; {} for a log, or where it cannot be read."""
    if file.suffix != ".json":
        return {}
    try:
        record = json.loads(read_file(file, LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _list(lines: dict[str, str]) -> Html:
    """A list of names and texts; commands and commits are code."""
    code = ("command", "commit")
    pairs = [
        (tag("dt", name), tag("dd", tag("code", text) if name in code and text != UNKNOWN else text))
        for name, text in lines.items()
    ]
    return tag("dl", *(part for pair in pairs for part in pair))


def _of_probe(record: dict[str, Any], file: Path) -> dict[str, str]:
    """Lines on the probe, name -> text."""
    protocol = f"{record['protocol']}, version {record.get('protocol_version')}" if record.get("protocol") else ""
    seconds = record.get("seconds")
    lists = record.get("lists") if isinstance(record.get("lists"), dict) else {}
    return {
        "record": file.name if record else "a log in the authors' format",
        "protocol": _text(protocol),
        **_code_and_machine(record),
        "precision": _text(record.get("precision")),
        "seed": _text(record.get("seed")),
        "lists": "; ".join(f"{name}: {_list_text(entry)}" for name, entry in lists.items() if entry) or UNKNOWN,
        "time": duration(seconds) if isinstance(seconds, int | float) else UNKNOWN,
    }


def _of_pretraining(record: dict[str, Any], folder: Path) -> dict[str, str]:
    """Lines on the pre-training in `folder`, name -> text."""
    pretraining = record.get("pretraining") if isinstance(record.get("pretraining"), dict) else {}
    seconds = read_curve(folder, "train_s")  # of training, by epoch
    complete = seconds and len(seconds) == pretraining.get("epochs")
    return {
        "method": _text(pretraining.get("method")),
        "epochs": _text(pretraining.get("epochs")),
        **_code_and_machine(pretraining),
        "precision": _text(pretraining.get("precision")),
        "views": _text(pretraining.get("augment")),
        "list": _list_text(pretraining.get("list")),
        "time": f"{duration(sum(seconds.values()))} of training" if complete else UNKNOWN,
    }


def _code_and_machine(record: dict[str, Any]) -> dict[str, str]:
    """Lines on command, commit, versions and machine, for a probe's record or a pre-training's."""
    libraries = {name: _provenance(record, name) for name in ("python", "torch", "torchvision")}
    versions = ", ".join(f"{name} {version}" for name, version in libraries.items() if version != UNKNOWN)
    lines = {"command": _provenance(record, "command"), "commit": _provenance(record, "git")}
    return {**lines, "versions": versions or UNKNOWN, "machine": _provenance(record, "machine")}


def _provenance(record: dict[str, Any], name: str) -> str:
    provenance = record.get("provenance")
    return _text(provenance.get(name) if isinstance(provenance, dict) else None)


def _list_text(entry: Any) -> str:
    """Name, hash and source of a list, by its entry in a record."""
    if not isinstance(entry, dict):
        return UNKNOWN
    name = Path(str(entry.get("path") or entry.get("name") or "")).name
    parts = [name, f"SHA-1 {entry['sha1']}" if entry.get("sha1") else "", str(entry.get("source") or "")]
    return short_text(", ".join(filter(None, parts))) or UNKNOWN


def _text(value: Any) -> str:
    return UNKNOWN if value is None or value == "" else short_text(str(value))
