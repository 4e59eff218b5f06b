"""Intervals of means over a few runs hold what they should, and stay where the quantity lives."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.compare.intervals import ABOVE_0, RATE, over_runs


@pytest.mark.parametrize("runs", [3, 10])
def test_an_interval_holds_the_mean_of_a_normal_quantity(runs: int) -> None:
    """95% of the time, within four standard errors of a share of 2,000."""
    inside = 0
    for sample in np.random.default_rng(0).normal(size=(2000, runs)):
        found = over_runs(sample.tolist(), (-math.inf, math.inf))
        assert found is not None and found.low is not None and found.high is not None
        inside += found.low <= 0 <= found.high
    assert inside / 2000 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))


def test_an_interval_is_students() -> None:
    values = [1.0, 2.0, 4.0]
    found = over_runs(values, ABOVE_0)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert low < 0  # so it is cut off
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((7 / 3, 0, high))


def test_rates_end_at_0_and_1() -> None:
    found = over_runs([0.9, 1.0, 1.0], RATE)
    assert found is not None and found.low is not None
    assert found.high == 1 and 0 < found.low < 0.9


def test_without_spread_there_is_an_interval_only_at_the_ends_of_a_rate() -> None:
    exact = 0.025 ** (1 / 3)
    for values, ends, wanted in (([0.5] * 3, True, None), ([1.0] * 3, False, None), ([1.0] * 3, True, exact)):
        found = over_runs(values, RATE, ends=ends)
        assert found is not None
        assert found.low == (None if wanted is None else pytest.approx(wanted))
    assert over_runs([], RATE) is None
