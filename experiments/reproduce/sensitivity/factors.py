"""Measure the effect of three switches on how often ACTDE alternates after 4,000 gradient steps.

The switches are whitened advantages, detached heads and ILQL's value loss. A cell is one of their eight combinations.
"""

import math
from collections.abc import Mapping

from scipy import stats

from experiments.reproduce.finding import Measurement
from experiments.reproduce.ipd.arms import ACTDE, CELLS, COLLAPSED, MIDDLE, SHARES, SWITCHES, Series
from experiments.reproduce.statistics import Array, judge, over_trials
from experiments.tables import table

STEPS = MIDDLE
# The table's entries with and without each switch.
CHOICES = {"whitened": ("batch", "none"), "detached": ("detached", "shared"), "ilql": ("ilql", "ppo")}
LEVEL = 0.025  # of each of two tests, so that the chance of a false positive is at most 5%


def cell_name(*switches: str) -> str:
    """Return the name of the arm with these switches, given in the order of `SWITCHES`."""
    return "-".join([ACTDE.name, *switches])


def effect(curves: Mapping[str, Series], switch: str) -> tuple[Array, Array]:
    """Return a tuple (plain, other) of the shares of alternating games after 4,000 gradient steps.

    `plain` are the shares without any switch, and `other` those with `switch` only. Entries with the same index are a
    pair of trials that started with the same weights.
    """
    plain, other = curves[cell_name()].last("alternate", STEPS), curves[cell_name(switch)].last("alternate", STEPS)
    pairs = min(len(plain), len(other))
    return plain[:pairs], other[:pairs]


def measure(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """Measure one claim for each switch, and two claims about all combinations of switches together.

    The result is empty if a combination has too few or too short trials.
    """
    cells = [curves[cell_name(*switches)] for switches in CELLS]
    if not all(cell.reaches(STEPS) for cell in cells):
        return {}
    samples = [cell.last("alternate", STEPS) for cell in cells]
    means = [float(sample.mean()) for sample in samples]
    collapsed = sum(int((cell.last("entropy", STEPS) < COLLAPSED).sum()) for cell in cells)
    return {
        **{switch: change(curves, switch) for switch in SWITCHES},
        "cells": judge(max(means) - min(means), stats.kruskal(*samples).pvalue < 0.05),
        "no-collapse": judge(collapsed, collapsed == 0),
    }


def change(curves: Mapping[str, Series], switch: str) -> Measurement:
    """Measure how one switch changes the share of alternating games.

    The claim holds if the switch changes the mean (paired t-test) or the spread over trials (Levene's test).
    """
    plain, other = effect(curves, switch)
    moved = stats.ttest_rel(other, plain).pvalue < LEVEL
    spread = stats.levene(curves[cell_name()].last("alternate", STEPS), other, center="median").pvalue < LEVEL
    return judge(over_trials(other - plain), moved or spread)


def notes(curves: Mapping[str, Series]) -> list[str]:
    """Return a paragraph and a table of the combinations that were run, or [] if none was run."""
    heads = ("whitening", "heads", "value loss", "trials", "alternating", "st. dev.", "cooperate", "defect",
             "entropy (nats)", "below .1 nats")  # fmt: skip
    rows = []
    for switches in CELLS:
        one = curves[cell_name(*switches)]
        if one.trials and one.end >= STEPS:
            share, both, none, entropy = (one.last(name, STEPS) for name in (*SHARES, "entropy"))
            recipe = [new if switch in switches else old for switch, (new, old) in CHOICES.items()]
            deviation = f"{share.std(ddof=1):.2f}" if one.trials > 1 else ""
            shares = [interval(share, low=0, high=1), deviation, f"{both.mean():.2f}", f"{none.mean():.2f}"]
            rows.append([*recipe, one.trials, *shares, interval(entropy, low=0), (entropy < COLLAPSED).sum()])
    about = f"After {STEPS:,} gradient steps (means over the last 100; Student's 95% intervals over trials):"
    return [about, table(heads, rows)] if rows else []


def interval(sample: Array, *, low: float = -math.inf, high: float = math.inf) -> str:
    """Format the mean over trials and its 95% interval, clipped to a range, such as "0.74 (0.61 to 0.87)"."""
    band = over_trials(sample)
    return f"{band['ours']:.2f} ({max(low, band['low']):.2f} to {min(high, band['high']):.2f})"
