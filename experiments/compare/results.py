"""Read the rows of a grid's `results.json`.

One row describes one run. The functions group rows and compute numbers for the reports. The varied setting is the
setting that `compare --vary` gives, together with the values to compare.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]
Measure = Callable[[Row], float | None]
"""A function that returns one number of a run, or None if the run lacks this number."""
SOLVED = 0.9
"""A game is solved when this fraction of the last 100 episodes was won."""


def varied_value(row: Row) -> str:
    """Return the value of the varied setting as text, or "" if the setting does not apply to the run."""
    return "" if row["setting"] is None else f"{row['value']}"


def label_of(row: Row) -> str:
    """Return the label of a run, such as "actde", or "actde, q_lr 0.1" if a setting was varied."""
    return str(row["optimizer"]) + ("" if row["setting"] is None else f", {row['setting']} {row['value']}")


def by_label(rows: Rows) -> dict[str, list[Row]]:
    """Group the runs by label. The runs of a group differ only in the seed."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(label_of(row), []).append(row)
    return groups


def can_be_won(rows: Rows) -> bool:
    """Return whether the game can be won.

    The result is true if the game states a maximum score, or if some agent won an episode.
    """
    sampled = [row["evaluation"]["sampled"] for row in rows]
    return any(each["normalized_score"] is not None or each["success_rate"]["value"] > 0 for each in sampled)


def counts_bonus(rows: Rows) -> bool:
    """Return whether every run counted the turns that earn a bonus."""
    return all("bonus_share" in row["curves"] and row["evaluation"]["sampled"].get("bonus_share") for row in rows)


def collapse_measure(*keys: str) -> Measure:
    """Return a function that reads `row["collapse"][keys[0]][keys[1]]...`.

    The function returns None if one of these values is None or missing.
    """

    def read(row: Row) -> float | None:
        value = row["collapse"]
        for key in keys:
            value = None if value is None else value.get(key)
        number: float | None = value
        return number

    return read


kl_to_initial = collapse_measure("kl_initial")
"""Return a run's KL to the initial policy, in nats per decision."""
winning_sequences = collapse_measure("wins", "effective")
"""Return a run's effective number of distinct command sequences that win.

The result is None if no episode was won. Results of earlier versions lack this number.
"""


def effective_strategies(row: Row) -> float | None:
    """Return the effective number of strategies of a run (see diversity.py).

    The result is the estimate from the policy if it exists. Otherwise the result is the counted estimate.
    """
    strategies = row["collapse"]["strategies"]
    if strategies["policy"] is not None:
        return float(strategies["policy"])
    return collapse_measure("strategies", "counted", "value")(row)
