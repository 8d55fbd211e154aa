"""How much memory a long list of image files takes in a run and its loader's workers; the table of docs/speed.md.

    python -m benchmarks.lists [--images 1280000] [--workers 10] [--starts fork spawn forkserver]

A list with names as long as ImageNet's is read as a run reads it, and a loader goes through one epoch of it. All of its
names lead to one file, which is looked up each time, but not decoded: that takes time, not memory. Memory is the
proportional set size (PSS: a page that n processes share counts 1/n in each), summed over the run's process and all its
descendants, when the workers have started and made one batch, and after the epoch. A short list shows what everything
else takes, so the difference is due to the long list. Each is measured in a process of its own. The workers of a run
are forked on Linux; on macOS they are spawned, and get a pickled copy of the list.
"""

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch

from benchmarks.compare import Contender, machine
from data.images import ImageFiles
from data.loader import AugmentedImages, make_loader
from data.samplers import EpochSampler
from data.sets.imagenet import IMAGENET
from run.made import provenance
from split.lists import read_path_list
from utils.allocator import keep_memory
from utils.cli import Parser, positive
from utils.errors import InputError, run_main
from utils.files import replace_file

SHORT = 1000  # images of the short list
STARTS = ("fork", "spawn", "forkserver")
BATCH = 256


def make_tree(folder: Path, images: int) -> None:
    """Make `list.txt` with `images` lines, of files in `train/<class>/`.

    All class folders are links to one folder, whose files are links to one empty file.
    """
    classes, per_class = IMAGENET.classes, -(-images // IMAGENET.classes)
    names = [f"n00000000_{i:05}.JPEG" for i in range(per_class)]
    (folder / "files").mkdir()
    (folder / "train").mkdir()
    (folder / "image.jpg").touch()
    for name in names:
        os.link(folder / "image.jpg", folder / "files" / name)
    for i in range(classes):
        (folder / "train" / f"n{i:08}").symlink_to(folder / "files")
    with (folder / "list.txt").open("w", encoding="utf-8") as file:
        for i in range(images):
            file.write(f"train/n{i % classes:08}/{names[i // classes]} {i % classes}\n")


def processes(root: int) -> Iterator[int]:
    """A process and all its descendants, from Linux's /proc."""
    yield root
    for task in Path(f"/proc/{root}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from processes(int(child))


def memory_of(root: int) -> tuple[float, float]:
    """Proportional set size in MB: of a process with all its descendants, and of the process alone."""
    sizes = []
    for process in processes(root):
        rows = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        sizes.append(sum(int(row.split()[1]) for row in rows if row.startswith("Pss:")) * 1024 / 1e6)
    return sum(sizes), sizes[0]


class LookedUp(ImageFiles):
    """Image files that are looked up, but not read."""

    def __getitem__(self, index: int) -> int:
        """The size of the file in bytes."""
        return (self.root / self.images.paths[index]).stat().st_size


def an_epoch(folder: str, workers: int, start: str) -> Callable[[], tuple[float, float]]:
    """For Contender: the first step starts the workers, the second finishes the epoch; both return memory_of."""
    keep_memory()  # as in a run on the CPU, before its list is read
    torch.set_num_threads(1)
    chosen = read_path_list(Path(folder) / "list.txt", IMAGENET, (), folder)
    images = AugmentedImages(LookedUp(folder, chosen, as_array=True), chosen.labels, torch.tensor, seed=0)
    sampler = EpochSampler(images, 1, 0, shuffle=True, seed=0)
    loader = make_loader(images, sampler, BATCH, workers, torch.device("cpu"))
    loader.num_workers = workers  # make_loader limits them to the number of cores
    loader.multiprocessing_context = start
    warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
    batches = None

    def step() -> tuple[float, float]:
        nonlocal batches
        count = None if batches else 1  # None: all that remain
        batches = batches or iter(loader)
        for _ in islice(batches, count):
            pass
        return memory_of(os.getpid())

    return step


def measured(folder: Path, workers: int, start: str) -> list[tuple[float, float]]:
    """memory_of after the first batch and after the epoch."""
    arguments = {"folder": str(folder), "workers": workers, "start": start}
    with Contender("benchmarks.lists", "an_epoch", **arguments) as contender:
        sizes = []
        for _ in range(2):
            contender.step()
            sizes.append(contender.value)
    return sizes


def compared(folders: tuple[Path, Path], workers: int, start: str) -> Iterator[tuple[str, list[float]]]:
    """The table's rows: name, and MB at the start and after the epoch, each of all processes and of the run alone."""
    rows = []
    for name, folder in zip(("short", "long"), folders, strict=True):
        rows.append([mb for sizes in measured(folder, workers, start) for mb in sizes])
        yield name, rows[-1]
    yield "difference", [long - short for short, long in zip(*rows, strict=True)]


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--images", type=positive, default=1_280_000, help="of the long list")
    parser.add_argument("--workers", type=positive, default=10)
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS), help="how workers are started")
    parser.add_argument("--out", type=Path, help="write what is printed")
    args = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        raise InputError("this system does not tell what processes share of their memory: measure on Linux")
    lines = [
        f"lists of {SHORT:,} and {args.images:,} images, {args.workers} workers; MB, of run and workers together",
        "workers     list        at the start  run alone  after an epoch  run alone",
    ]
    print(*lines, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folders = Path(scratch) / "short", Path(scratch) / "long"
        for folder, images in zip(folders, (SHORT, args.images), strict=True):
            folder.mkdir()
            make_tree(folder, images)
        for start in args.starts:
            for name, mb in compared(folders, args.workers, start):
                lines.append(f"{start:10}  {name:10}  {mb[0]:12.0f}  {mb[1]:9.0f}  {mb[2]:14.0f}  {mb[3]:9.0f}")
                print(lines[-1], flush=True)
    made = provenance()
    lines.append(f"{machine()}, revision {made['git']}, torch {made['torch']}")
    print(lines[-1])
    if args.out:
        replace_file(args.out, ("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    sys.exit(run_main(main))
