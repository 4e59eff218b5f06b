"""The post's claims about PPO in the prisoner's dilemma, over its first 1,000 gradient steps."""

from collections.abc import Mapping

import numpy as np

from experiments.reproduce.finding import Measurement
from experiments.reproduce.ipd.arms import COLLAPSED, LONG, PPO_VARIANTS, SHORT, Series
from experiments.reproduce.ipd_trials.trial import EPOCHS
from experiments.reproduce.statistics import Array, above_zero, judge, over_trials

LEARNED, PURE, SAME = 0.9, 0.95, 0.05
SMOOTH = 10
"""Rollouts over which curves are averaged before they are compared."""


def measure(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """All claims about PPO for which there are trials that are long enough."""
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
    """[trials, rollouts - SMOOTH + 1], the moving average of the share of alternating games."""
    window = np.ones(SMOOTH) / SMOOTH
    return np.stack([np.convolve(row, window, mode="valid") for row in one.column("alternate")])


def first_above(one: Series) -> Array:
    """[trials], the first gradient step at which enough games alternate; the last step if there is none."""
    over = one.column("alternate") > LEARNED
    steps = np.where(over.any(axis=1), over.argmax(axis=1), one.rows.shape[1]) * EPOCHS
    return np.asarray(steps, np.float64)
