"""A run that goes on on another machine, of its weights alone: its checkpoint without the optimizer's state, in parts.

What such a run has lost is its momentum, which begins anew, as at the first step. Everything else is as it was: place
in the epoch, random numbers, masks, memory of the losses.
"""

import hashlib
import json
from pathlib import Path

from run.checkpoint import newest_checkpoint, packed
from utils.errors import InputError
from utils.files import replace_file

PART = 16 * 2**20  # bytes
BESIDE = "metrics.jsonl"  # the epochs until then, for the curve
TOLD = "run.json"


def pack(experiment: Path, out: Path, anew: list[int], part: int = PART) -> bool:
    """Write the newest checkpoint of an experiment's folder to `out`: weights.00, ..., metrics.jsonl, run.json.

    Args:
        anew: after which epochs its momentum began anew until now. part: bytes of a file at most.

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
    data = packed(content | {"optim": content["optim"] | {"state": {}}})
    for old in out.glob("weights.*"):
        old.unlink()
    starts = range(0, len(data), part)
    for number, start in enumerate(starts):
        replace_file(out / f"weights.{number:02}", data[start : start + part])
    if (experiment / BESIDE).exists():
        replace_file(out / BESIDE, (experiment / BESIDE).read_bytes())
    told = {"experiment": experiment.name, "file": (whole if whole.exists() else path).name, "parts": len(starts)}
    told |= {"sha256": hashlib.sha256(data).hexdigest(), "epoch": content["epoch"], "momentum_anew": anew}
    replace_file(out / TOLD, json.dumps(told, indent=1).encode())
    return True


def unpack(packet: Path, experiments: Path) -> list[int] | None:
    """Make of what `pack` wrote the folder of an experiment below `experiments`, from which a run resumes.

    Returns:
        After which epochs its momentum began anew, this time included; None where there is no packet, or the experiment
        has a checkpoint already.

    Raises:
        InputError: a part is missing or damaged.
    """
    if not (packet / TOLD).exists():
        return None
    told = json.loads((packet / TOLD).read_bytes())
    folder = experiments / told["experiment"]
    if newest_checkpoint(folder):
        return None
    parts = sorted(packet.glob("weights.*"))
    data = b"".join(path.read_bytes() for path in parts)
    if len(parts) != told["parts"] or hashlib.sha256(data).hexdigest() != told["sha256"]:
        raise InputError(f"{packet} has not all {told['parts']} parts of its weights, or a damaged one; copy it again")
    replace_file(folder / told["file"], data)
    if (packet / BESIDE).exists():
        replace_file(folder / BESIDE, (packet / BESIDE).read_bytes())
    return [*told["momentum_anew"], told["epoch"]]
