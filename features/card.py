"""The model card of an exported encoder, in Markdown: what its checkpoint says of it, and how it is used.

What the checkpoint does not say is "unknown"; nothing is guessed from its name. A card names files without their paths.
"""

import re
from pathlib import Path
from typing import Any

from data.sets.registry import OF_PRETRAINING, trained_on
from features.encoder import Source
from features.targets.base import CLOSE, Network, Target
from models.published import has_dual_batch_norm
from utils.errors import InputError
from utils.text import one_line

UNKNOWN = "unknown"
SUMMARY = "The encoder of images in a checkpoint, without projection head and classifier."
STEMS = {
    "cifar": "CIFAR's stem (3x3 convolution, no max-pool)",
    "imagenet": "ImageNet's stem",
    "cifar-padded": "CIFAR's stem (3x3 convolution, padded by 2 pixels, no max-pool)",
    "cifar-linear": "CIFAR's stem (3x3 convolution, no max-pool) without ReLU",
}
LICENCE = (
    "The code that made this file is under the MIT licence; the checkpoint does not tell a licence of the weights."
)


def is_card(text: str) -> bool:
    """Whether a text is a model card of this program."""
    return SUMMARY in text


def _word(value: Any) -> str:
    """A setting in a file that is not trusted, as text for a cell of a Markdown table."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return UNKNOWN
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", one_line(str(value))[:200])


def _list(config: dict[str, Any]) -> tuple[str, str]:
    """Data set and list of a pre-training run with these settings."""
    try:
        dataset, name = trained_on(config)
    except InputError:
        return UNKNOWN, UNKNOWN
    remark = " (images of the user's own)" if dataset.name == "folder" else ""
    return _word(dataset.name) + remark, _word(Path(name).name)


def _is_zero(value: object) -> bool:
    return isinstance(value, int) and value == 0


def _epochs(source: Source, config: dict[str, Any]) -> str:
    """The number of pre-training epochs that are done."""
    done = source.content.get("epoch")
    if isinstance(done, bool) or not isinstance(done, int) or done < 0:
        return UNKNOWN
    if config:
        wanted = config["epochs"]
        return f"{done}" + (f" of {wanted}" if isinstance(wanted, int) and wanted != done else "")
    return UNKNOWN if "best_prec1" in source.content else f"{done}, as the checkpoint counts them"


def _beginning(config: dict[str, Any]) -> str:
    """The weights that pre-training began with."""
    if not config:
        return UNKNOWN
    given = config.get("checkpoint")
    return f"the weights of {_word(Path(given).name)}" if isinstance(given, str) and given else "random weights"


def facts(source: Source) -> dict[str, str]:
    """What the checkpoint says of the pre-training, for readers; 'unknown' for what it does not say."""
    config = source.content.get("config")
    config = config if isinstance(config, dict) and config.keys() >= OF_PRETRAINING else {}
    dataset, name = _list(config) if config else (UNKNOWN, UNKNOWN)
    pixels = config.get("images")
    return {
        "data set": dataset,
        "method": "none" if _is_zero(config.get("epochs")) else _word(config.get("method")),
        "began with": _beginning(config),
        "pre-training epochs": _epochs(source, config),
        "list of images": name,
        "SHA-256 of the listed labels and images (or file names)": _word(pixels),
        "precision of pre-training": _word(config.get("precision")),
    }


def _batch_norm(source: Source) -> dict[str, str]:
    dual = has_dual_batch_norm(source.encoder.state)
    return {"batch norms": "of the two that the checkpoint has, the dense branch's"} if dual else {}


def card(out: str, source: Source, network: Network, target: Target, difference: float) -> str:
    """The model card.

    Args:
        out: name of the file. difference: largest one between its features and ours, of random images.
    """
    description, encoder = network.description, source.encoder
    form = one_line(f"{encoder.form.description} ({encoder.form.name})")
    read_as = {} if encoder.ours else {"checkpoint's format": form}
    rows = {
        "architecture": f"{_word(description['architecture'])}, {STEMS[network.stem]}",
        "features": f"{description['features']} numbers per image, before any head",
        **facts(source),
        "weights": "float32",
        **_batch_norm(source),
        "checkpoint": f"{_word(network.source['file'])}, SHA-256 {network.source['sha256']}",
        **read_as,
        "made with": ", ".join(f"{name} {version}" for name, version in network.provenance.items()),
    }
    inside = target.inside or network.small
    normalised = f"(x - mean) / std, with mean {network.mean} and std {network.std}"
    how = f"The network itself computes {normalised}." if inside else f"Give the network {normalised}."
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# {_word(out)}

{SUMMARY}

| | |
|---|---|
{table}

## Input

float32 [N, 3, H, W], RGB in 0 to 1. {how}

## Use

```python
{target.lines(out, network)}
```

Its features of random images, by {target.versions()}, differ by at most {difference:.2g} from those of the network in
the checkpoint; more than {CLOSE:g} of the largest feature would have been refused.

## Licence

{LICENCE}
"""
