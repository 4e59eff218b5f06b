"""The post's claims about PPO in the prisoner's dilemma, over its first 1,000 gradient steps."""

from collections.abc import Mapping

import numpy as np

from experiments.reproduce.finding import PPO_RESULTS, Finding
from experiments.reproduce.ipd.arms import COLLAPSED, LONG, PPO_VARIANTS, SHORT, Series
from experiments.reproduce.ipd.claims import Claim, findings_of
from experiments.reproduce.ipd_kernel.trial import EPOCHS
from experiments.reproduce.statistics import Array, above_zero, judge, over_trials

LEARNED, PURE, SAME = 0.9, 0.95, 0.05
SMOOTH = 10
"""Rollouts over which curves are averaged before they are compared."""
WHAT = {
    "ppo-whitened": "with whitened advantages",
    "ppo-detached": "with a detached value head",
    "ppo-whitened-detached": "with both",
}


def findings(curves: Mapping[str, Series]) -> list[Finding]:
    """All claims about PPO; `not run` if trials are missing or too short."""
    ppo = curves["ppo"]
    ready = ppo.reaches(SHORT)
    results = findings_of(_claims(ppo), section=PPO_RESULTS, ready=ready)
    for arm in PPO_VARIANTS:
        variant = curves[arm.name]
        results += findings_of([_alike(ppo, variant)], section=PPO_RESULTS, ready=ready and variant.reaches(SHORT))
    return results + findings_of([_stays(ppo)], section=PPO_RESULTS, ready=ppo.reaches(LONG))


def _claims(ppo: Series) -> list[Claim]:
    return [
        Claim(
            id="ipd.ppo.learns",
            text=f"PPO immediately learns to alternate (gradient steps until {LEARNED:.0%} of the games alternate).",
            criterion=f"Every trial needs at most a quarter of {SHORT:,} steps; the band is for the mean.",
            judge=lambda: judge(over_trials(steps := first_above(ppo.until(SHORT))), (steps <= SHORT / 4).all()),
        ),
        Claim(
            id="ipd.ppo.collapses",
            text=f"PPO collapses to alternating (share of alternating games after {SHORT:,} steps).",
            criterion=f"Every trial ends above {PURE:.0%}; the band is for the mean.",
            judge=lambda: judge(over_trials(end := ppo.last("alternate", SHORT)), (end > PURE).all()),
        ),
        Claim(
            id="ipd.ppo.runs-alike",
            text="PPO's results look almost identical between runs (largest standard deviation of that share between"
            " trials, at any time).",
            criterion=f"It is below {SAME} for curves averaged over {SMOOTH} rollouts.",
            judge=lambda: judge(spread := smooth(ppo.until(SHORT)).std(axis=0, ddof=1).max(), spread < SAME),
        ),
        Claim(
            id="ipd.ppo.purer",
            text="Logits grow without bound outside tables too (PPO's entropy per action at steps 500 to 600 minus that"
            f" over the last 100 of {SHORT:,}, nats).",
            criterion="The 95% interval of the mean over trials is above 0.",
            judge=lambda: above_zero(over_trials(ppo.between("entropy", 500, 600) - ppo.last("entropy", SHORT))),
        ),
    ]


def _alike(ppo: Series, variant: Series) -> Claim:
    def distance() -> float:
        plain, other = (smooth(one.until(SHORT)).mean(axis=0) for one in (ppo, variant))
        return float(np.abs(plain - other).max())

    return Claim(
        id=f"ipd.{variant.arm.name.replace('ppo-', 'ppo.')}",
        text=f"PPO's results look almost identical {WHAT[variant.arm.name]} (largest distance between the mean shares"
        " of alternating games, at any time).",
        criterion=f"It is below {SAME} for curves averaged over {SMOOTH} rollouts.",
        judge=lambda: judge(apart := distance(), apart < SAME),
    )


def _stays(ppo: Series) -> Claim:
    return Claim(
        id="ipd.ppo.stays",
        text=f"PPO still alternates after {LONG:,} steps with the same weight decay and dropout (share of alternating"
        " games at the end; a control for ACTDE's drift).",
        criterion=f"Every trial ends above {PURE:.0%}, with an entropy below {COLLAPSED} nats.",
        judge=lambda: judge(
            over_trials(end := ppo.last("alternate")),
            (end > PURE).all() and (ppo.last("entropy") < COLLAPSED).all(),
        ),
        of_post=False,
    )


def smooth(one: Series) -> Array:
    """[trials, rollouts - SMOOTH + 1], the moving average of the share of alternating games."""
    window = np.ones(SMOOTH) / SMOOTH
    return np.stack([np.convolve(row, window, mode="valid") for row in one.column("alternate")])


def first_above(one: Series) -> Array:
    """[trials], the first gradient step at which enough games alternate; the last step if there is none."""
    over = one.column("alternate") > LEARNED
    steps = np.where(over.any(axis=1), over.argmax(axis=1), one.rows.shape[1]) * EPOCHS
    return np.asarray(steps, np.float64)
