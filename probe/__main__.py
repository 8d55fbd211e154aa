"""The long-tail protocols for the encoder in any checkpoint, and the Many, Medium, Few, Std and All of each.

    python -m probe --checkpoint resnet50.pth --dataset cifar100 --data datasets --protocol bcl-100shot sdclr-linear

The checkpoint may be of this project, of both papers' authors, or of another library. Each protocol is run as
train_cifar.py or train_imagenet.py does, with the settings and lists that it is published with, in a folder of its own
below --save-dir, with its log.txt and results.json. --resume goes on with what was interrupted.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})  # until the first step, see run.signals

from data.groups import COLUMNS
from data.sets.base import DataSet, Split
from data.sets.registry import data_set
from features.encoder import Source, read_encoder
from features.flags import reading_of
from models import MODELS
from models.published import has_dual_batch_norm
from models.resnet import model_of
from probe.flags import handed_on, parse_cifar, parse_imagenet, parse_protocols
from probe.lists import probe_lists
from probe.pretraining import tailed_list_of
from probe.protocols import PROTOCOLS, Protocol, options_of, trains_on_images
from probe.stages import run_probe
from run.names import name_of_file
from run.world import world_from_environment
from utils.errors import run_main
from utils.text import align

SCRIPTS = {"cifar": parse_cifar, "imagenet": parse_imagenet}
TOPS = {"top1": "Top-1", "top5": "Top-5"}  # columns of the table where there are no groups


def parsed_commands(args: argparse.Namespace, dataset: DataSet, source: Source) -> dict[str, argparse.Namespace]:
    """Protocol -> the parsed command line of its script.

    Raises:
        InputError: the data set has no lists for a protocol.
    """
    for name in args.protocol:
        if PROTOCOLS[name].classifier:
            probe_lists(name, dataset)  # raises before the first protocol runs
    config, state = source.content.get("config"), source.encoder.state
    saved_model = config.get("model") if isinstance(config, dict) else None
    model = args.model or (saved_model if saved_model in MODELS else "") or model_of(state) or dataset.default_model
    group, name = _grouping_list(args, dataset), args.name or name_of_file(Path(args.checkpoint))
    shared = [*handed_on(args, dataset.style), "--cvt_state_dict", "--model", model]
    shared += ["--groupSplit", group] if group else []
    if args.bnNameCnt is not None or has_dual_batch_norm(state):
        shared += ["--bnNameCnt", str(args.bnNameCnt or 0)]
    prefix = f"{dataset.name}_" if dataset.transfer else ""  # one checkpoint is probed on several of these sets
    split = dataset.split_of(group) or Split(dataset.splits[0], True, "")
    commands = {}
    for protocol in dict.fromkeys(args.protocol):
        options = _options(PROTOCOLS[protocol], dataset, split, args.epochs)
        words = [f"{name}__{prefix}{protocol}", *shared, *options]
        commands[protocol] = SCRIPTS[dataset.style](__doc__, words)
    return commands


def _options(protocol: Protocol, dataset: DataSet, split: Split, epochs: int | None) -> list[str]:
    """The options, as words, that a protocol gives its script; epochs: in place of the protocol's."""
    if protocol.supervised:
        return _supervised_options(protocol, dataset, split, epochs)
    options = {"protocol": protocol.name} | ({} if protocol.classifier else options_of(protocol, dataset.style))
    if not protocol.classifier:
        del options["weight-decay"]  # another name of wd
        if dataset.style == "imagenet":  # train_imagenet.py itself freezes the network of a checkpoint
            del options["fixto"], options["fixbn"]
        few = dataset.few_shot_list(split)
        lists = {"cifar": {"trainSplit": few if protocol.few_shot else dataset.train_list},
                 "imagenet": {"customSplit": few} if protocol.few_shot else {"fullset": "True"}}  # fmt: skip
        options |= lists[dataset.style]
    if epochs:
        options["epochs"] = str(epochs)
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _supervised_options(protocol: Protocol, dataset: DataSet, split: Split, epochs: int | None) -> list[str]:
    """_options for a protocol of supervised learning."""
    list_option = {"cifar": "trainSplit", "imagenet": "customSplit"}[dataset.style]
    options = {"protocol": protocol.name, list_option: dataset.tailed_list(split)}
    if epochs:
        options |= {"epochs": str(epochs)} if trains_on_images(protocol.name) else {}
        options |= {"ce_epochs": str(epochs)} if protocol.after_ce else {}
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _grouping_list(args: argparse.Namespace, dataset: DataSet) -> str:
    """The list whose class sizes define the groups: that of the pre-training, where a checkpoint of ours records it."""
    pretrained_on = tailed_list_of({"checkpoint": args.checkpoint, "cvt_state_dict": True}, dataset)
    return args.groupSplit or pretrained_on or dataset.tailed_list(Split(dataset.splits[0], True, ""))


def table(results: dict[str, dict[str, Any]]) -> str:
    """A row of accuracies in percent for each protocol, and notes on runs that depart from their protocol.

    Args:
        results: protocol -> content of its results.json.
    """
    grouped = any(result["groups"] for result in results.values())
    rows, notes = [("", *(COLUMNS if grouped else TOPS.values()))], []
    for name, result in results.items():
        values = (result["groups"] or {"All": result["top1"]}).get if grouped else result.get
        numbers = map(values, COLUMNS if grouped else TOPS)
        rows.append((name, *("-" if value is None else f"{value:.2f}" for value in numbers)))
        departures = [f"{setting} {ours}, not {wanted}" for setting, (ours, wanted) in result["departs"].items()]
        if departures:
            notes.append(f"\nnote: {name} departs from its protocol: {', '.join(departures)}")
    return align(rows) + "".join(notes)


def main() -> None:
    args = parse_protocols(__doc__)
    dataset, world = data_set(args.dataset).at(args.data), world_from_environment(args.no_cuda)
    source = read_encoder(args.checkpoint, reading_of(args))
    commands = parsed_commands(args, dataset, source)
    source.print_format(args.quiet or not world.main)
    results = {}
    for name, settings in commands.items():
        run_probe(settings)
        if world.main and not args.check:
            file = Path(settings.save_dir) / settings.experiment / "results.json"
            results[name] = json.loads(file.read_bytes())
    if results:
        group = next(iter(commands.values())).groupSplit
        grouping = f", groups by {Path(group).stem}" if group else ""
        print(f"\n{dataset.name}, {args.checkpoint}: test accuracy in %{grouping}\n")
        print(table(results))


if __name__ == "__main__":
    sys.exit(run_main(main))
