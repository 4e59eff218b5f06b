"""Whitening x detached heads x value loss: the effect of each on ACTDE's share of alternating games, step 4,000."""

import math
from collections.abc import Mapping
from functools import partial

from scipy import stats

from experiments.reproduce.finding import SENSITIVITY, Finding
from experiments.reproduce.ipd.arms import ACTDE, CELLS, COLLAPSED, MIDDLE, SHARES, Series
from experiments.reproduce.ipd.claims import Claim, findings_of
from experiments.reproduce.statistics import Array, Judgement, judge, over_trials

STEPS = MIDDLE
WHAT = {"whitened": "whitening advantages", "detached": "detaching the value and Q heads", "ilql": "ILQL's value loss"}
LEVEL = 0.025
"""Of each of two tests, so that the chance of any false positive is at most 5%."""
CRITERION = (
    "Compared with the post's recipe, this switch changes the mean (t test over pairs of trials) or the spread (Brown"
    f" and Forsythe), either at {LEVEL:.1%}. The band is the 95% interval of the change of the mean."
)


def cell_name(*switches: str) -> str:
    """Name of the arm with these switches, which are in the order of `SWITCHES`."""
    return "-".join([ACTDE.name, *switches])


def final(one: Series, name: str = "alternate") -> Array:
    """[trials], the mean of a column over the last 100 of the first 4,000 steps."""
    return one.last(name, STEPS)


def effect(curves: Mapping[str, Series], switch: str) -> tuple[Array, Array]:
    """[pairs of trials] each, the final shares of alternating games without any switch and with this one alone."""
    plain, other = final(curves[cell_name()]), final(curves[cell_name(switch)])
    pairs = min(len(plain), len(other))
    return plain[:pairs], other[:pairs]


def findings(curves: Mapping[str, Series]) -> list[Finding]:
    """One claim for each switch, and two for all cells together."""
    cells = [curves[cell_name(*switches)] for switches in CELLS]

    def changes(switch: str) -> Judgement:
        plain, other = effect(curves, switch)
        moved = stats.ttest_rel(other, plain).pvalue < LEVEL
        spread = stats.levene(final(cells[0]), other, center="median").pvalue < LEVEL
        return judge(over_trials(other - plain), moved or spread)

    def differ() -> Judgement:
        samples = [final(cell) for cell in cells]
        means = [float(sample.mean()) for sample in samples]
        return judge(max(means) - min(means), stats.kruskal(*samples).pvalue < 0.05)

    def no_collapse() -> Judgement:
        collapsed = sum(int((final(cell, "entropy") < COLLAPSED).sum()) for cell in cells)
        return judge(collapsed, collapsed == 0)

    claims = [
        Claim(
            id=f"sensitivity.{switch}",
            text=f"ACTDE's results are sensitive to {what} (change of the share of alternating games, step {STEPS:,}).",
            criterion=CRITERION,
            judge=partial(changes, switch),
        )
        for switch, what in WHAT.items()
    ]
    claims += [
        Claim(
            id="sensitivity.cells",
            text="They are sensitive to variations of the algorithm (largest minus smallest mean share of the eight"
            " cells).",
            criterion="The eight cells differ by the Kruskal-Wallis test, p < .05.",
            judge=differ,
        ),
        Claim(
            id="sensitivity.no-collapse",
            text="ACTDE does not mode-collapse with function approximators, or the theoretical predictions are wrong"
            f" (trials of the eight cells that end with an entropy below {COLLAPSED} nats; uniform is ln 2).",
            criterion="No trial of the eight cells ends with so little entropy.",
            judge=no_collapse,
        ),
    ]
    return findings_of(claims, section=SENSITIVITY, ready=all(cell.reaches(STEPS) for cell in cells))


def notes(curves: Mapping[str, Series]) -> list[str]:
    """The table of those cells that were run."""
    heads = ["whitening", "heads", "value loss", "trials", "alternating", "st. dev.", "cooperate", "defect"]
    heads += ["entropy (nats)", "below .1 nats"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for switches in CELLS:
        one = curves[cell_name(*switches)]
        if one.trials and one.end >= STEPS:
            share, both, none, entropy = (final(one, name) for name in (*SHARES, "entropy"))
            deviation = f"{share.std(ddof=1):.2f}" if one.trials > 1 else ""
            lines.append(
                f"| {'batch' if 'whitened' in switches else 'none'}"
                f" | {'detached' if 'detached' in switches else 'shared'}"
                f" | {'ilql' if 'ilql' in switches else 'ppo'} | {one.trials}"
                f" | {interval(share, low=0, high=1)} | {deviation} | {both.mean():.2f}"
                f" | {none.mean():.2f} | {interval(entropy, low=0)} | {(entropy < COLLAPSED).sum()} |"
            )
    about = f"After {STEPS:,} gradient steps (means over the last 100; Student's 95% intervals over trials):"
    return [about, "\n".join(lines)] if len(lines) > 2 else []


def interval(sample: Array, *, low: float = -math.inf, high: float = math.inf) -> str:
    """ "0.74 (0.61 to 0.87)": mean and 95% interval over trials, cut to the range of the quantity."""
    band = over_trials(sample)
    return f"{band['ours']:.2f} ({max(low, band['low']):.2f} to {min(high, band['high']):.2f})"
