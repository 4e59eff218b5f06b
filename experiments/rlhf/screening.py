"""Screening: one run of 40 rollouts for every setting that might matter, on a seed that no later result uses.

python -m experiments.rlhf.screening --out docs/rlhf --runs RUNS --workers 2
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.rlhf import report, runs
from games.files import atomic_write

SEED = 1000
COMMON: dict[str, Any] = {
    "game": "completion?reward=sentiment",
    "iterations": 40,
    "probe_prompts": "heldout",
    "probe_every": 10,
    "save_every": 40,
}
Q_RETURN: dict[str, Any] = {"optimizer": "actde", "advantage": "return"}
CELLS: dict[str, dict[str, Any]] = {
    "ppo": {"optimizer": "ppo"},
    "actde": {"optimizer": "actde"},
    "actde-return": Q_RETURN,
    "ppo-kl-loss-0.05": {"optimizer": "ppo", "kl_coef": 0.05},
    "ppo-kl-reward-0.05": {"optimizer": "ppo", "kl_coef": 0.05, "kl_place": "reward"},
    "grpo": {"optimizer": "grpo"},
    "actde-return-q_lr-1e-4": {**Q_RETURN, "q_lr": 1e-4},
    "actde-return-q_lr-1e-2": {**Q_RETURN, "q_lr": 1e-2},
    "actde-corrected": {"optimizer": "actde-corrected", "advantage": "return"},
    "actde-permuted": {"optimizer": "actde-permuted", "advantage": "return"},
    "ppo-scaled": {"optimizer": "ppo-scaled", "advantage": "return"},
    "actde-return-eps": {**Q_RETURN, "adam_eps": 1e-3},
    "ppo-eps": {"optimizer": "ppo", "adam_eps": 1e-3},
    "grpo-kl-loss-0.05": {"optimizer": "grpo", "kl_coef": 0.05},
    "ppo-kl-loss-0.2": {"optimizer": "ppo", "kl_coef": 0.2},
    "ppo-kl-loss-0.02": {"optimizer": "ppo", "kl_coef": 0.02},
    "ppo-kl-reward-0.02": {"optimizer": "ppo", "kl_coef": 0.02, "kl_place": "reward"},
    "ppo-kl-reward-0.2": {"optimizer": "ppo", "kl_coef": 0.2, "kl_place": "reward"},
    "actde-return-two-layers": {**Q_RETURN, "head_layers": 2},
    "actde-return-lambda-1": {**Q_RETURN, "gae_lambda": 1.0},
    "ppo-lambda-1": {"optimizer": "ppo", "gae_lambda": 1.0},
    "actde-return-plain": {**Q_RETURN, "dueling": False},
    "actde-return-attached": {**Q_RETURN, "detach_q": False, "detach_value": False},
    "actde-return-scale-3": {**Q_RETURN, "reward_scale": 3.0},
    "actde-return-scale-0.3": {**Q_RETURN, "reward_scale": 0.3},
    "actde-return-whitening": {**Q_RETURN, "whitening": "batch"},
    "ppo-whitening": {"optimizer": "ppo", "whitening": "batch"},
    "ppo-lr-1e-4": {"optimizer": "ppo", "lr": 1e-4},
    "ppo-entropy-0.01": {"optimizer": "ppo", "entropy_coef": 0.01},
    "actde-return-sgd": {**Q_RETURN, "torch_optimizer": "sgd", "lr": 3.0},
    "ppo-sgd": {"optimizer": "ppo", "torch_optimizer": "sgd", "lr": 3.0},
}


def main(
    out: Annotated[Path, typer.Option(help="folder of screening.json")],
    folder: Annotated[Path, typer.Option("--runs", help="folder of the runs")],
    workers: Annotated[int, typer.Option(min=0, help="parallel runs; 0 only reports finished ones")] = 1,
    only: Annotated[str, typer.Option(help="cells, separated by commas [all]")] = "",
) -> None:
    """Complete the runs, and write the results of all finished ones."""
    wanted = only.split(",") if only else list(CELLS)
    configs = runs.resolve({name: CELLS[name] for name in wanted}, COMMON, [SEED])

    def write(name: str) -> None:
        done = [run for run, config in configs.items() if runs.is_finished(folder / run, config)]
        rows = [runs.row(run, folder / run) for run in done]
        about = {"seed": SEED, "common": COMMON, "cells": CELLS}
        atomic_write(out / "screening.json", json.dumps({"about": about, "runs": rows}, allow_nan=False) + "\n")

    if workers:
        runs.train(configs, folder, workers=workers, on_run=write)
    write("")
    report.write(out)


if __name__ == "__main__":
    typer.run(main)
