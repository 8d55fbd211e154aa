"""Options of supervised learning, of both scripts: a protocol's settings are their defaults."""

import argparse

from data.sets.registry import data_set
from probe.pretraining import tailed_list_of
from probe.protocols import PROTOCOLS, Protocol, supervised
from probe.supervised.ce import settings_of_ce
from utils.cli import Parser, natural, not_negative, positive
from utils.errors import InputError

# Options of supervised learning, and what they are elsewhere. Settings says how they count.
_SUPERVISED = {
    "select": "val", "nesterov": False, "warmup": 0, "init_lr_scale": 1.0, "tau": 0.0, "ce": "", "ce_epochs": 0,
    "crt_bn": "fixed", "jitter": 0.0,
}  # fmt: skip
# What a run that begins with a finished run of protocol ce takes from it.
_FROM_CE = (
    "model", "image_size", "checkpoint", "cvt_state_dict", "bnNameCnt", "trainSplit", "customSplit", "fullset",
    "groupSplit", "valiSplit", "init_lr_scale",
)  # fmt: skip


_SCHEDULE = ("decreasing_lr", "cosineLr")  # of other probes; supervised learning has warm-up and cosine
_OPTIMIZER = ("lr", "wd", "momentum", "nesterov", "warmup")  # what post-hoc adjustment has no use for


def add_supervised(parser: Parser) -> None:
    """Options of the protocols ce, crt, la and la-posthoc, which have the defaults."""
    add = parser.add_argument
    add("--select", choices=["last", "val"], help="supervised: the epoch that counts, the last one or that of the "
        "best validation; default last")  # fmt: skip
    parser.add_flag("--nesterov", help="supervised: Nesterov's momentum; default of images in memory True")
    add("--warmup", type=natural, help="supervised: epochs of linear warm-up; default 5, image files 0")
    add("--init_lr_scale", type=not_negative, help="supervised: factor of the learning rate of the backbone where it "
        "starts from --checkpoint; default 1")  # fmt: skip
    add("--tau", type=not_negative, help="la, la-posthoc: factor of the logarithm of the classes' shares; default 1")
    add("--ce", help="crt, la-posthoc: folder of the finished run of protocol ce to begin with; default: one is "
        "trained first, in the experiment's folder")  # fmt: skip
    add("--ce_epochs", type=positive, help="crt, la-posthoc: epochs of that one; default 200, image files 90")
    add("--crt_bn", choices=["fixed", "train"], help="crt: statistics of the frozen backbone's batch norms; train: "
        "they drift, as in the reference; default fixed")  # fmt: skip


def given_in(parser: Parser, args: argparse.Namespace, *names: str) -> list[str]:
    """Those of the options `names` that the command line has with another value than their default."""
    usual = vars(parser.parse_args([args.experiment]))
    return [name for name in names if getattr(args, name, None) not in (None, usual.get(name))]


def with_protocol(parser: Parser, words: list[str] | None) -> argparse.Namespace:
    """The command line, with the defaults of a protocol of supervised learning.

    Raises:
        InputError: an option is not of the protocol, or options do not go together.
    """
    args = parser.parse_args(words)
    protocol, options = supervised(args.protocol), {k: v for k, v in _SUPERVISED.items() if hasattr(args, k)}
    given = given_in(parser, args, *options)
    if not protocol:
        if given:
            owners = [p.name for p in PROTOCOLS.values() if _takes(p, given[0])]
            raise InputError(f"--{given[0]} is of --protocol {' or '.join(owners)}")
        for name, value in options.items():
            setattr(args, name, value)
        return args
    unused = [*_SCHEDULE, *(_OPTIMIZER if protocol.supervised == "nothing" else ())]
    if other := [*(name for name in given if not _takes(protocol, name)), *given_in(parser, args, *unused)]:
        raise InputError(f"--{other[0]} has no effect with --protocol {args.protocol}")
    _check_supervised(args, protocol)
    settings = protocol.settings[data_set(args.dataset).style]
    tailed = tailed_list_of(vars(args), data_set(args.dataset))
    lists = {name: tailed for name in ("trainSplit", "customSplit") if hasattr(args, name)}
    before = settings_of_ce(args.ce, args.dataset) if args.ce else {}
    taken_over = {name: before[name] for name in _FROM_CE if name in before and hasattr(args, name)}
    taken_over |= {"ce_epochs": before["epochs"]} if before else {}
    parser.set_defaults(**{**options, **lists, **settings, **taken_over})
    args = parser.parse_args(words)
    if args.init_lr_scale != 1 and not args.checkpoint:
        raise InputError("--init_lr_scale is for a backbone that starts from --checkpoint: give one")
    if args.nesterov and not args.momentum:
        raise InputError("--nesterov has no meaning with --momentum 0: add --nesterov False")
    args.fixbn = args.fixbn and args.crt_bn == "fixed"
    return args


def _takes(protocol: Protocol, name: str) -> bool:
    """Whether a protocol has an option of supervised learning."""
    return name in protocol.settings.get("imagenet", {}) or name == "ce" and protocol.after_ce


def _check_supervised(args: argparse.Namespace, protocol: Protocol) -> None:
    if args.ce and (other := [n for n in ("checkpoint", "ce_epochs", "init_lr_scale") if getattr(args, n)]):
        raise InputError(f"--ce names a run that is finished, which had its own --{other[0]}: leave that out")
    if protocol.supervised == "nothing" and (args.test_only or args.epochs):
        what = "--test_only" if args.test_only else "--epochs"
        raise InputError(f"--protocol {protocol.name} trains nothing but, first, protocol ce: leave out {what}")
    if protocol.after_ce and getattr(args, "unfreeze", False):
        raise InputError(f"--unfreeze contradicts --protocol {protocol.name}")
