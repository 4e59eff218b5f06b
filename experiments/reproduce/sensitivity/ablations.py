"""Test whether ACTDE or the post's training recipe causes the drift from alternating to the uniform policy.

Each arm changes the recipe of the post by Turner and Einhorn (2023) in one or two settings, such as weight decay. The
drift is the share of alternating games at steps 200 to 400 minus the share at the end of training.
"""

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
    """Return the drift of each trial. The shape is [trials].

    The drift is the share of alternating games at steps 200 to 400 minus the share at the end of training.
    """
    return one.early("alternate") - one.last("alternate")


def less_drift(base: Series, other: Series) -> Array:
    """Return the drift of `base` minus the drift of `other`, for each pair of trials with the same number.

    The shape is [pairs].
    """
    pairs = min(base.trials, other.trials)
    return drift(base)[:pairs] - drift(other)[:pairs]


def measure(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """Measure for each changed recipe whether ACTDE drifts, and whether it drifts less than with the post's recipe."""
    base, measurements = curves[ACTDE.name], {}
    for name in WHAT:
        if base.reaches(STEPS) and curves[name].reaches(STEPS):
            short = name.removeprefix("actde-")
            measurements[f"drift.{short}"] = above_zero(over_trials(drift(curves[name])))
            measurements[f"recipe.{short}"] = above_zero(over_trials(less_drift(base, curves[name])))
    return measurements


def notes(curves: Mapping[str, Series]) -> list[str]:
    """Return a table of the arms and a paragraph of conclusions, as a list of texts.

    The list is empty unless the post's recipe and at least one other arm were run to the end.
    """
    names = [name for name in LABELS if curves[name].reaches(STEPS)]
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
    about = f"After {STEPS:,} gradient steps; the trend is the change of the share from step 5,000 on (least squares):"
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
