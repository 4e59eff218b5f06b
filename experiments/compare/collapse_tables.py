"""The part of a grid's report that is about collapse: two tables over seeds, and what their columns mean.

Every number is a mean over runs of one optimizer and value, never over pooled episodes of different seeds, with its
interval over those runs (intervals.py). A column that no run has is left out. The measures are made in measure.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.compare.figures import winning_sequences
from experiments.compare.intervals import ABOVE_0, ABOVE_1, RATE, Range, over_runs
from experiments.tables import table

Rows = Sequence[Mapping[str, Any]]
Estimate = Mapping[str, float | None]
Column = tuple[str, Callable[[Mapping[str, Any]], float | None], Callable[[Estimate], str], Range]
"""Head, the number of a run's measures, how its mean over seeds is written, and where the quantity ends."""


def interval(estimate: Estimate | None, form: str = ".2f") -> str:
    """ "0.95 (0.83 to 1.00)", or the value alone where the sample has no spread."""
    if estimate is None:
        return ""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    return f"{value:{form}}" if low is None else f"{value:{form}} ({low:{form}} to {high:{form}})"


def value_of(row: Mapping[str, Any]) -> str:
    """The value of the setting that is varied; nothing for a run that it does not concern."""
    return "" if row["setting"] is None else f"{row['value']}"


def _digits(estimate: Estimate) -> str:
    return interval(estimate, ".3g")


def _inverted(estimate: Estimate) -> str:
    """A mean of 1/tau as tau: the bounds change places, and 1 / 0 is infinite."""

    def inverse(number: float | None) -> float | None:
        return number if number is None else 1 / number if number else float("inf")

    value, low, high = (inverse(estimate[name]) for name in ("value", "high", "low"))
    return interval({"value": value, "low": low, "high": high}, ".3g")


def _of(part: str, name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda measured: measured[part] and measured[part][name]


DISTANCES: Sequence[Column] = (
    ("entropy", lambda measured: measured["entropy"], _digits, ABOVE_0),
    ("KL to pi_0", lambda measured: measured["kl_initial"], _digits, ABOVE_0),
    ("tau of the step sizes", _of("tilted", "tau"), _digits, ABOVE_0),
    ("KL to tilted there", _of("tilted", "kl"), _digits, ABOVE_0),
    ("tau that fits best", _of("tilted", "best_inverse_tau"), _inverted, ABOVE_0),
    ("KL to tilted at its best", _of("tilted", "best_kl"), _digits, ABOVE_0),
)


def _strategy_columns(rows: Rows) -> list[Column]:
    measured = [row["collapse"] for row in rows]
    shares = dict.fromkeys(name for found in measured for name in found["strategies"]["shares"] or ())
    ks = dict.fromkeys(k for found in measured if found["pass_at"] for k in found["pass_at"]["mean"])
    return [
        ("strategies, counted", _counted, _digits, ABOVE_1),
        ("corrected", _of("strategies", "corrected"), _digits, ABOVE_1),
        ("from the policy", _of("strategies", "policy"), _digits, ABOVE_1),
        *((f"share of {name}", _share(name), _digits, RATE) for name in shares),
        ("different wins", _of("wins", "different"), _digits, ABOVE_0),
        ("winning sequences", winning_sequences, _digits, ABOVE_1),
        *((f"pass@{k}", _pass(k), _digits, RATE) for k in ks),
    ]


def _counted(measured: Mapping[str, Any]) -> float | None:
    counted = measured["strategies"]["counted"]
    number: float | None = counted and counted["value"]
    return number


def _share(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda measured: (measured["strategies"]["shares"] or {}).get(name)


def _pass(k: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda measured: measured["pass_at"] and measured["pass_at"]["mean"].get(k)


def collapse_section(rows: Rows, setting: str | None, episodes: int) -> list[str]:
    """The section's lines; every row has to have "collapse"."""
    named = any(row["collapse"]["strategies"]["shares"] for row in rows)
    return [
        "## Collapse",
        "",
        f"Measured on the finished agents, each over its {episodes} sampled episodes, dropout off; means over seeds.",
        "",
        _table(rows, setting, DISTANCES),
        "",
        "Entropy and KL are nats per decision (a turn with several commands), exact over the commands, averaged over"
        " the states that the trained agent visits, each as often as it is visited. pi_0 is the run's own policy before"
        " its first step, tilted is softmax(log pi_0 + q / tau): in a table ACTDE goes there, with tau, in units of"
        " reward, the ratio of the step sizes of q and of the logits. Only plain gradient descent implies one. The tau"
        " that fits best has the least KL (its mean is that of 1 / tau); between two commands in one state some tau"
        " fits without rest. Runs that train no q have none.",
        "",
        _table(rows, setting, _strategy_columns(rows)),
        "",
        "Strategies are effective numbers, exp of the entropy over strategies. "
        + (
            "Each command follows one of those that the game names."
            if named
            else "A strategy is an episode's sequence of commands, in one game. Counted: of the episodes played, so at"
            " most as many as those; corrected: for those not seen (Chao and Shen 2003); from the policy: by the chain"
            " rule, from the entropies of all decisions on the way, without that limit. Different wins are distinct"
            " winning sequences. pass@k: one of k tries wins (Chen et al. 2021), mean over games."
        )
        + (
            " Winning sequences: their effective number in a game that was won, counted."
            if any(winning_sequences(row["collapse"]) is not None for row in rows)
            else ""
        ),
        "",
        "![entropy, KL to the first policy and to the tilted one, strategies](collapse.svg)",
        "",
    ]


def _table(rows: Rows, setting: str | None, columns: Sequence[Column]) -> str:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["optimizer"], value_of(row)), []).append(row["collapse"])
    kept = [column for column in columns if any(column[1](row["collapse"]) is not None for row in rows)]
    heads = ["optimizer", *([setting] if setting else []), "seeds", *(head for head, *_ in kept)]
    lines = [
        [optimizer, *([value] if setting else []), len(mine), *(_cell(mine, column) for column in kept)]
        for (optimizer, value), mine in groups.items()
    ]
    return table(heads, lines)


def _cell(measured: Sequence[Mapping[str, Any]], column: Column) -> str:
    """The mean over the runs that have the measure; nothing where none has."""
    _, number, written, within = column
    found = over_runs([value for value in map(number, measured) if value is not None], within)
    return "" if found is None else written(asdict(found))
