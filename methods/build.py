"""The method that a command line chooses."""

import argparse

from methods.base import Method
from methods.bcl import BCL
from methods.focal import Focal
from methods.sdclr import SDCLR
from methods.simclr import SimCLR
from models import build_encoder
from models.mask import check_fractions
from utils.errors import InputError


def build_method(args: argparse.Namespace, stem: str, images: int = 0) -> Method:
    """The method that train_simCLR.py's flags choose: SDCLR with --prune, Focal with --focal, else SimCLR; --bcl on it.

    Head layers default to SDCLR's published ones: 3 with dual batch norm, else 2 (BCL's authors have 2 throughout).

    Args:
        images: of the training list, for BCL's memory.

    Raises:
        InputError: a flag is out of range. Which go together is for pretrain/flags.py to say.
    """
    if not 0 < args.temperature < float("inf"):
        raise InputError(f"temperature must be positive, not {args.temperature}")
    check_fractions(args.prune_percent, args.random_prune_percent if args.prune else 0)
    layers = (3 if args.prune_dual_bn else 2) if args.head_layers is None else args.head_layers
    encoder = build_encoder(args.model, args.output_ch, layers, stem, args.prune, args.prune_dual_bn)
    if args.prune:
        method = SDCLR(encoder, args.temperature, args.prune_percent, args.random_prune_percent, args.seed)
    elif args.focal:
        method = Focal(encoder, args.temperature, args.focal_gamma)
    else:
        method = SimCLR(encoder, args.temperature)
    return BCL(method, images, args.momentum_loss_beta) if args.bcl else method
