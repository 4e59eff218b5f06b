"""Two ablations of the confirmation: is it the clipping that slows ACTDE down, and does a recentred q repair it?

python -m experiments.rlhf.ablation --out docs/rlhf --runs RUNS --workers 2

The other cells are those of the confirmation, with the same seeds and the same reward model (see
`experiments.rlhf.confirmation`).
"""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.protocol import AgentError
from experiments import program
from experiments.rlhf import confirmation, runs
from experiments.rlhf.confirmation_contrasts import MEASURES, Contrast, contrast_rows
from experiments.rlhf.confirmation_report import cells, contrasts, settings_text, significant
from experiments.rlhf.screening_report import samples
from games.files import atomic_write
from games.untrusted_files import read_object

SEEDS = (2005, 2006, 2007)
"""The first seeds of the confirmation whose reward model still exists."""
CELLS: dict[str, dict[str, Any]] = {
    "ppo-train-q": {"optimizer": "ppo", "credit": "command", "train_q": True},
    "actde-recentred": {"optimizer": "actde", "advantage": "return", "recentre_q": True, "tau": 0.02},
}
"""`tau` is the weight of the KL in the confirmation's cell `ppo-kl`, and was not tuned."""
CONFIRMED = ("ppo", "actde", "ppo-kl")
PAIRS = (("ppo-train-q", "ppo"), ("actde", "ppo-train-q"), ("actde-recentred", "actde"), ("actde-recentred", "ppo-kl"))
CONTRASTS = [Contrast("reward", measure, *pair) for pair, measure in product(PAIRS, (*MEASURES, "kl"))]
"""The contrasts were fixed before the first run."""


def main(
    out: Annotated[Path, typer.Option(help="folder of ablation.json, which must hold confirmation.json")],
    folder: Annotated[Path, typer.Option("--runs", help="folder of the runs")],
    workers: Annotated[int, typer.Option(min=0, help="parallel runs; 0 only reports finished ones")] = 1,
) -> None:
    """Train the runs that `ablation.json` lacks, and write all results."""
    runs.complete(
        out / "ablation.json",
        CELLS,
        confirmation.COMMON,
        SEEDS,
        folder,
        workers=workers,
        on_run=lambda: write(out),
        reward_model=confirmation.reward_model(),
    )


def write(out: Path) -> None:
    """Write `ablation.md` beside `ablation.json` and `confirmation.json`."""
    results, confirmed = (read_object(out / f"{name}.json", error=AgentError) for name in ("ablation", "confirmation"))
    atomic_write(out / "ablation.md", markdown(results, confirmed))


def markdown(results: Mapping[str, Any], confirmed: Mapping[str, Any]) -> str:
    """Return the text of `ablation.md`."""
    about, own = results["about"], results["runs"]
    seeds = about["seeds"]
    others = [run for run in confirmed["runs"] if run["cell"] in CONFIRMED and run["seed"] in seeds]
    rows = contrast_rows([*own, *others], CONTRASTS, seeds)
    wanted = len(about["cells"]) * len(seeds)
    state = "" if len(own) == wanted else f" **Incomplete: {len(own)} of {wanted} runs are finished.**"
    known = {**confirmed["about"]["cells"], **about["cells"]}
    return "\n".join(
        [
            "# Ablations of the confirmation",
            "",
            f"Two cells beside those of the [confirmation](confirmation.md), with its settings, its seeds {min(seeds)}"
            f" to {max(seeds)}, and their reward model.{state} Command:"
            " `python -m experiments.rlhf.ablation --out docs/rlhf --runs RUNS --workers 2  # 40 min`.",
            "",
            *(f"* `{cell}`: {settings_text(known[cell])}" for cell in (*CONFIRMED, *about["cells"])),
            "",
            "`ppo-train-q` differs from `ppo` only in that q is trained, so that its gradient counts in the norm by"
            " which the joint gradient is clipped, as in `actde`. It differs from `actde` only in the baseline."
            " `actde-recentred` computes q from the policy, q = v + tau (log pi - log pi_0 - KL), so that ACTDE's"
            " invariant holds although no network fits q. Its expected gradient is that of `ppo-kl` if its tau is the"
            " weight of the KL. Both treat each token as an action.",
            "",
            "## Contrasts",
            "",
            "As in the confirmation: each run is measured where it first reaches 90% of the way to the highest proxy"
            f" reward that both runs of a seed reach. Paired t-tests, p-values after Holm for {len(CONTRASTS)}"
            " contrasts, which were fixed before the first run.",
            "",
            contrasts(rows),
            "",
            *significant(rows),
            "",
            "## Cells after the last rollout",
            "",
            "The columns are those of the confirmation.",
            "",
            cells([*others, *own]),
            "",
            f"## Texts of seed {min(seeds)} after the last rollout",
            "",
            *samples([run for run in own if run["seed"] == min(seeds)]),
        ]
    )


if __name__ == "__main__":
    program.run(main)
