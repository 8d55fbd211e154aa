"""What is measured on a GPU, a row each: whole steps in turns, the data alone, NT-Xent."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from benchmarks import published
from benchmarks.compare import flops
from benchmarks.gpu.measure import Clock, forget, memory_of, seconds_of
from benchmarks.gpu.our_side import HOWS, How, Ours, loader_of, started
from benchmarks.gpu.published_side import Batches, Published
from benchmarks.gpu.settings import METHODS, TEMPERATURE, Plan, Size, method_on
from data.loader import on_device
from methods import label_of
from methods.simclr import nt_xent
from utils.text import one_line


class Takes(NamedTuple):
    """Seconds that a network's rows of one method may take, and its compilation, in SDCLR of two branches, besides."""

    rows: float
    compiling: float


TAKES = {"res18": Takes(20, 60), "res50": Takes(75, 120)}  # estimates: what really passes is the clock's to tell
OF_OTHERS = Takes(5, 0)


class Row(NamedTuple):
    """A line of the table: both sides in `unit`, how many times as fast ours is, its share of the best bfloat16
    product, the peak memory of both in bytes. None: not measured; `note` says why."""

    what: str
    unit: str
    published: float | None
    ours: float | None
    ratio: float | None = None
    share: float | None = None
    published_bytes: int | None = None
    our_bytes: int | None = None
    note: str = ""
    seconds: tuple[tuple[float, float], ...] = ()  # of each round, both sides'


class Bench(NamedTuple):
    """What all rows need. best: FLOP/s of the best bfloat16 product."""

    plan: Plan
    device: torch.device
    clock: Clock
    best: float


def why(error: Exception) -> str:
    """Why a side has no result, in a few words."""
    if isinstance(error, torch.OutOfMemoryError):
        return "no memory"
    return one_line(f"{type(error).__name__}: {error}")[:120]


class Side:
    """A side of a comparison: made, warmed up by a turn, its memory noted; or `note` says why not."""

    def __init__(self, name: str, make: Callable[[], Any], device: torch.device) -> None:
        self.name, self.device, self.side, self.note = name, device, None, ""
        self.seconds: list[float] = []
        with memory_of(device) as memory:
            try:
                self.side = make()
                self.side.turn()
            except Exception as error:  # a compiler that fails, say: the other rows are still worth their time
                self.close(why(error))
        self.bytes = memory.peak

    def take(self) -> None:
        """Another turn, timed."""
        if self.side is not None:
            try:
                self.seconds.append(seconds_of(self.side.turn, self.device))
            except Exception as error:
                self.close(why(error))

    def close(self, note: str = "") -> None:
        """End it; note: why it has no result."""
        if self.side is not None:
            self.side.close()
        self.side, self.note = None, note
        if note:
            self.seconds = []
            forget(self.device)


def pretraining(bench: Bench) -> Iterator[Row]:
    """Whole steps with their data; what there is no time for is named."""
    groups = [(size, method) for size in bench.plan.sizes for method in METHODS]
    for number, (size, method) in enumerate(groups):
        later = sum(TAKES.get(other.model, OF_OTHERS).rows for other, _ in groups[number + 1 :])
        if bench.clock.left < TAKES.get(size.model, OF_OTHERS).rows:
            yield from (row_left_out(size, method, how) for how in HOWS)
        else:
            yield from group(bench, size, method, later)
        forget(bench.device)


def group(bench: Bench, size: Size, method: str, later: float) -> Iterator[Row]:
    """A method on a network: the published procedure and ours in each precision, in turns.

    Args:
        later: seconds that are kept for the groups that follow: before them, compiled rows and rounds are left out.
    """
    plan, device, takes = bench.plan, bench.device, TAKES.get(size.model, OF_OTHERS)
    needed = later + takes.rows + takes.compiling * (1 if method == "simclr" else 2)
    hows = [how for how in HOWS if not how.compiled or bench.clock.left > needed]
    sides: list[Side] = []
    try:
        sides.append(Side("published", lambda: Published(method, size, device, plan.workers), device))
        for how in hows:
            sides.append(Side(how.name, lambda how=how: Ours(method, size, device, how, plan.backend), device))
        for i in range(plan.rounds):
            if i and bench.clock.left < later:
                break
            first = i % len(sides)
            for side in [*sides[first:], *sides[:first]]:
                side.take()
    finally:
        for side in sides:
            side.close(side.note)
    theirs, *ours = sides
    work = operations(method, size, device)
    yield from (row_of(bench, size, method, work, (theirs, side)) for side in ours)
    for how in HOWS:
        if how not in hows:
            yield row_left_out(size, method, how)


def row_of(bench: Bench, size: Size, method: str, work: float, sides: tuple[Side, Side]) -> Row:
    """work: floating-point operations of a step."""
    theirs, ours = sides
    a, b = (statistics.median(side.seconds) if side.seconds else None for side in sides)
    both = tuple(zip(theirs.seconds, ours.seconds, strict=False))
    notes = [f"{side.name}: {side.note}" for side in sides if side.note]
    return Row(
        f"{label_of(method)}, {size}, {ours.name}", "images/s", size.images / a if a else None,
        size.images / b if b else None, statistics.median(one / other for one, other in both) if both else None,
        size.steps * work / b / bench.best if b else None, theirs.bytes, ours.bytes, "; ".join(notes), both,
    )  # fmt: skip


def row_left_out(size: Size, method: str, how: How) -> Row:
    """The row of what there was no time for."""
    return Row(f"{label_of(method)}, {size}, {how.name}", "images/s", None, None, note="left out: no time")


def operations(method: str, size: Size, device: torch.device) -> float:
    """Floating-point operations of a step's networks, forward and backward; counted on 2 pairs."""
    learner = started(method_on(method, size, device), size)
    views = torch.rand(2, 2, 3, size.side, size.side, device=device)
    index = torch.arange(2, device=device)
    return flops(lambda: learner(views, index).mean().backward() and None) * size.pairs / 2


def augmentation(bench: Bench) -> Iterator[Row]:
    """The data alone, on its way to the device."""
    plan, device = bench.plan, bench.device
    for size in plan.sizes:
        for method in ("simclr", "bcl-d"):
            batches = Batches(method, size, device, plan.workers)
            loader = loader_of(started(method_on(method, size, device), size), size, device)
            stream = torch.cuda.Stream(device) if device.type == "cuda" else None

            def published_views(batches: Batches = batches) -> None:
                for batch in batches.turn():
                    batch[0].to(device)

            def our_views(loader: Any = loader, stream: Any = stream) -> None:
                for _ in on_device(loader, device, stream):
                    pass

            a, b = (min(seconds_of(work, device) for _ in range(2)) for work in (published_views, our_views))
            batches.close()
            boosted = ", boosted" if method == "bcl-d" else ""
            what = f"two views, {size.side} px{boosted}, batches of {size.pairs}"
            yield Row(what, "images/s", size.images / a, size.images / b, a / b, seconds=((a, b),))


def losses(bench: Bench) -> Iterator[Row]:
    """NT-Xent of 128 numbers, forward and backward."""
    for pairs in bench.plan.losses:
        theirs, their_bytes, note = loss_of(published.nt_xent, pairs, bench)
        ours, our_bytes, own_note = loss_of(lambda *views: nt_xent(*views).mean(), pairs, bench)
        ratio = theirs / ours if theirs and ours else None
        notes = [f"{name}: {told}" for name, told in (("published", note), ("ours", own_note)) if told]
        milliseconds = [None if s is None else 1e3 * s for s in (theirs, ours)]
        yield Row(
            f"NT-Xent, {pairs:,} pairs", "ms", *milliseconds, ratio, None, their_bytes, our_bytes, "; ".join(notes)
        )


def loss_of(loss: Callable[..., torch.Tensor], pairs: int, bench: Bench) -> tuple[float | None, int | None, str]:
    """Seconds, the best of the plan's rounds after one that does not count; peak bytes; or why there are none."""
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(pairs, 128, generator=generator).to(bench.device).requires_grad_() for _ in range(2)]

    def both() -> None:
        loss(*views, TEMPERATURE).backward()

    forget(bench.device)
    try:
        with memory_of(bench.device) as memory:
            both()
        return min(seconds_of(both, bench.device) for _ in range(bench.plan.rounds)), memory.peak, ""
    except torch.OutOfMemoryError:
        forget(bench.device)
        return None, None, "no memory"


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "losses": losses, "augmentation": augmentation, "pretraining": pretraining,
}  # fmt: skip
