"""The post's claims about PPO in the prisoner's dilemma, over its first 1,000 gradient steps."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd.arms import COLLAPSED, LONG, PPO_VARIANTS, SHORT, Series
from experiments.reproduce.ipd.claims import Claim, Judgement, judged, number
from experiments.reproduce.ipd.statistics import mean_band
from experiments.reproduce.ipd_trials.trial import EPOCHS

SECTION = "PPO results"
LEARNED, PURE, SAME = 0.9, 0.95, 0.05
SMOOTH = 10
"""Rollouts over which curves are averaged before they are compared."""
WHAT = {
    "ppo-whitened": "with whitened advantages",
    "ppo-detached": "with a detached value head",
    "ppo-whitened-detached": "with both",
}


def findings(found: Mapping[str, Series]) -> list[Finding]:
    """All claims about PPO; `not run` where trials are missing or too short."""
    plain = found["ppo"]
    made = judged(_alone(plain), section=SECTION, ready=plain.reaches(SHORT))
    for arm in PPO_VARIANTS:
        other = found[arm.name]
        made += judged([_variant(plain, other)], section=SECTION, ready=plain.reaches(SHORT) and other.reaches(SHORT))
    return made + judged([_stays(plain)], section=SECTION, ready=plain.reaches(LONG))


def _alone(plain: Series) -> list[Claim]:
    def learns() -> Judgement:
        steps = first_above(plain.until(SHORT))
        return mean_band(steps), bool((steps <= SHORT / 4).all())

    def collapses() -> Judgement:
        end = plain.last("alternate", SHORT)
        return mean_band(end), bool((end > PURE).all())

    def alike() -> Judgement:
        spread = smooth(plain.until(SHORT)).std(axis=0, ddof=1).max()
        return number(spread), bool(spread < SAME)

    def purer() -> Judgement:
        change = plain.between("entropy", 500, 600) - plain.last("entropy", SHORT)
        return mean_band(change), mean_band(change)["low"] > 0

    return [
        Claim(
            id="ipd.ppo.learns",
            text=f"PPO immediately learns to alternate (gradient steps until {LEARNED:.0%} of the games alternate).",
            criterion=f"Every trial gets there within a quarter of {SHORT:,} steps; the band is for the mean.",
            judge=learns,
        ),
        Claim(
            id="ipd.ppo.collapses",
            text=f"PPO collapses onto it (share of alternating games after {SHORT:,} steps).",
            criterion=f"Every trial ends above {PURE:.0%}; the band is for the mean.",
            judge=collapses,
        ),
        Claim(
            id="ipd.ppo.runs-alike",
            text="Its results look almost identical between runs (largest standard deviation of that share over trials,"
            " at any time).",
            criterion=f"It is below {SAME}, of curves averaged over {SMOOTH} rollouts.",
            judge=alike,
        ),
        Claim(
            id="ipd.ppo.purer",
            text="Logits go on growing without bound also beyond the table (PPO's entropy per action at steps 500 to"
            f" 600 less that at the last 100 of {SHORT:,}, nats).",
            criterion="The 95% interval for the mean over trials is above 0.",
            judge=purer,
        ),
    ]


def _variant(plain: Series, other: Series) -> Claim:
    def alike() -> Judgement:
        means = [smooth(one.until(SHORT)).mean(axis=0) for one in (plain, other)]
        apart = float(np.abs(means[0] - means[1]).max())
        return number(apart), apart < SAME

    name = other.arm.name
    return Claim(
        id=f"ipd.{name.replace('ppo-', 'ppo.')}",
        text=f"The results of PPO look almost identical {WHAT[name]} (largest distance of the mean share of alternating"
        " games from PPO's without, at any time).",
        criterion=f"It is below {SAME}, of curves averaged over {SMOOTH} rollouts.",
        judge=alike,
    )


def _stays(plain: Series) -> Claim:
    def stays() -> Judgement:
        end, entropy = plain.last("alternate"), plain.last("entropy")
        return mean_band(end), bool((end > PURE).all() and (entropy < COLLAPSED).all())

    return Claim(
        id="ipd.ppo.stays",
        text=f"PPO stays there for {LONG:,} steps under the same weight decay and dropout (share of alternating games"
        " at the end; a control for ACTDE's drift).",
        criterion=f"Every trial ends above {PURE:.0%} with an entropy below {COLLAPSED} nats.",
        judge=stays,
        of_post=False,
    )


def smooth(one: Series) -> NDArray[np.float64]:
    """[trials, ...] the share of alternating games, as means over `SMOOTH` rollouts."""
    window = np.ones(SMOOTH) / SMOOTH
    return np.stack([np.convolve(row, window, mode="valid") for row in one.column("alternate")])


def first_above(one: Series) -> NDArray[np.float64]:
    """[trials] the first gradient step at which enough games alternate; the end where that never is."""
    over = one.column("alternate") > LEARNED
    steps = np.where(over.any(axis=1), over.argmax(axis=1), one.rows.shape[1]) * EPOCHS
    return np.asarray(steps, np.float64)
