"""The results and the report of the exact experiments."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from actde.expected_update import QForm, train_bandit
from experiments import tables
from experiments.rlhf import exact_contrasts as plan
from experiments.rlhf import exact_figures as figures
from experiments.rlhf.contrasts import Array, estimate
from experiments.rlhf.exact_bandit import HEAD_STEP, STEP
from experiments.rlhf.exact_contrasts import ROLLOUTS
from experiments.rlhf.exact_tasks import TASKS, TAU, predicted
from games.files import atomic_write

# Method with plain gradient steps -> form of q in `train_bandit`, which trains the same method on tables
FORMS: dict[str, QForm] = {"pg": "none", "actde-sgd": "table", "centred-steady": "centred"}
LONG = 5000
REPORT, RESULTS = "exact.md", "exact.json"
PROSE = Path(__file__).with_name("exact_prose.md")
# Task -> names of the measures that are computed on this task only
SPECIFIC = {"alike": ["spread"], "weddings": ["late gain", "shift"], "barn": ["many", "lottery"], "rare": ["rare"]}
TITLES = {
    "alike": "Two answers paid alike, 99 : 1 before training",
    "weddings": "One word paid, and a constant shift of the reward",
    "barn": "One way, many ways, and a lottery, paid alike on average",
    "rare": "The best arm is rare",
}


def write(out: Path, runs: plan.Runs, kernels: Mapping[str, Any]) -> None:
    """Write the results, the figures and the report. `kernels` is from `head_speeds`."""
    document = results(runs, kernels)
    atomic_write(out / RESULTS, tables.json_text(document))
    figures.policy_figure(runs, out / figures.POLICY)
    figures.drawn_figure(runs, out / figures.DRAWN)
    atomic_write(out / REPORT, report(document))


def results(runs: plan.Runs, kernels: Mapping[str, Any]) -> dict[str, Any]:
    minutes = sum(float(curves["seconds"]) for curves in runs.values()) / 60
    starts = {task: next(c for (name, *_), c in runs.items() if name == task)["policy"][0] for task in SPECIFIC}
    limits = {
        task: {
            "start": dict(zip(TASKS[task].arms, start.tolist(), strict=True)),
            "limit": dict(zip(TASKS[task].arms, predicted(start, TASKS[task].means).tolist(), strict=True)),
        }
        for task, start in starts.items()
    }
    return {
        "seeds": list(plan.SEEDS),
        "rollouts": ROLLOUTS,
        "minutes": minutes,
        "runs": len(runs),
        "policies": limits,
        "cells": [row for task, method in plan.CELLS if (row := _cell(runs, task, method))],
        "contrasts": plan.contrast_rows(runs),
        "tables": tabular_rows(starts),
        "kernels": dict(kernels),
    }


def tabular_rows(starts: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Train tables of logits and q, and return the probability of `focus` for each task and method.

    `now` is after `ROLLOUTS` expected steps, `later` after `LONG`, and `limit` is that of pi_0 exp(Q / tau).
    """
    rows = []
    on_tables = partial(train_bandit, b=STEP, alpha=HEAD_STEP["q"], value_step=HEAD_STEP["value"])
    for name, task in TASKS.items():
        start, focus = starts[name.rstrip("+-1")], task.index("focus")
        limit = float(predicted(start, task.means)[focus].sum())
        tensors = torch.from_numpy(start), torch.from_numpy(task.means)
        for method, form in FORMS.items():
            policies = (on_tables(*tensors, steps=steps, form=form) for steps in (ROLLOUTS, LONG))
            now, later = (float(policy.numpy()[focus].sum()) for policy in policies)
            rows.append({"task": name, "method": method, "now": now, "later": later, "limit": limit})
    return rows


def _cell(runs: plan.Runs, task: str, method: str) -> dict[str, Any] | None:
    cell = plan.of_cell(runs, task, method).values()
    if not cell:
        return None
    rows = [plan.summary(TASKS[task], curves) for curves in cell]
    found = sum(plan.predicted_at(TASKS[task], curves) is not None for curves in cell)
    own = {name: list(plan.measured(runs, task, method, name).values()) for name in SPECIFIC.get(task, ())}
    return {
        "task": task,
        "method": method,
        "seeds": len(cell),
        "predicted": f"{found} of {len(cell)}",
        **{name: estimate([row[name] for row in rows], name) for name in rows[0]},
        **{name: estimate(values, name) for name, values in own.items() if values},
    }


def report(document: Mapping[str, Any]) -> str:
    text = PROSE.read_text(encoding="utf-8")
    parts = {
        "RUN": run_sentence(document),
        "CONTRASTS": contrast_table(document["contrasts"]),
        "CELLS": "\n\n".join(cell_table(document, task) for task in SPECIFIC),
        "SHIFTED": shift_table(document),
        "DRAWN": drawn_table(document),
        "TABLES": tabular_table(document),
        "KERNELS": kernel_table(document["kernels"]),
        "DURATION": tables.duration(60 * document["minutes"]),
        "FIGURES": "\n\n".join(
            f"![{caption}]({name})\n\n*{caption}*"
            for name, caption in ((figures.POLICY, figures.POLICY_CAPTION), (figures.DRAWN, figures.DRAWN_CAPTION))
        ),
    }
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    return text


def run_sentence(document: Mapping[str, Any]) -> str:
    counts = sorted({row["seeds"] for row in document["cells"]})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return (
        f"{document['runs']} runs, {seeds} seeds per cell, {document['rollouts']} rollouts per run; "
        f"{document['minutes']:.0f} minutes of one core in total."
    )


def contrast_table(rows: list[Mapping[str, Any]]) -> str:
    cells = [
        [
            row["task"],
            plan.MEASURES[row["measure"]].label,
            row["first"],
            row["second"],
            *(f"{value['value']:.2f}" for value in row["values"]),
            tables.interval(row["difference"]),
            f"{row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else "< 0.001",
        ]
        for row in rows
    ]
    heads = ["task", "measure", "first", "second", "first's mean", "second's mean", "difference (95%)", "p (Holm)"]
    return tables.table(heads, cells)


def cell_table(document: Mapping[str, Any], task: str) -> str:
    policies, own = document["policies"][task], SPECIFIC[task]
    arms = ", ".join(
        f"{arm} {policies['start'][arm]:.4f} → {policies['limit'][arm]:.4f} (reward {reward:g})"
        for arm, reward in TASKS[task].rewards.items()
    )
    heads = ["method", "reward", "entropy", "KL to pi_0", "pi(focus)", "distance to the limit", *own]
    cells = [
        [
            row["method"],
            *(tables.interval(row[name]) for name in ("reward", "entropy", "kl")),
            tables.interval(row["focus"], ".4f"),
            tables.interval(row["distance"]),
            *(tables.interval(row.get(name)) for name in own),
        ]
        for row in document["cells"]
        if row["task"] == task
    ]
    labels = "; ".join(f"{name}: {plan.MEASURES[name].label}" for name in own)
    focus = ", ".join(TASKS[task].groups["focus"])
    return (
        f"### {TITLES[task]}\n\npi_0 and pi_0 exp(Q / {TAU:g}): {arms}.\n\nFocus: {focus}. {labels}.\n\n"
        f"{tables.table(heads, cells)}"
    )


def shift_table(document: Mapping[str, Any]) -> str:
    shifted = {row["method"] for row in document["cells"] if row["task"] in plan.SHIFTS}
    cells = [
        [
            row["task"].removeprefix("weddings") or "0",
            row["method"],
            tables.interval(row["reward"]),
            tables.interval(row["focus"], ".3f"),
            tables.interval(row["kl"]),
        ]
        for row in document["cells"]
        if row["task"] in ("weddings", *plan.SHIFTS) and row["method"] in shifted
    ]
    return tables.table(["shift", "method", "reward", "pi(wedding)", "KL to pi_0"], cells)


def drawn_table(document: Mapping[str, Any]) -> str:
    names = ("gain_before", "gain_after", "drawn_before", "drawn_after")
    cells = [
        [row["method"], row["predicted"], *(tables.interval(row[name]) for name in names)]
        for row in document["cells"]
        if row["task"] == "weddings"
    ]
    heads = ["method", "q predicts it", "log odds before", "log odds after", "advantages before", "advantages after"]
    return tables.table(heads, cells)


def kernel_table(kernels: Mapping[str, Any]) -> str:
    names = ("common", "differences", "times")
    cells = [[task, *(f"{row[name]:,.0f}" for name in names)] for task, row in kernels.items() if task in SPECIFIC]
    return tables.table(["task", "common part of q", "differences", "ratio"], cells)


def tabular_table(document: Mapping[str, Any]) -> str:
    by_name = {(cell["task"], cell["method"]): cell for cell in document["cells"]}
    cells = [
        [
            *name,
            *(f"{row[key]:.4f}" for key in ("limit", "later", "now")),
            tables.interval(by_name[name]["focus"], ".4f"),
            tables.interval(by_name[name]["kernel_growth"], ".1f"),
        ]
        for row in document["tables"]
        if (name := (row["task"], row["method"])) in by_name
    ]
    heads = [
        "task",
        "method",
        "limit",
        f"tables after {LONG:,} steps",
        f"tables after {ROLLOUTS}",
        "SmolLM2",
        "kernel",
    ]
    return tables.table(heads, cells)
