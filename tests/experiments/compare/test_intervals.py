"""Intervals of means over a few runs have their nominal coverage and stay in the range of the quantity."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.compare.intervals import ABOVE_0, RATE, mean_over_runs


@pytest.mark.parametrize("runs", [3, 10])
def test_an_interval_covers_the_mean_of_a_normal_quantity(runs: int) -> None:
    """In 95% of 2,000 samples, within four standard errors."""
    inside = 0
    for sample in np.random.default_rng(0).normal(size=(2000, runs)):
        mean = mean_over_runs(sample.tolist(), (-math.inf, math.inf))
        assert mean is not None and mean.low is not None and mean.high is not None
        inside += mean.low <= 0 <= mean.high
    assert inside / 2000 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))


def test_an_interval_is_by_students_t() -> None:
    values = [1.0, 2.0, 4.0]
    mean = mean_over_runs(values, ABOVE_0)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert low < 0  # so it is clipped
    assert mean is not None
    assert (mean.value, mean.low, mean.high) == pytest.approx((7 / 3, 0, high))


def test_the_interval_of_a_rate_is_clipped_to_0_and_1() -> None:
    mean = mean_over_runs([0.9, 1.0, 1.0], RATE)
    assert mean is not None and mean.low is not None
    assert mean.high == 1 and 0 < mean.low < 0.9


def test_equal_values_have_an_interval_only_for_a_rate_of_0_or_1() -> None:
    exact = 0.025 ** (1 / 3)
    for values, clopper_pearson, wanted in (
        ([0.5] * 3, True, None),
        ([1.0] * 3, False, None),
        ([1.0] * 3, True, exact),
    ):
        mean = mean_over_runs(values, RATE, clopper_pearson=clopper_pearson)
        assert mean is not None
        assert mean.low == (None if wanted is None else pytest.approx(wanted))
    assert mean_over_runs([], RATE) is None
