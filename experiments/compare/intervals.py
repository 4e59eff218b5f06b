"""Compute 95% confidence intervals for a mean over a few runs, with Student's t distribution.

A percentile bootstrap is too narrow for so few runs. For normal samples it covered the mean in 76% of 400 samples with
3 runs, and in 89% of 400 samples with 10 runs.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.play.evaluate import CONFIDENCE, Estimate, estimate

Range = tuple[float, float]
"""Lowest and highest possible value of a quantity. The values may be infinite."""
RATE: Range = (0.0, 1.0)
ABOVE_0: Range = (0.0, math.inf)
ABOVE_1: Range = (1.0, math.inf)


def half_width(sample: NDArray[np.float64]) -> float:
    """Return t s / sqrt(n), half the width of the mean's interval, for `sample` [n] with n >= 2.

    s is the standard deviation, and t the quantile of Student's distribution.
    """
    from scipy import stats

    n = len(sample)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * float(sample.std(ddof=1)) / math.sqrt(n)


def over_runs(values: Sequence[float], within: Range, *, ends: bool = False) -> Estimate | None:
    """Return the mean over one value per run [n] with its confidence interval, or None if n = 0.

    The interval is clipped to `within`, the range of the quantity. Equal values have no interval. With `ends`, there is
    one exception: a rate that is 0 or 1 in all runs has the interval that `agents.play.evaluate.estimate` computes.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) == 0 or np.ptp(sample) == 0:
        return estimate(values, unit=ends)
    mean, half = float(sample.mean()), half_width(sample)
    return Estimate(value=mean, low=max(within[0], mean - half), high=min(within[1], mean + half))
