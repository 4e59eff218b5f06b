"""Tables, samples and figures of the pages on free text."""

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
    finished, wanted = len(results["runs"]), len(results["about"]["cells"]) * len(results["about"]["seeds"])
    return "" if finished == wanted else f" **Incomplete: {finished} of {wanted} runs are finished.**"


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as options in Markdown, such as "`--lr 0.0001`"."""
    return ", ".join(f"`{option(name)} {value}`" for name, value in settings.items())


def cell_list(cells: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(f"* `{cell}`: {settings_text(settings)}" for cell, settings in cells.items())


def page(*paragraphs: str) -> str:
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def samples(runs: Iterable[Run]) -> str:
    shown = ((run["cell"], run["probes"][-1]["texts"][:SAMPLES]) for run in runs)
    return "\n\n".join(
        "\n".join([f"**{cell}**", "", *(f"    {' '.join(text.split())}" for text in texts)]) for cell, texts in shown
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
    found = [row for row in rows if row["p_holm"] < SIGNIFICANT]
    sentences = [
        f"* At equal {LABELS[row['axis']].partition(',')[0]}, {LABELS[row['measure']].partition(',')[0]} of"
        f" `{row['first']}` minus `{row['second']}`: {interval(row['difference'])}, p = {row['p_holm']:.2g}."
        for row in found
    ]
    number = f"Of {len(rows)} contrasts, {len(found)} are significant (p below {SIGNIFICANT}){':' if found else '.'}"
    heads = ["matched", "measure", "cells", "first", "second", "difference", "seeds", "p (Holm)"]
    return "\n".join([table(heads, lines), "", number, "", *sentences])


def cell_table(runs: Sequence[Run]) -> str:
    """Return a table of the cells at the end of training, with means over seeds."""
    lines = []
    for cell in dict.fromkeys(run["cell"] for run in runs):
        own = [run for run in runs if run["cell"] == cell]
        probed = [([run["probes"][-1][name] for run in own], name, form) for _, name, form in COLUMNS]
        logged = [([mean(run, name, slice(-LATE, None)) for run in own], name, form) for _, name, form in CURVES]
        cells = ("" if None in x else interval(estimate(x, name), form) for x, name, form in probed + logged)
        lines.append([cell, len(own), *cells])
    return table(["cell", "seeds", *(head for head, _, _ in (*COLUMNS, *CURVES))], lines)


def mean(run: Run, name: str, rollouts: slice) -> float | None:
    values = [value for value in run["curves"].get(name, [])[rollouts] if value is not None]
    return sum(values) / len(values) if values else None


def means(run: Run, rollouts: slice) -> list[str]:
    return ["" if (x := mean(run, name, rollouts)) is None else format(x, form) for _, name, form in CURVES]


def draw(runs: Sequence[Run], path: Path, panels: Sequence[tuple[str, str]], drawing: Any) -> None:
    """Draw a thin line for each run, and a bold mean for each cell. A panel has a name for each axis."""
    figure, axes = drawing
    for index, cell in enumerate(dict.fromkeys(run["cell"] for run in runs)):
        curves = [_curves(run) for run in runs if run["cell"] == cell]
        color = COLORS.get(cell, PALETTE[2 + index])
        for axis, (x, y) in zip(np.ravel(axes), panels, strict=True):
            for curve in curves:
                axis.plot(curve[x], curve[y], color=color, lw=0.5, alpha=0.3)
            bold = [np.mean([curve[name] for curve in curves], axis=0) for name in (x, y)]
            axis.plot(*bold, color=color, lw=2, label=cell)
            axis.set(xlabel=AXIS_LABELS[x], ylabel=AXIS_LABELS[y])
    np.ravel(axes)[0].legend()
    save_figure(figure, path)


def _curves(run: Run) -> dict[str, list[float]]:
    probes = run["probes"]
    return {name: [probe[name] for probe in probes] for name in probes[0] if name != "texts"} | {
        "root_kl": [math.sqrt(max(0.0, probe["kl"])) for probe in probes]
    }
