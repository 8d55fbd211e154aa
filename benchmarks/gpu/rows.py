"""The measurements on a GPU, one row each: whole steps of both sides in turns, the data alone, NT-Xent."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks import published
from benchmarks.compare import flops
from benchmarks.gpu.measure import Clock, forget, memory_of, seconds_of
from benchmarks.gpu.our_side import VARIANTS, Ours, Variant, loader_of, started
from benchmarks.gpu.published_side import Batches, Published
from benchmarks.gpu.settings import METHODS, TEMPERATURE, Plan, Size, method_on
from data.loader import on_device
from methods import label_of
from methods.simclr import nt_xent
from utils.text import one_line


class Takes(NamedTuple):
    """Seconds for a network's rows of one method, and for one compilation of it (SDCLR compiles two branches)."""

    rows: float
    compiling: float


TAKES = {"res18": Takes(20, 60), "res50": Takes(75, 120)}  # estimates; the clock has the real time
OF_OTHERS = Takes(5, 0)


class Row(NamedTuple):
    """A row of the table: both sides in `unit`, how many times as fast ours is, its share of the fastest bfloat16
    product's speed, the peak memory of both in bytes. None: not measured; `note` has the reason."""

    what: str
    unit: str
    published: float | None
    ours: float | None
    ratio: float | None = None
    share: float | None = None
    published_bytes: int | None = None
    our_bytes: int | None = None
    note: str = ""
    seconds: tuple[tuple[float, float], ...] = ()  # (published, ours) of each round


class Bench(NamedTuple):
    """What all rows need. best: FLOP/s of the fastest bfloat16 product."""

    plan: Plan
    device: torch.device
    clock: Clock
    best: float


def reason(error: Exception) -> str:
    """Why a side has no result, in a few words."""
    if isinstance(error, torch.OutOfMemoryError):
        return "no memory"
    return one_line(f"{type(error).__name__}: {error}")[:120]


class Side:
    """A side of a comparison, after a warm-up turn that measured its memory; if it failed, `note` has the reason."""

    def __init__(self, name: str, make: Callable[[], Any], device: torch.device) -> None:
        self.name, self.device, self.side, self.note = name, device, None, ""
        self.seconds: list[float] = []
        with memory_of(device) as memory:
            try:
                self.side = make()
                self.side.turn()
            except Exception as error:  # such as a compiler's: the other rows are still measured
                self.close(reason(error))
        self.bytes = memory.peak

    def take(self) -> None:
        """Time another turn."""
        if self.side is not None:
            try:
                self.seconds.append(seconds_of(self.side.turn, self.device))
            except Exception as error:
                self.close(reason(error))

    def close(self, note: str = "") -> None:
        """Close the side and free its memory. note: the reason if it failed, which also discards its times."""
        if self.side is not None:
            self.side.close()
        self.side, self.note = None, note
        if note:
            self.seconds = []
            forget(self.device)


def pretraining(bench: Bench) -> Iterator[Row]:
    """Whole steps including their data; rows that there is no time for are marked so."""
    groups = [(size, method) for size in bench.plan.sizes for method in METHODS]
    for number, (size, method) in enumerate(groups):
        later = sum(TAKES.get(other.model, OF_OTHERS).rows for other, _ in groups[number + 1 :])
        if bench.clock.left < TAKES.get(size.model, OF_OTHERS).rows:
            yield from (row_left_out(size, method, variant) for variant in VARIANTS)
        else:
            try:
                yield from group(bench, size, method, later)
            except Exception as error:
                yield Row(f"{label_of(method)}, {size}", "images/s", None, None, note=reason(error))
        forget(bench.device)


def group(bench: Bench, size: Size, method: str, later: float) -> Iterator[Row]:
    """A method on a network: the published procedure and ours in each variant, in turns.

    Args:
        later: seconds that the following groups need; compiled rows and further rounds are left out to save them.
    """
    plan, device, takes = bench.plan, bench.device, TAKES.get(size.model, OF_OTHERS)
    needed = later + takes.rows + takes.compiling * (1 if method == "simclr" else 2)
    variants = [variant for variant in VARIANTS if not variant.compiled or bench.clock.left > needed]
    sides: list[Side] = []
    try:
        sides.append(Side("published", lambda: Published(method, size, device, plan.workers), device))
        for variant in variants:
            make = partial(Ours, method, size, device, variant, plan.backend)
            sides.append(Side(variant.name, make, device))
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
    for variant in VARIANTS:
        if variant not in variants:
            yield row_left_out(size, method, variant)


def row_of(bench: Bench, size: Size, method: str, work: float, sides: tuple[Side, Side]) -> Row:
    """The row of two sides, published and ours. work: floating-point operations of a step."""
    theirs, ours = sides
    their_seconds, our_seconds = (statistics.median(side.seconds) if side.seconds else None for side in sides)
    rounds = tuple(zip(theirs.seconds, ours.seconds, strict=False))  # one that failed has none
    notes = [f"{side.name}: {side.note}" for side in sides if side.note]
    return Row(
        f"{label_of(method)}, {size}, {ours.name}",
        "images/s",
        size.images / their_seconds if their_seconds else None,
        size.images / our_seconds if our_seconds else None,
        statistics.median(a / b for a, b in rounds) if rounds else None,
        size.steps * work / our_seconds / bench.best if our_seconds else None,
        theirs.bytes,
        ours.bytes,
        "; ".join(notes),
        rounds,
    )


def row_left_out(size: Size, method: str, variant: Variant) -> Row:
    """The row of a variant that there was no time for."""
    return Row(f"{label_of(method)}, {size}, {variant.name}", "images/s", None, None, note="left out: no time")


def operations(method: str, size: Size, device: torch.device) -> float:
    """Floating-point operations of a step's forward and backward passes; counted on 2 pairs."""
    learner = started(method_on(method, size, device), size)
    views = torch.rand(2, 2, 3, size.side, size.side, device=device)
    index = torch.arange(2, device=device)
    return flops(lambda: learner(views, index).mean().backward() and None) * size.pairs / 2


def augmentation(bench: Bench) -> Iterator[Row]:
    """Views without training, until they are on the device."""
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

            theirs, ours = (min(seconds_of(views, device) for _ in range(2)) for views in (published_views, our_views))
            batches.close()
            boosted = ", boosted" if method == "bcl-d" else ""
            name = f"two views, {size.side} px{boosted}, batches of {size.pairs}"
            rates, ratio = (size.images / theirs, size.images / ours), theirs / ours
            yield Row(name, "images/s", *rates, ratio, seconds=((theirs, ours),))


def losses(bench: Bench) -> Iterator[Row]:
    """NT-Xent of 128-dimensional projections, forward and backward."""
    for pairs in bench.plan.losses:
        theirs, their_bytes, their_note = loss_of(published.nt_xent, pairs, bench)
        ours, our_bytes, our_note = loss_of(lambda *views: nt_xent(*views).mean(), pairs, bench)
        ratio = theirs / ours if theirs and ours else None
        notes = [f"{name}: {note}" for name, note in (("published", their_note), ("ours", our_note)) if note]
        milliseconds = [None if s is None else 1e3 * s for s in (theirs, ours)]
        yield Row(
            f"NT-Xent, {pairs:,} pairs", "ms", *milliseconds, ratio, None, their_bytes, our_bytes, "; ".join(notes)
        )


def loss_of(loss: Callable[..., torch.Tensor], pairs: int, bench: Bench) -> tuple[float | None, int | None, str]:
    """Seconds, the least of plan.rounds after a warm-up; peak bytes of the warm-up; a note if it failed."""
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(pairs, 128, generator=generator).to(bench.device).requires_grad_() for _ in range(2)]

    def forward_and_backward() -> None:
        loss(*views, TEMPERATURE).backward()

    forget(bench.device)
    try:
        with memory_of(bench.device) as memory:
            forward_and_backward()
        seconds = min(seconds_of(forward_and_backward, bench.device) for _ in range(bench.plan.rounds))
        return seconds, memory.peak, ""
    except Exception as error:  # the other rows are still measured
        forget(bench.device)
        return None, None, reason(error)


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "losses": losses, "augmentation": augmentation, "pretraining": pretraining,
}  # fmt: skip
