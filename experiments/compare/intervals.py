"""Confidence intervals and p-values by Student's t distribution, for means over a few runs."""

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
    """Return half the width of a confidence interval of the sample's mean. `sample` must have at least two values."""
    from scipy import stats

    # a percentile bootstrap is too narrow: for 3 runs, its 95% intervals had a coverage of 76% in simulations
    n = len(sample)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * float(sample.std(ddof=1)) / math.sqrt(n)


def mean_over_runs(values: Sequence[float], bounds: Range, *, clopper_pearson: bool = False) -> Estimate | None:
    """Return the mean with a confidence interval that is clipped to `bounds`.

    With `clopper_pearson`, values that are all 0 or all 1 get an exact interval.
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
    """Correct the p-values by the procedure of Holm (1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[int(index)] = largest
    return corrected
