"""Write the page on the confirmation from `confirmation.json`: contrasts, a table of the cells, figures and samples."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actde.config import option
from agents.protocol import AgentError
from experiments.plot_style import COLORS, PALETTE, make_figure, save_figure
from experiments.rlhf.confirmation_contrasts import (
    AXES,
    CONTRASTS,
    MEASURES,
    ROLLOUTS,
    SHARE,
    SIGNIFICANT,
    Run,
    contrast_rows,
)
from experiments.rlhf.exact_statistics import estimate
from experiments.rlhf.screening_report import MEASURES as SCREENED
from experiments.rlhf.screening_report import samples
from experiments.tables import interval, table
from games.files import atomic_write
from games.untrusted_files import read_object

COLUMNS = (("proxy reward", *SCREENED[0][1:]), ("true reward", "true_reward", "z.2f"), *SCREENED[1:])
"""Heading, name and format of each measure of a probe (an evaluation on held-out prompts during training)."""
CURVES = (("explained variance of q", "explained_variance_q", "z.2f"), ("mean of abs(A)", "advantage_abs", "z.3f"))
"""Heading, name and format of each metric that a run records once per rollout."""
LATE = 10
"""Number of last rollouts over which the metrics in `CURVES` are averaged."""
FIGURE = "confirmation.svg"
HEADLINE = "collapse.svg"
PANELS = (
    ("root_kl", "reward", "square root of the KL, nats per token", "proxy reward"),
    ("root_kl", "true_reward", "square root of the KL, nats per token", "true reward"),
    ("reward", "entropy", "proxy reward", "entropy, nats per token"),
    ("reward", "distinct_2", "proxy reward", "distinct-2"),
    ("iteration", "reward", "rollouts", "proxy reward"),
    ("iteration", "entropy", "rollouts", "entropy, nats per token"),
)
"""For each panel of a figure: the quantities on the horizontal and the vertical axis, and the labels of both axes."""
ALL_MEASURES, ALL_AXES = {**MEASURES, **AXES}, {**AXES, **ROLLOUTS}
STOPPED = ("reward", "true_reward", "entropy", "kl", "distinct_2")
"""The measures that `stopped` shows at several times during training."""
HEADLINE_CELLS = ("ppo", "actde", "ppo-kl")
HEADLINE_PANELS = (
    ("iteration", "reward", "rollouts", "proxy reward"),
    ("iteration", "true_reward", "rollouts", "true reward"),
    ("iteration", "distinct_2", "rollouts", "distinct-2"),
)


def write(out: Path) -> None:
    """Write `confirmation.md`, `confirmation.svg` and the README's figure beside `confirmation.json`."""
    results = read_object(out / "confirmation.json", error=AgentError)
    atomic_write(out / "confirmation.md", markdown(results))
    draw(results["runs"], out / FIGURE, PANELS, make_figure(2, 3, 13.0, 7.0))
    chosen = [run for run in results["runs"] if run["cell"] in HEADLINE_CELLS]
    draw(chosen, out / HEADLINE, HEADLINE_PANELS, make_figure(1, 3, 9.5, 2.8))


def markdown(results: Mapping[str, Any]) -> str:
    """Return the text of `confirmation.md`."""
    about, runs = results["about"], results["runs"]
    rows = contrast_rows(runs)
    seeds = {run["seed"] for run in runs}
    return "\n".join(
        [
            "# Confirmation",
            "",
            f"{len(runs)} runs of {about['common']['iterations']} rollouts: {len(about['cells'])} cells, fresh seeds"
            f" {min(seeds)} to {max(seeds)}.{incomplete(results)} The judge"
            f" `{about['common']['judge']}` is the true reward. The proxy reward is a reward model that was trained on"
            " pairs which the judge compared. All runs of a seed"
            f" share a reward model: {reward_models(about['reward_models'], runs)}. Cells and commands"
            " (`experiments/rlhf/confirmation.py`), seeds and contrasts (`experiments/rlhf/confirmation_contrasts.py`)"
            " were fixed before the first run.",
            "",
            *cell_section(about),
            "## Contrasts",
            "",
            f"Differences (first minus second) where each run first reaches {SHARE:.0%} of the way from the start to"
            " the highest proxy reward (or KL) that both runs of a seed reach. This level depends on both cells, so"
            " `actde` has other values in other rows. Means over seeds with 95% t intervals, paired t-tests, p-values"
            f" after Holm for {len(CONTRASTS)} contrasts.",
            "",
            contrasts(rows),
            "",
            *significant(rows),
            "",
            "## Cells after the last rollout",
            "",
            "One text for each of 48 held-out prompts. Means over seeds with 95% t intervals. Entropy and KL are in"
            " nats per token, the KL of a text is the sum over its tokens, and perplexity is under the initial policy."
            " `repeated` is the share of texts that are equal to an earlier one, and an opening has two words. The last"
            f" two columns are means over the last {LATE} rollouts of training: the explained variance of the returns"
            " by the recorded q (0 is a constant, 1 is perfect), and the mean absolute advantage.",
            "",
            cells(runs),
            "",
            *early_stop(runs),
            f"![rewards against the KL, diversity against reward, and curves]({FIGURE})",
            "",
            f"## Texts of seed {min(seeds)} after the last rollout",
            "",
            *samples([run for run in runs if run["seed"] == min(seeds)]),
        ]
    )


def incomplete(results: Mapping[str, Any]) -> str:
    """Return a sentence on how many runs are finished, with a leading blank, or "" if all runs are finished."""
    finished, wanted = len(results["runs"]), len(results["about"]["cells"]) * len(results["about"]["seeds"])
    return "" if finished == wanted else f" **Incomplete: {finished} of {wanted} runs are finished.**"


def cell_section(about: Mapping[str, Any]) -> list[str]:
    """Return the lines of the section that defines the cells."""
    return [
        "## Cells",
        "",
        *(f"* `{cell}`: {settings_text(settings)}" for cell, settings in about["cells"].items()),
        "",
        "`ppo` and `actde` treat a text as one action, and differ in the baseline (with a single action, `--advantage"
        " return` changes nothing). `actde` also trains q, whose gradient counts in the norm by which the joint"
        " gradient is clipped. The [ablations](ablation.md) separate this from the effect of the baseline. On one seed"
        " of the [screening](screening.md), with credit per token, controls that train q as well (`ppo-scaled`,"
        " `actde-permuted`, `actde-corrected`) collapse as PPO does. In the other cells, each token is an action, so"
        " their contrasts with `actde` compare both the optimizer and the credit. All cells"
        f" share {settings_text(about['common'])}.",
        "",
    ]


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as options in Markdown, such as "`--lr 0.0001`, `--optimizer ppo`"."""
    return ", ".join(f"`{option(name)} {value}`" for name, value in settings.items())


def reward_models(models: Mapping[str, Mapping[str, Any]], runs: Sequence[Run]) -> str:
    """Return a list of the reward models with their seeds and their agreement with the judge on held-out pairs."""
    seeds = {digest: sorted({run["seed"] for run in runs if run["reward_model"] == digest}) for digest in models}
    return "; ".join(
        f"for the seeds {', '.join(map(str, seeds[digest]))}, one trained on {model['pairs']} pairs, which agrees"
        f" with the judge on {held['value']:.0%} of {held['pairs']} held-out pairs"
        f" ({held['low']:.0%} to {held['high']:.0%})"
        for digest, model in models.items()
        if seeds[digest]
        for held in [model["held_out"]]
    )


def contrasts(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the contrasts, which are differences between two cells at an equal reward or KL."""
    lines = [
        [
            ALL_AXES[row["axis"]],
            ALL_MEASURES[row["measure"]],
            f"{row['first']} - {row['second']}",
            *(interval(value) for value in (*row["values"], row["difference"])),
            row["difference"]["seeds"],
            f"{row['p_holm']:.2g}",
        ]
        for row in rows
    ]
    return table(["matched", "measure", "cells", "first", "second", "difference", "seeds", "p (Holm)"], lines)


def significant(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the significant contrasts as a list in Markdown."""
    found = [row for row in rows if row["p_holm"] < SIGNIFICANT]
    return [
        f"Of {len(rows)} contrasts, {len(found)} are significant (p below {SIGNIFICANT}){':' if found else '.'}",
        "",
        *(
            f"* At equal {ALL_AXES[row['axis']].partition(',')[0]}, {ALL_MEASURES[row['measure']].partition(',')[0]} of"
            f" `{row['first']}` minus `{row['second']}`: {interval(row['difference'])}, p = {row['p_holm']:.2g}."
            for row in found
        ),
    ]


def cells(runs: Sequence[Run]) -> str:
    """Return the table of the cells, with means over seeds.

    The columns are the measures of each run's last probe, and the metrics of its last `LATE` rollouts.
    """
    lines = []
    for cell in dict.fromkeys(run["cell"] for run in runs):
        own = [run for run in runs if run["cell"] == cell]
        probed = [([run["probes"][-1][name] for run in own], name, form) for _, name, form in COLUMNS]
        logged = [([mean(run, name, slice(-LATE, None)) for run in own], name, form) for _, name, form in CURVES]
        estimates = [
            "" if None in values else interval(estimate(values, name), form) for values, name, form in probed + logged
        ]
        lines.append([cell, len(own), *estimates])
    return table(["cell", "seeds", *(head for head, _, _ in (*COLUMNS, *CURVES))], lines)


def early_stop(runs: Sequence[Run]) -> list[str]:
    """Return the lines of the section on stopping the training of `ppo` early."""
    return [
        "## Early stop of PPO",
        "",
        "If `ppo` stops early, it has the measures that were taken then, during training. Likewise, each contrast above"
        " compares runs that stop where they first reach its level.",
        "",
        stopped(runs),
        "",
        stopped_differences(runs),
        "",
    ]


def stopped(runs: Sequence[Run]) -> str:
    """Return a table of the measures of `ppo` and `actde` at several times during training, as means over seeds."""
    lines = []
    for cell in ("ppo", "actde"):
        own = [run["probes"] for run in runs if run["cell"] == cell]
        for probes in list(zip(*own, strict=True))[2::2]:
            values = [[probe[name] for probe in probes] for name in STOPPED]
            estimates = [interval(estimate(of_seeds, name)) for of_seeds, name in zip(values, STOPPED, strict=True)]
            lines.append([cell, probes[0]["iteration"], *estimates])
    return table(["cell", "stopped after", *(ALL_MEASURES[name] for name in STOPPED)], lines)


def stopped_differences(runs: Sequence[Run]) -> str:
    """Return a sentence that compares `ppo` after half of its rollouts with `actde` after all of them."""
    by_cell = {cell: {run["seed"]: run["probes"] for run in runs if run["cell"] == cell} for cell in ("ppo", "actde")}
    pairs = [
        (probes, by_cell["actde"][seed][-1]) for seed, probes in by_cell["ppo"].items() if seed in by_cell["actde"]
    ]
    halves = [(probes[len(probes) // 2], end) for probes, end in pairs]
    differences = [
        f"{ALL_MEASURES[name]} {interval(estimate([half[name] - end[name] for half, end in halves]))}"
        for name in STOPPED
    ]
    return (
        f"Differences of `ppo` after {halves[0][0]['iteration']} rollouts minus `actde` after"
        f" {halves[0][1]['iteration']}, paired by seed (chosen after the runs): {'; '.join(differences)}."
    )


def mean(run: Run, name: str, rollouts: slice) -> float | None:
    """Return the mean of a metric over some rollouts of a run, or None if it was not measured in them."""
    values = [value for value in run["curves"].get(name, [])[rollouts] if value is not None]
    return sum(values) / len(values) if values else None


def draw(runs: Sequence[Run], path: Path, panels: Sequence[tuple[str, str, str, str]], drawing: Any) -> None:
    """Draw the panels: one thin line per run, and the mean over the runs of a cell as a bold line.

    `panels` has the form of `PANELS`. `drawing` is a figure and its axes, one for each panel.
    """
    figure, axes = drawing
    for index, cell in enumerate(dict.fromkeys(run["cell"] for run in runs)):
        curves = [_curves(run) for run in runs if run["cell"] == cell]
        color = COLORS.get(cell, PALETTE[2 + index])
        for axis, (x, y, _, _) in zip(np.ravel(axes), panels, strict=True):
            for curve in curves:
                axis.plot(curve[x], curve[y], color=color, lw=0.5, alpha=0.3)
            mean = [np.mean([curve[name] for curve in curves], axis=0) for name in (x, y)]
            axis.plot(*mean, color=color, lw=2, label=cell)
    for axis, (_, _, xlabel, ylabel) in zip(np.ravel(axes), panels, strict=True):
        axis.set(xlabel=xlabel, ylabel=ylabel)
    np.ravel(axes)[0].legend()
    save_figure(figure, path)


def _curves(run: Run) -> dict[str, list[float]]:
    probes = run["probes"]
    return {name: [probe[name] for probe in probes] for name in probes[0] if name != "texts"} | {
        "root_kl": [math.sqrt(max(0.0, probe["kl"])) for probe in probes]
    }
