"""Options of supervised learning, the same in both scripts; their defaults are the protocol's settings."""

import argparse
from typing import Any

from data.sets.base import DataSet
from data.sets.registry import data_set
from probe.pretraining import tailed_list_of
from probe.protocols import PROTOCOLS, Protocol, supervised
from probe.supervised.ce import settings_of_ce
from utils.cli import Parser, natural, not_negative, positive
from utils.errors import InputError

# Options of supervised learning -> their values for other probes. probe.flags.Settings explains them.
_SUPERVISED = {
    "select": "val", "nesterov": False, "warmup": 0, "init_lr_scale": 1.0, "tau": 0.0, "ce": "", "ce_epochs": 0,
    "crt_bn": "fixed", "jitter": 0.0,
}  # fmt: skip
# Settings that a run takes from the finished run of protocol ce that it starts from.
_FROM_CE = (
    "model", "image_size", "checkpoint", "cvt_state_dict", "bnNameCnt", "trainSplit", "customSplit", "fullset",
    "groupSplit", "valiSplit", "init_lr_scale",
)  # fmt: skip


_SCHEDULE = ("decreasing_lr", "cosineLr")  # not for supervised learning, which has warm-up and cosine
# Not for post-hoc adjustment, which trains nothing; nor, if the run of ce is given, what that one alone uses.
_OPTIMIZER = ("lr", "wd", "momentum", "nesterov", "warmup", "fixto", "fixbn")
_OF_CE_RUN = ("seed", "select", "test_freq", "batch_size", "start_epoch", "jitter")


def add_supervised(parser: Parser) -> None:
    """Add the options of the protocols ce, crt, la and la-posthoc; their defaults come from the protocol."""
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
    """The options among `names` whose values on the command line are not their defaults."""
    defaults = vars(parser.parse_args([args.experiment]))
    return [name for name in names if getattr(args, name, None) not in (None, defaults.get(name))]


def with_protocol(parser: Parser, words: list[str] | None) -> argparse.Namespace:
    """Parse the command line with the defaults of its protocol, if that is one of supervised learning.

    Raises:
        InputError: an option is not of the protocol, or options do not go together.
    """
    args = parser.parse_args(words)
    protocol = supervised(args.protocol)
    options = {name: value for name, value in _SUPERVISED.items() if hasattr(args, name)}
    given = given_in(parser, args, *options)
    if not protocol:
        if given:
            owners = [p.name for p in PROTOCOLS.values() if _takes(p, given[0])]
            raise InputError(f"--{given[0]} is of --protocol {' or '.join(owners)}")
        for name, value in options.items():
            setattr(args, name, value)
        return args
    without_effect = list(_SCHEDULE)
    if protocol.supervised == "nothing":
        without_effect += [*_OPTIMIZER, *(_OF_CE_RUN if args.ce else ())]
    if unused := [*(name for name in given if not _takes(protocol, name)), *given_in(parser, args, *without_effect)]:
        option = {"batch_size": "batch-size", "start_epoch": "start-epoch"}.get(unused[0], unused[0])
        raise InputError(f"--{option} has no effect with --protocol {args.protocol}")
    _check_supervised(args, protocol)
    settings = protocol.settings[data_set(args.dataset).style]
    tailed = tailed_list_of(vars(args), data_set(args.dataset))
    found = {name: tailed for name in ("trainSplit", "customSplit") if hasattr(args, name)} | _from_ce(parser, args)
    # Where one of the two options that name a training list is given, the other has no other default.
    for name, other in (("fullset", "customSplit"), ("customSplit", "fullset")):
        if getattr(args, name, None):
            found.pop(other, None)
    parser.set_defaults(**{**options, **settings, **found})
    args = parser.parse_args(words)
    if args.init_lr_scale != 1 and not args.checkpoint:
        raise InputError("--init_lr_scale is for a backbone that starts from --checkpoint: give one")
    if args.nesterov and not args.momentum:
        raise InputError("--nesterov has no meaning with --momentum 0: add --nesterov False")
    args.fixbn = args.fixbn and args.crt_bn == "fixed"
    return args


def _from_ce(parser: Parser, args: argparse.Namespace) -> dict[str, Any]:
    """The settings that are taken from the run that --ce names, by their options; {} without one.

    Raises:
        InputError: there is no such run, or its settings are damaged.
    """
    if not args.ce:
        return {}
    settings = settings_of_ce(args.ce, args.dataset)
    found = {name: settings[name] for name in _FROM_CE if name in settings and hasattr(args, name)}
    found["ce_epochs"] = settings.get("epochs", "nothing")
    words = [f"--{name}={value}" for name, value in found.items() if value is not None]
    try:
        read = parser.parse_args([args.experiment, *words])
    except InputError as error:
        raise InputError(f"{args.ce} holds a run with damaged settings: {error}") from error
    return {name: getattr(read, name) for name in found}


def check_jitter(args: argparse.Namespace, dataset: DataSet) -> None:
    """Set --jitter to 0 for own images that are decoded once, which have only crop and flip as images in memory do.

    Args:
        dataset: opened.

    Raises:
        InputError: it is given.
    """
    protocol = supervised(args.protocol)
    if not protocol or not getattr(dataset, "cached", False):
        return
    if args.jitter not in (0, protocol.settings[dataset.style]["jitter"]):
        raise InputError(f"--jitter {args.jitter:g} has no effect on images that are decoded once: leave it out, or "
                         "add --cache none")  # fmt: skip
    args.jitter = 0.0


def _takes(protocol: Protocol, name: str) -> bool:
    """Whether a protocol has an option of supervised learning."""
    return name in protocol.settings.get("imagenet", {}) or name == "ce" and protocol.after_ce


def _check_supervised(args: argparse.Namespace, protocol: Protocol) -> None:
    """Raise InputError if options contradict each other or the protocol."""
    of_ce_run = ("checkpoint", "ce_epochs", "init_lr_scale")
    if args.ce and (given := [name for name in of_ce_run if getattr(args, name)]):
        raise InputError(f"--ce names a run that is finished, which had its own --{given[0]}: leave that out")
    if protocol.supervised == "nothing" and (args.test_only or args.epochs):
        option = "--test_only" if args.test_only else "--epochs"
        raise InputError(f"--protocol {protocol.name} trains nothing but, first, protocol ce: leave out {option}")
    if protocol.after_ce and getattr(args, "unfreeze", False):
        raise InputError(f"--unfreeze contradicts --protocol {protocol.name}")
