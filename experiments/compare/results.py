"""Access to the rows of a grid's `results.json`, one row a run: groups of rows and the numbers that reports share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]
Measure = Callable[[Row], float | None]
"""Reads one number of a run; None where the run does not have it."""
SOLVED = 0.9
"""A game is solved when this fraction of the last 100 episodes was won."""


def varied_value(row: Row) -> str:
    """Return the value of the varied setting as text, "" for a run to which the setting does not apply."""
    return "" if row["setting"] is None else f"{row['value']}"


def label_of(row: Row) -> str:
    """Return "actde", or "actde, q_lr 0.1" where a setting was varied."""
    return str(row["optimizer"]) + ("" if row["setting"] is None else f", {row['setting']} {row['value']}")


def by_label(rows: Rows) -> dict[str, list[Row]]:
    """Group runs that differ only in the seed, by their label."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(label_of(row), []).append(row)
    return groups


def can_be_won(rows: Rows) -> bool:
    """Return whether a game states a maximum score, or some agent won."""
    sampled = [row["evaluation"]["sampled"] for row in rows]
    return any(each["normalized_score"] is not None or each["success_rate"]["value"] > 0 for each in sampled)


def counts_bonus(rows: Rows) -> bool:
    """Return whether turns that earn a bonus were counted in every run."""
    return all("bonus_share" in row["curves"] and row["evaluation"]["sampled"].get("bonus_share") for row in rows)


def collapse_measure(*keys: str) -> Measure:
    """Return a function that reads `row["collapse"][keys[0]][keys[1]]...`, None where a level is None or missing."""

    def read(row: Row) -> float | None:
        value = row["collapse"]
        for key in keys:
            value = None if value is None else value.get(key)
        number: float | None = value
        return number

    return read


kl_to_initial = collapse_measure("kl_initial")
"""Nats per decision."""
winning_sequences = collapse_measure("wins", "effective")
"""Effective number of winning sequences of commands in a game that was won; older results do not have it."""


def effective_strategies(row: Row) -> float | None:
    """Return the effective number of strategies: from the policy where known, else counted."""
    strategies = row["collapse"]["strategies"]
    if strategies["policy"] is not None:
        return float(strategies["policy"])
    return collapse_measure("strategies", "counted", "value")(row)
