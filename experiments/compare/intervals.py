"""Confidence intervals and p-values by Student's t distribution, for means over a few runs.

A percentile bootstrap is too narrow: for 3 runs, its 95% intervals contained the mean in 76% of 400 simulations.
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
    """Return t s / sqrt(n), half the width of the confidence interval of the mean of `sample`, with n >= 2."""
    from scipy import stats

    n = len(sample)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * float(sample.std(ddof=1)) / math.sqrt(n)


def mean_over_runs(values: Sequence[float], bounds: Range, *, clopper_pearson: bool = False) -> Estimate | None:
    """Return the mean of `values` with its confidence interval, clipped to `bounds`, or None without values.

    Equal values have no interval. If they are all 0 or all 1, `clopper_pearson` gives them the exact interval.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) == 0 or np.ptp(sample) == 0:
        return estimate(values, unit=clopper_pearson)
    mean, margin = float(sample.mean()), half_width(sample)
    return Estimate(value=mean, low=max(bounds[0], mean - margin), high=min(bounds[1], mean + margin))


def paired_p(differences: Sequence[float]) -> float:
    """Return the p-value of a two-sided paired t-test, or 1 if all differences are equal."""
    from scipy import stats

    return 1.0 if np.ptp(differences) <= 1e-9 else float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected by the procedure of Holm (1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[int(index)] = largest
    return corrected
