"""Effective numbers of strategies and pass@k: bounds, limits, and exact values of small cases."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.compare.diversity import (
    KS,
    chao_shen_entropy,
    count_labels,
    pass_at,
    pass_at_k,
    plugin_entropy,
    plugin_entropy_interval,
)

COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any)


@given(COUNTS)
def test_the_effective_number_lies_between_one_and_the_support(counts: list[int]) -> None:
    number = math.exp(plugin_entropy(np.array(counts, dtype=float)))
    assert 1 - 1e-12 <= number <= sum(count > 0 for count in counts) + 1e-9
    assert number <= sum(counts) + 1e-9


@given(st.integers(1, 9), st.integers(1, 5))
def test_equal_shares_have_the_full_number(strategies: int, each: int) -> None:
    assert math.exp(plugin_entropy(np.full(strategies, float(each)))) == pytest.approx(strategies)


def test_the_correction_removes_most_of_the_bias_of_a_small_sample() -> None:
    """40 samples of 60 equally likely strategies, 300 times; the true entropy is log 60."""
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        counts = np.bincount(rng.integers(0, 60, 40), minlength=60).astype(float)
        found.append((float(plugin_entropy(counts)), chao_shen_entropy(counts)))
    counted, corrected = np.mean(found, axis=0) - math.log(60)
    assert counted < -0.5
    assert abs(corrected) < abs(counted) / 4


def test_the_correction_vanishes_for_a_large_sample() -> None:
    counts = np.array([50_000.0, 30_000.0, 20_000.0])
    assert chao_shen_entropy(counts) == pytest.approx(float(plugin_entropy(counts)), abs=1e-6)
    assert chao_shen_entropy(np.array([7.0])) == pytest.approx(0)
    assert chao_shen_entropy(np.array([1.0])) == pytest.approx(0)


def test_the_interval_has_its_nominal_coverage() -> None:
    p, rng, hits = np.array([0.6, 0.3, 0.1]), np.random.default_rng(1), 0
    truth = float(-(p * np.log(p)).sum())
    for seed in range(40):
        rows = np.eye(3)[rng.choice(3, 200, p=p)]
        bounds = plugin_entropy_interval([rows], seed)
        assert bounds is not None and 0 <= bounds[0] <= bounds[1]
        hits += bounds[0] <= truth <= bounds[1]
    assert 34 <= hits <= 40


def test_whole_episodes_are_resampled() -> None:
    """Ten episodes of one repeated strategy each have a wider interval than a thousand independent choices."""
    blocks = np.kron(np.eye(2)[[0, 1] * 5], np.full((1, 1), 100.0))
    singles = np.eye(2)[[0, 1] * 500]
    widths = [high - low for low, high in (plugin_entropy_interval([rows], 0) or (0, 0) for rows in (blocks, singles))]
    assert widths[0] > 10 * widths[1]


def test_one_strategy_has_no_interval() -> None:
    assert plugin_entropy_interval([np.ones((5, 1)), np.ones((5, 1))], 0) is None


def test_labels_are_counted() -> None:
    counts, names = count_labels([["b", "b", "c"], [], ["a"]], first_labels=("a", "z"))
    assert names == ("a", "z", "b", "c")
    assert counts.tolist() == [[0, 0, 2, 1], [0, 0, 0, 0], [1, 0, 0, 0]]


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_k_grows_from_the_success_rate(tries: tuple[int, int]) -> None:
    n, wins = tries
    found = [pass_at_k(n, wins, k) for k in range(1, n + 1)]
    assert found[0] == pytest.approx(wins / n)
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(found))
    assert found[-1] == float(wins > 0)
    assert all(0 <= value <= 1 for value in found)


@pytest.mark.parametrize(("n", "wins"), [(6, 2), (6, 0), (5, 5), (7, 1)])
def test_pass_at_k_is_the_share_of_all_choices_of_k_that_win(n: int, wins: int) -> None:
    for k in range(1, n + 1):
        choices = list(itertools.combinations([i < wins for i in range(n)], k))
        assert pass_at_k(n, wins, k) == pytest.approx(np.mean([any(choice) for choice in choices]))


def test_pass_at_k_is_a_mean_over_games() -> None:
    found = pass_at({"a": [True, False, False, False], "b": [True] * 5})
    assert list(found["mean"]) == ["1", "2", "4"], "only the k that every game has tries for"
    assert found["games"]["a"] == {"1": 0.25, "2": 0.5, "4": 1.0}
    assert found["mean"] == {"1": 0.625, "2": 0.75, "4": 1.0}
    assert KS == (1, 2, 4, 8)


@pytest.mark.parametrize(("n", "wins", "k"), [(3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)])
def test_invalid_numbers_of_tries_are_refused(n: int, wins: int, k: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= wins"):
        pass_at_k(n, wins, k)
