"""How time and memory grow: with images, batch size, processes, pruning, classes; the table of docs/speed.md.

    python -m benchmarks.growth [--quick]

Every row is measured in a process of its own; memory is the peak of its resident memory, libraries included. The table
is of the CPU only: nothing is measured on CUDA.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.compare import Contender
from utils.cli import Parser
from utils.errors import run_main

PROJECT = Path(__file__).resolve().parents[1]
Line = tuple[str, str, str, str]  # what grows, size, time, peak memory
COMMON = {"precision": "auto"}


def measured(function: str, steps: int, **arguments: Any) -> tuple[float, float]:
    """Median seconds of a step of benchmarks.contenders.our_<function> after a warm-up step, and peak memory in GiB."""
    with Contender("benchmarks.contenders", f"our_{function}", **arguments) as ours:
        ours.step()
        return statistics.median(ours.step() for _ in range(steps)), ours.peak / 2**30


def line(name: str, size: object, seconds: float, gib: float, units: float = 1.0) -> Line:
    """One row; the time is in milliseconds per unit, `seconds` being those of `units` units."""
    return name, str(size), f"{1e3 * seconds / units:.3g} ms", f"{gib:.2f} GiB"


def images(quick: bool) -> Iterator[Line]:
    """An epoch's order and views, which are all that grows with the number of images."""
    for n in (1_000, 10_000) if quick else (1_000, 10_000, 50_000):
        seconds, gib = measured("views", 1, images=n)
        yield line("images: draws and 32 px views, one core, each 1,000 images", f"{n:,}", seconds, gib, n / 1000)


def batches(quick: bool) -> Iterator[Line]:
    """A step of pre-training, and the loss alone."""
    for pairs in (32, 128) if quick else (32, 64, 128, 256):
        seconds, gib = measured("pretraining", 2, method="simclr", pairs=pairs, **COMMON)
        yield line("batch: SimCLR res18, 32 px, a step, each pair", f"{pairs} pairs", seconds, gib, pairs)
    for pairs in (1024, 4096) if quick else (1024, 4096, 16384):
        seconds, gib = measured("loss", 1, pairs=pairs)
        yield line("batch: NT-Xent alone, 128 numbers, each pair", f"{pairs:,} pairs", seconds, gib, pairs)


def pruning(quick: bool) -> Iterator[Line]:
    """A masked network computes as much as a dense one."""
    for share in (0.0, 0.9) if quick else (0.0, 0.3, 0.9, 0.99):
        seconds, gib = measured("pretraining", 2, method="sdclr", pairs=64, share=share, **COMMON)
        yield line("pruning: SDCLR res18, a step of 64 pairs", f"{share:.0%}", seconds, gib)


def classes(quick: bool) -> Iterator[Line]:
    """The linear probe's classifier, on features of a frozen backbone."""
    for n in (10, 1000) if quick else (10, 100, 1000):
        seconds, gib = measured("classifier", 2, classes=n)
        yield line("classes: an epoch of the classifier, 512 features of 40,000 images", n, seconds, gib)


def processes(quick: bool) -> Iterator[Line]:
    """Pre-training on digits, one thread a process: the batch is divided, projections and gradients are exchanged."""
    for n in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            words = [f"--nproc_per_node={n}", "train_simCLR.py", "grow", "--save-dir", folder, "--dataset", "digits"]
            options = {"trainSplit": "digits_imbSub_with_subsets/digits_split1_D_i.npy", "model": "res18"}
            options |= {"batch_size": 128, "optimizer": "sgd", "lr": 0.1, "epochs": 2 if quick else 5}
            words += [word for name, value in options.items() for word in (f"--{name}", str(value))]
            command = [sys.executable, "-m", "torch.distributed.run", "--master_port=29541", *words]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(command, cwd=PROJECT, env=environment, check=True, capture_output=True)
            rows = (Path(folder) / "grow" / "metrics.jsonl").read_text().splitlines()
            rate = statistics.median(json.loads(row)["images_per_s"] for row in rows[1:])
        yield "processes: SimCLR res18, digits, 128 pairs, one thread each", str(n), f"{rate:,.0f} images/s", "-"


def main() -> None:
    parser = Parser(__doc__)
    parser.add_flag("--quick", help="fewer sizes")
    args = parser.parse_args()
    print("| what grows | size | time | peak memory |\n|---|---|---|---|")
    for part in (images, batches, pruning, classes, processes):
        for row in part(args.quick):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    sys.exit(run_main(main))
