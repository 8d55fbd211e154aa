"""The difference between two methods over the splits that both have, its confidence interval and its p-value.

Splits differ in their classes and images, so methods are compared split by split: what affects both alike cancels.
"""

from typing import NamedTuple

import numpy as np

LEVEL = 0.95  # of the intervals
RESAMPLES = 9999
TESTS = {"t": "paired t-test", "bootstrap": "percentile bootstrap and sign-flip test"}


class Paired(NamedTuple):
    """Mean difference over n pairs, its 95% interval and two-sided p-value.

    Where one of them cannot be computed, it is None, and `why` is the reason.
    """

    n: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    why: str = ""


def compare(ours: list[float], theirs: list[float], test: str = "t", seed: int = 0) -> Paired:
    """Mean of ours - theirs over pairs, with its interval and p-value.

    test "t": Student's paired t-test and its interval, which assume normal differences: t = mean / error with n - 1
    degrees of freedom, error = sqrt(sum((gaps - mean)^2) / (n - 1) / n), and the interval mean ± t(0.975) error. Where
    all differences are equal, error is 0: no interval and no p.

    test "bootstrap": the percentile interval of the mean of resampled differences (scipy.stats.bootstrap; too narrow
    for few pairs), and the p-value of the exact sign-flip test (scipy.stats.permutation_test), two-sided: the share of
    all 2^n ways to swap the members of pairs that give at least so large a mean. It is at least 2 / 2^n, 0.0625 of five
    pairs. For more than 13 pairs, 9,999 of the ways are drawn at random.

    Args:
        ours, theirs: [n] one number per split, in the same order. test: a key of TESTS. seed: of the random draws.
    """
    n, gaps = len(ours), np.subtract(ours, theirs)
    if n < 2:
        return Paired(n, why=f"a test needs 2 splits in common, there {'is 1' if n else 'is none'}")
    mean = float(gaps.mean())
    # In numbers up to 100, rounding errors are about 1e-14, and one image of a million is 1e-4.
    equal = np.ptp(gaps) < 1e-9
    if test == "t" and equal:
        return Paired(n, mean, why="all differences are equal, so the t-test has no spread to measure them by")
    if test == "t":
        # Student's distribution and its inverse; scipy.stats, which has them too, takes a second to import.
        from scipy.special import stdtr, stdtrit

        error = float(gaps.std(ddof=1)) / n**0.5
        half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
        return Paired(n, mean, mean - half, mean + half, 2 * float(stdtr(n - 1, -abs(mean) / error)))
    from scipy.stats import bootstrap, permutation_test

    drawn = dict(n_resamples=RESAMPLES, rng=np.random.default_rng(seed))
    low = high = mean
    if not equal:
        resampled = bootstrap((gaps,), np.mean, confidence_level=LEVEL, method="percentile", **drawn)
        low, high = resampled.confidence_interval
    # Differences are rounded, so that means which differ only by rounding errors count as equal.
    flipped = permutation_test((np.round(gaps, 9),), np.mean, permutation_type="samples", vectorized=True, **drawn)
    return Paired(n, mean, float(low), float(high), float(flipped.pvalue))
