"""Whitening x detached heads x value loss: what each does to how often ACTDE alternates after 4,000 gradient steps."""

import math
from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd.arms import ACTDE, COLLAPSED, MIDDLE, SHARES, SWITCHES, Series
from experiments.reproduce.ipd.claims import Claim, Judgement, judged, number
from experiments.reproduce.ipd.statistics import mean_band
from experiments.reproduce.seeds import Band
from experiments.tables import table

SECTION = "Sensitivity"
STEPS = MIDDLE
WHAT = {"whitened": "whitening advantages", "detached": "detaching the value and Q heads", "ilql": "ILQL's value loss"}
LEVEL = 0.025
"""Of each of two tests, so that both together err in 5% at most."""
CRITERION = (
    "Against the post's recipe, with this switch alone, the mean differs (t test over pairs of trials) or the spread"
    f" does (Brown and Forsythe), either at {LEVEL:.1%}; the band is the 95% interval of the mean's change."
)


def cell(*words: str) -> str:
    """Name of the arm with these switches on."""
    return "-".join([ACTDE.name, *(word for word in SWITCHES if word in words)])


def ends(one: Series, name: str = "alternate") -> NDArray[np.float64]:
    """[trials] of one column, over the last 100 of the first 4,000 steps."""
    return one.last(name, STEPS)


def complete(found: Mapping[str, Series]) -> bool:
    """Whether every cell has at least two trials of full length."""
    names = [cell(*words) for words in _all()]
    return all(found[name].reaches(STEPS) for name in names)


def _all() -> list[tuple[str, ...]]:
    return [
        tuple(word for word, on in zip(SWITCHES, choice, strict=True) if on)
        for choice in product((False, True), repeat=len(SWITCHES))
    ]


def effect(found: Mapping[str, Series], switch: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[pairs] each: shares of alternating games without any switch, and with this one alone, trial by trial."""
    plain, other = ends(found[cell()]), ends(found[cell(switch)])
    pairs = min(len(plain), len(other))
    return plain[:pairs], other[:pairs]


def findings(found: Mapping[str, Series]) -> list[Finding]:
    """One claim for each switch, and two for all cells together."""

    def changes(switch: str) -> Judgement:
        plain, other = effect(found, switch)
        moved = stats.ttest_rel(other, plain).pvalue < LEVEL
        spread = stats.levene(ends(found[cell()]), other, center="median").pvalue < LEVEL
        return mean_band(other - plain), bool(moved or spread)

    def differ() -> Judgement:
        samples = [ends(found[cell(*words)]) for words in _all()]
        means = [float(sample.mean()) for sample in samples]
        return number(max(means) - min(means)), bool(stats.kruskal(*samples).pvalue < 0.05)

    def no_collapse() -> Judgement:
        collapsed = sum(int((ends(found[cell(*words)], "entropy") < COLLAPSED).sum()) for words in _all())
        return number(collapsed), collapsed == 0

    claims = [
        Claim(
            id=f"sensitivity.{switch}",
            text=f"ACTDE's results are sensitive to {what} (change of the share of alternating games, step {STEPS:,}).",
            criterion=CRITERION,
            judge=lambda switch=switch: changes(switch),  # type: ignore[misc]
        )
        for switch, what in WHAT.items()
    ]
    claims.append(
        Claim(
            id="sensitivity.cells",
            text="They are sensitive to variations of the algorithm (largest less smallest mean share of the eight).",
            criterion="The eight cells differ by the test of Kruskal and Wallis, p < .05.",
            judge=differ,
        )
    )
    claims.append(
        Claim(
            id="sensitivity.no-collapse",
            text="ACTDE does not mode-collapse when used on function approximators, or the theoretical predictions are"
            f" wrong (trials of the eight cells that end with an entropy below {COLLAPSED} nats; ln 2 is uniform).",
            criterion="No trial of the eight cells does.",
            judge=no_collapse,
        )
    )
    return judged(claims, section=SECTION, ready=complete(found))


CHOICES = (("whitened", "batch", "none"), ("detached", "detached", "shared"), ("ilql", "ilql", "ppo"))
"""Word in a cell's name, what the table shows with it, and without it."""


def notes(found: Mapping[str, Series]) -> list[str]:
    """The table of cells, of those that are there."""
    heads = ["whitening", "heads", "value loss", "trials", "alternating", "st. dev.", "cooperate", "defect"]
    heads += ["entropy (nats)", "below .1 nats"]
    lines = []
    for words in _all():
        one = found[cell(*words)]
        if one.trials and one.end >= STEPS:
            share, both, none, entropy = (ends(one, name) for name in (*SHARES, "entropy"))
            recipe = [new if word in words else old for word, new, old in CHOICES]
            alternating = interval(mean_band(share), low=0, high=1)
            shares = [alternating, _spread(share), f"{both.mean():.2f}", f"{none.mean():.2f}"]
            nats, collapsed = interval(mean_band(entropy), low=0), (entropy < COLLAPSED).sum()
            lines.append([*recipe, one.trials, *shares, nats, collapsed])
    if not lines:
        return []
    about = f"After {STEPS:,} gradient steps (means over the last 100; 95% intervals over trials, Student's t):"
    return [about, table(heads, lines)]


def _spread(sample: NDArray[np.float64]) -> str:
    return f"{sample.std(ddof=1):.2f}" if len(sample) > 1 else ""


def interval(band: Band, *, low: float = -math.inf, high: float = math.inf) -> str:
    """ "0.74 (0.61 to 0.87)", cut to where the number can be."""
    return f"{band['ours']:.2f} ({max(low, band['low']):.2f} to {min(high, band['high']):.2f})"
