"""Build the method that a command line chooses, around its network."""

import argparse

from methods import choose, load
from methods.base import Method
from models import build_encoder
from utils.errors import InputError


def build_method(options: argparse.Namespace, stem: str, images: int = 0) -> Method:
    """The method named by `options.method`, with its wrappers.

    Args:
        options: of pretrain.flags.parse. stem: of the network. images: their number, for buffers of each image.

    Raises:
        InputError: an option is out of range.
    """
    if not 0 < options.temperature < float("inf"):
        raise InputError(f"temperature must be positive, not {options.temperature}")
    base, *wrappers = (load(line) for line in choose(options.method).lines)
    network = base.encoder_options(options) | {"head_layers": options.head_layers}
    encoder = build_encoder(options.model, options.output_ch, stem=stem, **network)
    encoder.fc = encoder.fc.of_width(options.head_width)
    method = base.build(encoder, options, images)
    for wrapper in wrappers:
        method = wrapper.build(method, options, images)
    return method
