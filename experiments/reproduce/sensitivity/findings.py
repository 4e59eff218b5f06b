"""Measure the effects of single and combined changes of ACTDE's training settings."""

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
DESCRIPTIONS = {
    "actde-no-decay": "without weight decay",
    "actde-no-dropout": "without dropout",
    "actde-no-decay-no-dropout": "without both",
    "actde-q-slow": "with a quarter of the Q head's learning rate",
    "actde-q-fast": "with four times the Q head's learning rate",
    "actde-lambda-0": "with lambda 0",
}
LABELS = {ACTDE.name: "the post's recipe", **DESCRIPTIONS, PPO.name: "PPO, the same recipe"}


def cell_name(*switches: str) -> str:
    return "-".join([ACTDE.name, *switches])


def paired_shares(curves: Mapping[str, Series], switch: str) -> tuple[Array, Array]:
    """Return the share of alternating games in each trial, without and with `switch`."""
    plain, switched = (
        curves[cell_name()].mean_before("alternate", MIDDLE),
        curves[cell_name(switch)].mean_before("alternate", MIDDLE),
    )
    pairs = min(len(plain), len(switched))
    return plain[:pairs], switched[:pairs]


def measure_grid(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    cells = [curves[cell_name(*switches)] for switches in CELLS]
    if not all(cell.reaches(MIDDLE) for cell in cells):
        return {}
    samples = [cell.mean_before("alternate", MIDDLE) for cell in cells]
    means = [float(sample.mean()) for sample in samples]
    collapsed = sum(int((cell.mean_before("entropy", MIDDLE) < COLLAPSED).sum()) for cell in cells)
    return {
        **{switch: measure_switch(curves, switch) for switch in SWITCHES},
        "cells": judge(max(means) - min(means), stats.kruskal(*samples).pvalue < 0.05),
        "no-collapse": judge(collapsed, collapsed == 0),
    }


def measure_switch(curves: Mapping[str, Series], switch: str) -> Measurement:
    """Test whether `switch` changes the mean or spread of trials' alternating shares."""
    plain, switched = paired_shares(curves, switch)
    mean_changes = stats.ttest_rel(switched, plain).pvalue < LEVEL
    # with the median, this is the test of Brown and Forsythe (1974)
    spread_changes = (
        stats.levene(curves[cell_name()].mean_before("alternate", MIDDLE), switched, center="median").pvalue < LEVEL
    )
    return judge(over_trials(switched - plain), mean_changes or spread_changes)


def grid_notes(curves: Mapping[str, Series]) -> list[str]:
    header = ("whitening", "heads", "value loss", "trials", "alternating", "st. dev.", "cooperate", "defect",
              "entropy (nats)", "below .1 nats")  # fmt: skip
    rows = []
    for switches in CELLS:
        series = curves[cell_name(*switches)]
        if series.trials and series.end >= MIDDLE:
            alternate, cooperate, defect, entropy = (series.mean_before(name, MIDDLE) for name in (*SHARES, "entropy"))
            recipe = [new if switch in switches else old for switch, (new, old) in CHOICES.items()]
            deviation = f"{alternate.std(ddof=1):.2f}" if series.trials > 1 else ""
            shares = [interval(alternate, low=0, high=1), deviation, f"{cooperate.mean():.2f}", f"{defect.mean():.2f}"]
            rows.append([*recipe, series.trials, *shares, interval(entropy, low=0), (entropy < COLLAPSED).sum()])
    caption = f"After {MIDDLE:,} gradient steps (means over the last 100; Student's 95% intervals over trials):"
    return [caption, table(header, rows)] if rows else []


def interval(sample: Array, *, low: float = -math.inf, high: float = math.inf) -> str:
    """Format the mean and the 95% interval like 0.74 (0.61 to 0.87)."""
    band = over_trials(sample)
    return f"{band['ours']:.2f} ({max(low, band['low']):.2f} to {min(high, band['high']):.2f})"


def drift(series: Series) -> Array:
    """Return each trial's early share of alternating games (steps 200 to 400) minus the last share."""
    return series.early_mean("alternate") - series.mean_before("alternate")


def drift_reduction(base: Series, variant: Series) -> Array:
    """Return the drift of `base` minus the drift of `variant`, per pair of trials."""
    pairs = min(base.trials, variant.trials)
    return drift(base)[:pairs] - drift(variant)[:pairs]


def measure_ablations(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    base, measurements = curves[ACTDE.name], {}
    for name in DESCRIPTIONS:
        if base.reaches(LONG) and curves[name].reaches(LONG):
            variant = name.removeprefix("actde-")
            measurements[f"drift.{variant}"] = above_zero(over_trials(drift(curves[name])))
            measurements[f"recipe.{variant}"] = above_zero(over_trials(drift_reduction(base, curves[name])))
    return measurements


def ablation_notes(curves: Mapping[str, Series]) -> list[str]:
    names = [name for name in LABELS if curves[name].reaches(LONG)]
    if ACTDE.name not in names or len(names) < 2:
        return []
    header = ("", "trials", "alternating, steps 200 to 400", "at the end", "st. dev.", "trend of the second half",
              "entropy (nats)")  # fmt: skip
    rows = []
    for series in (curves[name] for name in names):
        last_shares, entropy = (series.mean_before(column) for column in ("alternate", "entropy"))
        shares = [interval(share, low=0, high=1) for share in (drift(series) + last_shares, last_shares)]
        trend, nats = interval(series.trend("alternate")), interval(entropy, low=0)
        rows.append([LABELS[series.arm.name], series.trials, *shares, f"{last_shares.std(ddof=1):.2f}", trend, nats])
    caption = f"After {LONG:,} gradient steps; the trend is the change of the share from step 5,000 on (least squares):"
    return [caption, table(header, rows), _conclusion(curves, [name for name in names if name in DESCRIPTIONS])]


def _conclusion(curves: Mapping[str, Series], names: Sequence[str]) -> str:
    bands = {name: over_trials(drift(curves[name])) for name in names}
    changes = {name: over_trials(drift_reduction(curves[ACTDE.name], curves[name])) for name in names}
    remains, absent = (
        _describe(name for name in names if (bands[name]["low"] > 0) is drifts) for drifts in (True, False)
    )
    smaller = _describe(name for name in names if changes[name]["low"] > 0)
    larger = _describe(name for name in names if changes[name]["high"] < 0)
    missing = [name for name in DESCRIPTIONS if name not in names]
    unfinished = f" Not run to the end: {_describe(missing)}." if missing else ""
    return (
        f"What follows: ACTDE drifts from alternating after the first 400 steps (interval above 0) {remains}. No drift"
        f" is seen {absent}. Compared in pairs with the post's recipe, the drift is smaller {smaller}, and larger"
        f" {larger}.{unfinished} What does not follow: that there is no effect where an interval contains 0 (the trials"
        " are few and differ much), or that any of this holds for other games, other sizes of the trunk or longer runs."
    )


def _describe(names: Iterable[str]) -> str:
    return ", ".join(DESCRIPTIONS[name] for name in names) or "in no case"
