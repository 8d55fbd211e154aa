"""The encoder in a checkpoint of any library."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from features.flags import ASK_FORMAT, OWN_NORMALISATION, Reading
from models.formats import FORMATS, Encoder, encoders_in, keys_of, read_as, variant_in
from models.published import NORMALIZE
from models.resnet import STEMS, model_of
from run.checkpoint import NO_WEIGHTS, read_content
from utils.errors import InputError
from utils.text import one_line

ONLY = "only encoders that are ResNets are read"


class Source(NamedTuple):
    """An encoder, and the file that it was read from.

    path: the file. content: its other entries by their keys; for other libraries' files only the number of epochs.
    """

    path: str
    encoder: Encoder
    content: dict[str, Any]

    @property
    def model(self) -> str:
        """Which of models.MODELS another library's encoder is; '' if it is none of them, and for our own files."""
        return "" if self.encoder.ours else model_of(self.encoder.state)

    def record(self) -> dict[str, Any]:
        """How the file was read, for results: format, stem, mean and standard deviation."""
        mean, std = (self.encoder.state.get(name) for name in sorted(NORMALIZE))
        numbers = {"mean": None if mean is None else mean.tolist(), "std": None if std is None else std.tolist()}
        return {"format": self.encoder.form.name, "stem": self.encoder.stem, **numbers}

    def print_format(self, quiet: bool) -> None:
        """Print how another library's file was read, as one line."""
        if not quiet and not self.encoder.ours:
            print(one_line(f"{self.path}: {self.encoder}"), file=sys.stdout, flush=True)


def read_encoder(path: str | Path, how: Reading) -> Source:
    """The encoder of a checkpoint, in the format that is given, or else in the one that all its keys fit.

    Raises:
        InputError: the file is missing, damaged or unsafe; it fits no format, or several that give different networks;
            it names an architecture that only has the tensors of a ResNet; or a mean and a standard deviation are
            given, but the file has its own.
    """
    content = read_content(path)
    if variant := variant_in(content):
        raise InputError(f"{path} is of a {variant}, whose features differ from those of a ResNet; {ONLY}")
    encoder = _read_as_given(path, content, how.format) if how.format else _recognised(path, content)
    if (stem := _stem_in(content)) and encoder.stem != "imagenet":  # several stems have a kernel of 3x3
        encoder = encoder._replace(stem=stem)
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
    for stem in (content.get("stem"), probed.get("stem") if isinstance(probed, dict) else None):
        if isinstance(stem, str) and stem in STEMS and stem != "imagenet":
            return stem
    return ""


def _normalisation(how: Reading, content: dict[str, Any]) -> dict[str, list[float]]:
    """normalize.mean and normalize.std as given, or as features.export has written them; {} if there are neither."""
    if how.mean is not None:
        return {"normalize.mean": how.mean, "normalize.std": how.std}
    values = {f"normalize.{name}": content.get(name) for name in ("mean", "std")}
    valid = all(isinstance(v, list) and len(v) == 3 and all(isinstance(n, float) for n in v) for v in values.values())
    return values if valid else {}


def _read_as_given(path: str | Path, content: dict[str, Any], name: str) -> Encoder:
    """The encoder in the format `name`; InputError if it is not in that format."""
    encoder, unknown = read_as(FORMATS[name], content)
    problem = f"{path} has no encoder of format {name}"
    if encoder is None:
        raise InputError(f"{problem}: {_first(content)}; {ASK_FORMAT.format(', '.join(FORMATS))}")
    if unknown:
        raise InputError(f"{problem} alone: {unknown[0]} is of no part of it that is known")
    return encoder


def _recognised(path: str | Path, content: dict[str, Any]) -> Encoder:
    """The encoder in the only format that fits; InputError if none fits, or several with different networks."""
    found, closest = encoders_in(content)
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(f"{encoder.form.name} ({encoder.form.description})" for encoder in found)
        raise InputError(f"{path} may be {names}, which are different networks: {ASK_FORMAT.format('one of them')}")
    if closest:
        form, key = closest
        raise InputError(f"{path} is closest to format {form.name}, of which {key} is no part that is known; {ONLY}")
    raise InputError(f"{path} is of no format that is read: {_first(content)}; {ONLY}")


def _first(content: dict[str, Any]) -> str:
    """The number of a file's tensors and the first one's name, by which the reader of a message recognises the file."""
    names = list(keys_of(content))
    return f"its {len(names)} tensors begin with {names[0]}" if names else NO_WEIGHTS
