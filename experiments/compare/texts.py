"""Write the section "Texts" of the report on a grid of runs in which the agents wrote freely."""

from collections.abc import Sequence

from experiments.compare.intervals import ABOVE_0, RATE
from experiments.compare.results import Column, Rows, by_label, means_table, number_at
from experiments.tables import table

COLUMNS = (
    Column("entropy", number_at("collapse", "texts", "entropy"), ABOVE_0),
    Column("KL to pi_0", number_at("collapse", "texts", "kl"), ABOVE_0),
    Column("distinct-1", number_at("collapse", "texts", "distinct_1"), RATE),
    Column("distinct-2", number_at("collapse", "texts", "distinct_2"), RATE),
    Column("self-BLEU", number_at("collapse", "texts", "self_bleu"), RATE),
    Column("repeated", number_at("collapse", "texts", "repeated"), RATE),
    Column("commonest word", number_at("collapse", "texts", "commonest_word"), RATE),
    Column("commonest opening", number_at("collapse", "texts", "commonest_opening"), RATE),
)


def text_section(rows: Rows, settings: Sequence[str], samples: int = 20) -> list[str]:
    """Return the lines of the section "Texts". Every row must have measures of texts.

    `settings` are the names of the varied settings. `samples` is the number of texts of each group that are shown.
    """
    groups = by_label(rows)
    firsts = {label: group[0]["collapse"]["texts"]["samples"][:samples] for label, group in groups.items()}
    prompts = [prompt for prompt, _ in next(iter(firsts.values()))]
    lines = [[_cell(prompt), *(_cell(texts[i][1]) for texts in firsts.values())] for i, prompt in enumerate(prompts)]
    return [
        "## Texts",
        "",
        "Measured on the texts that the finished agents wrote, without dropout; means over seeds. Entropy and KL are"
        " exact over the vocabulary, in nats per token. Self-BLEU compares each text with all others. Repeated: the"
        " share of texts that are equal to an earlier one. Word and opening: the shares of the commonest word and"
        " of the commonest first two words.",
        "",
        means_table(groups.values(), settings, COLUMNS),
        "",
        "The same prompts, continued by the agents of the first seed:",
        "",
        table(["prompt", *firsts], lines),
        "",
    ]


def _cell(text: str) -> str:
    """Return a text as a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
