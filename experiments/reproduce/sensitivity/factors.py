"""Whitening x detached heads x value loss: what each does to how often ACTDE alternates after 4,000 gradient steps."""

import math
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
SHARES = ("alternate", "cooperate", "defect")
OVER = 25
"""Rollouts of which the last number is a mean: 100 gradient steps."""
WHAT = {"whitened": "whitening advantages", "detached": "detaching the value and Q heads", "ilql": "ILQL's value loss"}
COLLAPSED = 0.1
"""Nats per action, below which a policy of two actions is as good as pure: 98 to 2."""
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
    made.append(_collapse(found, run=run))
    return made if run else [finding.unjudged(one) for one in made]


def _collapse(found: Mapping[str, Series], *, run: bool) -> Finding:
    """The post's test of ACTDE: does it collapse onto one action where functions are approximated?"""
    last = [ends(found[cell(*words)], "entropy") for words in _all()] if run else [np.ones(1)]
    collapsed = sum(int((entropy < COLLAPSED).sum()) for entropy in last)
    return finding.claim(
        "sensitivity.no-collapse",
        "ACTDE does not mode-collapse with a function approximator, whichever variation is used (trials that end with"
        f" an entropy below {COLLAPSED} nats, of {sum(map(len, last))}; ln 2 is uniform).",
        section=SECTION,
        ours=float(collapsed),
        holds=collapsed == 0,
        criterion="No trial of the eight cells does.",
    )


def notes(found: Mapping[str, Series]) -> list[str]:
    """The table of cells, of those that are there."""
    heads = ["whitening", "heads", "value loss", "trials", "alternating", "st. dev.", "cooperate", "defect"]
    heads += ["entropy (nats)", "below .1 nats"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for words in _all():
        one = found[cell(*words)]
        if one.trials and one.rows.shape[1] * EPOCHS >= STEPS:
            share, both, none, entropy = (ends(one, name) for name in (*SHARES, "entropy"))
            lines.append(
                f"| {'batch' if 'whitened' in words else 'none'} | {'detached' if 'detached' in words else 'shared'}"
                f" | {'ilql' if 'ilql' in words else 'ppo'} | {one.trials}"
                f" | {interval(mean_band(share), low=0, high=1)} | {_spread(share)} | {both.mean():.2f}"
                f" | {none.mean():.2f} | {interval(mean_band(entropy), low=0)} | {(entropy < COLLAPSED).sum()} |"
            )
    if len(lines) == 2:
        return []
    about = f"After {STEPS:,} gradient steps (means over the last 100; 95% intervals over trials, Student's t):"
    return [about, "\n".join(lines)]


def _spread(sample: NDArray[np.float64]) -> str:
    return f"{sample.std(ddof=1):.2f}" if len(sample) > 1 else ""


def interval(band: Band, *, low: float = -math.inf, high: float = math.inf) -> str:
    """ "0.74 (0.61 to 0.87)", cut to where the number can be."""
    return f"{band['ours']:.2f} ({max(low, band['low']):.2f} to {min(high, band['high']):.2f})"
