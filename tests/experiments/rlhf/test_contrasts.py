"""Statistics of the contrasts: values at matched optimization, paired tests, Holm's procedure and intervals."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.compare.intervals import holm
from experiments.rlhf.confirmation_contrasts import CONTRASTS, SEEDS, SHARE, at_common_level, at_level, contrast_rows
from experiments.rlhf.contrasts import estimate


def run(cell: str, seed: int, rewards: list[float], measure: list[float]) -> dict[str, Any]:
    """Return a run whose KL is a tenth of its reward above the start."""
    probes = [
        {"reward": x, "kl": (x - rewards[0]) / 10, "entropy": y, "distinct_2": 0.1 * y, "true_reward": -y}
        for x, y in zip(rewards, measure, strict=True)
    ]
    return {"cell": cell, "seed": seed, "probes": probes}


def curve(x: list[float], y: list[float]) -> list[dict[str, float]]:
    return [{"x": a, "y": b} for a, b in zip(x, y, strict=True)]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (-1.0, 10.0),  # below the start
        (0.0, 10.0),
        (0.5, 15.0),
        (1.0, 20.0),  # at a probe
        (1.5, 32 + 18 * 1.1 / 1.6),  # on the second rise: the fall after the first peak is passed over
        (2.0, 50.0),
    ],
)
def test_a_curve_that_falls_in_between_is_read_at_its_first_crossing(level: float, expected: float) -> None:
    probes = curve([0.0, 1.0, -1.0, 0.4, 2.0, 1.2], [10.0, 20.0, 30.0, 32.0, 50.0, 99.0])
    assert at_level(probes, "x", level, "y") == pytest.approx(expected)


def test_a_curve_that_never_reaches_a_level_is_an_error() -> None:
    probes = curve([0.0, 1.0, 0.5], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"the curve reaches 1, not 1\.1"):
        at_level(probes, "x", 1.1, "y")


def test_two_runs_meet_at_the_lower_of_their_peaks() -> None:
    high = run("a", 0, [1.0, 3.0, 9.0], [5.0, 4.0, 1.0])
    low = run("b", 0, [1.0, 5.0, 2.0], [5.0, 3.0, 0.0])  # its peak is in the middle
    level = 1 + SHARE * 4  # 4.6
    expected = 4 - 3 * (level - 3) / 6, 5 - 2 * (level - 1) / 4
    assert at_common_level(high, low, "reward", "entropy") == pytest.approx(expected)
    assert at_common_level(low, high, "kl", "entropy") == pytest.approx(expected[::-1]), "a tenth of the reward"


def test_a_run_that_never_rises_is_compared_before_training() -> None:
    flat, rising = run("a", 0, [1.0, 0.5, 0.2], [5.0, 4.0, 3.0]), run("b", 0, [1.0, 2.0, 3.0], [5.0, 9.0, 9.0])
    assert (
        at_common_level(flat, rising, "reward", "entropy")
        == at_common_level(rising, flat, "reward", "entropy")
        == (5.0, 5.0)
    )


def test_any_two_curves_with_a_common_start_can_be_matched() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, second = (run(c, 0, [0.3, *rng.normal(size=6)], rng.normal(size=7).tolist()) for c in "ab")
        for axis in ("reward", "kl"):
            highest = min(max(p[axis] for p in one["probes"]) for one in (first, second))
            start = first["probes"][0][axis]
            assert at_common_level(first, second, axis, axis) == pytest.approx((start + SHARE * (highest - start),) * 2)


def test_the_test_is_a_paired_t_test_over_the_seeds_of_both_cells() -> None:
    rng = np.random.default_rng(0)
    gains = rng.normal(0.5, 1.0, size=len(SEEDS))
    finished = []
    for seed, gain in zip(SEEDS, gains, strict=True):
        level = rng.normal()  # common to the runs of a seed
        finished.append(run("actde", seed, [0.0, 1.0], [level, level + gain]))
        finished += [run(cell, seed, [0.0, 1.0], [level, level]) for cell in ("ppo", "ppo-kl", "ppo-slow")]
    rows = [row for row in contrast_rows(finished) if (row["axis"], row["measure"]) == ("reward", "entropy")]
    assert len(rows) == 3
    n, d = len(gains), SHARE * gains
    t = d.mean() / (d.std(ddof=1) / np.sqrt(n))
    for row in rows:
        assert row["p"] == pytest.approx(2 * stats.t.sf(abs(t), n - 1))
        half = stats.t.ppf(0.975, n - 1) * d.std(ddof=1) / np.sqrt(n)
        found = [row["difference"][name] for name in ("value", "low", "high", "seeds")]
        assert found == pytest.approx([d.mean(), d.mean() - half, d.mean() + half, n])
        first, second = row["values"]
        assert first["value"] - second["value"] == pytest.approx(d.mean())


def by_closed_testing(p_values: list[float]) -> list[float]:
    """Return Holm's p-values by closed testing: the largest Bonferroni p-value of all sets that hold a hypothesis."""
    tests = range(len(p_values))
    sets = [chosen for size in range(1, len(p_values) + 1) for chosen in combinations(tests, size)]
    union = {chosen: min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in sets}
    return [max(p for chosen, p in union.items() if i in chosen) for i in tests]


def test_holm_equals_closed_testing_with_bonferroni() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 8):
        for _ in range(20):
            p_values = (rng.random(size) ** 3).round(2).tolist()  # with ties
            assert holm(p_values) == pytest.approx(by_closed_testing(p_values))
    # the example of Holm's procedure by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 is raised to the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_the_intervals_over_seeds_cover_in_simulations() -> None:
    rng, covered = np.random.default_rng(0), 0
    for values in rng.normal(1.0, 2.0, size=(600, len(SEEDS))):
        found = estimate(values.tolist())
        covered += found["low"] <= 1.0 <= found["high"]
    assert 0.93 <= covered / 600 <= 0.97


def test_every_contrast_is_corrected_for_all_of_them() -> None:
    finished = [
        run(cell, seed, [0.0, 1.0], [0.0, (1 + (cell == "actde")) * (1 + seed % 5)])
        for seed in SEEDS
        for cell in ("actde", "ppo", "ppo-kl", "ppo-slow")
    ]
    rows = contrast_rows(finished)
    assert len(rows) == len(CONTRASTS)
    assert [row["p_holm"] for row in rows] == pytest.approx(holm([row["p"] for row in rows]))
    smallest = min(rows, key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(len(CONTRASTS) * smallest["p"])
