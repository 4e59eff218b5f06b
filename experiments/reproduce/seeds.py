"""What is said about a number that depends on chance: its mean over seeds and the 95% interval of that mean."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from agents.play.evaluate import estimate
from experiments.reproduce.finding import Finding

BAND = "Band: 95% interval (bootstrap) of the mean over repetitions, which are seeds or random MDPs."


class Band(TypedDict):
    """`ours`, `low` and `high` of a finding."""

    ours: float
    low: float
    high: float


def over_seeds(values: Sequence[float] | NDArray[np.float64] | NDArray[np.bool_], *, unit: bool = False) -> Band:
    """Mean of one value per seed, with its bootstrapped interval; without width where the seeds agree.

    `unit` says that the values lie between 0 and 1; then the interval has a width even where all are 0 or all 1.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(sample).all():
        raise ValueError("expected finite values, one for each seed")
    found = estimate(sample.tolist(), unit=unit)
    if found is None:
        raise ValueError("expected at least one seed")
    low, high = found.low, found.high
    return Band(ours=found.value, low=found.value if low is None else low, high=found.value if high is None else high)


def banded(found: Iterable[Finding]) -> list[Finding]:
    """The same findings; a criterion says what the band is, which is that of `over_seeds` where there is one."""
    return [one if one.low is None else replace(one, criterion=f"{one.criterion} {BAND}") for one in found]


def slopes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """[S], the least-squares slope of every column of y [T, S] over x [T]."""
    centred = x - x.mean()
    return np.asarray(centred @ y / (centred @ centred))
