"""The post's claims about PPO in the prisoner's dilemma, over trials of 1,000 gradient steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.dilemma.trial import EPOCHS
from experiments.reproduce import finding
from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd.arms import PPO_VARIANTS, SHORT, Series
from experiments.reproduce.ipd.statistics import mean_band

SECTION = "PPO results"
LEARNED, SAME = 0.9, 0.05
WHAT = {
    "ppo-whitened": "with whitened advantages",
    "ppo-detached": "with detached value head",
    "ppo-whitened-detached": "with both",
}


def findings(found: Mapping[str, Series]) -> list[Finding]:
    """All claims about PPO; `not run` where trials are missing or too short."""
    plain = found["ppo"]
    return [*_alone(plain), *(_variant(plain, found[arm.name], arm.name) for arm in PPO_VARIANTS)]


def _alone(plain: Series) -> list[Finding]:
    run = _whole(plain)
    learned = _first_above(plain) if run else np.zeros(1)
    end = plain.at("alternate", SHORT, over=10) if run else np.zeros(2)
    words: list[tuple[str, str, Mapping[str, Any], bool, str]] = [
        (
            "ipd.ppo.learns",
            f"PPO immediately learns to alternate (gradient steps until {LEARNED:.0%} of the games alternate).",
            mean_band(learned),
            bool((learned <= SHORT / 4).all()),
            f"Every trial gets there within a quarter of {SHORT:,} steps.",
        ),
        (
            "ipd.ppo.collapses",
            "PPO collapses onto it (share of alternating games at the end).",
            mean_band(end),
            bool((end > 0.95).all()),
            "Every trial ends above 95%.",
        ),
        (
            "ipd.ppo.runs-alike",
            "Its results look almost identical between runs (standard deviation of that share over trials).",
            {"ours": float(end.std(ddof=1)) if len(end) > 1 else 0.0, "low": None, "high": None},
            float(np.ptp(end)) < SAME,
            f"No two trials end further apart than {SAME}.",
        ),
    ]
    made = [
        finding.claim(name, text, section=SECTION, holds=holds, criterion=criterion, **band)
        for name, text, band, holds, criterion in words
    ]
    return made if run else [finding.unjudged(one) for one in made]


def _variant(plain: Series, other: Series, name: str) -> Finding:
    """The mean distance between the two mean curves, and whether the ends differ."""
    run = _whole(plain) and _whole(other)
    curves = [one.column("alternate") for one in (plain, other)] if run else [np.zeros((2, 1))] * 2
    pairs = min(map(len, curves))
    apart = np.abs(curves[0].mean(axis=0) - curves[1].mean(axis=0))
    distances = np.abs(curves[0][:pairs] - curves[1][:pairs]).mean(axis=1)
    found = finding.claim(
        f"ipd.{name.replace('ppo-', 'ppo.')}",
        f"The results of PPO look almost identical {WHAT[name]} (mean distance of the trials' shares of alternating"
        " games, pair by pair, over the run).",
        section=SECTION,
        holds=bool(apart.mean() < SAME),
        criterion=f"The mean curves are less than {SAME} apart, in the mean over the run.",
        **mean_band(distances),
    )
    return found if run else finding.unjudged(found)


def _whole(one: Series) -> bool:
    return one.trials >= 2 and one.rows.shape[1] >= SHORT // EPOCHS


def _first_above(one: Series) -> NDArray[np.float64]:
    """[trials] the first gradient step at which enough games alternate; the end where that never is."""
    over = one.column("alternate") > LEARNED
    steps = np.where(over.any(axis=1), over.argmax(axis=1), one.rows.shape[1]) * EPOCHS
    return np.asarray(steps, np.float64)
