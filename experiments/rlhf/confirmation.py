"""Train the cells (combinations of settings) that the screening selected, with new seeds and a reward model.

python cli.py make-pairs --game completion --judge sentiment --pairs 1000 --seed 1000 --out runs/confirmation.jsonl
python cli.py train-reward --pairs runs/confirmation.jsonl --seed 1000 --out runs/confirmation-rm
python -m experiments.rlhf.confirmation --out docs/rlhf --runs RUNS --workers 2
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from agents.storage.checkpoint import AGENT, read_json
from experiments import program
from experiments.rlhf import confirmation_report, runs
from experiments.rlhf.confirmation_contrasts import SEEDS

REWARD_MODEL = "runs/confirmation-rm"
COMMON: dict[str, Any] = {
    "game": f"completion?reward=rm:{REWARD_MODEL}",
    "reward_scale": 0.3,
    "iterations": 80,
    "dtype": "bfloat16",
    "judge": "sentiment",
    "probe_prompts": "heldout",
    "probe_every": 10,
    "save_every": 80,
}
"""Settings of all runs. The true reward is that of `judge`.

Before training, the scores of the reward model have a standard deviation of 1. `reward_scale` reduces it to 0.3, the
standard deviation of the rewards in the screening. The first reward model was lost after the runs of five seeds. The
command above then trained a second one, on another processor."""
CELLS: dict[str, dict[str, Any]] = {
    "ppo": {"optimizer": "ppo", "credit": "command"},
    "ppo-kl": {"optimizer": "ppo", "kl_coef": 0.02},
    "ppo-slow": {"optimizer": "ppo", "lr": 1e-4},
    "actde": {"optimizer": "actde", "advantage": "return", "credit": "command"},
    "grpo": {"optimizer": "grpo"},
}
"""Name of a cell -> its settings, without those in `COMMON`.

The cells were chosen by the measures that they had in the screening when their reward reached 0.75. `actde`, in which a
text is one action, had the highest entropy and distinct-2 of all cells. `ppo` differs from `actde` in the baseline and
trains no q. `ppo-kl` had the highest entropy and the lowest KL of all PPO cells with a KL penalty that reached this
reward. `ppo-slow`, with a third of the learning rate, had the highest entropy of the controls.
"""


def main(
    out: Annotated[Path, typer.Option(help="folder of confirmation.json")],
    folder: Annotated[Path, typer.Option("--runs", help="folder of the runs")],
    workers: Annotated[int, typer.Option(min=0, help="parallel runs; 0 only reports finished ones")] = 1,
) -> None:
    """Train the runs that `confirmation.json` lacks and the runs whose settings have changed, and write all results."""
    runs.complete(
        out / "confirmation.json",
        CELLS,
        COMMON,
        SEEDS,
        folder,
        workers=workers,
        on_run=lambda: confirmation_report.write(out),
        reward_model=reward_model(),
    )


def reward_model() -> dict[str, Any]:
    """Return the description of the reward model, with the digests of its files."""
    about = read_json(Path(REWARD_MODEL) / AGENT)
    return {key: about[key] for key in ("pairs", "held_out", "files")}


if __name__ == "__main__":
    program.run(main)
