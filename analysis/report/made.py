"""How a number was made: what results.json tells of the probe and of its pre-training, without folders of a machine."""

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
    """A list of the runs of each method behind a table's numbers; '' where it has none."""
    methods = [
        tag("div", *_runs(table, row), id=made_id(key, row.method)) for row in table.rows.values() if row.results
    ]
    return folded("How these numbers were made", *methods, class_="made") if methods else Html("")


def _runs(table: Table, row: Row) -> list[Html]:
    """Each split of a row or, where its columns are data sets, each of these."""
    found, transfer = [], PROTOCOLS[PROBES.get(table.protocol, table.protocol)].transfer
    for n, result in row.results.items():
        told = read_record(result["file"])
        of = str(told.get("dataset")) if transfer else f"split {n}" if n else ""
        name = ", ".join(filter(None, [row.method, of]))
        lines = _of_probe(told, result["file"]), _of_pretraining(told, row.folders[n][0])
        short = ", ".join([str(told.get("precision") or UNKNOWN), f"commit {_made(told, 'git')}", lines[0]["time"]])
        parts = [
            tag("section", tag("h4", heading), _list(of))
            for heading, of in zip(("Probe", "Pre-training"), lines, strict=True)
        ]
        found.append(folded(joined(tag("strong", name), f" {short}"), *parts))
    return found


def read_record(file: Path) -> dict[str, Any]:
    """All that results.json holds; {} of a log, or where it cannot be read."""
    if file.suffix != ".json":
        return {}
    try:
        told = json.loads(read_file(file, LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _list(lines: dict[str, str]) -> Html:
    """Names and what is told of them; commands and hashes as code."""
    code = ("command", "commit")
    pairs = [
        (tag("dt", name), tag("dd", tag("code", told) if name in code and told != UNKNOWN else told))
        for name, told in lines.items()
    ]
    return tag("dl", *(part for pair in pairs for part in pair))


def _of_probe(told: dict[str, Any], file: Path) -> dict[str, str]:
    protocol = f"{told['protocol']}, version {told.get('protocol_version')}" if told.get("protocol") else ""
    seconds = told.get("seconds")
    lists = told.get("lists") if isinstance(told.get("lists"), dict) else {}
    return {
        "record": file.name if told else "a log in the authors' format",
        "protocol": _words(protocol),
        **_how(told),
        "precision": _words(told.get("precision")),
        "seed": _words(told.get("seed")),
        "lists": "; ".join(f"{name}: {_of_list(of)}" for name, of in lists.items() if of) or UNKNOWN,
        "time": duration(seconds) if isinstance(seconds, int | float) else UNKNOWN,
    }


def _of_pretraining(told: dict[str, Any], folder: Path) -> dict[str, str]:
    before = told.get("pretraining") if isinstance(told.get("pretraining"), dict) else {}
    epochs = read_curve(folder, "train_s")  # seconds of training, by epoch
    whole = epochs and len(epochs) == before.get("epochs")
    return {
        "method": _words(before.get("method")),
        "epochs": _words(before.get("epochs")),
        **_how(before),
        "precision": _words(before.get("precision")),
        "views": _words(before.get("augment")),
        "list": _of_list(before.get("list")),
        "time": f"{duration(sum(epochs.values()))} of training" if whole else UNKNOWN,
    }


def _how(told: dict[str, Any]) -> dict[str, str]:
    names = ("python", "torch", "torchvision")
    found = {name: _made(told, name) for name in names}
    versions = ", ".join(f"{name} {version}" for name, version in found.items() if version != UNKNOWN)
    of = {"command": _made(told, "command"), "commit": _made(told, "git")}
    return {**of, "versions": versions or UNKNOWN, "machine": _made(told, "machine")}


def _made(told: dict[str, Any], name: str) -> str:
    provenance = told.get("provenance")
    return _words(provenance.get(name) if isinstance(provenance, dict) else None)


def _of_list(told: Any) -> str:
    """Name, hash and source of a list."""
    if not isinstance(told, dict):
        return UNKNOWN
    name = Path(str(told.get("path") or told.get("name") or "")).name
    parts = [name, f"SHA-1 {told['sha1']}" if told.get("sha1") else "", str(told.get("source") or "")]
    return short_text(", ".join(filter(None, parts))) or UNKNOWN


def _words(value: Any) -> str:
    return UNKNOWN if value is None or value == "" else short_text(str(value))
