"""The encoder in a checkpoint of any library."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from features.flags import ASK_FORMAT, OWN_NORMALISATION, Reading
from models.formats import FORMATS, Encoder, encoders_in, keys_of, read_as
from models.published import NORMALIZE
from models.resnet import STEMS, model_of
from run.checkpoint import NO_WEIGHTS, read_content
from utils.errors import InputError
from utils.text import one_line

ONLY = "only encoders that are ResNets are read"


class Source(NamedTuple):
    """An encoder, and the file that it is of.

    path: the file. content: what else the file holds by its keys; of other libraries' the number of epochs alone.
    """

    path: str
    encoder: Encoder
    content: dict[str, Any]

    @property
    def model(self) -> str:
        """Which of models.MODELS another library's encoder is; '' where it is none of them, and of ours."""
        return "" if self.encoder.ours else model_of(self.encoder.state)

    def record(self) -> dict[str, Any]:
        """What results keep of how the file was read."""
        mean, std = (self.encoder.state.get(name) for name in sorted(NORMALIZE))
        numbers = {"mean": None if mean is None else mean.tolist(), "std": None if std is None else std.tolist()}
        return {"format": self.encoder.form.name, "stem": self.encoder.stem, **numbers}

    def tell(self, quiet: bool) -> None:
        """Say as what another library's file was read, on one line of standard output."""
        if not quiet and not self.encoder.ours:
            print(one_line(f"{self.path}: {self.encoder}"), file=sys.stdout, flush=True)


def read_encoder(path: str | Path, how: Reading) -> Source:
    """The encoder of a checkpoint, by the format that is asked for, or else the one that all its keys are of.

    Raises:
        InputError: the file is missing, damaged or unsafe; it is of no format, or of several ones that are different
            networks; or it has a mean and a deviation of its own, and others are given.
    """
    content = read_content(path)
    encoder = _asked(path, content, how.format) if how.format else _found(path, content)
    if (told := _stem_in(content)) and encoder.stem != "imagenet":  # a kernel of 3x3 is that of several stems
        encoder = encoder._replace(stem=told)
    normalised = NORMALIZE & encoder.state.keys()
    given = how.mean is not None or how.std is not None
    if given and normalised:
        raise InputError(f"{path} {OWN_NORMALISATION}")
    if not normalised:
        for name, value in _normalisation(how, content).items():
            encoder.state[name] = torch.tensor(value, dtype=torch.float32)
    if not encoder.ours:
        epoch = content.get("epoch")
        content = {"epoch": epoch} if isinstance(epoch, int) else {}
    return Source(str(path), encoder, content)


def _stem_in(content: dict[str, Any]) -> str:
    """The stem that features.export or a probe has written; '' for none."""
    config = content.get("config")
    probed = config.get("encoder") if isinstance(config, dict) else None
    for told in (content.get("stem"), probed.get("stem") if isinstance(probed, dict) else None):
        if isinstance(told, str) and told in STEMS and told != "imagenet":
            return told
    return ""


def _normalisation(how: Reading, content: dict[str, Any]) -> dict[str, list[float]]:
    """normalize.mean and normalize.std that are given, or that features.export has written; {} for neither."""
    if how.mean is not None:
        return {"normalize.mean": how.mean, "normalize.std": how.std}
    found = {f"normalize.{name}": content.get(name) for name in ("mean", "std")}
    numbers = all(isinstance(v, list) and len(v) == 3 and all(isinstance(n, float) for n in v) for v in found.values())
    return found if numbers else {}


def _asked(path: str | Path, content: dict[str, Any], name: str) -> Encoder:
    encoder, unknown = read_as(FORMATS[name], content)
    what = f"{path} has no encoder of format {name}"
    if encoder is None:
        raise InputError(f"{what}: {_first(content)}; {ASK_FORMAT.format(', '.join(FORMATS))}")
    if unknown:
        raise InputError(f"{what} alone: {unknown[0]} is of no part of it that is known")
    return encoder


def _found(path: str | Path, content: dict[str, Any]) -> Encoder:
    found, closest = encoders_in(content)
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(f"{encoder.form.name} ({encoder.form.what})" for encoder in found)
        raise InputError(f"{path} may be {names}, which are different networks: {ASK_FORMAT.format('one of them')}")
    if closest:
        form, key = closest
        raise InputError(f"{path} is closest to format {form.name}, of which {key} is no part that is known; {ONLY}")
    raise InputError(f"{path} is of no format that is read: {_first(content)}; {ONLY}")


def _first(content: dict[str, Any]) -> str:
    """Of what a file has, so much that a reader knows it."""
    names = list(keys_of(content))
    return f"its {len(names)} tensors begin with {names[0]}" if names else NO_WEIGHTS
