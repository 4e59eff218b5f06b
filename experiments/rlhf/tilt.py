"""Test whether ACTDE learns the policy softmax(log pi_0 + q / tau), where pi_0 is the initial policy."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from typing_extensions import TypedDict

from agents.config import TrainConfig
from agents.protocol import AgentError
from agents.storage.checkpoint_files import INITIAL, checkpoints
from agents.storage.run_folder import SETTINGS, changed_setting
from agents.training import presets
from experiments import program
from experiments.plot_style import COLORS, make_figure, save_figure
from experiments.rlhf import runs
from experiments.rlhf.pages import cell_list, page, settings_text
from experiments.rlhf.tilt_measures import LIKELIEST, LIKELY_TOKENS, MEASURES, TEXTS_PER_TOKEN, WEIGHTINGS, measure
from experiments.tables import interval, table
from games.files import atomic_write, exclusive
from games.untrusted_files import read_json, read_object

MEASURED_ROLLOUTS = (10, 20, 30, 40)  # numbers of finished rollouts after which a run is measured
CELLS: dict[str, dict[str, Any]] = {
    "actde": {"optimizer": "actde", "advantage": "return"},
    "ppo": {"optimizer": "ppo", "train_q": True},
}
COMMON: dict[str, Any] = {
    "game": "completion?reward=sentiment",
    "iterations": MEASURED_ROLLOUTS[-1],
    "save_every": 10,
    "dtype": "bfloat16",
    "seed": 1000,
}
PROMPTS = "heldout"
RESULTS, FIGURE = "tilt.json", "tilt.svg"  # the output folder and the folder of each run contain results


class StoredRow(TypedDict):
    """A measured run, and the number of rollouts before the measurement."""

    run: str
    rollouts: int


class StoredTilt(TypedDict):
    """The content of `tilt.json`."""

    about: dict[str, dict[str, Any]]
    rows: list[StoredRow]


def main(out: runs.Out, folder: runs.Folder, workers: runs.Workers = 1) -> None:
    """Train and measure the missing runs, and write the results."""
    metadata = {"common": COMMON, "cells": CELLS}
    configs = {name: presets.resolve({**COMMON, **settings}) for name, settings in CELLS.items()}
    with exclusive(out, RESULTS, "tilt.md", FIGURE):
        path = out / RESULTS
        rows: dict[str, list[Any]] = {name: [] for name in CELLS}
        if path.is_file():
            stored = read_json(path, StoredTilt, error=AgentError)
            if stored["about"] != metadata:
                raise AgentError(f"{path} holds results with other settings; move the file away")
            rows = {name: [row for row in stored["rows"] if row["run"] == name] for name in CELLS}
        missing = [name for name in configs if not _is_complete(rows[name])]
        for name in missing:
            run = folder / name
            if (run / SETTINGS).is_file() and (changed := changed_setting(run, configs[name])):
                raise AgentError(f"{changed}; choose another --runs")

        def save(*names: str) -> None:
            for name in names:
                measures = _read_measures(folder / name)
                if len(measures) >= len(rows[name]):  # a new folder of runs must not delete stored measurements
                    rows[name] = [
                        {"run": name, "rollouts": int(rollouts), **measures[rollouts]}
                        for rollouts in sorted(measures, key=int)
                    ]
            if any(rows.values()):
                results = {"about": metadata, "rows": [row for run_rows in rows.values() for row in run_rows]}
                atomic_write(path, json.dumps(results, allow_nan=False) + "\n")
                write(out)

        save(*missing)
        if workers:
            remaining = {name: configs[name] for name in missing if not _is_complete(rows[name])}
            runs.train(remaining, folder, workers, save, job=train_and_measure)


def _is_complete(rows: Sequence[StoredRow]) -> bool:
    return [row["rollouts"] for row in rows] == list(MEASURED_ROLLOUTS)


def _read_measures(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / RESULTS
    return read_json(path, dict[str, dict[str, Any]], error=AgentError) if path.is_file() else {}


def train_and_measure(config: TrainConfig, folder: Path, threads: int) -> None:
    """Start or resume a run, and measure each checkpoint listed in `MEASURED_ROLLOUTS`."""
    torch.set_num_threads(threads)
    measure_checkpoints(config, folder)  # the last one, if an earlier process ended after it had saved it
    runs.train_run(config, folder, threads, on_rollout=lambda: measure_checkpoints(config, folder))


def measure_checkpoints(config: TrainConfig, folder: Path) -> None:
    """Measure a run's checkpoints that have no results yet."""
    measures, checkpoint_folders = _read_measures(folder), {int(path.name): path for path in checkpoints(folder)}
    for rollouts in MEASURED_ROLLOUTS:
        if f"{rollouts}" in measures or rollouts > max(checkpoint_folders, default=0):
            continue
        if rollouts not in checkpoint_folders:
            raise AgentError(f"{folder} was not measured after {rollouts} rollouts; choose another --runs")
        measures[f"{rollouts}"] = _storable(
            measure(checkpoint_folders[rollouts], folder / INITIAL, config.run.game, PROMPTS)
        )
        atomic_write(folder / RESULTS, json.dumps(measures, allow_nan=False) + "\n")


def _storable(measures: Mapping[str, Any]) -> dict[str, Any]:
    """Copy `measures`, and replace NaN by None."""
    return {
        name: _storable(value) if isinstance(value, Mapping) else None if value != value else value
        for name, value in measures.items()
    }


def write(out: Path) -> None:
    results = read_object(out / RESULTS, error=AgentError)
    atomic_write(out / "tilt.md", markdown(results))
    draw(results["rows"], out / FIGURE)


def markdown(results: Mapping[str, Any]) -> str:
    metadata, rows = results["about"], results["rows"]
    return page(
        "# Is log pi - log pi_0 equal to q / tau, and is q equal to Q^pi?",
        "Within the states of one text for each held-out prompt, in the course of training. SmolLM2, each token is"
        " an action. Each cell has one run, so a difference between cells may be noise. `ppo` trains q for this"
        " measurement only. Command: `python -m experiments.rlhf.tilt --out docs/rlhf --runs RUNS"
        "  # 32 min`.",
        cell_list(metadata["cells"]),
        f"Both share {settings_text(metadata['common'])}.",
        "Regression of log pi - log pi_0 on q, with tokens weighted by pi, by pi_0, or equally among the"
        f" {LIKELIEST} likeliest under pi_0. The spreads are standard deviations within states, with tokens"
        " weighted by pi_0:",
        fit_table(rows),
        f"Monte Carlo estimates of Q^pi for up to {LIKELY_TOKENS} likely tokens of each state, from"
        f" {TEXTS_PER_TOKEN} texts each, with 95% bootstrap intervals over states. The spread is the standard"
        " deviation of Q^pi within states, after subtraction of the sampling error. It is truncated at 0, so it is"
        " biased upwards. The correlations are with the estimates of Q^pi. The sampling error of the estimates"
        " attenuates them, so even a perfect q would have a correlation below 1:",
        estimate_table(rows),
        f"![R2, and correlation of q with estimates of Q^pi, against rollouts]({FIGURE})",
    )


def fit_table(rows: Sequence[Mapping[str, Any]]) -> str:
    headings = [f"{name}: R2 (slope)" for name in WEIGHTINGS]
    lines = [
        [
            row["run"],
            row["rollouts"],
            *(
                "" if (fit := row[name])["r2"] is None else f"{fit['r2']:.3f} ({fit['slope']:.2f})"
                for name in WEIGHTINGS
            ),
            *(f"{row['initial'][name]:.3f}" for name in ("spread_q", "spread_log_ratio")),
        ]
        for row in rows
    ]
    return table(["run", "rollouts", *headings, "spread of q", "spread of log pi - log pi_0"], lines)


def estimate_table(rows: Sequence[Mapping[str, Any]]) -> str:
    headings = ["spread of Q^pi", "correlation with q", "correlation with log pi - log pi_0"]
    lines = [
        [row["run"], row["rollouts"], estimates["states"], *(_interval(estimates[name], name) for name in MEASURES)]
        for row in rows
        for estimates in [row["monte_carlo"]]
    ]
    return table(["run", "rollouts", "states", *headings], lines)


def _interval(estimate: Mapping[str, float | None], measure: str) -> str:
    return "" if estimate["value"] is None else interval(estimate, "z.3f" if measure == "spread" else "z.2f")


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot R2 of the regressions, and the correlation of q with Q^pi."""
    figure, (fits, correlations) = make_figure(1, 2, 9.5, 3.6)
    names = list(dict.fromkeys(row["run"] for row in rows))
    for index, name in enumerate(names):
        run_rows = [row for row in rows if row["run"] == name]
        x = np.array([row["rollouts"] for row in run_rows])
        for weighting, style in (("sampled", "o-"), ("likeliest", "s--")):
            r2 = np.array([row[weighting]["r2"] for row in run_rows], dtype=float)
            fits.plot(x, r2, style, color=COLORS[name], label=f"{name}, {weighting}")
        bounds = [row["monte_carlo"]["correlation"] for row in run_rows]
        value, low, high = (np.array([b[key] for b in bounds], dtype=float) for key in ("value", "low", "high"))
        shifted_x = x + 0.6 * (index - (len(names) - 1) / 2)  # the intervals of the runs must not overlap
        errors, style = np.clip([value - low, high - value], 0.0, None), ("o-", "s--")[index % 2]
        correlations.errorbar(shifted_x, value, errors, fmt=style, color=COLORS[name], capsize=3, label=name)
    correlations.axhline(0.0, color="0.7", lw=0.8, zorder=0)
    fits.set(xlabel="rollouts", ylabel="R2 of log pi - log pi_0 on q", ylim=(0.0, None), xticks=MEASURED_ROLLOUTS)
    correlations.set(xlabel="rollouts", ylabel="correlation of q with estimates of Q^pi", xticks=MEASURED_ROLLOUTS)
    for axis in (fits, correlations):
        axis.legend()
    save_figure(figure, path)


if __name__ == "__main__":
    program.run(main)
