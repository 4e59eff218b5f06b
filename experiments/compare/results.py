"""Group the rows of a grid's `results.json`, and compute means over groups.

A row describes one run. The runs of a group differ only in the seed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

from experiments.compare.intervals import ABOVE_0, Range, over_runs
from experiments.compare.runs import value_text
from experiments.tables import interval, table

Row = Mapping[str, Any]
Rows = Sequence[Row]
Measure = Callable[[Row], float | None]  # returns one number of a run, or None if the run lacks this number
SOLVED = 0.9  # a game is solved when this fraction of the last 100 episodes was won


class Column(NamedTuple):
    """A column of `means_table`. `within` and `ends` are arguments of `over_runs`."""

    head: str
    measure: Measure
    within: Range = ABOVE_0
    text: Callable[[Mapping[str, float | None]], str] = partial(interval, form="z.3g")
    ends: bool = False


def means_table(groups: Iterable[Rows], settings: Sequence[str], columns: Sequence[Column]) -> str:
    """Return a Markdown table of means, with one line for each group of runs."""

    def cell(group: Rows, column: Column) -> str:
        mean = over_runs(values_of(group, column.measure), column.within, ends=column.ends)
        return "" if mean is None else column.text(asdict(mean))

    lines = [
        [
            group[0]["optimizer"],
            *varied_cells(group[0], settings),
            len(group),
            *(cell(group, column) for column in columns),
        ]
        for group in groups
    ]
    return table(["optimizer", *settings, "seeds", *(column.head for column in columns)], lines)


def varied(row: Row) -> dict[str, Any]:
    """Return the varied settings that apply to the run, with their values."""
    names, values = row["setting"], row["value"]  # lists only if several settings apply
    if isinstance(names, list):
        return dict(zip(names, values, strict=True))
    return {} if names is None else {names: values}


def varied_settings(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in varied(row)))


def varied_cells(row: Row, settings: Sequence[str]) -> list[str]:
    """Return the values of the varied settings as texts, or "" where one does not apply."""
    values = varied(row)
    return [value_text(values[name]) if name in values else "" for name in settings]


def by_label(rows: Rows) -> dict[str, list[Row]]:
    """Group the runs by labels such as "actde, q_lr 0.1"."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        settings = (f"{name} {value_text(value)}" for name, value in varied(row).items())
        groups.setdefault(", ".join([row["optimizer"], *settings]), []).append(row)
    return groups


def can_be_won(rows: Rows) -> bool:
    """Return whether the game has a maximum score, or an agent won an episode."""
    return not write_texts(rows) and any(
        row["evaluation"]["sampled"]["normalized_score"] is not None or success_rate(row) for row in rows
    )


def write_texts(rows: Rows) -> bool:
    """Return whether the agents of all runs wrote free text."""
    return all(number_at("collapse", "texts", "entropy")(row) is not None for row in rows)


def counts_bonus(rows: Rows) -> bool:
    """Return whether all runs counted the turns that earn a bonus."""
    return all("bonus_share" in row["curves"] and row["evaluation"]["sampled"].get("bonus_share") for row in rows)


def failed_episodes(row: Row) -> tuple[int, int]:
    """Return the numbers of failed episodes, in training and in evaluation."""
    evaluation = sum(row["evaluation"][how]["errors"] for how in ("sampled", "greedy"))
    return sum(row["curves"].get("errors", [])), evaluation  # results of earlier versions lack the curve


def number_at(*keys: str) -> Measure:
    """Return a measure that looks up `row[keys[0]][keys[1]]...`, or None if a key is missing."""

    def read(row: Row) -> Any:
        value: Any = row
        for key in keys:
            value = None if value is None else value.get(key)
        return value

    return read


def values_of(rows: Rows, measure: Measure) -> list[float]:
    return [value for value in map(measure, rows) if value is not None]


success_rate = number_at("evaluation", "sampled", "success_rate", "value")
kl_to_initial = number_at("collapse", "kl_initial")  # in nats per decision
winning_sequences = number_at("collapse", "wins", "effective")  # effective number of command sequences that win


def effective_strategies(row: Row) -> float | None:
    """Return the effective number of strategies, from the policy if possible, else as counted."""
    of_policy = number_at("collapse", "strategies", "policy")(row)
    return number_at("collapse", "strategies", "counted", "value")(row) if of_policy is None else of_policy
