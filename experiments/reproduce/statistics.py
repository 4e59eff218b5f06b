"""Compute means with 95% intervals, and judge claims by them."""

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from agents.play.evaluate import CONFIDENCE, estimate
from experiments.compare.intervals import half_width
from experiments.reproduce.finding import Measurement

BAND = "Band: bootstrapped 95% interval of the mean over repetitions (seeds or random MDPs)."
ROUNDING = 1e-9  # smaller differences count as rounding errors
Array = NDArray[np.float64]


class Band(TypedDict):
    """A number and its 95% interval."""

    ours: float
    low: float
    high: float


def judge(measured: Band | float | str | bool, holds: object, **words: str) -> Measurement:
    """Return a measurement. `words` replace the placeholders in the claim's text."""
    if isinstance(measured, dict):
        return Measurement(**measured, holds=bool(holds), words=words)
    ours = measured if isinstance(measured, str | bool) else float(measured)
    return Measurement(ours, holds=bool(holds), words=words)


def above_zero(band: Band) -> Measurement:
    """Judge a claim that holds if the whole interval lies above 0."""
    return judge(band, band["low"] > 0)


def all_zero(values: Sequence[float], **words: str) -> Measurement:
    """Judge a claim that holds if all `values` are 0 up to rounding."""
    # the values are nonnegative
    return judge(max(values), max(values) < ROUNDING, **words)


def over_seeds(values: Sequence[float] | Array | NDArray[np.bool_], *, unit: bool = False) -> Band:
    """Return the mean and a bootstrapped interval over seeds. If `unit`, all `values` lie in [0, 1]."""
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not len(sample) or not np.isfinite(sample).all():
        raise ValueError("expected a finite value for each of one or more seeds")
    mean = estimate(sample.tolist(), unit=unit)
    assert mean is not None
    low, high = (mean.value if bound is None else bound for bound in (mean.low, mean.high))
    return Band(ours=mean.value, low=low, high=high)


def slopes(x: Array, y: Array) -> Array:
    """Return the least-squares slope of each column of y against x."""
    centred = x - x.mean()
    return np.asarray(centred @ y / (centred @ centred))


def over_trials(sample: Array) -> Band:
    """Return the mean over trials and the 95% interval (Student's t)."""
    mean = float(sample.mean())
    margin = half_width(sample) if len(sample) > 1 else 0.0
    return Band(ours=mean, low=mean - margin, high=mean + margin)


def next_mean(sample: Array, new_trials: int) -> Band:
    """Return the mean, and a 95% prediction interval of the mean of `new_trials` trials."""
    n, mean, deviation = len(sample), float(sample.mean()), float(sample.std(ddof=1))
    # Hahn and Meeker (1991), section 4.7, for normally distributed trials
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation * math.sqrt(1 / n + 1 / new_trials)
    return Band(ours=mean, low=mean - margin, high=mean + margin)


def next_deviation(sample: Array, new_trials: int) -> Band:
    """Return the standard deviation, and a 95% prediction interval of the deviation of `new_trials` trials."""
    n, deviation = len(sample), float(sample.std(ddof=1))
    # Hahn and Meeker (1991), section 4.9
    low, high = (float(stats.f.ppf((1 + side * CONFIDENCE) / 2, new_trials - 1, n - 1)) for side in (-1, 1))
    return Band(ours=deviation, low=deviation * math.sqrt(low), high=deviation * math.sqrt(high))
