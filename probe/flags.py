"""Command lines of the probes: the published flags with their published defaults, and a few new ones."""

import argparse
import os
from dataclasses import dataclass

from data.flags import add_augment, add_data_options, add_image_file_options, add_image_size, check_augment
from data.sets.base import DataSet
from data.sets.registry import TRANSFER_SETS, data_set, data_sets
from features.flags import add_reading_options, reading_of
from models import MODELS
from probe.network import STAGES
from probe.protocols import DEFAULT_LIST, PROTOCOLS, for_set, of_last_epoch, on_features, supervised
from probe.supervised.flags import add_supervised, given_in, with_protocol
from run.flags import add_check, add_compute_options, add_experiment, add_resume, run_name
from utils.cli import Parser, milestones, natural, not_negative, number, positive
from utils.errors import InputError

CONVERT = "add --cvt_state_dict"


@dataclass(frozen=True)
class Settings:
    """Settings of a probe, named as its options.

    batch_size: images of all processes. fixto: the stage up to which everything is frozen. decreasing_lr: epochs at
    which lr is divided by ten, with step_at_end at their end. test_freq: epochs between validations. log_interval:
    steps between lines of the log.

    Of supervised learning: select: the epoch that is tested, 'val' for the best in validation or 'last'. warmup: in
    epochs. init_lr_scale: factor on lr for a backbone from a checkpoint. tau: of logit adjustment. ce: folder of the
    run of protocol ce that the probe begins with.
    """

    experiment: str
    model: str
    protocol: str
    augment: str
    epochs: int
    batch_size: int
    test_batch_size: int
    lr: float
    momentum: float
    wd: float
    decreasing_lr: list[int]
    cosineLr: bool
    step_at_end: bool
    fixto: str
    fixbn: bool
    test_freq: int
    log_interval: int
    seed: int
    test_only: bool
    select_wd: bool
    on_bad_image: str
    quiet: bool
    select: str
    nesterov: bool
    warmup: int
    init_lr_scale: float
    tau: float
    ce: str


_OF_SGD = ("lr", "wd", "batch_size", "momentum", "decreasing_lr", "cosineLr")  # not for classifiers on features


def _parser(description: str, save_dir: str, batch: int, epochs: int) -> Parser:
    """A parser with the flags of both scripts; save_dir, batch, epochs: the published defaults."""
    parser = Parser(description)
    add = parser.add_argument
    add_experiment(parser, save_dir)
    add_data_options(parser)
    add_augment(parser)
    add_compute_options(parser)
    add("--groupSplit", default="", help="long-tailed list whose class sizes make Many, Medium, Few; "
        "default: by the experiment's name, else by the list of its pre-training")  # fmt: skip
    protocols = ["", *PROTOCOLS, "custom"]
    add("--protocol", default="", choices=protocols, help="default: by the training list; "
        "bcl-* are BCL's probes on features, with lists, batches and rates of their own")  # fmt: skip
    add("--batch-size", type=positive, default=batch, help="images per step, all processes together")
    add("--test-batch-size", type=positive, default=batch)
    add("--epochs", type=positive, help=f"default {epochs}; of BCL's probes 500")
    add("--weight-decay", "--wd", dest="wd", type=not_negative)
    add("--lr", type=not_negative)
    add("--momentum", type=not_negative, default=0.9)
    add("--decreasing_lr", type=milestones, help="epochs at which lr falls to a tenth")
    add("--seed", type=natural, help="default 1; of BCL's probes 10")
    _add_select_wd(parser)
    add("--test_freq", type=positive, default=1, help="epochs between validations")
    add_supervised(parser)
    add("--checkpoint", default="", help="weights to start from, also another library's")
    add_reading_options(parser)
    parser.add_flag("--cvt_state_dict", help="--checkpoint is of pre-training: drop its head")
    add("--bnNameCnt", type=int, default=-1, choices=[-1, 0, 1], help="of dual batch norm: 0 dense, 1 pruned")
    add_check(parser)
    parser.add_flag("--untrained", help="with --check: random weights where --checkpoint is not there yet")
    add_resume(parser, "the experiment's newest checkpoint")
    add("--start-epoch", type=natural, default=0, help="epochs taken as done when not resuming")
    parser.add_flag("--test_only", help="evaluate the experiment's best_model.pt")
    parser.add_flag("--no-cuda", help="compute on the CPU")
    return parser


def _add_select_wd(parser: Parser) -> None:
    """Add --select_wd, which the scripts and `python -m probe` have."""
    parser.add_flag("--select_wd", help="bcl-transfer: choose weight decay on a held-out tenth of the training images")


def _check_kind(args: argparse.Namespace, protocol: str, dataset: DataSet) -> None:
    """Check that protocol and options are for this kind of data set.

    Raises:
        InputError: they are not.
    """
    if dataset.transfer and protocol not in for_set(dataset):
        raise InputError(f"{dataset.name} is for transfer: choose --protocol {' or '.join(for_set(dataset))}")
    if protocol in PROTOCOLS and protocol not in for_set(dataset):
        raise InputError(f"--protocol {protocol} is for {', '.join(TRANSFER_SETS)}, not for {dataset.name}")
    if dataset.transfer and args.groupSplit:
        raise InputError(f"--groupSplit has no meaning for {dataset.name}, which has no Many, Medium and Few")
    if args.select_wd and protocol != "bcl-transfer":
        raise InputError(f"--select_wd is for --protocol bcl-transfer, not for {protocol or 'other probes'}")


def _parse(parser: Parser, epochs: int, words: list[str] | None) -> argparse.Namespace:
    """Parse the command line of a script, check it, and fill in what depends on the protocol."""
    args = with_protocol(parser, words)
    dataset, features = data_set(args.dataset), on_features(args.protocol)
    check_augment(args, dataset)
    _check_kind(args, args.protocol, dataset)
    reading_of(args)
    defaults = PROTOCOLS[args.protocol].settings.get(dataset.style, {}) if features else {}
    args.epochs = args.epochs or defaults.get("epochs", epochs)
    args.seed = defaults.get("seed", 1) if args.seed is None else args.seed
    # Options that some protocols have no use for.
    given = given_in(parser, args, "test_only", "trainSplit", "customSplit", "fullset", "valiSplit")
    if of_last_epoch(args.protocol) and (unused := [name for name in given if name in ("customSplit", "valiSplit")]):
        raise InputError(f"--protocol {args.protocol} has a list of its own and no validation: leave out --{unused[0]}")
    if features and given:
        raise InputError(f"--protocol {args.protocol} trains on its own lists, anew each time: leave out --{given[0]}")
    if features and (unused := given_in(parser, args, *_OF_SGD)):
        option = unused[0].replace("batch_size", "batch-size")
        raise InputError(f"--{option} has no effect with --protocol {args.protocol}, which has settings of its own")
    if not getattr(args, "prune", True) and given_in(parser, args, "prune_percent"):
        raise InputError("--prune_percent is the share that --prune leaves out: add --prune")
    if args.untrained and not args.check:
        raise InputError("--untrained goes with --check: a probe of random weights has no --checkpoint")
    if args.test_only and args.overwrite:
        raise InputError("--test_only evaluates what --overwrite would remove: choose one")
    if not args.test_only and args.start_epoch >= args.epochs:
        raise InputError(f"--start-epoch {args.start_epoch} leaves nothing of --epochs {args.epochs}")
    return args


def parse_cifar(description: str, words: list[str] | None = None) -> argparse.Namespace:
    """The command line of train_cifar.py.

    Args:
        words: the command line; None for sys.argv.

    Raises:
        InputError: an unknown flag or a value out of range.
    """
    parser = _parser(description, "checkpoints_tune", batch=128, epochs=100)
    add = parser.add_argument
    add("--model", default="res18", choices=MODELS)
    add("--dataset", default="cifar10", choices=["cifar", *data_sets("cifar")])
    add("--trainSplit", default=DEFAULT_LIST, help="list of labelled images: a path below split/, or a file")
    add("--valiSplit", default="", help="list of validation images; default the data set's; or the word test")
    add_image_size(parser)
    parser.add_flag("--cosineLr", help="cosine instead of --decreasing_lr")
    add("--log-interval", type=positive, default=10, help="steps")
    add("--save-freq", "-s", type=positive, default=1, help="epochs between model.pt")
    add("--fixto", default="nothing", choices=["nothing", *STAGES], help="freeze everything up to that stage")
    parser.add_flag("--fixbn", help="batch norm of the frozen stages in evaluation mode")
    parser.add_flag("--prune", help="probe the pruned network")
    add("--prune_percent", type=float, default=0.3, help="share of the weights it lacks, in [0, 1)")
    # As published, the scheduler steps at the start of an epoch here, at its end in train_imagenet.py.
    parser.set_defaults(step_at_end=False, on_bad_image="error", wd=2e-4, lr=0.1, decreasing_lr="75,90,95")
    return _parse(parser, 100, words)


def parse_imagenet(description: str, words: list[str] | None = None) -> argparse.Namespace:
    """The command line of train_imagenet.py; `fixto` is filled in.

    Args:
        words: the command line; None for sys.argv.

    Raises:
        InputError: an unknown flag, a value out of range, two lists at once, or processes without their ranks.
    """
    parser = _parser(description, "checkpoints_imagenet_tune", batch=512, epochs=10)
    add = parser.add_argument
    add("--model", default="res50", choices=MODELS)
    add("--dataset", default="imagenet", choices=[*data_sets("imagenet"), *TRANSFER_SETS])
    add_image_file_options(parser)
    parser.add_flag("--fullset", help="train on all labelled images")
    add("--customSplit", default="", help="list of labelled images: its published name, or a file")
    add("--valiSplit", default="", help="list of validation images; default the data set's")
    add("--log-interval", type=positive, default=50, help="steps")
    add("--jitter", type=number(float, 0, 1), help="supervised: how far brightness, contrast and saturation of "
        "training images go; default 0.4")  # fmt: skip
    parser.add_flag("--unfreeze", help="train the backbone of --checkpoint, too")
    add("--local_rank", "--local-rank", type=int, help="of processes started by hand; else the environment decides")
    add("--world_size", type=positive, default=1, help="their number")
    add("--port", type=number(int, 0, 65535), default=4850, help="where they meet, on this machine")
    parser.set_defaults(step_at_end=True, cosineLr=False, prune=False, prune_percent=0.0, fixbn=True)
    parser.set_defaults(wd=5e-4, lr=0.2, decreasing_lr="3,6,9")
    args = _parse(parser, 10, words)
    if args.fullset and args.customSplit:
        raise InputError("--fullset and --customSplit name two training lists: choose one")
    ranks = range(args.world_size)
    if len(ranks) > 1 and args.local_rank not in ranks and "RANK" not in os.environ:
        raise InputError(f"--world_size {len(ranks)} needs --local_rank 0 to {ranks[-1]}, or start with torchrun")
    if supervised(args.protocol):
        args.save_freq = 1
        return args
    args.fixto = "layer4" if args.checkpoint and not args.unfreeze else "nothing"
    args.save_freq = args.test_freq  # as published
    return args


# Options that `python -m probe` passes on to each protocol's script; for image files OF_FILES, too.
HANDED_ON = (
    "checkpoint", "format", "mean", "std", "dataset", "data", "download", "num_workers", "augment", "precision",
    "memory_format", "tf32", "deterministic", "save-dir", "resume", "overwrite", "accept_changes", "save_steps",
    "check", "no-cuda", "quiet", "image_size", "select_wd",
)  # fmt: skip
OF_FILES = ("cache", "on_bad_image")


def parse_protocols(description: str) -> argparse.Namespace:
    """The command line of `python -m probe`.

    Raises:
        InputError: an unknown flag, a value out of range, or flags that do not go together.
    """
    parser = Parser(description)
    parser.prog = "python -m probe"  # before Python 3.14 --help would say __main__.py
    add = parser.add_argument
    add("--checkpoint", required=True, help="of pre-training or of a probe, or another library's")
    add_reading_options(parser)
    add("--dataset", required=True, choices=["cifar", *data_sets(), *TRANSFER_SETS])
    add("--protocol", required=True, nargs="+", choices=list(PROTOCOLS), help="one or several")
    add("--model", choices=MODELS, help="default: as the checkpoint says or its weights are")
    add("--bnNameCnt", type=int, choices=[0, 1], help="of dual batch norm: 0 dense branch, the default; 1 pruned")
    add("--groupSplit", default="", help="long-tailed list whose class sizes make Many, Medium, Few, and whose split's "
        "few-shot list is taken; default that of the checkpoint's pre-training, else of split 1")  # fmt: skip
    _add_select_wd(parser)
    add("--epochs", type=positive, help="in place of a protocol's, of which the results then say that they depart")
    add("--name", type=run_name, help="of the results' folders; default: the checkpoint's, and its hash")
    add("--save-dir", default="probes", help="where they are kept")
    add_data_options(parser)
    add_augment(parser)
    add_image_file_options(parser)
    add_compute_options(parser)
    add_check(parser)
    add_resume(parser, "the newest checkpoint of each protocol")
    parser.add_flag("--no-cuda", help="compute on the CPU")
    args = parser.parse_args()
    check_augment(args, data_set(args.dataset))
    for protocol in args.protocol:
        _check_kind(args, protocol, data_set(args.dataset))
    args.image_size = args.image_size or None  # unknown for own images until they are opened
    reading_of(args)
    return args


def handed_on(args: argparse.Namespace, style: str) -> list[str]:
    """The options of `python -m probe` that a script for data sets of a style takes, as words."""
    names = (*HANDED_ON, *OF_FILES) if style == "imagenet" else HANDED_ON
    values = {name: getattr(args, name.replace("-", "_")) for name in names}
    texts = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in values.items()}
    return [f"--{name}={value}" for name, value in texts.items() if value not in ("", None) and value is not False]
