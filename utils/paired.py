"""The difference between two methods over the splits that both have: how large it is, and how sure.

Splits differ in their classes and images, so methods are compared split by split: what a split does to both cancels.
"""

from typing import NamedTuple

import numpy as np

LEVEL = 0.95  # of the intervals
RESAMPLES = 9999
TESTS = {"t": "paired t-test", "bootstrap": "percentile bootstrap and sign-flip test"}


class Paired(NamedTuple):
    """Mean difference over n pairs, its 95% interval and two-sided p; None where the pairs do not tell, and why."""

    n: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    why: str = ""


def compare(ours: list[float], theirs: list[float], test: str = "t", seed: int = 0) -> Paired:
    """Mean of ours - theirs over pairs, with its interval and p-value.

    test "t": Student's paired t-test and its interval (scipy.stats.ttest_rel), which take the differences for normal.
    Differences that are all equal have no spread to measure them by: no interval and no p.

    test "bootstrap": the percentile interval of the mean of resampled differences (scipy.stats.bootstrap; of few pairs
    it is too narrow), and p of the exact sign-flip test (scipy.stats.permutation_test): the share of all 2^n ways to
    swap the members of pairs that give so large a mean, on both sides. It is at least 2 / 2^n: 0.0625 of five pairs.
    Of more than 13 pairs, it draws 9,999 of the ways.

    Args:
        ours, theirs: [n] one number per split, in the same order. test: of TESTS. seed: of the random draws.
    """
    n, gaps = len(ours), np.subtract(ours, theirs)
    if n < 2:
        return Paired(n, why=f"a test needs 2 splits in common, there {'is 1' if n else 'is none'}")
    mean = float(gaps.mean())
    # Rounding leaves a spread of 1e-14 in numbers up to 100; one image of a million is 1e-4.
    equal = np.ptp(gaps) < 1e-9
    if test == "t":
        if equal:
            return Paired(n, mean, why="all differences are equal, so the t-test has no spread to measure them by")
        return Paired(n, mean, *_t_test(ours, theirs))
    low, high = (mean, mean) if equal else _bootstrap(gaps, seed)
    return Paired(n, mean, low, high, _sign_flips(gaps, seed))


def _t_test(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    from scipy.stats import ttest_rel  # takes a second to load, and most tables have no use for it

    result = ttest_rel(ours, theirs)
    interval = result.confidence_interval(LEVEL)
    return float(interval.low), float(interval.high), float(result.pvalue)


def _bootstrap(gaps: np.ndarray, seed: int) -> tuple[float, float]:
    from scipy.stats import bootstrap

    options = dict(confidence_level=LEVEL, n_resamples=RESAMPLES, method="percentile")
    interval = bootstrap((gaps,), np.mean, rng=np.random.default_rng(seed), **options).confidence_interval
    return float(interval.low), float(interval.high)


def _sign_flips(gaps: np.ndarray, seed: int) -> float:
    from scipy.stats import permutation_test

    options = dict(permutation_type="samples", n_resamples=RESAMPLES, alternative="two-sided")
    # Rounded, so that ways that give the same mean are seen to.
    found = permutation_test((np.round(gaps, 9),), np.mean, rng=np.random.default_rng(seed), vectorized=True, **options)
    return float(found.pvalue)
