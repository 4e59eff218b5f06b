"""Footnote 2: does a decaying learning rate stop PPO's growth? Each possible reading, on policy.

The docstring of growth.py derives the expected growth.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from experiments.reproduce.bandit.growth import late_slope
from experiments.reproduce.bandit.vectorized import Curves
from experiments.reproduce.finding import ADVANTAGE, FOOTNOTE_2, Measurement, Section
from experiments.reproduce.statistics import Array, judge, over_seeds, slopes


def measure(curves: dict[str, Curves]) -> dict[str, Measurement]:
    """Footnote 2's "a decaying learning rate schedule probably does", and ACTDE with the same schedules."""

    def stopped(growth: Array) -> Measurement:
        band = over_seeds(growth)
        return judge(band, band["low"] <= 0)

    def softmax(actde: Curves) -> Measurement:
        band = over_seeds(actde.gap[-1])
        return judge(band, abs(band["ours"] - 0.5) < 0.01)

    square = curves["ppo, both 1/n^2"]
    movement = square.last_decade(square.gap)
    return {
        "footnote2.v": stopped(late_slope(curves["ppo, v 1/n"])),
        "footnote2.v-square": stopped(late_power(curves["ppo, v 1/n^2"])),
        "footnote2.both": stopped(slow_pace(curves["ppo, both 1/n"])),
        "footnote2.both-square": judge(over_seeds(movement), np.abs(movement).max() < 1e-3),
        "footnote2.actde": softmax(curves["actde, both 1/n"]),
        "footnote2.actde-square": softmax(curves["actde, both 1/n^2"]),
    }


def slow_pace(both: Curves) -> Array:
    """[S], growth of e^gap per unit of the sum of 1/n over the last two decades, for 1/n for v and logits."""
    late = both.since(0.01)
    return slopes(harmonic(both.steps)[late], np.exp(both.gap[late]))


def late_power(curves: Curves) -> Array:
    """[S], the power of n with which the gap grows over the last two decades."""
    late = curves.since(0.01)
    return slopes(np.log(curves.steps[late]), np.log(np.maximum(curves.gap[late], 1e-9)))


def notes(curves: dict[str, Curves]) -> dict[Section, list[str]]:
    """What growth.py's arithmetic predicts, beside what was measured."""
    slope = {name: over_seeds(late_slope(curves[name]))["ours"] for name in ("ppo", "ppo, alpha 0.1", "ppo, v 1/n")}
    pulls = over_seeds(curves["ppo, v 1/n"].pulls[-1])["ours"]
    both = curves["ppo, both 1/n"]
    pace = over_seeds(slow_pace(both))["ours"]
    squares = float((expit(both.gap[both.since(0.01)]) ** 2).mean())
    seeds, steps = both.converged_at.size, int(both.steps[-1])
    return {
        ADVANTAGE: [f"On policy: {seeds} seeds of {steps:,} steps each; all learners share the random numbers."],
        FOOTNOTE_2: [
            "Predictions from mean values (docstring of `experiments/reproduce/bandit/growth.py`). With a fixed step of"
            " v, each pull of the worse arm adds twice the rewards' difference whatever alpha is: 1 nat per unit of"
            f" ln n (measured {slope['ppo']:.2f} at alpha 1, {slope['ppo, alpha 0.1']:.2f} at 0.1). With 1/n for v"
            " alone, v is the mean of all rewards; per unit of ln n, the gap grows by the rewards' difference times the"
            f" number of pulls of the worse arm ({0.5 * pulls:.2f}; measured {slope['ppo, v 1/n']:.2f}). With 1/n^2 for"
            " v alone, v stops short of its limit, and the gap grows in proportion to n. With 1/n for both, e^gap grows"
            f" by about the square of pi(wedding) per unit of the sum of 1/n ({squares:.2f}; measured {pace:.2f},"
            " because v lags, which adds to the growth).",
        ],
    }


def harmonic(steps: NDArray[np.int64]) -> Array:
    """[T], the sum of 1/n up to every step."""
    return np.cumsum(1 / np.arange(1, steps[-1] + 1))[steps - 1]
