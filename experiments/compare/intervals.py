"""Confidence intervals for a mean over a few runs and p-values of paired differences, by Student's t distribution.

The intervals of a percentile bootstrap are too narrow for so few runs. In a simulation with normally distributed
values, the bootstrap's 95% intervals contained the true mean in only 76% of 400 samples of 3 runs, and in 89% of 400
samples of 10 runs.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.play.evaluate import CONFIDENCE, Estimate, estimate

Range = tuple[float, float]  # lowest and highest possible value of a quantity
ANY: Range = (-math.inf, math.inf)
RATE: Range = (0.0, 1.0)
ABOVE_0: Range = (0.0, math.inf)
ABOVE_1: Range = (1.0, math.inf)


def half_width(sample: NDArray[np.float64]) -> float:
    """Return half the width of the mean's confidence interval, t s / sqrt(n). The sample [n] must have n >= 2."""
    from scipy import stats

    n = len(sample)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * float(sample.std(ddof=1)) / math.sqrt(n)


def over_runs(values: Sequence[float], within: Range, *, ends: bool = False) -> Estimate | None:
    """Return the mean of `values` with its confidence interval, or None if there are no values.

    The interval is clipped to `within`, the range of the quantity. If all values are equal, there is no interval, with
    one exception: if `ends` is true and all values are 0 or all are 1, the result has the exact interval of a rate (see
    `agents.play.evaluate.estimate`).
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) == 0 or np.ptp(sample) == 0:
        return estimate(values, unit=ends)
    mean, half = float(sample.mean()), half_width(sample)
    return Estimate(value=mean, low=max(within[0], mean - half), high=min(within[1], mean + half))


def paired_p(differences: Sequence[float]) -> float:
    """Return the p-value of a two-sided paired t-test, or 1 if all differences are equal (within 1e-9)."""
    from scipy import stats

    return 1.0 if np.ptp(differences) <= 1e-9 else float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected by the procedure of Holm (1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[int(index)] = largest
    return corrected
