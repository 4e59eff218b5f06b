"""The results and the report of `exact.py`."""

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
from experiments.rlhf.exact_tasks import TASKS, TAU, predicted_policy
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
    """Write the results, the figures and the report. `kernels` is the result of `q_step_sizes`."""
    document = results(runs, kernels)
    atomic_write(out / RESULTS, tables.json_text(document))
    figures.policy_figure(runs, out / figures.POLICY)
    figures.advantage_figure(runs, out / figures.DRAWN)
    atomic_write(out / REPORT, report(document))


def results(runs: plan.Runs, kernels: Mapping[str, Any]) -> dict[str, Any]:
    minutes = sum(float(curves["seconds"]) for curves in runs.values()) / 60
    initial_policies = {
        task: next(curves for (name, *_), curves in runs.items() if name == task)["policy"][0] for task in SPECIFIC
    }
    limits = {
        task: {
            "start": dict(zip(TASKS[task].arms, initial_policy.tolist(), strict=True)),
            "limit": dict(
                zip(TASKS[task].arms, predicted_policy(initial_policy, TASKS[task].means).tolist(), strict=True)
            ),
        }
        for task, initial_policy in initial_policies.items()
    }
    return {
        "seeds": list(plan.SEEDS),
        "rollouts": ROLLOUTS,
        "minutes": minutes,
        "runs": len(runs),
        "policies": limits,
        "cells": [row for task, method in plan.CELLS if (row := _cell(runs, task, method))],
        "contrasts": plan.contrast_rows(runs),
        "tables": tabular_rows(initial_policies),
        "kernels": dict(kernels),
    }


def tabular_rows(initial_policies: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Train tables instead of SmolLM2. Return a row of focus-arm probabilities for each (task, method)."""
    rows = []
    train_tables = partial(train_bandit, b=STEP, alpha=HEAD_STEP["q"], value_step=HEAD_STEP["value"])
    for name, task in TASKS.items():
        initial_policy, focus = initial_policies[name.rstrip("+-1")], task.arm_indices("focus")
        limit = float(predicted_policy(initial_policy, task.means)[focus].sum())
        tensors = torch.from_numpy(initial_policy), torch.from_numpy(task.means)
        for method, form in FORMS.items():
            policies = (train_tables(*tensors, steps=steps, form=form) for steps in (ROLLOUTS, LONG))
            short_run, long_run = (float(policy.numpy()[focus].sum()) for policy in policies)
            rows.append({"task": name, "method": method, "now": short_run, "later": long_run, "limit": limit})
    return rows


def _cell(runs: plan.Runs, task: str, method: str) -> dict[str, Any] | None:
    cell_runs = plan.runs_of_cell(runs, task, method).values()
    if not cell_runs:
        return None
    rows = [plan.summary(TASKS[task], curves) for curves in cell_runs]
    predicting_runs = sum(plan.first_predicted_rollout(TASKS[task], curves) is not None for curves in cell_runs)
    specific_measures = {
        name: list(plan.measure_by_seed(runs, task, method, name).values()) for name in SPECIFIC.get(task, ())
    }
    return {
        "task": task,
        "method": method,
        "seeds": len(cell_runs),
        "predicted": f"{predicting_runs} of {len(cell_runs)}",
        **{name: estimate([row[name] for row in rows], name) for name in rows[0]},
        **{name: estimate(values, name) for name, values in specific_measures.items() if values},
    }


def report(document: Mapping[str, Any]) -> str:
    text = PROSE.read_text(encoding="utf-8")
    sections = {
        "RUN": run_sentence(document),
        "CONTRASTS": contrast_table(document["contrasts"]),
        "CELLS": "\n\n".join(cell_table(document, task) for task in SPECIFIC),
        "SHIFTED": shift_table(document),
        "DRAWN": advantage_table(document),
        "TABLES": tabular_table(document),
        "KERNELS": kernel_table(document["kernels"]),
        "DURATION": tables.duration(60 * document["minutes"]),
        "FIGURES": "\n\n".join(
            f"![{caption}]({name})\n\n*{caption}*"
            for name, caption in ((figures.POLICY, figures.POLICY_CAPTION), (figures.DRAWN, figures.DRAWN_CAPTION))
        ),
    }
    for name, section in sections.items():
        text = text.replace(f"{{{{{name}}}}}", section)
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
    headings = ["task", "measure", "first", "second", "first's mean", "second's mean", "difference (95%)", "p (Holm)"]
    return tables.table(headings, cells)


def cell_table(document: Mapping[str, Any], task: str) -> str:
    policies, specific_names = document["policies"][task], SPECIFIC[task]
    arms = ", ".join(
        f"{arm} {policies['start'][arm]:.4f} → {policies['limit'][arm]:.4f} (reward {reward:g})"
        for arm, reward in TASKS[task].rewards.items()
    )
    headings = ["method", "reward", "entropy", "KL to pi_0", "pi(focus)", "distance to the limit", *specific_names]
    cells = [
        [
            row["method"],
            *(tables.interval(row[name]) for name in ("reward", "entropy", "kl")),
            tables.interval(row["focus"], ".4f"),
            tables.interval(row["distance"]),
            *(tables.interval(row.get(name)) for name in specific_names),
        ]
        for row in document["cells"]
        if row["task"] == task
    ]
    labels = "; ".join(f"{name}: {plan.MEASURES[name].label}" for name in specific_names)
    focus = ", ".join(TASKS[task].groups["focus"])
    return (
        f"### {TITLES[task]}\n\npi_0 and pi_0 exp(Q / {TAU:g}): {arms}.\n\nFocus: {focus}. {labels}.\n\n"
        f"{tables.table(headings, cells)}"
    )


def shift_table(document: Mapping[str, Any]) -> str:
    shifted_methods = {row["method"] for row in document["cells"] if row["task"] in plan.SHIFTS}
    cells = [
        [
            row["task"].removeprefix("weddings") or "0",
            row["method"],
            tables.interval(row["reward"]),
            tables.interval(row["focus"], ".3f"),
            tables.interval(row["kl"]),
        ]
        for row in document["cells"]
        if row["task"] in ("weddings", *plan.SHIFTS) and row["method"] in shifted_methods
    ]
    return tables.table(["shift", "method", "reward", "pi(wedding)", "KL to pi_0"], cells)


def advantage_table(document: Mapping[str, Any]) -> str:
    names = ("gain_before", "gain_after", "drawn_before", "drawn_after")
    cells = [
        [row["method"], row["predicted"], *(tables.interval(row[name]) for name in names)]
        for row in document["cells"]
        if row["task"] == "weddings"
    ]
    headings = ["method", "q predicts it", "log odds before", "log odds after", "advantages before", "advantages after"]
    return tables.table(headings, cells)


def kernel_table(kernels: Mapping[str, Any]) -> str:
    names = ("common", "differences", "times")
    cells = [[task, *(f"{row[name]:,.0f}" for name in names)] for task, row in kernels.items() if task in SPECIFIC]
    return tables.table(["task", "common part of q", "differences", "ratio"], cells)


def tabular_table(document: Mapping[str, Any]) -> str:
    cells_by_key = {(cell["task"], cell["method"]): cell for cell in document["cells"]}
    cells = [
        [
            *cell_key,
            *(f"{row[key]:.4f}" for key in ("limit", "later", "now")),
            tables.interval(cells_by_key[cell_key]["focus"], ".4f"),
            tables.interval(cells_by_key[cell_key]["kernel_growth"], ".1f"),
        ]
        for row in document["tables"]
        if (cell_key := (row["task"], row["method"])) in cells_by_key
    ]
    headings = [
        "task",
        "method",
        "limit",
        f"tables after {LONG:,} steps",
        f"tables after {ROLLOUTS}",
        "SmolLM2",
        "kernel",
    ]
    return tables.table(headings, cells)
