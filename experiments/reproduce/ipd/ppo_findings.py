"""Measure the claims about PPO in the iterated prisoner's dilemma of the post by Turner and Einhorn (2023).

The post's claims are about the first 1,000 gradient steps. We add a claim about the end of 10,000 steps.
"""

from collections.abc import Mapping

import numpy as np

from experiments.reproduce.finding import Measurement
from experiments.reproduce.ipd.arms import COLLAPSED, LONG, PPO_VARIANTS, SHORT, Series
from experiments.reproduce.ipd_trials.trial import EPOCHS
from experiments.reproduce.statistics import Array, above_zero, judge, over_trials

LEARNED, PURE, SAME = 0.9, 0.95, 0.05
SMOOTH = 10  # length of the moving average in rollouts


def measure(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """Measure the claims about PPO. Claims whose trials are missing or too short are left out."""
    ppo = curves["ppo"]
    measurements: dict[str, Measurement] = {}
    if ppo.reaches(SHORT):
        start = ppo.until(SHORT)
        steps, end = first_above(start), ppo.last("alternate", SHORT)
        spread = smooth(start).std(axis=0, ddof=1).max()
        measurements |= {
            "ppo.learns": judge(over_trials(steps), (steps <= SHORT / 4).all()),
            "ppo.collapses": judge(over_trials(end), (end > PURE).all()),
            "ppo.runs-alike": judge(spread, spread < SAME),
            "ppo.purer": above_zero(over_trials(ppo.between("entropy", 500, 600) - ppo.last("entropy", SHORT))),
        }
        for variant in (curves[arm.name] for arm in PPO_VARIANTS):
            if variant.reaches(SHORT):
                means = [smooth(one.until(SHORT)).mean(axis=0) for one in (ppo, variant)]
                apart = np.abs(means[0] - means[1]).max()
                measurements[variant.arm.name.replace("ppo-", "ppo.")] = judge(apart, apart < SAME)
    if ppo.reaches(LONG):
        end, entropy = ppo.last("alternate"), ppo.last("entropy")
        measurements["ppo.stays"] = judge(over_trials(end), (end > PURE).all() and (entropy < COLLAPSED).all())
    return measurements


def smooth(one: Series) -> Array:
    """Return moving averages of the share of alternating games. The shape is [trials, rollouts - SMOOTH + 1]."""
    return np.stack([np.convolve(row, np.ones(SMOOTH) / SMOOTH, mode="valid") for row in one.column("alternate")])


def first_above(one: Series) -> Array:
    """Return the first gradient step with more than 90% alternating games. The shape is [trials].

    If a trial has no such step, its total number of gradient steps is returned.
    """
    over = one.column("alternate") > LEARNED
    return np.asarray(np.where(over.any(axis=1), over.argmax(axis=1), one.rows.shape[1]) * EPOCHS, np.float64)
