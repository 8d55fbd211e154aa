"""Flags of `python -m tail`; those that are not given are taken from the settings in the checkpoint."""

import argparse
import sys
from pathlib import Path
from typing import Any

from data.sets.registry import pretraining_set
from features.encoder import Source, read_encoder
from features.flags import add_reading_options, reading_of
from pretrain.flags import add_view_options, fill_in_views
from tail.scores import SCORES
from utils.cli import Parser, positive
from utils.errors import InputError

NO_MEMORY = "it was trained without --bcl"
LARGER_BATCHES = "give a larger --batch_size"
OTHER_SCORES = "choose other --scores"
# The settings that are taken from a checkpoint.
SETTINGS = (
    "dataset", "data", "augment", "image_size", "cache", "on_bad_image", "trainSplit", "imagenetCustomSplit",
    "batch_size", "model", "temperature", "seed", "strength", "resizeLower",
)  # fmt: skip
LONGEST = 4096  # characters that a setting may have


def parse(description: str, words: list[str] | None = None) -> tuple[argparse.Namespace, Source]:
    """The options, with the checkpoint's settings where they are not given; and the checkpoint's encoder.

    Args:
        words: the command line; None for sys.argv.

    Raises:
        InputError: an option, or a setting of the checkpoint, is unknown or out of range; or the checkpoint is bad.
    """
    parser = Parser(description)
    parser.prog = "python -m tail"  # before Python 3.14 --help would say __main__.py
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="of pre-training, or another library's")
    add_reading_options(parser)
    add("--out", type=Path, required=True, help="folder to write to")
    add("--scores", nargs="+", choices=SCORES, help="default all that the checkpoint allows")
    add("--draws", type=positive, default=10, help="augmented passes of the loss")
    add("--mask", type=Path, help="a mask_<epoch>.pt, instead of pruning the checkpoint's weights")
    parser.add_flag("--no-cuda", help="compute on the CPU")
    add_view_options(parser, precision="fp32")
    # As published: a temperature of 0.2; 90% of the weights pruned on CIFAR, 30% on image files (prune_percent below).
    parser.set_defaults(dataset=None, model=None, trainSplit="", temperature=0.2, prune_percent=None, bcl=False)
    words = sys.argv[1:] if words is None else words
    first = parser.parse_args(words)
    source, encoder = first.checkpoint, read_encoder(first.checkpoint, reading_of(first))
    try:
        settings = [f"--checkpoint={source}", "--out=.", *_settings(encoder.content.get("config"))]
        parser.parse_args(settings)  # alone, so that an error here is one of the checkpoint
    except InputError as error:
        raise InputError(f"{source} has settings of no use: {error}") from error
    args = parser.parse_args([*settings, *words])
    args.model = args.model or encoder.model
    for name in ("dataset", "model"):
        if not getattr(args, name):
            raise InputError(f"{source} does not say how it was trained: give --{name}")
    dataset, _ = pretraining_set(args.dataset)
    if not args.trainSplit and dataset.list_flag == "trainSplit":  # one of five splits
        raise InputError(f"{source} does not say how it was trained: give --trainSplit")
    if args.prune_percent is None:
        args.prune_percent = dataset.prune_percent
    if not 0 < args.temperature < float("inf"):
        raise InputError(f"--temperature must be positive, not {args.temperature}")
    fill_in_views(args)
    if args.out.exists() and not args.out.is_dir():
        raise InputError(f"--out {args.out} is no folder")
    return args, encoder


def _settings(config: Any) -> list[str]:
    """The settings of a checkpoint as words of a command line; `config` of an unknown checkpoint may be anything."""
    config = config if isinstance(config, dict) else {}
    names = [*SETTINGS, *(["prune_percent"] if config.get("prune") is True else [])]
    settings = {name: config[name] for name in names if config.get(name) is not None}
    for name, value in settings.items():
        if not isinstance(value, str | int | float) or len(str(value)) > LONGEST:
            raise InputError(f"its {name} is no text or number")
    return [f"--{name}={value}" for name, value in settings.items()]
