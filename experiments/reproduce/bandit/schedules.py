"""Footnote 2: does a decaying learning rate stop PPO's growth? Each way in which it can be read, on policy.

What is to be expected is derived in growth.py.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from experiments.reproduce import finding
from experiments.reproduce.bandit.growth import ADVANTAGE, FOOTNOTE, late_growth, late_slope
from experiments.reproduce.bandit.lanes import Array, Course
from experiments.reproduce.finding import Finding
from experiments.reproduce.seeds import over_seeds, slopes


def findings(course: Course, *, quick: bool) -> list[Finding]:
    """The schedules, which a quick run is too short to judge."""
    found = decaying(course)
    return [*(map(finding.unjudged, found) if quick else found), fluctuating()]


def slow_pace(course: Course) -> Array:
    """[S], growth of e^gap per unit of the sum of 1/n, over the last two decades; 1/n for v and logits."""
    lane, late = course.of("ppo, both 1/n"), course.since(0.01)
    return slopes(harmonic(lane.steps)[late], np.exp(lane.gap[late, 0]))


def decaying(course: Course) -> list[Finding]:
    """Footnote 2's "a decaying learning rate schedule probably does", in each of the ways it can be read."""
    claim = "A decaying learning rate probably stops it"
    bounded = "The interval over seeds does not lie above 0."
    softmax = "The mean gap after the last step is within 0.01 of the rewards' difference, 0.5."
    pace, frozen = over_seeds(slow_pace(course)), late_growth(course, "ppo, both 1/n^2")
    log_slope = over_seeds(late_slope(course, "ppo, v 1/n"))
    square, late = course.of("ppo, v 1/n^2"), course.since(0.01)
    power = over_seeds(slopes(np.log(square.steps[late]), np.log(np.maximum(square.gap[late, 0], 1e-9))))
    ending, stuck = (over_seeds(course.of(f"actde, both {rate}").gap[-1, 0]) for rate in ("1/n", "1/n^2"))
    return [
        finding.claim(
            "bandit.footnote2.v",
            f"{claim}: 1/n for v, the logits' step fixed (nats per unit of ln n).",
            section=FOOTNOTE,
            holds=log_slope["low"] <= 0,
            criterion=bounded,
            **log_slope,
        ),
        finding.claim(
            "bandit.footnote2.v-square",
            f"{claim}: 1/n^2 for v, the logits' step fixed (the power of n with which the gap grows).",
            section=FOOTNOTE,
            holds=power["low"] <= 0,
            criterion=bounded,
            **power,
        ),
        finding.claim(
            "bandit.footnote2.both",
            f"{claim}: 1/n for v and logits alike (growth of e^gap per unit of the sum of 1/n, which has no bound).",
            section=FOOTNOTE,
            holds=pace["low"] <= 0,
            criterion=bounded,
            **pace,
        ),
        finding.claim(
            "bandit.footnote2.both-square",
            f"{claim}: 1/n^2 for v and logits alike (nats in the last decade of steps).",
            section=FOOTNOTE,
            holds=bool(np.abs(frozen).max() < 1e-3),
            criterion="No seed's gap moves by more than 0.001 in the last decade of steps.",
            **over_seeds(frozen),
        ),
        finding.claim(
            "bandit.footnote2.actde",
            "ACTDE ends at the softmax over rewards with 1/n for q and logits too (the logits' gap).",
            section=FOOTNOTE,
            of_post=False,
            holds=abs(ending["ours"] - 0.5) < 0.01,
            criterion=softmax,
            **ending,
        ),
        finding.claim(
            "bandit.footnote2.actde-square",
            "... and with 1/n^2 for both, which stops PPO (the same).",
            section=FOOTNOTE,
            of_post=False,
            holds=abs(stuck["ours"] - 0.5) < 0.01,
            criterion=softmax,
            **stuck,
        ),
    ]


def fluctuating() -> Finding:
    return finding.not_run(
        "bandit.footnote2.deeper",
        "A decaying learning rate does not fix the deeper potential issue with fluctuating value baselines.",
        section=FOOTNOTE,
        criterion="Needed: a measurable meaning of the deeper issue; v itself fluctuates ever less as its step decays.",
    )


def notes(course: Course) -> dict[str, list[str]]:
    """What the arithmetic in growth.py expects, beside what was measured."""
    slope = {name: over_seeds(late_slope(course, name))["ours"] for name in ("ppo", "ppo, alpha 0.1", "ppo, v 1/n")}
    tries = over_seeds(course.of("ppo, v 1/n").tries[-1, 0])["ours"]
    slow, pace = course.of("ppo, both 1/n"), over_seeds(slow_pace(course))["ours"]
    squares = float((expit(slow.gap[slow.since(0.01), 0]) ** 2).mean())
    seeds, steps = slow.settled.size, int(slow.steps[-1])
    return {
        ADVANTAGE: [f"On policy: {seeds} seeds of {steps:,} steps each, all learners with the same random numbers."],
        FOOTNOTE: [
            "What follows from means alone (docstring of `experiments/reproduce/bandit/growth.py`). With a fixed step"
            " of v each try of the worse arm adds twice the rewards' difference, whatever alpha is: 1 nat per unit of"
            f" ln n (measured {slope['ppo']:.2f} at alpha 1, {slope['ppo, alpha 0.1']:.2f} at 0.1). With 1/n for v"
            " alone, v is the mean of all rewards, and the gap grows by the rewards' difference times the number of"
            f" tries of the worse arm, per unit of ln n ({0.5 * tries:.2f}; measured {slope['ppo, v 1/n']:.2f}). With"
            " 1/n^2 for v alone, v stops short, and the gap grows in proportion to n. With 1/n for both, e^gap grows"
            f" by about the square of pi(wedding) per unit of the sum of 1/n ({squares:.2f}; measured {pace:.2f}, as"
            " v lags and adds to it).",
        ],
    }


def harmonic(steps: NDArray[np.int64]) -> Array:
    """[T], the sum of 1/n up to every step."""
    return np.cumsum(1 / np.arange(1, steps[-1] + 1))[steps - 1]
