"""Is the drift from alternating towards uniform a property of ACTDE or of the recipe? One change at a time."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from experiments.dilemma.trial import EPOCHS
from experiments.reproduce import finding
from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd.arms import ABLATIONS, ACTDE, LONG, SHORT, Series
from experiments.reproduce.ipd.statistics import mean_band
from experiments.reproduce.seeds import Band
from experiments.reproduce.sensitivity.factors import SECTION, interval

STEPS = LONG
OVER = 25
WHAT = {
    "actde-no-decay": "without weight decay",
    "actde-no-dropout": "without dropout",
    "actde-no-decay-no-dropout": "without both",
    "actde-q-slow": "with a quarter of q's learning rate",
    "actde-q-fast": "with four times q's learning rate",
    "actde-lambda-0": "with lambda 0",
}


def drop(one: Series) -> NDArray[np.float64]:
    """[trials] the largest share of alternating games within 1,000 steps, smoothed over 40, less that of the end."""
    early = one.until(SHORT).column("alternate")
    smooth = np.stack([np.convolve(row, np.ones(10) / 10, mode="valid") for row in early])
    return np.asarray(smooth.max(axis=1) - one.at("alternate", STEPS, over=OVER))


def ready(one: Series) -> bool:
    """Whether it has at least two trials of full length."""
    return one.trials >= 2 and one.rows.shape[1] * EPOCHS >= STEPS


def findings(found: Mapping[str, Series]) -> list[Finding]:
    """For each change: does ACTDE still lose alternation, and does it lose less than the post's recipe?"""
    made = []
    for name, what in WHAT.items():
        both = ready(found[name]) and ready(found[ACTDE.name])
        loss = drop(found[name]) if both else np.zeros(2)
        pairs = min(len(loss), found[ACTDE.name].trials) if both else 2
        less = (drop(found[ACTDE.name])[:pairs] if both else np.zeros(2)) - loss[:pairs]
        stays, change = mean_band(loss), mean_band(less)
        short = name.removeprefix("actde-")
        pair = [
            finding.claim(
                f"sensitivity.drift.{short}",
                f"ACTDE regresses from alternating also {what} (peak share less the last, of 10,000 steps).",
                section=SECTION,
                holds=stays["low"] > 0,
                criterion="The 95% interval over trials is above 0: the drift is not of what was taken away alone.",
                **stays,
            ),
            finding.claim(
                f"sensitivity.recipe.{short}",
                f"The recipe makes it worse: it regresses less {what} (the post's loss less this one, in pairs).",
                section=SECTION,
                holds=change["low"] > 0,
                criterion="The 95% interval over pairs of trials is above 0.",
                **change,
            ),
        ]
        made += pair if both else [finding.unjudged(one) for one in pair]
    return made


def notes(found: Mapping[str, Series]) -> list[str]:
    """The table, and what follows from it and what does not."""
    rows = [name for name in (ACTDE.name, *WHAT) if ready(found[name])]
    if len(rows) < 2:
        return []
    heads = ["", "trials", "alternating, peak", "at the end", "st. dev.", "trend of the second half", "entropy (nats)"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for name in rows:
        one = found[name]
        end, entropy = (one.at(column, STEPS, over=OVER) for column in ("alternate", "entropy"))
        cells = ["the post's recipe" if name == ACTDE.name else WHAT[name], f"{one.trials}"]
        cells += [
            interval(mean_band(drop(one) + end), low=0, high=1),
            interval(mean_band(end), low=0, high=1),
            f"{end.std(ddof=1):.2f}",
        ]
        cells += [interval(mean_band(trend(one))), interval(mean_band(entropy), low=0)]
        lines.append("| " + " | ".join(cells) + " |")
    about = (
        f"After {STEPS:,} gradient steps; the trend is the change of the share from step 5,000 on, by least squares:"
    )
    return [about, "\n".join(lines), _verdict(found, rows[1:])]


def trend(one: Series) -> NDArray[np.float64]:
    """[trials] change of the share of alternating games over the second half of the run."""
    late = one.column("alternate")[:, one.rows.shape[1] // 2 :]
    return np.asarray(np.polyfit(np.arange(late.shape[1]) / late.shape[1], late.T, 1)[0])


def _verdict(found: Mapping[str, Series], names: list[str]) -> str:
    """A paragraph from the intervals alone."""
    losses: dict[str, Band] = {name: mean_band(drop(found[name])) for name in names}
    base = drop(found[ACTDE.name])
    remains = [WHAT[name] for name in names if losses[name]["low"] > 0]
    gone = [WHAT[name] for name in names if losses[name]["low"] <= 0]
    smaller, larger = [], []
    for name in names:
        other = drop(found[name])
        pairs = min(len(base), len(other))
        change = mean_band(base[:pairs] - other[:pairs])
        if change["low"] > 0:
            smaller.append(WHAT[name])
        elif change["high"] < 0:
            larger.append(WHAT[name])
    unseen = [WHAT[arm.name] for arm in ABLATIONS if arm.name not in names]
    parts = [
        f"What follows: a loss of alternation after the peak is seen (interval above 0) {_list(remains)}",
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
