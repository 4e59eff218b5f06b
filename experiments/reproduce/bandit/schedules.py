"""Footnote 2: does a decaying learning rate stop PPO's growth? Each possible reading, on policy.

The docstring of growth.py derives the expected growth.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from experiments.reproduce.bandit.growth import late_slope
from experiments.reproduce.bandit.vectorized import Curves
from experiments.reproduce.finding import ADVANTAGE, FOOTNOTE_2, Finding, Section, claim, not_run, unjudged
from experiments.reproduce.statistics import Array, Judgement, judge, over_seeds, slopes

Row = tuple[str, str, str, Judgement]
"""Name, claim, criterion and judgement."""


def findings(curves: dict[str, Curves], *, quick: bool) -> list[Finding]:
    """The schedules, which a quick run is too short to judge."""
    results = [
        claim(
            f"bandit.footnote2.{name}",
            text,
            section=FOOTNOTE_2,
            criterion=criterion,
            of_post=not name.startswith("actde"),
            **judgement,
        )
        for name, text, criterion, judgement in (*_ppo(curves), *_actde(curves))
    ]
    deeper = not_run(
        "bandit.footnote2.deeper",
        "A decaying learning rate does not fix the deeper potential issue with fluctuating value baselines.",
        section=FOOTNOTE_2,
        criterion="Needed: a measurable definition of the deeper issue. v itself fluctuates less as its step decays.",
    )
    return [*(map(unjudged, results) if quick else results), deeper]


def _ppo(curves: dict[str, Curves]) -> list[Row]:
    """Footnote 2's "a decaying learning rate schedule probably does"."""
    stops, bounded = "A decaying learning rate probably stops the growth", "The interval does not lie above 0."
    square = curves["ppo, both 1/n^2"]
    movement = square.last_decade(square.gap)

    def stopped(growth: Array) -> Judgement:
        band = over_seeds(growth)
        return judge(band, band["low"] <= 0)

    return [
        (
            "v",
            f"{stops}: 1/n for v, a fixed step for the logits (nats per unit of ln n).",
            bounded,
            stopped(late_slope(curves["ppo, v 1/n"])),
        ),
        (
            "v-square",
            f"{stops}: 1/n^2 for v, a fixed step for the logits (power of n with which the gap grows).",
            bounded,
            stopped(late_power(curves["ppo, v 1/n^2"])),
        ),
        (
            "both",
            f"{stops}: 1/n for v and logits (growth of e^gap per unit of the sum of 1/n, which is unbounded).",
            bounded,
            stopped(slow_pace(curves["ppo, both 1/n"])),
        ),
        (
            "both-square",
            f"{stops}: 1/n^2 for v and logits (nats in the last decade of steps).",
            "No seed's gap moves by more than 0.001 in the last decade of steps.",
            judge(over_seeds(movement), np.abs(movement).max() < 1e-3),
        ),
    ]


def _actde(curves: dict[str, Curves]) -> list[Row]:
    gap, square_gap = (over_seeds(curves[f"actde, both {rate}"].gap[-1]) for rate in ("1/n", "1/n^2"))
    softmax = "The mean gap after the last step is within 0.01 of the rewards' difference, 0.5."
    return [
        (
            "actde",
            "ACTDE also ends at the softmax over rewards with 1/n for q and logits (gap of the logits).",
            softmax,
            judge(gap, abs(gap["ours"] - 0.5) < 0.01),
        ),
        (
            "actde-square",
            "... and with 1/n^2 for both, which stops PPO (the same).",
            softmax,
            judge(square_gap, abs(square_gap["ours"] - 0.5) < 0.01),
        ),
    ]


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
