"""Whitening x detached heads x value loss: what each does to how often ACTDE alternates after 4,000 gradient steps."""

from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

from experiments.dilemma.trial import EPOCHS
from experiments.reproduce import finding
from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd.arms import ACTDE, MIDDLE, SWITCHES, Series
from experiments.reproduce.ipd.statistics import mean_band
from experiments.reproduce.seeds import Band

SECTION = "Sensitivity"
STEPS = MIDDLE
OVER = 25
"""Rollouts of which the last number is a mean: 100 gradient steps."""
WHAT = {"whitened": "whitening advantages", "detached": "detaching the value and Q heads", "ilql": "ILQL's value loss"}
CRITERION = "The 95% interval of the effect, over trials in pairs and averaged over the other two switches, excludes 0."


def cell(*words: str) -> str:
    """Name of the arm with these switches on."""
    return "-".join([ACTDE.name, *(word for word in SWITCHES if word in words)])


def ends(one: Series, name: str = "alternate") -> NDArray[np.float64]:
    """[trials] of one column, over the last 100 of the first 4,000 steps."""
    return one.at(name, STEPS, over=OVER)


def complete(found: Mapping[str, Series]) -> bool:
    """Whether every cell has at least two trials of full length."""
    names = [cell(*words) for words in _all()]
    return all(found[name].trials >= 2 and found[name].rows.shape[1] * EPOCHS >= STEPS for name in names)


def _all() -> list[tuple[str, ...]]:
    return [
        tuple(word for word, on in zip(SWITCHES, choice, strict=True) if on)
        for choice in product((False, True), repeat=len(SWITCHES))
    ]


def effect(found: Mapping[str, Series], switch: str, name: str = "alternate") -> NDArray[np.float64]:
    """[trials] the column with the switch less without it, trial by trial, a mean over the other switches."""
    without = [words for words in _all() if switch not in words]
    trials = min(found[cell(*words)].trials for words in _all())
    differences = [
        ends(found[cell(*words, switch)], name)[:trials] - ends(found[cell(*words)], name)[:trials] for words in without
    ]
    return np.asarray(np.mean(differences, axis=0))


def findings(found: Mapping[str, Series]) -> list[Finding]:
    """One claim for each switch, and one for all cells together."""
    run = complete(found)
    made = []
    for switch, what in WHAT.items():
        band = mean_band(effect(found, switch)) if run else Band(ours=0, low=0, high=0)
        made.append(
            finding.claim(
                f"sensitivity.{switch}",
                f"ACTDE's results are sensitive to {what} (change of the share of alternating games, step {STEPS:,}).",
                section=SECTION,
                holds=band["low"] > 0 or band["high"] < 0,
                criterion=CRITERION,
                **band,
            )
        )
    means = [float(ends(found[cell(*words)]).mean()) for words in _all()] if run else [0.0]
    made.append(
        finding.claim(
            "sensitivity.cells",
            "They are sensitive to variations of the algorithm (largest less smallest mean share among the eight).",
            section=SECTION,
            ours=max(means) - min(means),
            holds=max(means) - min(means) > 0.1,
            criterion="The means of two cells differ by more than .1.",
        )
    )
    return made if run else [finding.unjudged(one) for one in made]


def notes(found: Mapping[str, Series]) -> list[str]:
    """The table of cells, of those that are there."""
    heads = "| whitening | heads | value loss | trials | alternating | st. dev. | entropy (nats) | \\|advantage\\| |"
    lines = [heads, "|" + " --- |" * 8]
    for words in _all():
        one = found[cell(*words)]
        if one.trials and one.rows.shape[1] * EPOCHS >= STEPS:
            share, entropy, advantage = (ends(one, name) for name in ("alternate", "entropy", "advantage_abs"))
            lines.append(
                f"| {'batch' if 'whitened' in words else 'none'} | {'detached' if 'detached' in words else 'shared'}"
                f" | {'ilql' if 'ilql' in words else 'ppo'} | {one.trials} | {interval(mean_band(share))}"
                f" | {_spread(share)} | {interval(mean_band(entropy))} | {interval(mean_band(advantage))} |"
            )
    if len(lines) == 2:
        return []
    about = f"After {STEPS:,} gradient steps (means over the last 100; 95% intervals over trials, Student's t):"
    return [about, "\n".join(lines)]


def _spread(sample: NDArray[np.float64]) -> str:
    return f"{sample.std(ddof=1):.2f}" if len(sample) > 1 else ""


def interval(band: Band) -> str:
    """ "0.74 (0.61 to 0.87)" """
    return f"{band['ours']:.2f} ({band['low']:.2f} to {band['high']:.2f})"
