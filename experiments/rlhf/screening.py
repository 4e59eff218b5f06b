"""Screening: train each cell (a combination of settings) once, for 40 rollouts. The confirmation has other seeds.

python -m experiments.rlhf.screening --out docs/rlhf --runs RUNS --workers 2
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from experiments import program
from experiments.rlhf import runs, screening_report

SEED = 1000
COMMON: dict[str, Any] = {
    "game": "completion?reward=sentiment",
    "iterations": 40,
    "dtype": "bfloat16",
    "probe_prompts": "heldout",
    "probe_every": 10,
    "save_every": 40,
}
FAST: dict[str, Any] = {"value_lr": 1e-3, "q_lr": 1e-3}
"""Learning rates at which v and q overfit (docs/rlhf/fit.md). The preset of both rates is 1e-4."""
PPO: dict[str, Any] = {"optimizer": "ppo", "q_lr": 1e-3}  # q is not trained
ACTDE: dict[str, Any] = {"optimizer": "actde", "advantage": "return"}
CELLS: dict[str, dict[str, Any]] = {
    "ppo-heads-1e-3": {**FAST, **PPO},
    "actde-lambda-heads-1e-3": {**FAST, "optimizer": "actde"},
    "actde-heads-1e-3": {**FAST, **ACTDE},
    "ppo-kl-loss-0.05-heads-1e-3": {**FAST, **PPO, "kl_coef": 0.05},
    "ppo-kl-reward-0.05-heads-1e-3": {**FAST, **PPO, "kl_coef": 0.05, "kl_place": "reward"},
    "grpo": {**FAST, "optimizer": "grpo"},  # the rates have no effect
    "actde": ACTDE,
    "ppo": PPO,
    "actde-corrected": {**ACTDE, "optimizer": "actde-corrected"},
    "actde-permuted": {**ACTDE, "optimizer": "actde-permuted"},
    "ppo-scaled": {**ACTDE, "optimizer": "ppo-scaled"},
    "actde-eps-1e-3": {**ACTDE, "adam_eps": 1e-3},
    "ppo-eps-1e-3": {**PPO, "adam_eps": 1e-3},
    "grpo-kl-loss-0.05": {**FAST, "optimizer": "grpo", "kl_coef": 0.05},
    "grpo-mean-only": {**FAST, "optimizer": "grpo", "group_std": False},
    "ppo-kl-loss-0.02": {**PPO, "kl_coef": 0.02},
    "ppo-kl-loss-0.2": {**PPO, "kl_coef": 0.2},
    "ppo-kl-reward-0.02": {**PPO, "kl_coef": 0.02, "kl_place": "reward"},
    "ppo-kl-reward-0.2": {**PPO, "kl_coef": 0.2, "kl_place": "reward"},
    "actde-lambda": {"optimizer": "actde"},
    "actde-lambda-1": {**ACTDE, "gae_lambda": 1.0},
    "ppo-lambda-1": {**PPO, "gae_lambda": 1.0},
    "actde-two-layers": {**ACTDE, "head_layers": 2},
    "actde-two-layers-heads-1e-3": {**FAST, **ACTDE, "head_layers": 2},
    "actde-not-dueling": {**ACTDE, "dueling": False},
    "actde-attached": {**ACTDE, "detach_q": False, "detach_value": False},
    "actde-scale-3": {**ACTDE, "reward_scale": 3.0},
    "actde-scale-0.3": {**ACTDE, "reward_scale": 0.3},
    "actde-whitening": {**ACTDE, "whitening": "batch"},
    "ppo-whitening": {**PPO, "whitening": "batch"},
    "actde-command": {**ACTDE, "credit": "command"},  # a text is one action, so q sees the whole text
    "ppo-command": {**PPO, "credit": "command"},
    "ppo-lr-1e-4": {**PPO, "lr": 1e-4},
    "actde-lr-1e-4": {**ACTDE, "lr": 1e-4},  # the heads are as fast as the policy
    "ppo-entropy-0.01": {**PPO, "entropy_coef": 0.01},
    "actde-sgd": {**ACTDE, "torch_optimizer": "sgd", "lr": 3.0, "value_lr": 1e-2, "q_lr": 1e-2},
    "ppo-sgd": {**PPO, "torch_optimizer": "sgd", "lr": 3.0, "value_lr": 1e-2},
}


def main(
    out: Annotated[Path, typer.Option(help="folder of screening.json")],
    folder: Annotated[Path, typer.Option("--runs", help="folder of the runs")],
    workers: Annotated[int, typer.Option(min=0, help="parallel runs; 0 only reports finished ones")] = 1,
) -> None:
    """Train the cells that `screening.json` lacks and the cells whose settings have changed, and write all results."""
    runs.complete(
        out / "screening.json",
        CELLS,
        COMMON,
        [SEED],
        folder,
        workers=workers,
        on_run=lambda: screening_report.write(out),
    )


if __name__ == "__main__":
    program.run(main)
