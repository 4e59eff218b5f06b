"""Compute 95% confidence intervals for a mean over a few runs, with Student's t distribution.

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

    The interval is clipped to `within`, the range of the quantity. If all values are equal, the result has no interval,
    with one exception: if `ends` is true and all values are 0 or all are 1, it has the exact interval of a rate (see
    `agents.play.evaluate.estimate`).
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) == 0 or np.ptp(sample) == 0:
        return estimate(values, unit=ends)
    mean, half = float(sample.mean()), half_width(sample)
    return Estimate(value=mean, low=max(within[0], mean - half), high=min(within[1], mean + half))
