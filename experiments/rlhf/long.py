"""Train PPO and ACTDE for five times as many rollouts as `confirmation.py`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.protocol import AgentError
from experiments import program
from experiments.plot_style import make_figure
from experiments.rlhf import confirmation, runs
from experiments.rlhf.pages import COLUMNS, CURVES, cell_list, draw, means, page, samples, settings_text
from experiments.tables import table
from games.files import atomic_write
from games.untrusted_files import read_object

# To skip the first 80 rollouts, copy DIGEST/ppo-seed2009 and DIGEST/actde-seed2009 from the confirmation's runs to
# another folder for --runs. Training continues the copies. DIGEST is the start of the reward model's digest.
SEED = 2009
CELLS: dict[str, dict[str, Any]] = {name: confirmation.CELLS[name] for name in ("ppo", "actde")}
PERIOD: int = confirmation.COMMON["iterations"]
COMMON: dict[str, Any] = {**confirmation.COMMON, "iterations": 5 * PERIOD}
FIGURE = "long.svg"


def main(out: runs.Out, folder: runs.Folder, workers: runs.Workers = 1) -> None:
    """Train the missing runs, and write the results."""
    path, model = out / "long.json", confirmation.reward_model()
    runs.complete(path, CELLS, COMMON, [SEED], folder, workers=workers, on_run=lambda: write(out), reward_model=model)


def write(out: Path) -> None:
    results = read_object(out / "long.json", error=AgentError)
    atomic_write(out / "long.md", markdown(results))
    panels = [("iteration", name) for name in ("reward", "entropy", "kl")]
    draw(results["runs"], out / FIGURE, panels, make_figure(1, 3, 11.0, 3.2))


def markdown(results: Mapping[str, Any]) -> str:
    metadata, rows = results["about"], results["runs"]
    lines = [
        [row["cell"], rollouts, *(format(probe[name], form) for _, name, form in COLUMNS), *means(row, window)]
        for row in rows
        for probe in row["probes"]
        if (rollouts := probe["iteration"]) % PERIOD == 0
        for window in [slice(max(0, rollouts - PERIOD), rollouts)]
    ]
    return page(
        "# Five times as long",
        f"The cells `ppo` and `actde` of the [confirmation](confirmation.md) with {metadata['common']['iterations']}"
        f" rollouts, one run each (seed {metadata['seeds'][0]}). One seed gives no interval and no verdict. The"
        f" columns are those of the confirmation; the last two are means over the {PERIOD} rollouts before. Command:"
        " `python -m experiments.rlhf.long --out docs/rlhf --runs RUNS --workers 2  # 1 h`.",
        cell_list(metadata["cells"]),
        f"Both share {settings_text(metadata['common'])}.",
        table(["cell", "rollouts", *(heading for heading, _, _ in (*COLUMNS, *CURVES))], lines),
        f"![proxy reward, entropy and KL of both runs]({FIGURE})",
        "## Texts after the last rollout",
        samples(rows),
    )


if __name__ == "__main__":
    program.run(main)
