"""This project's speed beside the published procedure's, in one run: a table, and benchmarks/results/<machine>.json.

    python -m benchmarks.run [--quick] [--only WORD]     or     make bench [QUICK=1]

Ratios are medians over rounds in which the sides take turns, each in a process of its own. "share": FLOP/s of the whole
step, divided by those of the fastest bfloat16 matrix product on this processor, measured in the same run.
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
    """A line of the table: values of both sides in `unit`, how many times as fast ours is, a share of the peak."""

    what: str
    unit: str
    published: float | None
    ours: float
    ratio: float | None = None
    share: float | None = None
    rounds: int = 1
    more: dict[str, Any] | None = None


def versus(name: str, theirs: dict[str, Any], *ours: dict[str, Any], rounds: int) -> list[Pair]:
    """Pairs of published_<name>(**theirs) with our_<name>(**each of ours)."""
    module, contenders = "benchmarks.contenders", []
    try:
        contenders.append(Contender(module, f"published_{name}", **theirs))
        contenders.extend(Contender(module, f"our_{name}", **arguments) for arguments in ours)
        return interleaved(contenders, rounds, warmup=1)
    finally:
        for contender in contenders:
            contender.close()


def _precisions(quick: bool) -> list[str]:
    """Float32 and bfloat16 where the processor has it; a quick run leaves out what is not the default."""
    if not has_bf16(CPU):
        return ["fp32"]
    return ["bf16"] if quick else ["fp32", "bf16"]


def operations(method: str, pairs: int) -> float:
    """Floating-point operations of a step's networks, forward and backward; counted on 2 pairs."""
    network = encoder(method, "res18").train()
    learner = SDCLR(network, 0.2, 0.9) if method == "sdclr" else SimCLR(network, 0.2)
    views, index = torch.rand(2, 2, 3, 32, 32), torch.arange(2)
    return flops(lambda: learner(views, index).mean().backward() and None) * pairs / 2


def pretraining(method: str, quick: bool) -> Iterator[Row]:
    """Whole steps with their data, float32 and bfloat16."""
    pairs, precisions = 128, _precisions(quick)
    common = {"method": method, "pairs": pairs}
    ours = [{**common, "precision": precision} for precision in precisions]
    sizes = (2048,) if quick else (1024, 2048, 4096)
    peaks = [matmul_peak(torch.bfloat16, torch.get_num_threads(), sizes)]
    found = versus("pretraining", common, *ours, rounds=1 if quick else 7)
    peaks.append(matmul_peak(torch.bfloat16, torch.get_num_threads(), sizes))
    work = operations(method, pairs)
    for precision, pair in zip(precisions, found, strict=True):
        rate = work / pair.ours
        share = rate / max(peaks) if precision == "bf16" else None
        more = {"gflops": rate / 1e9, "bf16_peak_gflops": max(peaks) / 1e9, **_peaks(pair)}
        what = f"{'SDCLR' if method == 'sdclr' else 'SimCLR'} res18, 32 px, 128 pairs, step with data, {precision}"
        yield Row(what, "images/s", pairs / pair.theirs, pairs / pair.ours, pair.ratio, share, len(pair.rounds), more)


def _peaks(pair: Pair) -> dict[str, Any]:
    peaks = {"published_peak_gib": pair.theirs_peak / 2**30, "our_peak_gib": pair.ours_peak / 2**30}
    return {**peaks, "seconds_of_rounds": [[round(s, 4) for s in both] for both in pair.rounds]}


def augmentation(quick: bool) -> Iterator[Row]:
    """Views of 32 pixels, and of JPEG files at 224."""
    images = 256 if quick else 1024
    (pair,) = versus("views", {"images": images}, {"images": images}, rounds=3 if quick else 7)
    rate = 2 * images
    what = "augmentation, 32 px, views per second and core"
    yield Row(what, "views/s", rate / pair.theirs, rate / pair.ours, pair.ratio, rounds=len(pair.rounds))
    (pair,) = versus("jpeg_views", {}, {}, rounds=3 if quick else 11)
    what = "JPEG to two 224 px views, opencv, one core"
    yield Row(what, "images/s", 30 / pair.theirs, 30 / pair.ours, pair.ratio, rounds=len(pair.rounds))


def masks(quick: bool) -> Iterator[Row]:
    """Pruning masks."""
    for model in ("res18", "res50"):
        (pair,) = versus("masks", {"model": model}, {"model": model}, rounds=1 if quick else 5)
        yield Row(
            f"pruning mask, {model}", "ms", 1e3 * pair.theirs, 1e3 * pair.ours, pair.ratio, None, len(pair.rounds)
        )


def losses(quick: bool) -> Iterator[Row]:
    """NT-Xent beside the published form, and alone where each of that one's matrices would take gigabytes."""
    work = {"pairs": 512, "times": 20}
    (pair,) = versus("loss", work, work, rounds=2 if quick else 15)
    what = "NT-Xent, 512 pairs, forward and backward"
    yield Row(what, "ms", 50 * pair.theirs, 50 * pair.ours, pair.ratio, None, len(pair.rounds))
    for pairs in (4096,) if quick else (4096, 16384):
        with Contender("benchmarks.contenders", "our_loss", pairs=pairs) as ours:
            seconds = statistics.median(ours.step() for _ in range(2))
            work = 4 * 2 * (2 * pairs) ** 2 * 128  # products of the forward, of its repetition, and two of the backward
            more = {"peak_gib": ours.peak / 2**30, "gflops": work / seconds / 1e9}
            what = f"NT-Xent, {pairs:,} pairs of 128 numbers: seconds"
            yield Row(what, "s", None, seconds, rounds=2, more=more)
            yield Row(f"NT-Xent, {pairs:,} pairs: peak memory, GiB", "GiB", None, ours.peak / 2**30)


def probes(quick: bool) -> Iterator[Row]:
    """A single epoch of the linear probe, after a first one; the published probe has 30."""
    train, val = (256, 32) if quick else (2048, 256)
    sizes, precisions = {"train": train, "val": val}, _precisions(quick)
    found = versus("probe", sizes, *({**sizes, "precision": p} for p in precisions), rounds=1 if quick else 4)
    for precision, pair in zip(precisions, found, strict=True):
        what = f"linear probe, res18, an epoch of {train} + {val} images, {precision}"
        yield Row(what, "images/s", train / pair.theirs, train / pair.ours, pair.ratio, None, len(pair.rounds))


def memories(quick: bool) -> Iterator[Row]:
    """BCL's update of its memory."""
    (pair,) = versus("memory", {"images": 9754}, {"images": 9754}, rounds=3 if quick else 7)
    scale = 1e3 * 512 / 9754
    yield Row(
        "BCL's memory, 512 losses", "ms", scale * pair.theirs, scale * pair.ours, pair.ratio, None, len(pair.rounds)
    )


def method_steps(quick: bool) -> Iterator[Row]:
    """The step of each method in steps of SimCLR; without its data."""
    precision, rounds = _precisions(quick)[-1], 1 if quick else 7
    for cost in costs(tabled(), 128, precision, rounds):
        what = f"{cost.work.label}, res18, 128 pairs, {precision}: a step, SimCLR's is 1, {cost.allowed:.2f} allowed"
        more = {"allowed": cost.allowed, "beyond": cost.ratio / cost.allowed - 1, "seconds": cost.seconds}
        yield Row(what, "steps", None, cost.ratio, rounds=rounds, more=more)
    for what, seconds in between_steps(quick).items():
        yield Row(what, "s", None, seconds)


def start_up(quick: bool) -> Iterator[Row]:
    """From the command to the first step."""
    with Contender("benchmarks.contenders", "first_step") as ours:
        found = []
        for _ in range(2 if quick else 5):
            ours.step()
            found.append(ours.value)
    yield Row("command to first step on digits", "s", None, statistics.median(found), rounds=len(found))


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

    def number(value: float | None, form: str = ".3g") -> str:
        return "-" if value is None else f"{value:,.0f}" if value >= 1000 else format(value, form)

    cells = [("what", "unit", "published", "ours", "ratio", "share")]
    for r in rows:
        cells.append(
            (r.what, r.unit, number(r.published), number(r.ours), number(r.ratio, ".2f"), number(r.share, ".2f"))
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, unit, *rest in cells:
        numbers = "  ".join(cell.rjust(width) for cell, width in zip(rest, widths[2:], strict=True))
        lines.append(f"{first.ljust(widths[0])}  {unit.ljust(widths[1])}  {numbers}".rstrip())
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The flags."""
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
                    told = f"{time.perf_counter() - started:5.0f} s  {table([row]).splitlines()[1]}"
                    print(told, file=sys.stderr, flush=True)
    print(table(rows))
    if args.only and not args.out:
        return
    out = args.out or RESULTS / f"{machine()}{'-quick' * args.quick}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "quick": args.quick,
        "provenance": provenance(),
        "seconds": round(time.perf_counter() - started, 1),
        "rows": [row._asdict() for row in rows],
    }
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written to {os.path.relpath(out)}")


if __name__ == "__main__":
    sys.exit(run_main(main))
