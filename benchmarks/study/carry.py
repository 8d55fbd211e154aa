"""A run that goes on on another machine, of its weights alone: its checkpoint without the optimizer's state, in parts.

What such a run has lost is its momentum, which begins anew, as at the first step. Everything else is as it was: place
in the epoch, random numbers, masks, memory of the losses.
"""

import hashlib
import json
import re
from pathlib import Path

from run.checkpoint import newest_checkpoint, packed
from utils.errors import InputError
from utils.files import replace_file

PART = 16 * 2**20  # bytes
BESIDE = "metrics.jsonl"  # the epochs until then, for the curve
TOLD = "run.json"
CHECKPOINT = re.compile(r"model(_\d+)?\.pt")


def pack(experiment: Path, out: Path, anew: list[int], seconds: float = 0.0, part: int = PART) -> bool:
    """Write the newest checkpoint of an experiment's folder to `out`: weights-HASH.00, ..., metrics.jsonl, run.json.

    A packet that is there before is whole until the new one is.

    Args:
        anew: after which epochs its momentum began anew until now. seconds: that the run took until now. part: bytes
            of a file at most.

    Returns:
        Whether there was one.

    Raises:
        InputError: its checkpoint is damaged, or `out` cannot be written.
    """
    newest = newest_checkpoint(experiment)
    if newest is None:
        return False
    path, content, _ = newest
    whole = experiment / f"model_{content['epoch']}.pt"  # the name that probes of a finished run ask for
    file = whole.name if whole.exists() and not content.get("within") else "model.pt"
    data = packed(content | {"optim": content["optim"] | {"state": {}}})
    sha256 = hashlib.sha256(data).hexdigest()
    parts = [data[start : start + part] for start in range(0, len(data), part)]
    names = [f"weights-{sha256[:8]}.{number:02}" for number in range(len(parts))]
    for name, content_of_part in zip(names, parts, strict=True):
        replace_file(out / name, content_of_part)
    if (experiment / BESIDE).exists():
        replace_file(out / BESIDE, (experiment / BESIDE).read_bytes())
    told = {"file": file, "parts": names, "sha256": sha256, "epoch": content["epoch"], "momentum_anew": anew}
    told["seconds"] = round(seconds, 1)
    replace_file(out / TOLD, json.dumps(told, indent=1).encode())
    for old in set(out.glob("weights-*")) - {out / name for name in names}:
        old.unlink()
    return True


def momentum_anew(packet: Path) -> list[int]:
    """After which epochs the momentum of a packet's run has begun anew, when it goes on; [] where there is none.

    Raises:
        InputError: what it tells of itself is damaged.
    """
    told = _told(packet)
    return [*told["momentum_anew"], told["epoch"]] if told else []


def seconds_before(packet: Path) -> float:
    """Seconds that a packet's run took on the machines before; 0 where there is none.

    Raises:
        InputError: what it tells of itself is damaged.
    """
    told = _told(packet)
    return float(told["seconds"]) if told else 0.0


def unpack(packet: Path, experiment: Path) -> bool:
    """Make of what `pack` wrote the folder of an experiment, from which a run resumes.

    Returns:
        Whether it was made: not where there is no packet, or the experiment has a checkpoint already.

    Raises:
        InputError: a part is missing or damaged.
    """
    told = _told(packet)
    if not told or newest_checkpoint(experiment):
        return False
    parts = [packet / name for name in told["parts"]]
    data = b"".join(path.read_bytes() for path in parts if path.is_file())
    if hashlib.sha256(data).hexdigest() != told["sha256"]:
        raise InputError(f"{packet} has not all {len(parts)} parts of its weights, or a damaged one; copy it again")
    if (packet / BESIDE).exists():
        replace_file(experiment / BESIDE, (packet / BESIDE).read_bytes())
    replace_file(experiment / told["file"], data)
    return True


def _told(packet: Path) -> dict | None:
    """What a packet tells of itself, checked; None where there is none."""
    if not (packet / TOLD).exists():
        return None
    try:
        told = json.loads((packet / TOLD).read_bytes())
        texts, numbers = [told["file"], told["sha256"], *told["parts"]], [told["epoch"], *told["momentum_anew"]]
        known = CHECKPOINT.fullmatch(told["file"]) and all("/" not in name for name in texts)
        known = known and all(type(number) is int for number in numbers) and float(told["seconds"]) >= 0
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InputError(f"{packet / TOLD} is damaged; copy the folder again")
    return told
