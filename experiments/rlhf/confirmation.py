"""Compare five settings of PPO, ACTDE and GRPO over ten seeds. The reward comes from a reward model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.protocol import AgentError
from agents.storage.checkpoint_files import AGENT, read_json
from experiments import program
from experiments.plot_style import make_figure
from experiments.rlhf import pages, runs
from experiments.rlhf.confirmation_contrasts import CONTRASTS, SEEDS, SHARE, Run, contrast_rows
from experiments.rlhf.contrasts import estimate
from experiments.tables import interval, table
from games.files import atomic_write
from games.untrusted_files import read_object

# python cli.py make-pairs --game completion --judge sentiment --pairs 1000 --seed 1000 --out runs/confirmation.jsonl
# python cli.py train-reward --pairs runs/confirmation.jsonl --seed 1000 --out runs/confirmation-rm
# python -m experiments.rlhf.confirmation --out docs/rlhf --runs RUNS --workers 2
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
"""Settings of all runs. The judge gives the true reward.

`reward_scale` gives the initial rewards a standard deviation of 0.3, as in `screening.py`. The first reward model was
lost after the runs of five seeds. The command `train-reward` above then trained a second reward model."""
CELLS: dict[str, dict[str, Any]] = {
    "ppo": {"optimizer": "ppo", "credit": "command"},
    "ppo-kl": {"optimizer": "ppo", "kl_coef": 0.02},
    "ppo-slow": {"optimizer": "ppo", "lr": 1e-4},
    "actde": {"optimizer": "actde", "advantage": "return", "credit": "command"},
    "grpo": {"optimizer": "grpo"},
}
"""Name of a cell (combination of settings) -> its settings, without those in `COMMON`.

At a reward of 0.75 in `screening.py`, `actde` had the highest entropy of all cells, `ppo-kl` the highest of PPO with a
KL penalty, and `ppo-slow` the highest of the controls. `ppo` differs from `actde` in the baseline.
"""
FIGURE = "confirmation.svg"
PANELS = (
    *(("root_kl", name) for name in ("reward", "true_reward")),
    *(("reward", name) for name in ("entropy", "distinct_2")),
    *(("iteration", name) for name in ("reward", "entropy")),
)
EARLY_STOP_MEASURES = ("reward", "true_reward", "entropy", "kl", "distinct_2")  # measures during training


def main(out: runs.Out, folder: runs.Folder, workers: runs.Workers = 1) -> None:
    """Train the missing runs, and write the results."""
    path, model = out / "confirmation.json", reward_model()
    runs.complete(path, CELLS, COMMON, SEEDS, folder, workers=workers, on_run=lambda: write(out), reward_model=model)


def reward_model() -> dict[str, Any]:
    """Return metadata of the reward model: number of pairs, held-out accuracy, file digests."""
    metadata = read_json(Path(REWARD_MODEL) / AGENT)
    return {key: metadata[key] for key in ("pairs", "held_out", "files")}


def write(out: Path) -> None:
    results = read_object(out / "confirmation.json", error=AgentError)
    atomic_write(out / "confirmation.md", markdown(results))
    pages.draw(results["runs"], out / FIGURE, PANELS, make_figure(2, 3, 13.0, 7.0))
    selected_runs = [run for run in results["runs"] if run["cell"] in ("ppo", "actde", "ppo-kl")]
    panels = [("iteration", name) for name in ("reward", "true_reward", "distinct_2")]
    pages.draw(selected_runs, out / "collapse.svg", panels, make_figure(1, 3, 9.5, 2.8))


def markdown(results: Mapping[str, Any]) -> str:
    metadata, runs = results["about"], results["runs"]
    seeds = {run["seed"] for run in runs}
    return pages.page(
        "# Confirmation",
        f"{len(runs)} runs of {metadata['common']['iterations']} rollouts: {len(metadata['cells'])} cells, fresh seeds"
        f" {min(seeds)} to {max(seeds)}.{pages.incomplete(results)} The judge"
        f" `{metadata['common']['judge']}` is the true reward. The proxy reward is a reward model that was trained on"
        " pairs which the judge compared. All runs of a seed"
        f" share a reward model: {reward_models(metadata['reward_models'], runs)}. Cells and commands"
        " (`experiments/rlhf/confirmation.py`), seeds and contrasts (`experiments/rlhf/confirmation_contrasts.py`)"
        " were fixed before the first run.",
        "## Cells",
        pages.cell_list(metadata["cells"]),
        "`ppo` and `actde` treat a text as one action, and differ in the baseline (with a single action, `--advantage"
        " return` changes nothing). `actde` also trains q, whose gradient counts in the norm by which the joint"
        " gradient is clipped. The [ablations](ablation.md) separate this from the effect of the baseline. On one seed"
        " of the [screening](screening.md), with credit per token, controls that train q as well (`ppo-scaled`,"
        " `actde-permuted`, `actde-corrected`) collapse as PPO does. In the other cells, each token is an action, so"
        " their contrasts with `actde` compare both the optimizer and the credit. All cells"
        f" share {pages.settings_text(metadata['common'])}.",
        "## Contrasts",
        f"Differences (first minus second) where each run first reaches {SHARE:.0%} of the way from the start to"
        " the highest proxy reward (or KL) that both runs of a seed reach. This level depends on both cells, so"
        " `actde` has other values in other rows. Means over seeds with 95% t intervals, paired t-tests, p-values"
        f" after Holm for {len(CONTRASTS)} contrasts.",
        pages.contrast_section(contrast_rows(runs)),
        "## Cells after the last rollout",
        "One text for each of 48 held-out prompts. Means over seeds with 95% t intervals. Entropy and KL are in"
        " nats per token, the KL of a text is the sum over its tokens, and perplexity is under the initial policy."
        " `repeated` is the share of texts that are equal to an earlier one, and an opening has two words. The last"
        f" two columns are means over the last {pages.LATE} rollouts of training: the explained variance of the returns"
        " by the recorded q (0 is a constant, 1 is perfect), and the mean absolute advantage.",
        pages.cell_table(runs),
        "## Early stop of PPO",
        "If `ppo` stops early, it has the measures that were taken then, during training. Likewise, each contrast above"
        " compares runs that stop where they first reach its level.",
        early_stop_table(runs),
        early_stop_differences(runs),
        f"![rewards against the KL, diversity against reward, and curves]({FIGURE})",
        f"## Texts of seed {min(seeds)} after the last rollout",
        pages.samples(run for run in runs if run["seed"] == min(seeds)),
    )


def reward_models(models: Mapping[str, Mapping[str, Any]], runs: Sequence[Run]) -> str:
    seeds = {digest: sorted({run["seed"] for run in runs if run["reward_model"] == digest}) for digest in models}
    return "; ".join(
        f"for the seeds {', '.join(map(str, seeds[digest]))}, one trained on {model['pairs']} pairs, which agrees"
        f" with the judge on {held_out['value']:.0%} of {held_out['pairs']} held-out pairs"
        f" ({held_out['low']:.0%} to {held_out['high']:.0%})"
        for digest, model in models.items()
        if seeds[digest]
        for held_out in [model["held_out"]]
    )


def early_stop_table(runs: Sequence[Run]) -> str:
    lines = [
        [
            cell,
            probes[0]["iteration"],
            *(interval(estimate([probe[name] for probe in probes], name)) for name in EARLY_STOP_MEASURES),
        ]
        for cell in ("ppo", "actde")
        for probes in list(zip(*(run["probes"] for run in runs if run["cell"] == cell), strict=True))[2::2]
    ]
    return table(["cell", "stopped after", *(pages.LABELS[name] for name in EARLY_STOP_MEASURES)], lines)


def early_stop_differences(runs: Sequence[Run]) -> str:
    """Return a sentence that compares the half-trained cell `ppo` with the trained cell `actde`."""
    final_probes = {run["seed"]: run["probes"][-1] for run in runs if run["cell"] == "actde"}
    ppo_probes = {run["seed"]: run["probes"] for run in runs if run["cell"] == "ppo"}
    probe_pairs = [
        (probes[len(probes) // 2], final_probes[seed]) for seed, probes in ppo_probes.items() if seed in final_probes
    ]
    differences = [
        f"{pages.LABELS[name]} {interval(estimate([halfway[name] - final[name] for halfway, final in probe_pairs]))}"
        for name in EARLY_STOP_MEASURES
    ]
    return (
        f"Differences of `ppo` after {probe_pairs[0][0]['iteration']} rollouts minus `actde` after"
        f" {probe_pairs[0][1]['iteration']}, paired by seed (chosen after the runs): {'; '.join(differences)}."
    )


if __name__ == "__main__":
    program.run(main)
