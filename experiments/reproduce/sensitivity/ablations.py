"""Is the drift from alternating towards uniform a property of ACTDE or of the recipe? One change at a time."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd.arms import ABLATIONS, ACTDE, LONG, PPO, Series
from experiments.reproduce.ipd.claims import Claim, Judgement, judged
from experiments.reproduce.ipd.statistics import mean_band
from experiments.reproduce.sensitivity.factors import SECTION, interval
from experiments.tables import table

STEPS = LONG
LABELS = {ACTDE.name: "the post's recipe", PPO.name: "PPO, the same recipe"}
WHAT = {
    "actde-no-decay": "without weight decay",
    "actde-no-dropout": "without dropout",
    "actde-no-decay-no-dropout": "without both",
    "actde-q-slow": "with a quarter of the learning rate of q's head",
    "actde-q-fast": "with four times the learning rate of q's head",
    "actde-lambda-0": "with lambda 0",
}


def drop(one: Series) -> NDArray[np.float64]:
    """[trials] the share of alternating games at steps 200 to 400 less that of the end."""
    return one.early("alternate") - one.last("alternate")


def findings(found: Mapping[str, Series]) -> list[Finding]:
    """For each change: does ACTDE still lose alternation, and does it lose less than the post's recipe?"""
    base, made = found[ACTDE.name], []
    for name, what in WHAT.items():
        ready = base.reaches(STEPS) and found[name].reaches(STEPS)
        made += judged(_pair(base, found[name], what), section=SECTION, ready=ready)
    return made


def _pair(base: Series, other: Series, what: str) -> list[Claim]:
    def drifts() -> Judgement:
        band = mean_band(drop(other))
        return band, band["low"] > 0

    def worse() -> Judgement:
        band = mean_band(saved(base, other))
        return band, band["low"] > 0

    short = other.arm.name.removeprefix("actde-")
    return [
        Claim(
            id=f"sensitivity.drift.{short}",
            text=f"ACTDE regresses from alternating also {what} (share at steps 200 to 400 less the last, of"
            f" {STEPS:,}).",
            criterion="The 95% interval over trials is above 0: the drift is not of what was taken away alone.",
            judge=drifts,
            of_post=False,
        ),
        Claim(
            id=f"sensitivity.recipe.{short}",
            text=f"The recipe makes it worse: it regresses less {what} (the post's loss less this one, in pairs).",
            criterion="The 95% interval over pairs of trials is above 0.",
            judge=worse,
            of_post=False,
        ),
    ]


def saved(base: Series, other: Series) -> NDArray[np.float64]:
    """[pairs of trials] the loss of alternation with the post's recipe less that of another."""
    pairs = min(base.trials, other.trials)
    return drop(base)[:pairs] - drop(other)[:pairs]


def notes(found: Mapping[str, Series]) -> list[str]:
    """The table, and what follows from it and what does not."""
    rows = [name for name in (ACTDE.name, *WHAT, PPO.name) if found[name].reaches(STEPS)]
    if ACTDE.name not in rows or len(rows) < 2:
        return []
    heads = ["", "trials", "alternating, steps 200 to 400", "at the end", "st. dev.", "trend of the second half"]
    heads.append("entropy (nats)")
    lines = []
    for name in rows:
        one = found[name]
        end, entropy = (one.last(column) for column in ("alternate", "entropy"))
        shares = [interval(mean_band(share), low=0, high=1) for share in (drop(one) + end, end)]
        trend, nats = interval(mean_band(one.trend("alternate"))), interval(mean_band(entropy), low=0)
        lines.append([(WHAT | LABELS)[name], one.trials, *shares, f"{end.std(ddof=1):.2f}", trend, nats])
    about = (
        f"After {STEPS:,} gradient steps; the trend is the change of the share from step 5,000 on, by least squares:"
    )
    return [about, table(heads, lines), _verdict(found, [name for name in rows if name in WHAT])]


def _verdict(found: Mapping[str, Series], names: list[str]) -> str:
    """A paragraph from the intervals alone."""
    base = found[ACTDE.name]
    losses = {name: mean_band(drop(found[name])) for name in names}
    changes = {name: mean_band(saved(base, found[name])) for name in names}
    remains = [WHAT[name] for name in names if losses[name]["low"] > 0]
    gone = [WHAT[name] for name in names if losses[name]["low"] <= 0]
    smaller = [WHAT[name] for name in names if changes[name]["low"] > 0]
    larger = [WHAT[name] for name in names if changes[name]["high"] < 0]
    unseen = [WHAT[arm.name] for arm in ABLATIONS if arm.name not in names]
    parts = [
        f"What follows: a loss of alternation after the first 400 steps is seen (interval above 0) {_list(remains)}",
        f"none is seen {_list(gone)}",
        f"compared in pairs with the post's recipe the loss is smaller {_list(smaller)}, and larger {_list(larger)}",
    ]
    rest = f" Not run to the end: {_list(unseen)}." if unseen else ""
    limits = (
        " What does not follow: that an interval which contains 0 means no effect (the trials are few and differ much),"
        " or that any of this holds for other games, sizes of the trunk or longer runs."
    )
    return "; ".join(parts) + "." + rest + limits


def _list(words: list[str]) -> str:
    return ", ".join(words) if words else "in no case"
