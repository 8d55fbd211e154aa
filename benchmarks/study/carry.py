"""Moves an unfinished pre-training to another machine: its newest checkpoint, without optimizer state, in small files.

Such a packet lacks SGD's momentum, which restarts from zero as at the first step. Everything else continues: the
position in the epoch, the states of the random number generators, the pruning masks, the memory of losses.
"""

import hashlib
import json
import re
from pathlib import Path

from run.checkpoint import newest_checkpoint, packed
from utils.errors import InputError
from utils.files import replace_file

PART = 16 * 2**20  # bytes of a file at most
METRICS = "metrics.jsonl"  # of the epochs so far: the loss curve needs them
MANIFEST = "run.json"
CHECKPOINT = re.compile(r"model(_\d+)?\.pt")


def pack(experiment: Path, out: Path, anew: list[int], seconds: float = 0.0, part: int = PART) -> bool:
    """Write the newest checkpoint of an experiment's folder to `out`: weights-HASH.00, ..., metrics.jsonl, run.json.

    An older packet in `out` stays usable until the new one is complete.

    Args:
        anew: the epochs after which the momentum has restarted from zero so far.
        seconds: run time so far. part: bytes of a file at most.

    Returns:
        Whether there was a checkpoint.

    Raises:
        InputError: its checkpoint is damaged, or `out` cannot be written.
    """
    newest = newest_checkpoint(experiment)
    if newest is None:
        return False
    path, content, _ = newest
    whole = experiment / f"model_{content['epoch']}.pt"  # of a finished run, whose probes load it by this name
    file = whole.name if whole.exists() and not content.get("within") else "model.pt"
    data = packed(content | {"optim": content["optim"] | {"state": {}}})
    sha256 = hashlib.sha256(data).hexdigest()
    parts = [data[start : start + part] for start in range(0, len(data), part)]
    names = [f"weights-{sha256[:8]}.{number:02}" for number in range(len(parts))]
    for name, content_of_part in zip(names, parts, strict=True):
        replace_file(out / name, content_of_part)
    if (experiment / METRICS).exists():
        replace_file(out / METRICS, (experiment / METRICS).read_bytes())
    manifest = {"file": file, "parts": names, "sha256": sha256, "epoch": content["epoch"], "momentum_anew": anew}
    manifest["seconds"] = round(seconds, 1)
    replace_file(out / MANIFEST, json.dumps(manifest, indent=1).encode())
    for old in set(out.glob("weights-*")) - {out / name for name in names}:
        old.unlink()
    return True


def momentum_anew(packet: Path) -> list[int]:
    """The epochs after which the momentum has restarted once a packet's run continues; [] if there is no packet.

    Raises:
        InputError: the manifest is damaged.
    """
    manifest = _read_manifest(packet)
    return [*manifest["momentum_anew"], manifest["epoch"]] if manifest else []


def seconds_before(packet: Path) -> float:
    """Run time in seconds on the machines before this one; 0 if there is no packet.

    Raises:
        InputError: the manifest is damaged.
    """
    manifest = _read_manifest(packet)
    return float(manifest["seconds"]) if manifest else 0.0


def unpack(packet: Path, experiment: Path) -> bool:
    """Restore from the files that `pack` wrote an experiment's folder, from which a run resumes.

    Returns:
        Whether it was restored: not if there is no packet, or the experiment has a checkpoint already.

    Raises:
        InputError: a part is missing or damaged.
    """
    manifest = _read_manifest(packet)
    if not manifest or newest_checkpoint(experiment):
        return False
    parts = [packet / name for name in manifest["parts"]]
    data = b"".join(path.read_bytes() for path in parts if path.is_file())
    if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise InputError(f"{packet} has not all {len(parts)} parts of its weights, or a damaged one; copy it again")
    if (packet / METRICS).exists():
        replace_file(experiment / METRICS, (packet / METRICS).read_bytes())
    replace_file(experiment / manifest["file"], data)
    return True


def _read_manifest(packet: Path) -> dict | None:
    """The checked content of a packet's run.json; None if there is no packet."""
    if not (packet / MANIFEST).exists():
        return None
    try:
        manifest = json.loads((packet / MANIFEST).read_bytes())
        texts = [manifest["file"], manifest["sha256"], *manifest["parts"]]
        epochs = [manifest["epoch"], *manifest["momentum_anew"]]
        valid = CHECKPOINT.fullmatch(manifest["file"]) and all("/" not in name for name in texts)
        valid = valid and all(type(epoch) is int for epoch in epochs) and float(manifest["seconds"]) >= 0
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        raise InputError(f"{packet / MANIFEST} is damaged; copy the folder again")
    return manifest
