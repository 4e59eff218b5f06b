"""Write the page on the screening from `screening.json`: a table, the frontier of reward and KL, and samples."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.protocol import AgentError
from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.rlhf.confirmation_contrasts import at_level
from experiments.tables import table
from games.files import atomic_write
from games.untrusted_files import read_object

Rows = Sequence[Mapping[str, Any]]
MEASURES = (
    ("reward", "reward", "z.2f"),
    ("entropy", "entropy", "z.2f"),
    ("KL", "kl", "z.2f"),
    ("KL of a text", "kl_text", "z.0f"),
    ("perplexity", "perplexity", "z.0f"),
    ("distinct-1", "distinct_1", "z.2f"),
    ("distinct-2", "distinct_2", "z.2f"),
    ("self-BLEU", "self_bleu", "z.2f"),
    ("repeated", "repeated", "z.0%"),
    ("commonest word", "commonest_word", "z.0%"),
    ("commonest opening", "commonest_opening", "z.0%"),
)
MATCHED = 0.75
"""Reward at which the cells are compared. Their measures there are interpolated linearly between probes."""
SAMPLES = 20
DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


def write(out: Path) -> None:
    """Write `screening.md` and `screening.svg` beside `screening.json`."""
    results = read_object(out / "screening.json", error=AgentError)
    atomic_write(out / "screening.md", markdown(results))
    frontier(results["runs"], out / "screening.svg")


def markdown(results: Mapping[str, Any]) -> str:
    """Return the text of `screening.md`."""
    about, rows = results["about"], results["runs"]
    first = rows[0]["probes"][0]
    heads = ["cell", *(head for head, _, _ in MEASURES), "explained variance of q"]
    lines: list[list[object]] = [["before training", *(format(first[name], form) for _, name, form in MEASURES), ""]]
    for row in rows:
        last = row["probes"][-1]
        lines.append([row["cell"], *(format(last[name], form) for _, name, form in MEASURES), _fit(row)])
    matched = [[row["cell"], *_matched(row)] for row in rows]
    return "\n".join(
        [
            "# Screening",
            "",
            f"One run of {about['common']['iterations']} rollouts for each cell, on the tuning seed"
            f" {about['seeds'][0]}, which the runs of the confirmation do not use (but its reward models, the step"
            " sizes of the exact experiments and the runs of [tilt](tilt.md) do). A single seed gives no interval and"
            " no verdict: this page only"
            f" chooses the cells of the confirmation. {_missing(about['cells'], rows)}Game:"
            f" `{about['common']['game']}`, SmolLM2 with LoRA, 32 texts of at most 16 tokens a rollout. Command:"
            " `python -m experiments.rlhf.screening --out docs/rlhf --runs RUNS --workers 2  # about 2 h`.",
            "",
            "Measured on one text for each of 48 held-out prompts, always with the same random numbers. Entropy and KL"
            " to the initial policy are exact over the vocabulary, in nats per token; perplexity is under the initial"
            " policy. The explained variance of q is that of the returns by the recorded q, over the last 8 rollouts.",
            "",
            table(heads, lines),
            "",
            "![reward against the square root of the KL, and entropy against reward](screening.svg)",
            "",
            f"At a reward of {MATCHED:g}, interpolated between the probes around its first crossing (blank: never"
            " reached):",
            "",
            table(["cell", "rollouts", "entropy", "KL", "distinct-2"], matched),
            "",
            f"The first {SAMPLES} texts of some cells after the last rollout:",
            "",
            *samples(rows),
        ]
    )


def _missing(cells: Iterable[str], rows: Rows) -> str:
    missing = [cell for cell in cells if cell not in {row["cell"] for row in rows}]
    return f"**Incomplete: not run are {', '.join(missing)}.** " if missing else ""


def _fit(row: Mapping[str, Any]) -> str:
    values = [value for value in row["curves"].get("explained_variance_q", [])[-8:] if value is not None]
    return format(sum(values) / len(values), "z.2f") if values else ""


def _matched(row: Mapping[str, Any]) -> list[str]:
    """Return a run's rollouts, entropy, KL and distinct-2 at the reward `MATCHED`, or blanks if it never reaches it."""
    names = (("iteration", "z.0f"), ("entropy", "z.2f"), ("kl", "z.2f"), ("distinct_2", "z.2f"))
    if max(probe["reward"] for probe in row["probes"]) < MATCHED:
        return [""] * len(names)
    return [format(at_level(row["probes"], "reward", MATCHED, name), form) for name, form in names]


def samples(rows: Rows) -> list[str]:
    """Return the first `SAMPLES` texts of each run's last probe as lines in Markdown."""
    lines = []
    for row in rows:
        texts = row["probes"][-1]["texts"][:SAMPLES]
        shown = "\n".join(f"    {' '.join(text.split())}" for text in texts)
        lines += [f"**{row['cell']}**", "", shown, ""]
    return lines


def frontier(rows: Rows, path: Path) -> None:
    """Draw two panels: the reward against the square root of the KL per token, and the entropy against the reward."""
    figure, axes = make_figure(1, 2, 13.0, 4.4)
    for index, row in enumerate(rows):
        style = {"color": PALETTE[index % len(PALETTE)], "ls": DASHES[index // len(PALETTE) % len(DASHES)], "lw": 1.1}
        rewards = [probe["reward"] for probe in row["probes"]]
        axes[0].plot([math.sqrt(max(0.0, p["kl"])) for p in row["probes"]], rewards, marker=".", **style)
        axes[1].plot(rewards, [p["entropy"] for p in row["probes"]], marker=".", label=row["cell"], **style)
    axes[0].set(xlabel="square root of the KL to the initial policy, nats per token", ylabel="reward")
    axes[1].set(xlabel="reward", ylabel="entropy, nats per token", ylim=(0, None))
    axes[1].legend(fontsize=6, ncols=2, bbox_to_anchor=(1.02, 1.0), loc="upper left")
    save_figure(figure, path)
