"""Measure how changes of the training recipe affect ACTDE in the prisoner's dilemma.

The grid combines three switches. The ablations change one or two settings.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from scipy import stats

from experiments.reproduce.finding import Measurement
from experiments.reproduce.ipd.arms import ACTDE, CELLS, COLLAPSED, LONG, MIDDLE, PPO, SHARES, SWITCHES, Series
from experiments.reproduce.statistics import Array, above_zero, judge, over_trials
from experiments.tables import table

# the entries of the table of the grid, with and without each switch
CHOICES = {"whitened": ("batch", "none"), "detached": ("detached", "shared"), "ilql": ("ilql", "ppo")}
LEVEL = 0.025  # of each of two tests, so that the chance of a false positive is at most 5%
WHAT = {
    "actde-no-decay": "without weight decay",
    "actde-no-dropout": "without dropout",
    "actde-no-decay-no-dropout": "without both",
    "actde-q-slow": "with a quarter of the Q head's learning rate",
    "actde-q-fast": "with four times the Q head's learning rate",
    "actde-lambda-0": "with lambda 0",
}
LABELS = {ACTDE.name: "the post's recipe", **WHAT, PPO.name: "PPO, the same recipe"}


def cell_name(*switches: str) -> str:
    return "-".join([ACTDE.name, *switches])


def effect(curves: Mapping[str, Series], switch: str) -> tuple[Array, Array]:
    """Return the shares of alternating games in pairs of trials, without and with `switch`."""
    plain, other = curves[cell_name()].last("alternate", MIDDLE), curves[cell_name(switch)].last("alternate", MIDDLE)
    pairs = min(len(plain), len(other))
    return plain[:pairs], other[:pairs]


def measure_grid(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    cells = [curves[cell_name(*switches)] for switches in CELLS]
    if not all(cell.reaches(MIDDLE) for cell in cells):
        return {}
    samples = [cell.last("alternate", MIDDLE) for cell in cells]
    means = [float(sample.mean()) for sample in samples]
    collapsed = sum(int((cell.last("entropy", MIDDLE) < COLLAPSED).sum()) for cell in cells)
    return {
        **{switch: change(curves, switch) for switch in SWITCHES},
        "cells": judge(max(means) - min(means), stats.kruskal(*samples).pvalue < 0.05),
        "no-collapse": judge(collapsed, collapsed == 0),
    }


def change(curves: Mapping[str, Series], switch: str) -> Measurement:
    """Test whether a switch changes the mean or the spread of the alternating share."""
    plain, other = effect(curves, switch)
    moved = stats.ttest_rel(other, plain).pvalue < LEVEL
    # with the median, this is the test of Brown and Forsythe (1974)
    spread = stats.levene(curves[cell_name()].last("alternate", MIDDLE), other, center="median").pvalue < LEVEL
    return judge(over_trials(other - plain), moved or spread)


def grid_notes(curves: Mapping[str, Series]) -> list[str]:
    heads = ("whitening", "heads", "value loss", "trials", "alternating", "st. dev.", "cooperate", "defect",
             "entropy (nats)", "below .1 nats")  # fmt: skip
    rows = []
    for switches in CELLS:
        one = curves[cell_name(*switches)]
        if one.trials and one.end >= MIDDLE:
            share, both, none, entropy = (one.last(name, MIDDLE) for name in (*SHARES, "entropy"))
            recipe = [new if switch in switches else old for switch, (new, old) in CHOICES.items()]
            deviation = f"{share.std(ddof=1):.2f}" if one.trials > 1 else ""
            shares = [interval(share, low=0, high=1), deviation, f"{both.mean():.2f}", f"{none.mean():.2f}"]
            rows.append([*recipe, one.trials, *shares, interval(entropy, low=0), (entropy < COLLAPSED).sum()])
    about = f"After {MIDDLE:,} gradient steps (means over the last 100; Student's 95% intervals over trials):"
    return [about, table(heads, rows)] if rows else []


def interval(sample: Array, *, low: float = -math.inf, high: float = math.inf) -> str:
    """Format the mean and its 95% interval, such as "0.74 (0.61 to 0.87)"."""
    band = over_trials(sample)
    return f"{band['ours']:.2f} ({max(low, band['low']):.2f} to {min(high, band['high']):.2f})"


def drift(one: Series) -> Array:
    """Return each trial's early share of alternating games minus its last share."""
    return one.early("alternate") - one.last("alternate")


def less_drift(base: Series, other: Series) -> Array:
    """Return the drift of `base` minus that of `other`, for each pair of trials."""
    pairs = min(base.trials, other.trials)
    return drift(base)[:pairs] - drift(other)[:pairs]


def measure_ablations(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    base, measurements = curves[ACTDE.name], {}
    for name in WHAT:
        if base.reaches(LONG) and curves[name].reaches(LONG):
            short = name.removeprefix("actde-")
            measurements[f"drift.{short}"] = above_zero(over_trials(drift(curves[name])))
            measurements[f"recipe.{short}"] = above_zero(over_trials(less_drift(base, curves[name])))
    return measurements


def ablation_notes(curves: Mapping[str, Series]) -> list[str]:
    names = [name for name in LABELS if curves[name].reaches(LONG)]
    if ACTDE.name not in names or len(names) < 2:
        return []
    heads = ("", "trials", "alternating, steps 200 to 400", "at the end", "st. dev.", "trend of the second half",
             "entropy (nats)")  # fmt: skip
    rows = []
    for one in (curves[name] for name in names):
        end, entropy = (one.last(column) for column in ("alternate", "entropy"))
        shares = [interval(share, low=0, high=1) for share in (drift(one) + end, end)]
        trend, nats = interval(one.trend("alternate")), interval(entropy, low=0)
        rows.append([LABELS[one.arm.name], one.trials, *shares, f"{end.std(ddof=1):.2f}", trend, nats])
    about = f"After {LONG:,} gradient steps; the trend is the change of the share from step 5,000 on (least squares):"
    return [about, table(heads, rows), _conclusion(curves, [name for name in names if name in WHAT])]


def _conclusion(curves: Mapping[str, Series], names: Sequence[str]) -> str:
    drifts = {name: over_trials(drift(curves[name])) for name in names}
    changes = {name: over_trials(less_drift(curves[ACTDE.name], curves[name])) for name in names}
    remains, gone = (_list(name for name in names if (drifts[name]["low"] > 0) is above) for above in (True, False))
    smaller = _list(name for name in names if changes[name]["low"] > 0)
    larger = _list(name for name in names if changes[name]["high"] < 0)
    missing = [name for name in WHAT if name not in names]
    rest = f" Not run to the end: {_list(missing)}." if missing else ""
    return (
        f"What follows: ACTDE drifts from alternating after the first 400 steps (interval above 0) {remains}. No drift"
        f" is seen {gone}. Compared in pairs with the post's recipe, the drift is smaller {smaller}, and larger"
        f" {larger}.{rest} What does not follow: that there is no effect where an interval contains 0 (the trials are"
        " few and differ much), or that any of this holds for other games, other sizes of the trunk or longer runs."
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(WHAT[name] for name in names) or "in no case"
