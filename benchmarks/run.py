"""Compares this project's speed with the published procedure's: a table, and benchmarks/results/<machine>.json.

    python -m benchmarks.run [--quick] [--only WORD]     or     make bench [QUICK=1]

Ratios are medians over rounds in which the two sides take turns, each in a process of its own. "share" is the FLOP/s of
the whole step, divided by those of the fastest bfloat16 matrix product on this processor, measured in the same run.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.compare import Contender, Pair, flops, interleaved, machine, matmul_peak
from benchmarks.contenders import encoder
from benchmarks.methods import between_steps, costs, tabled
from methods.sdclr import SDCLR
from methods.simclr import SimCLR
from run.compute import has_bf16
from run.made import provenance
from utils.cli import Parser
from utils.errors import run_main

RESULTS = Path(__file__).resolve().parent / "results"
CPU = torch.device("cpu")


class Row(NamedTuple):
    """A row of the table: values of both sides in `unit`, how many times as fast ours is, our share of the peak."""

    what: str
    unit: str
    published: float | None
    ours: float
    ratio: float | None = None
    share: float | None = None
    rounds: int = 1
    more: dict[str, Any] | None = None


def versus(name: str, theirs: dict[str, Any], *ours: dict[str, Any], rounds: int) -> list[Pair]:
    """Compare published_<name>(**theirs) with our_<name>(**arguments) for each `arguments` in `ours`."""
    module, contenders = "benchmarks.contenders", []
    try:
        contenders.append(Contender(module, f"published_{name}", **theirs))
        contenders.extend(Contender(module, f"our_{name}", **arguments) for arguments in ours)
        return interleaved(contenders, rounds, warmup=1)
    finally:
        for contender in contenders:
            contender.close()


def _precisions(quick: bool) -> list[str]:
    """fp32, and bf16 if the processor has it; a quick run has only the default of the two."""
    if not has_bf16(CPU):
        return ["fp32"]
    return ["bf16"] if quick else ["fp32", "bf16"]


def operations(method: str, pairs: int) -> float:
    """Floating-point operations of a step's forward and backward passes; counted on 2 pairs."""
    network = encoder(method, "res18").train()
    learner = SDCLR(network, 0.2, 0.9) if method == "sdclr" else SimCLR(network, 0.2)
    views, index = torch.rand(2, 2, 3, 32, 32), torch.arange(2)
    return flops(lambda: learner(views, index).mean().backward() and None) * pairs / 2


def pretraining(method: str, quick: bool) -> Iterator[Row]:
    """Whole steps including their data, in each precision."""
    pairs, precisions = 128, _precisions(quick)
    common = {"method": method, "pairs": pairs}
    ours = [{**common, "precision": precision} for precision in precisions]
    sizes = (2048,) if quick else (1024, 2048, 4096)
    peaks = [matmul_peak(torch.bfloat16, torch.get_num_threads(), sizes)]
    compared = versus("pretraining", common, *ours, rounds=1 if quick else 7)
    peaks.append(matmul_peak(torch.bfloat16, torch.get_num_threads(), sizes))
    work = operations(method, pairs)
    for precision, pair in zip(precisions, compared, strict=True):
        rate = work / pair.ours
        share = rate / max(peaks) if precision == "bf16" else None
        more = {"gflops": rate / 1e9, "bf16_peak_gflops": max(peaks) / 1e9, **_peaks(pair)}
        name = f"{'SDCLR' if method == 'sdclr' else 'SimCLR'} res18, 32 px, 128 pairs, step with data, {precision}"
        yield Row(name, "images/s", pairs / pair.theirs, pairs / pair.ours, pair.ratio, share, len(pair.rounds), more)


def _peaks(pair: Pair) -> dict[str, Any]:
    peaks = {"published_peak_gib": pair.theirs_peak / 2**30, "our_peak_gib": pair.ours_peak / 2**30}
    return {**peaks, "seconds_of_rounds": [[round(s, 4) for s in both] for both in pair.rounds]}


def augmentation(quick: bool) -> Iterator[Row]:
    """Views of 32 pixels, and 224-pixel views of JPEG files."""
    images = 256 if quick else 1024
    (pair,) = versus("views", {"images": images}, {"images": images}, rounds=3 if quick else 7)
    rate = 2 * images
    name = "augmentation, 32 px, views per second and core"
    yield Row(name, "views/s", rate / pair.theirs, rate / pair.ours, pair.ratio, rounds=len(pair.rounds))
    (pair,) = versus("jpeg_views", {}, {}, rounds=3 if quick else 11)
    name = "JPEG to two 224 px views, opencv, one core"
    yield Row(name, "images/s", 30 / pair.theirs, 30 / pair.ours, pair.ratio, rounds=len(pair.rounds))


def masks(quick: bool) -> Iterator[Row]:
    """Pruning masks."""
    for model in ("res18", "res50"):
        (pair,) = versus("masks", {"model": model}, {"model": model}, rounds=1 if quick else 5)
        yield Row(
            f"pruning mask, {model}", "ms", 1e3 * pair.theirs, 1e3 * pair.ours, pair.ratio, None, len(pair.rounds)
        )


def losses(quick: bool) -> Iterator[Row]:
    """NT-Xent beside its published form; with more pairs alone, as the other's matrices would take gigabytes each."""
    work = {"pairs": 512, "times": 20}
    (pair,) = versus("loss", work, work, rounds=2 if quick else 15)
    name = "NT-Xent, 512 pairs, forward and backward"
    yield Row(name, "ms", 50 * pair.theirs, 50 * pair.ours, pair.ratio, None, len(pair.rounds))
    for pairs in (4096,) if quick else (4096, 16384):
        with Contender("benchmarks.contenders", "our_loss", pairs=pairs) as ours:
            seconds = statistics.median(ours.step() for _ in range(2))
            work = 4 * 2 * (2 * pairs) ** 2 * 128  # matrix products: forward, recomputed forward, two backward
            more = {"peak_gib": ours.peak / 2**30, "gflops": work / seconds / 1e9}
            name = f"NT-Xent, {pairs:,} pairs of 128 numbers: seconds"
            yield Row(name, "s", None, seconds, rounds=2, more=more)
            yield Row(f"NT-Xent, {pairs:,} pairs: peak memory, GiB", "GiB", None, ours.peak / 2**30)


def probes(quick: bool) -> Iterator[Row]:
    """One epoch of the linear probe, after a warm-up epoch; the published probe has 30."""
    train, val = (256, 32) if quick else (2048, 256)
    sizes, precisions = {"train": train, "val": val}, _precisions(quick)
    compared = versus("probe", sizes, *({**sizes, "precision": p} for p in precisions), rounds=1 if quick else 4)
    for precision, pair in zip(precisions, compared, strict=True):
        name = f"linear probe, res18, an epoch of {train} + {val} images, {precision}"
        yield Row(name, "images/s", train / pair.theirs, train / pair.ours, pair.ratio, None, len(pair.rounds))


def memories(quick: bool) -> Iterator[Row]:
    """The update of BCL's memory of losses."""
    (pair,) = versus("memory", {"images": 9754}, {"images": 9754}, rounds=3 if quick else 7)
    scale = 1e3 * 512 / 9754
    yield Row(
        "BCL's memory, 512 losses", "ms", scale * pair.theirs, scale * pair.ours, pair.ratio, None, len(pair.rounds)
    )


def method_steps(quick: bool) -> Iterator[Row]:
    """The time of each method's step without its data, relative to SimCLR's."""
    precision, rounds = _precisions(quick)[-1], 1 if quick else 7
    for cost in costs(tabled(), 128, precision, rounds):
        name = f"{cost.work.label}, res18, 128 pairs, {precision}: a step, SimCLR's is 1, {cost.allowed:.2f} allowed"
        more = {"allowed": cost.allowed, "beyond": cost.ratio / cost.allowed - 1, "seconds": cost.seconds}
        yield Row(name, "steps", None, cost.ratio, rounds=rounds, more=more)
    for name, seconds in between_steps(quick).items():
        yield Row(name, "s", None, seconds)


def start_up(quick: bool) -> Iterator[Row]:
    """Seconds from the command to the end of the first step."""
    with Contender("benchmarks.start_up", "first_step") as ours:
        seconds = []
        for _ in range(2 if quick else 5):
            ours.step()
            seconds.append(ours.value)
    yield Row("command to first step on digits", "s", None, statistics.median(seconds), rounds=len(seconds))


PARTS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "simclr": lambda quick: pretraining("simclr", quick),
    "sdclr": lambda quick: pretraining("sdclr", quick),
    "augmentation": augmentation,
    "mask": masks,
    "loss": losses,
    "probe": probes,
    "memory": memories,
    "methods": method_steps,
    "start": start_up,
}


def table(rows: list[Row]) -> str:
    """The lines that `make bench` prints."""

    def number(value: float | None, spec: str = ".3g") -> str:
        return "-" if value is None else f"{value:,.0f}" if value >= 1000 else format(value, spec)

    cells = [("what", "unit", "published", "ours", "ratio", "share")]
    for r in rows:
        ratio, share = number(r.ratio, ".2f"), number(r.share, ".2f")
        cells.append((r.what, r.unit, number(r.published), number(r.ours), ratio, share))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for name, unit, *rest in cells:
        numbers = "  ".join(cell.rjust(width) for cell, width in zip(rest, widths[2:], strict=True))
        lines.append(f"{name.ljust(widths[0])}  {unit.ljust(widths[1])}  {numbers}".rstrip())
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The options; raises InputError for a bad one."""
    parser = Parser(__doc__)
    parser.add_flag("--quick", help="fewer rounds and smaller sets, under three minutes")
    parser.add_argument("--only", choices=list(PARTS), help="one part, printed and not written")
    parser.add_argument("--out", type=Path, help="the JSON file; default by machine in benchmarks/results")
    return parser.parse_args()


def main() -> None:
    args, started, rows = parse(), time.perf_counter(), []
    for name, part in PARTS.items():
        if args.only in (None, name):
            for row in part(args.quick):
                rows.append(row)
                if not args.quiet:
                    line = f"{time.perf_counter() - started:5.0f} s  {table([row]).splitlines()[1]}"
                    print(line, file=sys.stderr, flush=True)
    print(table(rows))
    if args.only and not args.out:
        return
    out = args.out or RESULTS / f"{machine()}{'-quick' * args.quick}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "quick": args.quick,
        "provenance": provenance(),
        "seconds": round(time.perf_counter() - started, 1),
        "rows": [row._asdict() for row in rows],
    }
    out.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {os.path.relpath(out)}")


if __name__ == "__main__":
    sys.exit(run_main(main))
