"""Many, Medium, Few: groups of classes and their summary, against NumPy and the papers' numbers."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.groups import summarise, thirds
from tests.conftest import PROJECT

quick = settings(database=None, deadline=None, max_examples=60)


CIFAR10_COUNTS = [4500, 2697, 1617, 969, 581, 348, 208, 125, 75, 45]


def group_by_sorting(counts: list[int]) -> dict[str, set[int]]:
    """S:exp_analyse.py in plain Python: the lowest third Few, the next as many Medium, the rest Many."""
    third = len(counts) // 3
    ranked = sorted(range(len(counts)), key=lambda c: counts[c])
    return {"Few": set(ranked[:third]), "Medium": set(ranked[third : 2 * third]), "Many": set(ranked[2 * third :])}


@pytest.mark.parametrize(("classes", "sizes"), [(10, (4, 3, 3)), (100, (34, 33, 33)), (9, (3, 3, 3)), (11, (5, 3, 3))])
def test_sizes_of_the_thirds(classes, sizes):
    counts = np.random.RandomState(1).permutation(classes * 7)[:classes].tolist()
    groups = thirds(counts)
    assert tuple(len(groups[g]) for g in ("Many", "Medium", "Few")) == sizes
    assert {g: set(c) for g, c in groups.items()} == group_by_sorting(counts)


@quick
@given(counts=st.lists(st.integers(0, 50), min_size=3, max_size=120))
def test_thirds_are_a_partition_in_order(counts):
    groups = thirds(counts)
    assert sorted(sum(groups.values(), [])) == list(range(len(counts)))
    few, medium, many = ([counts[c] for c in groups[g]] for g in ("Few", "Medium", "Many"))
    assert max(few) <= min(medium)
    assert max(medium) <= min(many)
    assert {g: set(c) for g, c in groups.items()} == group_by_sorting(counts)


def test_groups_of_the_published_counts():
    """METHODS, section 9: images of each group, whatever the class order."""
    order = np.random.RandomState(2).permutation(10)
    counts = np.array(CIFAR10_COUNTS)[order]
    groups = thirds(counts.tolist())
    assert [int(counts[groups[g]].sum()) for g in ("Many", "Medium", "Few")] == [9783, 1137, 245]


@quick
@given(per_class=st.lists(st.floats(0, 100), min_size=10, max_size=10), seed=st.integers(0, 2**31))
def test_summary_against_numpy(per_class, seed):
    counts = np.random.RandomState(seed).permutation(CIFAR10_COUNTS).tolist()
    groups = group_by_sorting(counts)
    means = {g: float(np.mean([per_class[c] for c in groups[g]])) for g in ("Many", "Medium", "Few")}
    middle = sum(means.values()) / 3
    deviation = math.sqrt(sum((m - middle) ** 2 for m in means.values()) / 3)  # population: ddof 0
    expected = {**means, "Std": deviation, "All": sum(per_class) / 10}
    assert summarise(per_class, thirds(counts)) == pytest.approx(expected, abs=1e-9)


PAPER = PROJECT / "results" / "published_results.csv"


SIZES = {"CIFAR10-LT": (4, 3, 3), "CIFAR100-LT": (34, 33, 33), "ImageNet-100-LT": (39, 48, 13)}


def paper_rows() -> dict[tuple[str, str, str], dict[str, tuple[str, str]]]:
    rows = {}
    with PAPER.open() as file:
        for r in csv.DictReader(file):
            rows.setdefault((r["paper_table"], r["dataset"], r["method"]), {})[r["metric"]] = r["mean"], r["std"]
    return rows


SDCLR_ROWS = [key for key in paper_rows() if key[0].startswith("SDCLR")]


@pytest.mark.parametrize("key", SDCLR_ROWS, ids="-".join)
def test_all_is_the_mean_over_classes_in_the_papers_rows(key):
    """METHODS, section 0, item 4: All is the group means weighted by the classes of each group."""
    means = {metric: float(mean) for metric, (mean, _) in paper_rows()[key].items()}
    sizes, per_class, groups = SIZES[key[1]], [], {}
    for name, size in zip(("Many", "Medium", "Few"), sizes, strict=True):
        groups[name] = list(range(len(per_class), len(per_class) + size))
        per_class += [means[name]] * size
    ours = summarise(per_class, groups)
    assert ours["All"] == pytest.approx(means["All"], abs=0.0101)  # two roundings to 0.01
    if key[1] == "ImageNet-100-LT":  # one split, so that the row's Std is that of its means
        assert ours["Std"] == pytest.approx(means["Std"], abs=0.0101)
        assert float(np.std([means[g] for g in groups], ddof=1)) != pytest.approx(means["Std"], abs=0.5)


def test_there_are_twelve_rows_of_the_paper():
    assert len(SDCLR_ROWS) == 12
