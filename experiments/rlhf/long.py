"""Train PPO and ACTDE for five times as long as the confirmation does: does ACTDE stop collapsing or only slow down?

python -m experiments.rlhf.long --out docs/rlhf --runs RUNS --workers 2

The reward model is that of the confirmation (see `experiments.rlhf.confirmation`). In order not to repeat the first 80
rollouts, copy the folders DIGEST/ppo-seed2009 and DIGEST/actde-seed2009 from the confirmation's folder of runs to RUNS.
DIGEST names the reward model. RUNS must be another folder, because the runs in it are continued.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.protocol import AgentError
from experiments import program
from experiments.plot_style import make_figure
from experiments.rlhf import confirmation, runs
from experiments.rlhf.confirmation_report import COLUMNS, CURVES, draw, mean, settings_text
from experiments.rlhf.screening_report import samples
from experiments.tables import table
from games.files import atomic_write
from games.untrusted_files import read_object

SEED = 2009
CELLS: dict[str, dict[str, Any]] = {name: confirmation.CELLS[name] for name in ("ppo", "actde")}
EVERY: int = confirmation.COMMON["iterations"]
COMMON: dict[str, Any] = {**confirmation.COMMON, "iterations": 5 * EVERY}
PANELS = tuple(
    ("iteration", name, "rollouts", label)
    for name, label in (
        ("reward", "proxy reward"),
        ("entropy", "entropy, nats per token"),
        ("kl", "KL, nats per token"),
    )
)
FIGURE = "long.svg"


def main(
    out: Annotated[Path, typer.Option(help="folder of long.json")],
    folder: Annotated[Path, typer.Option("--runs", help="folder of the runs")],
    workers: Annotated[int, typer.Option(min=0, help="parallel runs; 0 only reports finished ones")] = 1,
) -> None:
    """Train the runs that `long.json` lacks, and write all results."""
    runs.complete(
        out / "long.json",
        CELLS,
        COMMON,
        [SEED],
        folder,
        workers=workers,
        on_run=lambda: write(out),
        reward_model=confirmation.reward_model(),
    )


def write(out: Path) -> None:
    """Write `long.md` and `long.svg` beside `long.json`."""
    results = read_object(out / "long.json", error=AgentError)
    atomic_write(out / "long.md", markdown(results))
    draw(results["runs"], out / FIGURE, PANELS, make_figure(1, 3, 11.0, 3.2))


def markdown(results: Mapping[str, Any]) -> str:
    """Return the text of `long.md`."""
    about, rows = results["about"], results["runs"]
    lines = [
        [row["cell"], end, *(format(probe[name], form) for _, name, form in COLUMNS), *_logged(row, end)]
        for row in rows
        for probe in row["probes"]
        for end in [probe["iteration"]]
        if end % EVERY == 0
    ]
    return "\n".join(
        [
            "# Five times as long",
            "",
            f"The cells `ppo` and `actde` of the [confirmation](confirmation.md) with {about['common']['iterations']}"
            f" rollouts, one run each (seed {about['seeds'][0]}). One seed gives no interval and no verdict. The"
            f" columns are those of the confirmation; the last two are means over the {EVERY} rollouts before. Command:"
            " `python -m experiments.rlhf.long --out docs/rlhf --runs RUNS --workers 2  # 1 h`.",
            "",
            *(f"* `{cell}`: {settings_text(settings)}" for cell, settings in about["cells"].items()),
            "",
            f"Both share {settings_text(about['common'])}.",
            "",
            table(["cell", "rollouts", *(head for head, _, _ in (*COLUMNS, *CURVES))], lines),
            "",
            f"![proxy reward, entropy and KL of both runs]({FIGURE})",
            "",
            "## Texts after the last rollout",
            "",
            *samples(rows),
        ]
    )


def _logged(row: Mapping[str, Any], end: int) -> list[str]:
    means = [(mean(row, name, slice(max(0, end - EVERY), end)), form) for _, name, form in CURVES]
    return ["" if value is None else format(value, form) for value, form in means]


if __name__ == "__main__":
    program.run(main)
