"""The difference between two methods over the splits that both have: how large it is, and how sure.

Splits differ in their classes and images, so methods are compared split by split: what affects both alike cancels.
"""

from typing import NamedTuple

import numpy as np

LEVEL = 0.95  # of the intervals
RESAMPLES = 9999
TESTS = {"t": "paired t-test", "bootstrap": "percentile bootstrap and sign-flip test"}


class Paired(NamedTuple):
    """Mean difference over n pairs, its 95% interval and two-sided p; missing ones are None, for the reason `why`."""

    n: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    why: str = ""


def compare(ours: list[float], theirs: list[float], test: str = "t", seed: int = 0) -> Paired:
    """Mean of ours - theirs over pairs, with its interval and p-value.

    test "t": Student's paired t-test and its interval, which take the differences for normal: t = mean / error with
    n - 1 degrees of freedom, error = sqrt(sum((gaps - mean)^2) / (n - 1) / n), and the interval mean ± t(0.975) error.
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
    if test == "t" and equal:
        return Paired(n, mean, why="all differences are equal, so the t-test has no spread to measure them by")
    if test == "t":
        from scipy.special import stdtr, stdtrit  # the distribution and its inverse; scipy.stats takes a second to load

        error = float(gaps.std(ddof=1)) / n**0.5
        half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
        return Paired(n, mean, mean - half, mean + half, 2 * float(stdtr(n - 1, -abs(mean) / error)))
    from scipy.stats import bootstrap, permutation_test

    drawn = dict(n_resamples=RESAMPLES, rng=np.random.default_rng(seed))
    low = high = mean
    if not equal:
        found = bootstrap((gaps,), np.mean, confidence_level=LEVEL, method="percentile", **drawn)
        low, high = found.confidence_interval
    # Rounded, so that means which differ only by rounding count as equal.
    flipped = permutation_test((np.round(gaps, 9),), np.mean, permutation_type="samples", vectorized=True, **drawn)
    return Paired(n, mean, float(low), float(high), float(flipped.pvalue))
