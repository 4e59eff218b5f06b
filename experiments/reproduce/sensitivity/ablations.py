"""Does the drift from alternating to uniform come from ACTDE or from the recipe? One change of the recipe at a time."""

from collections.abc import Iterable, Mapping, Sequence

from experiments.reproduce.finding import Measurement
from experiments.reproduce.ipd.arms import ACTDE, LONG, PPO, Series
from experiments.reproduce.sensitivity.factors import interval
from experiments.reproduce.statistics import Array, above_zero, over_trials
from experiments.tables import table

STEPS = LONG
WHAT = {
    "actde-no-decay": "without weight decay",
    "actde-no-dropout": "without dropout",
    "actde-no-decay-no-dropout": "without both",
    "actde-q-slow": "with a quarter of the Q head's learning rate",
    "actde-q-fast": "with four times the Q head's learning rate",
    "actde-lambda-0": "with lambda 0",
}
LABELS = {ACTDE.name: "the post's recipe", **WHAT, PPO.name: "PPO, the same recipe"}


def drift(one: Series) -> Array:
    """[trials], the share of alternating games at steps 200 to 400 minus that at the end."""
    return one.early("alternate") - one.last("alternate")


def less_drift(base: Series, other: Series) -> Array:
    """[pairs of trials], the drift with the post's recipe minus that with another."""
    pairs = min(base.trials, other.trials)
    return drift(base)[:pairs] - drift(other)[:pairs]


def measure(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """For each change that was run: does ACTDE still drift, and does it drift less than with the post's recipe?"""
    base, measurements = curves[ACTDE.name], {}
    for name in WHAT:
        if base.reaches(STEPS) and curves[name].reaches(STEPS):
            short = name.removeprefix("actde-")
            measurements[f"drift.{short}"] = above_zero(over_trials(drift(curves[name])))
            measurements[f"recipe.{short}"] = above_zero(over_trials(less_drift(base, curves[name])))
    return measurements


def notes(curves: Mapping[str, Series]) -> list[str]:
    """The table, what follows from it and what does not."""
    names = [name for name in LABELS if curves[name].reaches(STEPS)]
    if ACTDE.name not in names or len(names) < 2:
        return []
    heads = ["", "trials", "alternating, steps 200 to 400", "at the end", "st. dev.", "trend of the second half"]
    heads.append("entropy (nats)")
    rows = []
    for one in (curves[name] for name in names):
        end, entropy = (one.last(column) for column in ("alternate", "entropy"))
        shares = [interval(share, low=0, high=1) for share in (drift(one) + end, end)]
        trend, nats = interval(one.trend("alternate")), interval(entropy, low=0)
        rows.append([LABELS[one.arm.name], one.trials, *shares, f"{end.std(ddof=1):.2f}", trend, nats])
    about = f"After {STEPS:,} gradient steps; the trend is the change of the share from step 5,000 on (least squares):"
    return [about, table(heads, rows), _conclusion(curves, [name for name in names if name in WHAT])]


def _conclusion(curves: Mapping[str, Series], names: Sequence[str]) -> str:
    """A paragraph that follows from the intervals alone."""
    base = curves[ACTDE.name]
    drifts = {name: over_trials(drift(curves[name])) for name in names}
    changes = {name: over_trials(less_drift(base, curves[name])) for name in names}
    remains = _list(name for name in names if drifts[name]["low"] > 0)
    gone = _list(name for name in names if drifts[name]["low"] <= 0)
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
