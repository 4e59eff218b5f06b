"""Tables, sample texts and figures for the pages in docs/rlhf."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actde.config import option
from experiments.plot_style import COLORS, PALETTE, save_figure
from experiments.rlhf.confirmation_contrasts import SIGNIFICANT, Run
from experiments.rlhf.contrasts import estimate
from experiments.tables import interval, table

MEASURES = (  # heading, name and format of each measure of a probe
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
COLUMNS = (("proxy reward", *MEASURES[0][1:]), ("true reward", "true_reward", "z.2f"), *MEASURES[1:])
# Heading, name and format of each metric that a run records once per rollout
CURVES = (("explained variance of q", "explained_variance_q", "z.2f"), ("mean of abs(A)", "advantage_abs", "z.3f"))
LATE = 10  # number of last rollouts over which the metrics in `CURVES` are averaged
SAMPLES = 20
LABELS = {
    "reward": "proxy reward",
    "true_reward": "true reward",
    "entropy": "entropy, nats per token",
    "kl": "KL to the initial policy, nats per token",
    "distinct_2": "distinct-2",
    "iteration": "rollouts",
}
# Labels in figures
AXIS_LABELS = LABELS | {"kl": "KL, nats per token", "root_kl": "square root of the KL, nats per token"}


def incomplete(results: Mapping[str, Any]) -> str:
    finished, planned = len(results["runs"]), len(results["about"]["cells"]) * len(results["about"]["seeds"])
    return "" if finished == planned else f" **Incomplete: {finished} of {planned} runs are finished.**"


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as options in Markdown, such as `--lr 0.0001`."""
    return ", ".join(f"`{option(name)} {value}`" for name, value in settings.items())


def cell_list(cells: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(f"* `{cell}`: {settings_text(settings)}" for cell, settings in cells.items())


def page(*paragraphs: str) -> str:
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def samples(runs: Iterable[Run]) -> str:
    texts_of_cells = ((run["cell"], run["probes"][-1]["texts"][:SAMPLES]) for run in runs)
    return "\n\n".join(
        "\n".join([f"**{cell}**", "", *(f"    {' '.join(text.split())}" for text in texts)])
        for cell, texts in texts_of_cells
    )


def contrast_section(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [
            LABELS[row["axis"]],
            LABELS[row["measure"]],
            f"{row['first']} - {row['second']}",
            *(interval(value) for value in (*row["values"], row["difference"])),
            row["difference"]["seeds"],
            f"{row['p_holm']:.2g}",
        ]
        for row in rows
    ]
    significant = [row for row in rows if row["p_holm"] < SIGNIFICANT]
    sentences = [
        f"* At equal {LABELS[row['axis']].partition(',')[0]}, {LABELS[row['measure']].partition(',')[0]} of"
        f" `{row['first']}` minus `{row['second']}`: {interval(row['difference'])}, p = {row['p_holm']:.2g}."
        for row in significant
    ]
    end = ":" if significant else "."
    number = f"Of {len(rows)} contrasts, {len(significant)} are significant (p below {SIGNIFICANT}){end}"
    headings = ["matched", "measure", "cells", "first", "second", "difference", "seeds", "p (Holm)"]
    return "\n".join([table(headings, lines), "", number, "", *sentences])


def cell_table(runs: Sequence[Run]) -> str:
    """Return a table of final measures. Each row averages a cell (combination of settings) over seeds."""
    lines = []
    for cell in dict.fromkeys(run["cell"] for run in runs):
        cell_runs = [run for run in runs if run["cell"] == cell]
        measures = [([run["probes"][-1][name] for run in cell_runs], name, form) for _, name, form in COLUMNS]
        metrics = [([mean(run, name, slice(-LATE, None)) for run in cell_runs], name, form) for _, name, form in CURVES]
        cells = (
            "" if None in values else interval(estimate(values, name), form)
            for values, name, form in measures + metrics
        )
        lines.append([cell, len(cell_runs), *cells])
    return table(["cell", "seeds", *(heading for heading, _, _ in (*COLUMNS, *CURVES))], lines)


def mean(run: Run, name: str, rollouts: slice) -> float | None:
    values = [value for value in run["curves"].get(name, [])[rollouts] if value is not None]
    return sum(values) / len(values) if values else None


def means(run: Run, rollouts: slice) -> list[str]:
    return ["" if (value := mean(run, name, rollouts)) is None else format(value, form) for _, name, form in CURVES]


def draw(runs: Sequence[Run], path: Path, panels: Sequence[tuple[str, str]], figure_and_axes: Any) -> None:
    """Plot each run and each cell's mean. `panels` holds one pair of names (x, y) per plot."""
    figure, axes = figure_and_axes
    for index, cell in enumerate(dict.fromkeys(run["cell"] for run in runs)):
        curves = [_curves(run) for run in runs if run["cell"] == cell]
        color = COLORS.get(cell, PALETTE[2 + index])
        for axis, (x, y) in zip(np.ravel(axes), panels, strict=True):
            for curve in curves:
                axis.plot(curve[x], curve[y], color=color, lw=0.5, alpha=0.3)
            mean_curve = [np.mean([curve[name] for curve in curves], axis=0) for name in (x, y)]
            axis.plot(*mean_curve, color=color, lw=2, label=cell)
            axis.set(xlabel=AXIS_LABELS[x], ylabel=AXIS_LABELS[y])
    np.ravel(axes)[0].legend()
    save_figure(figure, path)


def _curves(run: Run) -> dict[str, list[float]]:
    probes = run["probes"]
    return {name: [probe[name] for probe in probes] for name in probes[0] if name != "texts"} | {
        "root_kl": [math.sqrt(max(0.0, probe["kl"])) for probe in probes]
    }
