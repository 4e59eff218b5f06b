"""The sections "Collapse" and "Texts" of a report. Numbers are means over runs."""

import math
from collections.abc import Mapping, Sequence

from experiments.compare.intervals import ABOVE_0, ABOVE_1, RATE
from experiments.compare.results import (
    Column,
    Rows,
    by_label,
    kl_to_initial,
    means_table,
    number_at,
    values_of,
    winning_sequences,
)
from experiments.tables import interval, table


def _inverse_text(estimate: Mapping[str, float | None]) -> str:
    swapped = {"value": estimate["value"], "low": estimate["high"], "high": estimate["low"]}
    inverse = {name: 1 / number if number else math.inf for name, number in swapped.items() if number is not None}
    return interval(dict.fromkeys(swapped) | inverse, "z.3g")


DISTANCES = (
    Column("entropy", number_at("collapse", "entropy")),
    Column("KL to pi_0", kl_to_initial),
    Column("tau of the step sizes", number_at("collapse", "tilted", "tau")),
    Column("KL to tilted at this tau", number_at("collapse", "tilted", "kl")),
    Column("best-fitting tau", number_at("collapse", "tilted", "best_inverse_tau"), text=_inverse_text),
    Column("KL to tilted at the best-fitting tau", number_at("collapse", "tilted", "best_kl")),
)
TEXTS = (
    Column("entropy", number_at("collapse", "texts", "entropy"), ABOVE_0),
    Column("KL to pi_0", number_at("collapse", "texts", "kl"), ABOVE_0),
    Column("distinct-1", number_at("collapse", "texts", "distinct_1"), RATE),
    Column("distinct-2", number_at("collapse", "texts", "distinct_2"), RATE),
    Column("self-BLEU", number_at("collapse", "texts", "self_bleu"), RATE),
    Column("repeated", number_at("collapse", "texts", "repeated"), RATE),
    Column("commonest word", number_at("collapse", "texts", "commonest_word"), RATE),
    Column("commonest opening", number_at("collapse", "texts", "commonest_opening"), RATE),
)


def _strategy_columns(rows: Rows) -> list[Column]:
    collapses = [row["collapse"] for row in rows]
    shares = dict.fromkeys(name for collapse in collapses for name in collapse["strategies"]["shares"] or ())
    ks = dict.fromkeys(k for collapse in collapses if collapse["pass_at"] for k in collapse["pass_at"]["mean"])
    return [
        Column("strategies, counted", number_at("collapse", "strategies", "counted", "value"), ABOVE_1),
        Column("corrected", number_at("collapse", "strategies", "corrected"), ABOVE_1),
        Column("from the policy", number_at("collapse", "strategies", "policy"), ABOVE_1),
        *(Column(f"share of {name}", number_at("collapse", "strategies", "shares", name), RATE) for name in shares),
        Column("different wins", number_at("collapse", "wins", "different")),
        Column("winning sequences", winning_sequences, ABOVE_1),
        *(Column(f"pass@{k}", number_at("collapse", "pass_at", "mean", k), RATE) for k in ks),
    ]


def collapse_section(rows: Rows, settings: Sequence[str], episodes: int) -> str:
    """Return the section "Collapse". `episodes` is the number of sampled episodes per run."""
    strategies = (
        "A strategy is the sequence of commands of an episode in one game. Counted: over the episodes played, so at"
        " most their number. Corrected: for unseen strategies (Chao and Shen 2003). From the policy: by the chain"
        " rule, from the entropies of all decisions, without that limit. Different wins: the number of distinct"
        " winning sequences. pass@k: the probability that at least one of k tries wins (Chen et al. 2021), averaged"
        " over games."
    )
    if any(row["collapse"]["strategies"]["shares"] for row in rows):
        strategies = "Each command follows one of the strategies that the game names."
    if values_of(rows, winning_sequences):
        strategies += " Winning sequences: their effective number, counted, in games that were won."

    def means(columns: Sequence[Column]) -> str:
        return means_table(
            by_label(rows).values(), settings, [column for column in columns if values_of(rows, column.measure)]
        )

    paragraphs = [
        "## Collapse",
        f"Measured on the finished agents over {episodes} sampled episodes each, without dropout; means over seeds.",
        means(DISTANCES),
        "Entropy and KL are in nats per decision (a turn with several commands). They are exact over the commands and"
        " averaged over the states that the trained agent visits. pi_0 is the run's policy before its first step;"
        " tilted is softmax(log pi_0 + q / tau), to which tabular ACTDE converges. There tau, in units of reward, is"
        " the ratio of the step sizes of q and of the logits; only plain gradient descent implies a value. The"
        " best-fitting tau minimises the KL (its mean is that of 1 / tau); inf means that pi_0 itself fits best. For"
        " two commands in one state some tau fits exactly. Runs without a trained q have no tilted policy.",
        means(_strategy_columns(rows)),
        f"Numbers of strategies are effective numbers, exp of the entropy over strategies. {strategies}",
        "![entropy, KL to the first policy and to the tilted one, strategies](collapse.svg)",
    ]
    return "\n\n".join(paragraphs) + "\n"


def text_section(rows: Rows, settings: Sequence[str]) -> str:
    groups = by_label(rows)
    first_samples = [group[0]["collapse"]["texts"]["samples"] for group in groups.values()]
    lines = [[_cell(pairs[0][0]), *(_cell(text) for _, text in pairs)] for pairs in zip(*first_samples, strict=False)]
    paragraphs = [
        "## Texts",
        "Measured on the texts that the finished agents wrote, without dropout; means over seeds. Entropy and KL are"
        " exact over the vocabulary, in nats per token. Self-BLEU compares each text with all others. Repeated: the"
        " share of texts that are equal to an earlier one. Word and opening: the shares of the commonest word and"
        " of the commonest first two words.",
        means_table(groups.values(), settings, TEXTS),
        "The same prompts, continued by the agents of the first seed:",
        table(["prompt", *groups], lines),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split())  # `table` escapes "|"
