"""Means with 95% intervals, and measurements of claims.

Numbers of the bandit have hundreds of seeds and bootstrapped intervals. The dilemma has ten trials or fewer and
Student's t; where the post shows m trials of its own, the interval is the one that a repetition falls into with 95%
probability: mean +- t s sqrt(1/n + 1/m) for its mean, s / sqrt(F) to s sqrt(F) for its standard deviation (Hahn and
Meeker 1991, sections 4.7 and 4.9; trials are assumed to be normal).
"""

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
SAME = 1e-9
"""Differences below this are rounding errors."""
Array = NDArray[np.float64]


class Band(TypedDict):
    """A number and its interval."""

    ours: float
    low: float
    high: float


def judge(measured: Band | float | str | bool, holds: object, **words: str) -> Measurement:
    """A number, with its interval if it has one, or a word; whether the claim holds; words for the claim's text."""
    if isinstance(measured, dict):
        return Measurement(**measured, holds=bool(holds), words=words)
    ours = measured if isinstance(measured, str | bool) else float(measured)
    return Measurement(ours, holds=bool(holds), words=words)


def above_zero(band: Band) -> Measurement:
    """The claim holds if the interval lies above 0."""
    return judge(band, band["low"] > 0)


def all_zero(values: Sequence[float], **words: str) -> Measurement:
    """The largest of `values`; the claim holds if all are 0 but for rounding."""
    return judge(max(values), max(values) < SAME, **words)


def over_seeds(values: Sequence[float] | Array | NDArray[np.bool_], *, unit: bool = False) -> Band:
    """Mean of one value per seed with its bootstrapped interval, which has no width if all values are equal.

    Args:
        unit: the values lie between 0 and 1; the interval then has a width even if all are 0 or all are 1.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not len(sample) or not np.isfinite(sample).all():
        raise ValueError("expected a finite value for each of one or more seeds")
    mean = estimate(sample.tolist(), unit=unit)
    assert mean is not None
    low, high = (mean.value if end is None else end for end in (mean.low, mean.high))
    return Band(ours=mean.value, low=low, high=high)


def slopes(x: Array, y: Array) -> Array:
    """[S], the least-squares slope of every column of y [T, S] over x [T]."""
    centred = x - x.mean()
    return np.asarray(centred @ y / (centred @ centred))


def over_trials(sample: Array) -> Band:
    """Mean of one value per trial with Student's interval, which has no width if there is one trial."""
    mean = float(sample.mean())
    half = half_width(sample) if len(sample) > 1 else 0.0
    return Band(ours=mean, low=mean - half, high=mean + half)


def next_mean(sample: Array, trials: int) -> Band:
    """Mean of two or more trials, and the interval for the mean of `trials` others."""
    n, mean, deviation = len(sample), float(sample.mean()), float(sample.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation * math.sqrt(1 / n + 1 / trials)
    return Band(ours=mean, low=mean - half, high=mean + half)


def next_deviation(sample: Array, trials: int) -> Band:
    """Standard deviation of two or more trials, and the interval for that of `trials` others."""
    n, deviation = len(sample), float(sample.std(ddof=1))
    low, high = (float(stats.f.ppf((1 + side * CONFIDENCE) / 2, trials - 1, n - 1)) for side in (-1, 1))
    return Band(ours=deviation, low=deviation * math.sqrt(low), high=deviation * math.sqrt(high))
