"""Write the section "Collapse" of the report on a grid of runs.

The section has two tables and explains their columns. Collapse is the loss of diversity during training (see
measure.py). Each number is the mean over a group of runs, with its confidence interval over seeds. The runs of a group
have the same optimizer and the same value of the varied setting (see results.py). Episodes of different seeds are never
pooled. A column is omitted if no run has its measure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from experiments.compare.intervals import ABOVE_0, ABOVE_1, RATE, Range, over_runs
from experiments.compare.results import (
    Measure,
    Rows,
    by_label,
    collapse_measure,
    kl_to_initial,
    varied_value,
    winning_sequences,
)
from experiments.tables import interval, table

Estimate = Mapping[str, float | None]


def _text(estimate: Estimate) -> str:
    return interval(estimate, ".3g")


def _inverse_text(estimate: Estimate) -> str:
    """Return an estimate of tau as text, computed from an estimate of 1/tau.

    The inverse swaps the two bounds. The inverse of 0 is infinite.
    """

    def inverse(number: float | None) -> float | None:
        return number if number is None else 1 / number if number else float("inf")

    return _text({name: inverse(estimate[of]) for name, of in (("value", "value"), ("low", "high"), ("high", "low"))})


class Column(NamedTuple):
    """One column of a table whose cells are means over seeds."""

    head: str
    measure: Measure
    within: Range = ABOVE_0
    text: Callable[[Estimate], str] = _text


DISTANCES = (
    Column("entropy", collapse_measure("entropy")),
    Column("KL to pi_0", kl_to_initial),
    Column("tau of the step sizes", collapse_measure("tilted", "tau")),
    Column("KL to tilted there", collapse_measure("tilted", "kl")),
    Column("tau that fits best", collapse_measure("tilted", "best_inverse_tau"), text=_inverse_text),
    Column("KL to tilted at its best", collapse_measure("tilted", "best_kl")),
)


def _strategy_columns(rows: Rows) -> list[Column]:
    measured = [row["collapse"] for row in rows]
    shares = dict.fromkeys(name for each in measured for name in each["strategies"]["shares"] or ())
    ks = dict.fromkeys(k for each in measured if each["pass_at"] for k in each["pass_at"]["mean"])
    return [
        Column("strategies, counted", collapse_measure("strategies", "counted", "value"), ABOVE_1),
        Column("corrected", collapse_measure("strategies", "corrected"), ABOVE_1),
        Column("from the policy", collapse_measure("strategies", "policy"), ABOVE_1),
        *(Column(f"share of {name}", collapse_measure("strategies", "shares", name), RATE) for name in shares),
        Column("different wins", collapse_measure("wins", "different")),
        Column("winning sequences", winning_sequences, ABOVE_1),
        *(Column(f"pass@{k}", collapse_measure("pass_at", "mean", k), RATE) for k in ks),
    ]


def collapse_section(rows: Rows, setting: str | None, episodes: int) -> list[str]:
    """Return the lines of the section "Collapse". Every row must have the key "collapse"."""
    if any(row["collapse"]["strategies"]["shares"] for row in rows):
        strategies = "Each command follows one of the strategies that the game names."
    else:
        strategies = (
            "A strategy is the sequence of commands of an episode in one game. Counted: over the episodes played, so at"
            " most their number. Corrected: for unseen strategies (Chao and Shen 2003). From the policy: by the chain"
            " rule, from the entropies of all decisions, without that limit. Different wins: the number of distinct"
            " winning sequences. pass@k: the probability that at least one of k tries wins (Chen et al. 2021), averaged"
            " over games."
        )
    if any(winning_sequences(row) is not None for row in rows):
        strategies += " Winning sequences: their effective number, counted, in games that were won."
    return [
        "## Collapse",
        "",
        f"Measured on the finished agents over {episodes} sampled episodes each, without dropout; means over seeds.",
        "",
        _table(rows, setting, DISTANCES),
        "",
        "Entropy and KL are in nats per decision (a turn with several commands). They are exact over the commands and"
        " averaged over the states that the trained agent visits. pi_0 is the run's policy before its first step;"
        " tilted is softmax(log pi_0 + q / tau), to which tabular ACTDE converges. There tau, in units of reward, is"
        " the ratio of the step sizes of q and of the logits; only plain gradient descent implies a value. The tau that"
        " fits best minimises the KL (its mean is that of 1 / tau); for two commands in one state some tau fits"
        " exactly. Runs without a trained q have no tilted policy.",
        "",
        _table(rows, setting, _strategy_columns(rows)),
        "",
        f"Numbers of strategies are effective numbers, exp of the entropy over strategies. {strategies}",
        "",
        "![entropy, KL to the first policy and to the tilted one, strategies](collapse.svg)",
        "",
    ]


def _table(rows: Rows, setting: str | None, columns: Sequence[Column]) -> str:
    columns = [column for column in columns if any(column.measure(row) is not None for row in rows)]
    heads = ["optimizer", *([setting] if setting else []), "seeds", *(column.head for column in columns)]
    lines = []
    for group in by_label(rows).values():
        value = [varied_value(group[0])] if setting else []
        lines.append([group[0]["optimizer"], *value, len(group), *(_cell(group, column) for column in columns)])
    return table(heads, lines)


def _cell(rows: Rows, column: Column) -> str:
    """Return the text of one cell: the mean over the runs that have the column's measure.

    If no run has the measure, the text is empty.
    """
    mean = over_runs([value for value in map(column.measure, rows) if value is not None], column.within)
    return "" if mean is None else column.text(asdict(mean))
