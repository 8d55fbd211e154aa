"""What a step of each method costs, in steps of SimCLR, beside what its forwards and backwards cost.

    python -m benchmarks.methods [--methods sdclr moclr] [--pairs 128] [--rounds 7]     or, with the rest, `make bench`

A step is that of pre-training, without its data, at the end of each phase: warm-ups are over, weights and clusters are
there. "allowed" is the ratio of the floating-point operations of all forwards and backwards of
the step, counted; what a step takes beyond it is the method's own work: masks, averages, transport, weights.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from benchmarks.compare import Contender, Step, flops, interleaved
from benchmarks.contenders import ALONE, settings
from data.loader import Batch
from methods import choose, label_of, method_names
from methods.base import Method
from methods.build import build_method
from methods.clusters import cosine_k_means
from methods.gh import GH, Plan, simplex
from methods.rwsam import AS_USUAL, rarity
from methods.simclr import SimCLR
from pretrain.epoch import Schedule, Training, step
from pretrain.flags import parse as parse_pretraining
from run.compute import Compute
from run.optim import build_optimizer
from utils.cli import Parser, positive
from utils.errors import run_main
from utils.text import align

EPOCHS = 100  # of the training that the step is of
FEATURES = 512  # numbers of an image's features


class Work(NamedTuple):
    """A phase of a method, most often the only one; share: of all epochs."""

    method: str
    phase: int
    label: str
    share: float


class Cost(NamedTuple):
    """Of a phase: seconds of its step, and this in steps of SimCLR: measured, and as its operations allow."""

    work: Work
    seconds: float
    ratio: float
    allowed: float
    rounds: int


@contextmanager
def command_line(words: list[str]) -> Iterator[None]:
    """Inside, this is the command line."""
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before


def built(method: str, images: int, model: str, stem: str = "cifar") -> Method:
    """A method for a list of so many images; stem: of the network, `cifar` for 32-pixel views."""
    words = ["train_simCLR.py", "x", "--model", model, "--method", method, "--epochs", EPOCHS, "--output_ch", 128]
    with command_line([str(word) for word in (*words, "--temperature", 0.2, "--optimizer", "sgd", "--lr", 0.01)]):
        options = parse_pretraining("")
    torch.manual_seed(0)
    return build_method(options, stem, images)


def works(method: str) -> list[Work]:
    """The phases of a method."""
    made, label = built(method, 128, "res20_s"), label_of(method)
    lengths, found = list(made.phases(EPOCHS)), []
    for number, length in enumerate(lengths):
        made.start_phase(number)
        named = f"{label}, {made.measures()['phase']}" if len(lengths) > 1 else label
        found.append(Work(method, number, named, length / EPOCHS))
    return found


def in_training(method: Method, images: int, phase: int) -> Method:
    """The method as it is at the end of a phase."""
    generator, lengths = torch.Generator().manual_seed(0), list(method.phases(EPOCHS))

    def features() -> torch.Tensor:
        return torch.randn(images, method.encoder.channels, generator=generator)

    for number in range(phase + 1):
        first, last = sum(lengths[:number]) + 1, sum(lengths[: number + 1])
        method.start_phase(number)
        for epoch in (first, first + 1, last):
            method.start_epoch(epoch, features)
    return method


def our_step(method: str, phase: int, pairs: int, precision: str = "fp32", model: str = "res18") -> Step:
    """A step of pre-training with 32-pixel views."""
    compute = Compute(settings(precision), ALONE.device)
    learner = compute.on_device(in_training(built(method, pairs, model), pairs, phase)).train()
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimizer = build_optimizer("sgd", trained, 0.01)
    training = Training(learner, [], optimizer, Schedule(EPOCHS, 0.01, "constant"), compute, ALONE)
    batch = Batch(torch.rand(pairs, 2, 3, 32, 32), torch.arange(pairs), torch.zeros(pairs, dtype=torch.long), [], 0)

    def take() -> None:
        learner.start_step(EPOCHS - 0.5)
        step(training, batch)

    return take


def costs(methods: list[str], pairs: int, precision: str, rounds: int, model: str = "res18") -> list[Cost]:
    """Of each phase of each method, with SimCLR taking turns."""
    wanted = [Work("simclr", 0, "SimCLR", 1.0), *(work for name in methods for work in works(name))]
    counts = [flops(our_step(work.method, work.phase, pairs, "fp32", model)) for work in wanted]
    contenders: list[Contender] = []
    try:
        for work in wanted:
            how = {"method": work.method, "phase": work.phase, "pairs": pairs, "precision": precision, "model": model}
            contenders.append(Contender("benchmarks.methods", "our_step", **how))
        found = interleaved(contenders, rounds, warmup=1)
    finally:
        for contender in contenders:
            contender.close()
    return [
        Cost(work, pair.ours, statistics.median(b / a for a, b in pair.rounds), count / counts[0], rounds)
        for work, pair, count in zip(wanted[1:], found, counts[1:], strict=True)
    ]


def operations(names: Iterable[str], pairs: int, model: str) -> dict[str, float]:
    """Floating-point operations of a training by each method, all its phases, in those of SimCLR."""

    def of_steps(name: str) -> float:
        return sum(work.share * flops(our_step(name, work.phase, pairs, "fp32", model)) for work in works(name))

    usual = of_steps("simclr")
    return {name: of_steps(name) / usual for name in names}


def between_steps(quick: bool) -> dict[str, float]:
    """What methods do now and then: what it is -> seconds."""
    images = 1_000 if quick else 10_000
    features = torch.randn(images, FEATURES, generator=torch.Generator().manual_seed(0))
    similar = GH(SimCLR(torch.nn.Identity(), 0.2), images, simplex(100, 128, 0), Plan(0))
    similar.turn.fill_(20)
    similar.average.copy_(features[:, :100])
    work = {
        "rwSAM: densities": lambda: rarity(features, AS_USUAL),
        "GH: shares of the directions": lambda: similar.start_epoch(21),
        "DnC: clusters": lambda: cosine_k_means(features.numpy(), 5, images, 0),
    }
    found = {}
    for name, do in work.items():
        start = time.perf_counter()
        do()
        found[f"{name} of {images:,} images"] = time.perf_counter() - start
    return found


def tabled() -> list[str]:
    """The methods that tables have, but SimCLR and what is not trained."""
    return [name for name in (*method_names(), "simclr+gh") if name not in ("untrained", "simclr")]


def table(found: list[Cost]) -> str:
    """A line a phase, and one of all phases of a method that has several."""
    lines = [("method", "of the epochs", "ms a step", "SimCLR's steps", "allowed", "beyond it")]
    for name in dict.fromkeys(cost.work.method for cost in found):
        own = [cost for cost in found if cost.work.method == name]
        lines += [_line(c.work.label, c.work.share, f"{1e3 * c.seconds:.0f}", c.ratio, c.allowed) for c in own]
        if len(own) > 1:
            ratio, allowed = (sum(c.work.share * getattr(c, key) for c in own) for key in ("ratio", "allowed"))
            lines.append(_line(label_of(name), 1.0, "", ratio, allowed))
    return align(lines)


def _line(label: str, share: float, ms: str, ratio: float, allowed: float) -> tuple[str, ...]:
    return label, f"{share:.0%}", ms, f"{ratio:.2f}", f"{allowed:.2f}", f"{100 * (ratio / allowed - 1):+.0f}%"


def parse() -> argparse.Namespace:
    """Flags; InputError for a bad one."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--methods", nargs="+", type=lambda word: choose(word).name, default=tabled())
    add("--pairs", type=positive, default=128)
    add("--rounds", type=positive, default=7)
    add("--precision", choices=["fp32", "bf16"], default="fp32")
    add("--model", default="res18", choices=["res18", "res50", "res20_s"])
    return parser.parse_args()


def main() -> None:
    args = parse()
    print(table(costs(args.methods, args.pairs, args.precision, args.rounds, args.model)))
    print(align([("between steps", "s"), *((what, f"{s:.2f}") for what, s in between_steps(False).items())]))


if __name__ == "__main__":
    sys.exit(run_main(main))
