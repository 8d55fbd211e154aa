"""The cost of methods, at a tiny size: every phase of every method does a step; the operations are counted."""

import pytest
import torch

from benchmarks import methods
from benchmarks.methods import Cost, Work, between_steps, our_step, table, tabled, works
from tests.conftest import one_line_error, quick_first

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def here(monkeypatch):
    """Contenders in this process, whose step takes no time."""

    class Here:
        def __init__(self, module: str, function: str, **arguments) -> None:
            self.peak, self.step = 0, lambda: 1.0

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(methods, "Contender", Here)


def test_phases():
    assert works("sdclr+gh") == [Work("sdclr+gh", 0, "SDCLR+GH", 1.0)]
    assert [(w.label, w.share) for w in works("dnc")] == [
        ("DnC, base", 0.2), ("DnC, experts", 0.6), ("DnC, distillation", 0.2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "allowed"),
    quick_first([
        # A forward pass is a third of a forward and backward pass; the loss is negligible.
        ("focal", [1]), ("sdclr", [1]), ("bcl-i", [1]), ("ts", [1]), ("simclr+gh", [1]), ("moclr", [4 / 3]),
        ("rwsam", [2]), pytest.param("dnc", [4 / 3, 4 / 3, 5 / 3], marks=pytest.mark.slow),
    ]),
)  # fmt: skip
def test_what_forwards_and_backwards_allow(here, name, allowed):
    costs = methods.costs([name], 101, "fp32", 1, "res20_s")
    assert [cost.allowed for cost in costs] == pytest.approx(allowed, rel=0.03)
    assert [cost.ratio for cost in costs] == [1.0] * len(allowed)
    assert tabled().count(name) == 1


def test_a_step_moves_the_weights():
    before, after = [], []
    for turn in (before, after):
        learner = methods.in_training(methods.built("simclr", 8, "res20_s"), 8, 0)
        turn += [p.clone() for p in learner.parameters()]
    assert all(map(torch.equal, before, after))  # both start from the same weights
    our_step("simclr", 0, 8, "fp32", "res20_s")()


def test_the_table_has_a_line_of_all_phases():
    costs = [
        Cost(Work("dnc", i, f"DnC, {i}", share), 0.5, ratio, allowed, 1)
        for i, (share, ratio, allowed) in enumerate([(0.25, 1.0, 1.0), (0.75, 3.0, 2.0)])
    ]
    *_, last = table(costs).splitlines()
    assert last.split() == ["DnC", "100%", "2.50", "1.75", "+43%"]


def test_seconds_of_what_is_between_steps():
    times = between_steps(True)
    assert len(times) == 3 and all(seconds >= 0 and "1,000 images" in name for name, seconds in times.items())


def test_a_method_that_there_is_not(call):
    one_line_error(call("benchmarks/methods.py", "--methods", "dino"), "dino")
