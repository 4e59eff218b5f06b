"""Train two ablations of `confirmation.py`: PPO that also trains q, and ACTDE with the setting `recentre_q`."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from agents.protocol import AgentError
from experiments import program
from experiments.rlhf import confirmation, runs
from experiments.rlhf.confirmation_contrasts import MEASURES, SHARE, Contrast, Run, contrast_rows
from experiments.rlhf.pages import cell_list, cell_table, contrast_section, incomplete, page, samples
from games.files import atomic_write
from games.untrusted_files import read_object

SEEDS = (2005, 2006, 2007)  # the first seeds of the confirmation whose reward model still exists
# `tau` is the weight of the KL in the confirmation's cell `ppo-kl`, and was not tuned
CELLS: dict[str, dict[str, Any]] = {
    "ppo-train-q": {"optimizer": "ppo", "credit": "command", "train_q": True},
    "actde-recentred": {"optimizer": "actde", "advantage": "return", "recentre_q": True, "tau": 0.02},
}
CONFIRMATION_CELLS = ("ppo", "actde", "ppo-kl")
PAIRS = (("ppo-train-q", "ppo"), ("actde", "ppo-train-q"), ("actde-recentred", "actde"), ("actde-recentred", "ppo-kl"))
DIFFERENCES = (
    "`ppo-train-q` differs from `ppo` only in that q is trained, so that its gradient counts in the norm by"
    " which the joint gradient is clipped, as in `actde`. It differs from `actde` only in the baseline.",
    "`actde-recentred` computes its baseline from the policy, q = v + tau (log pi - log pi_0 - KL), so that"
    " ACTDE's invariant holds although the Q head does not fit. The Q head is still trained; the page shows its"
    " explained variance, and its gradient counts in the norm. Before clipping, the expected gradient is that"
    " of `ppo-kl`, whose weight of the KL is this tau. `actde-recentred` and `ppo-kl` treat each token as an"
    " action, `actde` a whole text, so `actde-recentred` minus `actde` compares both the baseline and the"
    " credit.",
)
FINDINGS = (
    "## What this shows",
    "With three seeds, the intervals are wide. They are not corrected for the number of contrasts; the p-values"
    " are, and none is significant. The contrasts at equal rollouts were added after the first three of the six"
    " runs. Values after the last rollout are means of these seeds.",
    "* **Nothing indicates that the joint clipping makes ACTDE collapse more slowly.** In PPO that trains q, the"
    " norm of the joint gradient is 7.2 before it is clipped to 1 (mean over rollouts; PPO 1.7, ACTDE 6.5). At"
    " equal rollouts, its proxy reward is that of PPO (difference 0.01, -0.40 to 0.42), its KL 0.32 nats higher"
    " (0.09 to 0.55), and its entropy not measurably different (-0.08, -0.92 to 0.75). ACTDE differs from it only"
    " in the baseline. It has 0.59 less proxy reward (0.26 to 0.92) and 0.40 nats more entropy (0.11 to 0.69) at"
    " equal rollouts; the difference in KL is open (-0.54, -1.65 to 0.56). At equal proxy reward, no measure of"
    " the two differs measurably.\n"
    "* **ACTDE whose q is recentred ends near PPO with KL**, as the equal expected gradients predict. After the"
    " last rollout, its KL is 0.90 (PPO with KL 0.77, ACTDE 3.54), its entropy 2.01 (2.06 and 0.74), and its proxy"
    " reward 2.13 (1.93 and 2.99). At equal proxy reward, no difference to PPO with KL is established (KL 0.09,"
    " -0.12 to 0.30; entropy -0.17, -0.67 to 0.33; distinct-2 0.02, -0.10 to 0.14). Compared with ACTDE, its KL is"
    " then 0.79 nats lower (0.21 to 1.38) and its true reward 0.05 lower (0.01 to 0.08), and no difference in"
    " diversity is established (entropy 0.15, -0.34 to 0.65; distinct-2 0.01, -0.16 to 0.18).\n"
    "* The credit may contribute to the differences from ACTDE. On one seed of the [screening](screening.md),"
    " with another reward, ACTDE with credit per token moves about as far (KL 1.25 after 40 rollouts) as with"
    " credit per text (1.53).",
)
CONTRASTS = [
    # fixed before the first run
    *(Contrast("reward", measure, *pair) for pair, measure in product(PAIRS, (*MEASURES, "kl"))),
    # at equal numbers of rollouts, added after the first three runs
    *(Contrast("iteration", name, *pair) for pair, name in product(PAIRS[:2], ("reward", "entropy", "kl"))),
]


def main(out: runs.Out, folder: runs.Folder, workers: runs.Workers = 1) -> None:
    """Train the missing runs, and write the results. The folder --out must hold `confirmation.json`."""
    read_object(out / "confirmation.json", error=AgentError)  # before the first run
    path, common, model = out / "ablation.json", confirmation.COMMON, confirmation.reward_model()
    runs.complete(path, CELLS, common, SEEDS, folder, workers=workers, on_run=lambda: write(out), reward_model=model)


def write(out: Path) -> None:
    results, confirmation_results = (
        read_object(out / f"{name}.json", error=AgentError) for name in ("ablation", "confirmation")
    )
    atomic_write(out / "ablation.md", markdown(results, confirmation_results))


def markdown(results: Mapping[str, Any], confirmation_results: Mapping[str, Any]) -> str:
    metadata, ablation_runs = results["about"], results["runs"]
    seeds = metadata["seeds"]
    confirmation_runs = [
        run for run in confirmation_results["runs"] if run["cell"] in CONFIRMATION_CELLS and run["seed"] in seeds
    ]
    _check_reward_models([*ablation_runs, *confirmation_runs])
    rows = contrast_rows([*ablation_runs, *confirmation_runs], CONTRASTS, seeds)
    return page(
        "# Ablations of the confirmation",
        f"Two cells beside those of the [confirmation](confirmation.md), with its settings, its seeds {min(seeds)}"
        f" to {max(seeds)} (the first whose reward model was kept), and their reward model.{incomplete(results)}"
        " Command: `python -m experiments.rlhf.ablation --out docs/rlhf --runs RUNS --workers 2  # 50 min`.",
        cell_list(
            {cell: confirmation_results["about"]["cells"][cell] for cell in CONFIRMATION_CELLS} | metadata["cells"]
        ),
        *DIFFERENCES,
        *(() if incomplete(results) else FINDINGS),
        "## Contrasts",
        f"As in the confirmation, each run is measured where it first reaches {SHARE:.0%} of the way to the highest"
        " proxy reward that both runs of a seed reach. At equal rollouts, it is measured after"
        f" {SHARE:.0%} of the rollouts; these contrasts were added after the first three runs, the others fixed"
        f" before. Paired t-tests, p-values after Holm for the {len(rows)} contrasts of the table. With so few"
        " seeds, only very large differences can be significant; the intervals say more.",
        contrast_section(rows),
        "## Cells after the last rollout",
        "The columns are those of the confirmation.",
        cell_table([*confirmation_runs, *ablation_runs]),
        f"## Texts of seed {min(seeds)} after the last rollout",
        samples(run for run in ablation_runs if run["seed"] == min(seeds)),
    )


def _check_reward_models(rows: Sequence[Run]) -> None:
    models: dict[int, str] = {}
    for row in rows:
        model = models.setdefault(row["seed"], row["reward_model"])
        if model != row["reward_model"]:
            raise AgentError(
                f"the runs of seed {row['seed']} have the reward models {model[:8]} and {row['reward_model'][:8]}:"
                " expected one; restore the reward model of confirmation.json, or choose other seeds"
            )


if __name__ == "__main__":
    program.run(main)
