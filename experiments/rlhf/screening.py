"""Train many settings with one seed each, to choose the settings of `confirmation.py`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.protocol import AgentError
from experiments import program
from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.rlhf import runs
from experiments.rlhf.confirmation_contrasts import Run, at_level
from experiments.rlhf.pages import CURVES, MEASURES, SAMPLES, means, page, samples
from experiments.tables import table
from games.files import atomic_write
from games.untrusted_files import read_object

SEED = 1000
COMMON: dict[str, Any] = {
    "game": "completion?reward=sentiment",
    "iterations": 40,
    "dtype": "bfloat16",
    "probe_prompts": "heldout",
    "probe_every": 10,
    "save_every": 40,
}
# Learning rates at which v and q overfit (docs/rlhf/fit.md); the preset of both rates is 1e-4
FAST: dict[str, Any] = {"value_lr": 1e-3, "q_lr": 1e-3}
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
MATCHED_REWARD = 0.75  # reward at which the cells are compared
DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


def main(out: runs.Out, folder: runs.Folder, workers: runs.Workers = 1) -> None:
    """Train the missing runs, and write the results."""
    runs.complete(out / "screening.json", CELLS, COMMON, [SEED], folder, workers=workers, on_run=lambda: write(out))


def write(out: Path) -> None:
    results = read_object(out / "screening.json", error=AgentError)
    atomic_write(out / "screening.md", markdown(results))
    frontier(results["runs"], out / "screening.svg")


def markdown(results: Mapping[str, Any]) -> str:
    metadata, rows = results["about"], results["runs"]
    lines = [["before training", *_formatted_measures(rows[0]["probes"][0]), ""]]
    lines += [[row["cell"], *_formatted_measures(row["probes"][-1]), means(row, slice(-8, None))[0]] for row in rows]
    return page(
        "# Screening",
        f"One run of {metadata['common']['iterations']} rollouts for each cell, on the tuning seed"
        f" {metadata['seeds'][0]}, which the runs of the confirmation do not use (but its reward models, the step"
        " sizes of the exact experiments and the runs of [tilt](tilt.md) do). A single seed gives no interval and"
        " no verdict: this page only"
        f" chooses the cells of the confirmation. {_missing(metadata['cells'], rows)}Game:"
        f" `{metadata['common']['game']}`, SmolLM2 with LoRA, 32 texts of at most 16 tokens a rollout. Command:"
        " `python -m experiments.rlhf.screening --out docs/rlhf --runs RUNS --workers 2  # about 2 h`.",
        "Measured on one text for each of 48 held-out prompts, always with the same random numbers. Entropy and KL"
        " to the initial policy are exact over the vocabulary, in nats per token; perplexity is under the initial"
        " policy. The explained variance of q is that of the returns by the recorded q, over the last 8 rollouts.",
        table(["cell", *(heading for heading, _, _ in MEASURES), CURVES[0][0]], lines),
        "![reward against the square root of the KL, and entropy against reward](screening.svg)",
        f"At a reward of {MATCHED_REWARD:g}, interpolated between the probes around its first crossing (blank: never"
        " reached):",
        table(
            ["cell", "rollouts", "entropy", "KL", "distinct-2"],
            [[row["cell"], *_at_matched_reward(row)] for row in rows],
        ),
        f"The first {SAMPLES} texts of some cells after the last rollout:",
        samples(rows),
    )


def _formatted_measures(probe: Mapping[str, Any]) -> list[str]:
    return [format(probe[name], form) for _, name, form in MEASURES]


def _missing(cells: Iterable[str], rows: Sequence[Run]) -> str:
    missing = [cell for cell in cells if cell not in {row["cell"] for row in rows}]
    return f"**Incomplete: not run are {', '.join(missing)}.** " if missing else ""


def _at_matched_reward(row: Run) -> list[str]:
    names = (("iteration", "z.0f"), ("entropy", "z.2f"), ("kl", "z.2f"), ("distinct_2", "z.2f"))
    if max(probe["reward"] for probe in row["probes"]) < MATCHED_REWARD:
        return [""] * len(names)
    return [format(at_level(row["probes"], "reward", MATCHED_REWARD, name), form) for name, form in names]


def frontier(rows: Sequence[Run], path: Path) -> None:
    """Plot reward against the square root of the KL, and entropy against reward."""
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


if __name__ == "__main__":
    program.run(main)
