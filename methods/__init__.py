"""One file per method; each is an nn.Module with forward(views, index) -> loss of each sample."""

import argparse

from methods.sdclr import SDCLR
from methods.simclr import SimCLR
from models import build_encoder
from models.mask import check_fractions
from utils.errors import InputError

__all__ = ["SDCLR", "SimCLR", "build_method"]


def build_method(args: argparse.Namespace, stem: str) -> SimCLR | SDCLR:
    """The method that train_simCLR.py's flags choose: SDCLR with --prune, else SimCLR.

    Head layers default to the published ones: 3 with dual batch norm, else 2.

    Raises:
        InputError: a flag is out of range, or prunes without --prune.
    """
    if not 0 < args.temperature < float("inf"):
        raise InputError(f"--temperature must be positive, not {args.temperature}")
    if args.prune_dual_bn and not args.prune:
        raise InputError("--prune_dual_bn needs --prune")
    check_fractions(args.prune_percent, args.random_prune_percent if args.prune else 0)
    layers = (3 if args.prune_dual_bn else 2) if args.head_layers is None else args.head_layers
    encoder = build_encoder(args.model, args.output_ch, layers, stem, args.prune, args.prune_dual_bn)
    if args.prune:
        return SDCLR(encoder, args.temperature, args.prune_percent, args.random_prune_percent, args.seed)
    return SimCLR(encoder, args.temperature)
