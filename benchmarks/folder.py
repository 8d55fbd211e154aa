"""A folder of images: the time to find and to decode them, and the speed of views with and without a decoded cache.

    python -m benchmarks.folder [--images 60000] [--size 32] [--rounds 5]

Makes a temporary folder of JPEG files (pieces of scikit-learn's photographs) and prints the seconds of a scan, of
reading a kept scan and of decoding, then the images per second of a pre-training's loader, two views each, on one core
without workers: from files with OpenCV, from images decoded into memory, and from a memory-mapped file of them. Medians
over rounds in which the three take turns.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from data.flags import Views
from data.kept import JUST_NOW, keep, kept
from data.loader import Batch, view_loader
from data.samplers import EpochSampler
from data.sets.base import Opening
from data.sets.registry import data_set
from data.tree import scan
from utils.cli import Parser, number, positive

PER_FOLDER, BATCH = 1000, 512
DIFFERENT = 500  # files with their own content; the others are copies of them


def make(root: Path, images: int, size: int) -> None:
    """Make files in folders of a thousand, with folder times that are old enough for a scan of them to be kept."""
    rng, photographs = np.random.default_rng(0), load_sample_images().images
    for i in range(images):
        path = root / f"{i // PER_FOLDER:04d}" / f"{i % PER_FOLDER:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        source = i % DIFFERENT
        if i < DIFFERENT:
            pixels = photographs[i % len(photographs)]
            top, left = (int(rng.integers(0, side - size)) for side in pixels.shape[:2])
            Image.fromarray(pixels[top : top + size, left : left + size]).save(path, quality=92)
        else:
            path.write_bytes((root / "0000" / f"{source:03d}.jpg").read_bytes())
    before = time.time_ns() - 2 * JUST_NOW
    for folder in [root, *root.iterdir()]:
        os.utime(folder, ns=(before, before))


def seconds(work: Callable[[], object]) -> float:
    """The time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def batches(root: Path, cache: str, size: int, kept_in: Path) -> Iterator[Batch]:
    """Endless batches of a pre-training."""
    data = data_set("folder").open(str(root), opening=Opening(kept_in, cache, size))
    engine = data.dataset.engines[0]
    images = data.training(data.everything, Views(engine, size, seed=0, workers=0, skip_bad=True)).images
    sampler = EpochSampler(images, 1, 0, shuffle=True, seed=0)
    loader = view_loader(images, sampler, BATCH, 0, torch.device("cpu"))
    for epoch in itertools.count(1):
        sampler.set_epoch(epoch)
        yield from loader


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--images", type=number(int, 2 * BATCH), default=60_000)
    parser.add_argument("--size", type=number(int, 8, 64), default=32, help="pixels")
    parser.add_argument("--rounds", type=positive, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Print the measurements; `folder` is empty and takes the files."""
    root, run = folder / "own", folder / "checkpoints" / "run"
    root.mkdir()
    make(root, options.images, options.size)
    print(f"{options.images:,} JPEG files of {options.size} pixels")
    print(f"scan {seconds(lambda: scan(root)):.2f} s; ", end="")
    keep(scan(root), run)
    print(f"a kept scan {seconds(lambda: kept(root, run)):.2f} s", flush=True)
    streams = {cache: batches(root, cache, options.size, run) for cache in ("none", "memory", "disk")}
    for cache, stream in streams.items():  # the first batch waits until all images are decoded
        print(f"cache {cache}: the first batch after {seconds(lambda s=stream: next(s)):.2f} s", flush=True)
    times = {cache: [] for cache in streams}
    for _ in range(options.rounds):
        for cache, stream in streams.items():
            times[cache].append(seconds(lambda s=stream: next(s)))
    rates = {cache: BATCH / statistics.median(values) for cache, values in times.items()}
    print(f"images per second and core, two views of {options.size} pixels each:")
    for cache, rate in rates.items():
        print(f"cache {cache}: {rate:,.0f}, {rate / rates['none']:.1f} times that of files")


if __name__ == "__main__":
    main()
