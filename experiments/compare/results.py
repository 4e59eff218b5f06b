"""Group the rows of `results.json`, and compute means over groups. A row describes one run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

from experiments.compare.intervals import ABOVE_0, Range, mean_over_runs
from experiments.compare.runs import value_text
from experiments.tables import interval, table

Row = Mapping[str, Any]
Rows = Sequence[Row]
Measure = Callable[[Row], float | None]  # returns one number of a run, or None if the run lacks this number
SOLVED = 0.9  # a game is solved when this fraction of the last 100 episodes was won


class Column(NamedTuple):
    """A column of `means_table`. `measure` maps a run to a number in `value_range`."""

    header: str
    measure: Measure
    value_range: Range = ABOVE_0
    text: Callable[[Mapping[str, float | None]], str] = partial(interval, format_spec="z.3g")
    clopper_pearson: bool = False


def means_table(groups: Iterable[Rows], settings: Sequence[str], columns: Sequence[Column]) -> str:
    """Return a Markdown table of means, with one line per group."""

    def cell(group: Rows, column: Column) -> str:
        mean = mean_over_runs(
            values_of(group, column.measure), column.value_range, clopper_pearson=column.clopper_pearson
        )
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
    return table(["optimizer", *settings, "seeds", *(column.header for column in columns)], lines)


def setting_values(row: Row) -> dict[str, Any]:
    """Return a dict of the varied settings that apply to the run: name -> value."""
    names, values = row["setting"], row["value"]  # lists only if several settings apply
    if isinstance(names, list):
        return dict(zip(names, values, strict=True))
    return {} if names is None else {names: values}


def varied_settings(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in setting_values(row)))


def varied_cells(row: Row, settings: Sequence[str]) -> list[str]:
    """Return one text per setting: the value, or "" if the setting does not apply to the run."""
    values = setting_values(row)
    return [value_text(values[name]) if name in values else "" for name in settings]


def by_label(rows: Rows) -> dict[str, list[Row]]:
    """Group the runs that differ only in the seed. Return a dict: label such as "actde, q_lr 0.1" -> rows."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        settings = (f"{name} {value_text(value)}" for name, value in setting_values(row).items())
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
    """Return the numbers of failed episodes in training and in evaluation."""
    evaluation = sum(row["evaluation"][mode]["errors"] for mode in ("sampled", "greedy"))
    return sum(row["curves"].get("errors", [])), evaluation  # results of earlier versions lack the curve


def number_at(*keys: str) -> Measure:
    """Return a function that returns `row[keys[0]][keys[1]]...` of a row, or None if a key is missing."""

    def look_up(row: Row) -> Any:
        value: Any = row
        for key in keys:
            value = None if value is None else value.get(key)
        return value

    return look_up


def values_of(rows: Rows, measure: Measure) -> list[float]:
    return [value for value in map(measure, rows) if value is not None]


success_rate = number_at("evaluation", "sampled", "success_rate", "value")
kl_to_initial = number_at("collapse", "kl_initial")  # in nats per decision
winning_sequences = number_at("collapse", "wins", "effective")  # effective number of command sequences that win


def effective_strategies(row: Row) -> float | None:
    """Return the effective number of strategies from the policy, or else from counts."""
    policy_estimate = number_at("collapse", "strategies", "policy")(row)
    return number_at("collapse", "strategies", "counted", "value")(row) if policy_estimate is None else policy_estimate
