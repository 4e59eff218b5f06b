"""What ten trials of ours say about ten trials of theirs: intervals that a repetition should fall into.

A mean of m other trials, of the same distribution, lies in mean +- t s sqrt(1/n + 1/m) with 95% probability, and their
standard deviation in s / sqrt(F) to s sqrt(F) (Hahn and Meeker 1991, sections 4.7 and 4.9), where trials are normal.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.compare.intervals import half_width
from experiments.reproduce.seeds import Band

LEVEL = 0.95


def next_mean(sample: NDArray[np.float64], trials: int) -> Band:
    """Our mean, and the interval for the mean of as many other trials; at least two of ours are needed."""
    n, middle, spread = len(sample), float(sample.mean()), float(sample.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * spread * math.sqrt(1 / n + 1 / trials)
    return Band(ours=middle, low=middle - half, high=middle + half)


def next_deviation(sample: NDArray[np.float64], trials: int) -> Band:
    """Our standard deviation, and the interval for that of as many other trials."""
    n, spread = len(sample), float(sample.std(ddof=1))
    above = float(stats.f.ppf((1 + LEVEL) / 2, trials - 1, n - 1))
    below = float(stats.f.ppf((1 - LEVEL) / 2, trials - 1, n - 1))
    return Band(ours=spread, low=spread * math.sqrt(below), high=spread * math.sqrt(above))


def mean_band(sample: NDArray[np.float64]) -> Band:
    """Mean and its 95% interval by Student's t; without width where there is one trial."""
    n, middle = len(sample), float(sample.mean())
    if n < 2:
        return Band(ours=middle, low=middle, high=middle)
    half = half_width(sample)
    return Band(ours=middle, low=middle - half, high=middle + half)
