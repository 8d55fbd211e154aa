"""The time of a step of each method relative to SimCLR's, and the share of it that its network passes explain.

    python -m benchmarks.methods [--methods sdclr moclr] [--pairs 128] [--rounds 7]     or, with the rest, `make bench`

A step is one of pre-training without its data, at the end of each phase, when warm-ups are over and weights and
clusters exist. "allowed" is the counted floating-point operations of all forward and backward passes of the step,
divided by SimCLR's. What a step takes beyond that is the method's other work: masks, averages, transport, weights.
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

EPOCHS = 100  # of the pre-training whose steps are measured
FEATURES = 512  # dimensions of a feature vector


class Work(NamedTuple):
    """A phase of a method; most methods have one. share: of all epochs."""

    method: str
    phase: int
    label: str
    share: float


class Cost(NamedTuple):
    """Of a phase: seconds of a step; this relative to SimCLR's, as measured (ratio) and by operations (allowed)."""

    work: Work
    seconds: float
    ratio: float
    allowed: float
    rounds: int


@contextmanager
def command_line(words: list[str]) -> Iterator[None]:
    """Inside, `sys.argv` is `words`."""
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before


def built(method: str, images: int, model: str, stem: str = "cifar") -> Method:
    """A method for a list of this many images; stem: of the network, `cifar` for 32-pixel views."""
    words = ["train_simCLR.py", "x", "--model", model, "--method", method, "--epochs", EPOCHS, "--output_ch", 128]
    with command_line([str(word) for word in (*words, "--temperature", 0.2, "--optimizer", "sgd", "--lr", 0.01)]):
        options = parse_pretraining("")
    torch.manual_seed(0)
    return build_method(options, stem, images)


def works(method: str) -> list[Work]:
    """The phases of a method."""
    made, label = built(method, 128, "res20_s"), label_of(method)
    lengths, phases = list(made.phases(EPOCHS)), []
    for number, length in enumerate(lengths):
        made.start_phase(number)
        phase_label = f"{label}, {made.measures()['phase']}" if len(lengths) > 1 else label
        phases.append(Work(method, number, phase_label, length / EPOCHS))
    return phases


def in_training(method: Method, images: int, phase: int) -> Method:
    """The method in its state at the end of a phase."""
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
    """A step of pre-training on random 32-pixel views, without a loader."""
    compute = Compute(settings(precision), ALONE.device)
    learner = compute.on_device(in_training(built(method, pairs, model), pairs, phase)).train()
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimizer = build_optimizer("sgd", trained, 0.01)
    training = Training(learner, [], optimizer, Schedule(EPOCHS, 0.01, "constant"), compute, ALONE)
    batch = Batch(torch.rand(pairs, 2, 3, 32, 32), torch.arange(pairs), torch.zeros(pairs, dtype=torch.long), [], 0)

    def train_step() -> None:
        learner.start_step(EPOCHS - 0.5)
        step(training, batch)

    return train_step


def costs(methods: list[str], pairs: int, precision: str, rounds: int, model: str = "res18") -> list[Cost]:
    """The cost of each phase of each method, which takes turns with SimCLR."""
    common = {"pairs": pairs, "precision": precision, "model": model}
    baseline = flops(our_step("simclr", 0, pairs, "fp32", model))
    measured = []
    with Contender("benchmarks.methods", "our_step", method="simclr", phase=0, **common) as simclr:
        for work in (work for name in methods for work in works(name)):
            # One at a time, since each process holds 2 to 3 GB.
            with Contender("benchmarks.methods", "our_step", method=work.method, phase=work.phase, **common) as ours:
                (pair,) = interleaved([simclr, ours], rounds, warmup=1)
            ratio = statistics.median(own / theirs for theirs, own in pair.rounds)
            count = flops(our_step(work.method, work.phase, pairs, "fp32", model))
            measured.append(Cost(work, pair.ours, ratio, count / baseline, rounds))
    return measured


def operations(names: Iterable[str], pairs: int, model: str) -> dict[str, float]:
    """Method -> floating-point operations of a training, all phases together, divided by SimCLR's."""

    def mean_of_steps(name: str) -> float:
        return sum(work.share * flops(our_step(name, work.phase, pairs, "fp32", model)) for work in works(name))

    simclr = mean_of_steps("simclr")
    return {name: mean_of_steps(name) / simclr for name in names}


def between_steps(quick: bool) -> dict[str, float]:
    """Work that methods do between steps, once in some epochs: its name -> seconds."""
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
    seconds = {}
    for name, function in work.items():
        start = time.perf_counter()
        function()
        seconds[f"{name} of {images:,} images"] = time.perf_counter() - start
    return seconds


def tabled() -> list[str]:
    """The methods of the tables except SimCLR and the untrained network."""
    return [name for name in method_names() if name not in ("untrained", "simclr")]


def table(phases: list[Cost]) -> str:
    """A row a phase, and one for all phases together of a method with several."""
    rows = [("method", "of the epochs", "ms a step", "SimCLR's steps", "allowed", "beyond it")]
    for name in dict.fromkeys(cost.work.method for cost in phases):
        of_method = [cost for cost in phases if cost.work.method == name]
        rows += [_row(c.work.label, c.work.share, f"{1e3 * c.seconds:.0f}", c.ratio, c.allowed) for c in of_method]
        if len(of_method) > 1:
            ratio, allowed = (sum(c.work.share * getattr(c, key) for c in of_method) for key in ("ratio", "allowed"))
            rows.append(_row(label_of(name), 1.0, "", ratio, allowed))
    return align(rows)


def _row(label: str, share: float, ms: str, ratio: float, allowed: float) -> tuple[str, ...]:
    return label, f"{share:.0%}", ms, f"{ratio:.2f}", f"{allowed:.2f}", f"{100 * (ratio / allowed - 1):+.0f}%"


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
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
    print(align([("between steps", "s"), *((name, f"{s:.2f}") for name, s in between_steps(False).items())]))


if __name__ == "__main__":
    sys.exit(run_main(main))
