"""The 95% interval of a mean over runs, which are few: Student's t.

A percentile bootstrap of so few is too narrow: of normal samples of 3 runs it held the mean 76% of the time, of 10
89% (400 samples each). Leaves out intervals over episodes, of which there are hundreds (evaluate.py), and those
for a repetition (reproduce/ipd/statistics.py).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.play.evaluate import CONFIDENCE, Estimate, estimate

Range = tuple[float, float]
"""Least and greatest number that a quantity can be; may be infinite."""
RATE: Range = (0.0, 1.0)
ABOVE_0: Range = (0.0, math.inf)
ABOVE_1: Range = (1.0, math.inf)


def half_width(sample: NDArray[np.float64]) -> float:
    """Half of the interval of the mean of `sample` [n], n >= 2: t s / sqrt(n)."""
    from scipy import stats

    n = len(sample)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * float(sample.std(ddof=1)) / math.sqrt(n)


def over_runs(values: Sequence[float], within: Range, *, ends: bool = False) -> Estimate | None:
    """Mean of one value per run [n] with its interval, cut off where the quantity ends; None for n = 0.

    Without spread there is no interval, but with `ends`, for a rate that is 0 or 1 in all runs, that of
    `agents.play.evaluate`.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) == 0 or np.ptp(sample) == 0:
        return estimate(values, unit=ends)
    mean, half = float(sample.mean()), half_width(sample)
    return Estimate(value=mean, low=max(within[0], mean - half), high=min(within[1], mean + half))
