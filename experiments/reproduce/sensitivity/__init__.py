"""Part `sensitivity`: measure how training settings affect ACTDE in the prisoner's dilemma."""

from collections.abc import Mapping
from pathlib import Path

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.finding import SENSITIVITY, judged
from experiments.reproduce.ipd.arms import ABLATIONS, ACTDE, GRID, LONG, MIDDLE, PPO, Series, run_arms
from experiments.reproduce.ipd.drawing import plot_trials
from experiments.reproduce.sensitivity import findings

QUICK_STEPS = 20


def run(
    *, seed: int, quick: bool, folder: Path, workers: int | None, cluster: str | None = None, progress: Progress
) -> Outcome:
    """Run the part. A full run takes several hours on two cores."""
    arms, steps = [ACTDE, PPO, *GRID, *ABLATIONS], QUICK_STEPS if quick else None
    curves = run_arms(arms, folder, seed=seed, quick_steps=steps, workers=workers, cluster=cluster, progress=progress)
    judgements = judged("sensitivity", findings.measure_grid(curves) | findings.measure_ablations(curves))
    notes = [*findings.grid_notes(curves), *findings.ablation_notes(curves)]
    seconds = sum(one.seconds for name, one in curves.items() if name not in (ACTDE.name, PPO.name))
    return Outcome(judgements, {SENSITIVITY: _figures(curves, folder)}, {SENSITIVITY: notes}, seconds)


def _figures(curves: Mapping[str, Series], folder: Path) -> list[tuple[str, str]]:
    pairs = []
    for name, arms, what, until in (
        ("sensitivity-grid.svg", [ACTDE, *GRID], "whitening, detached heads and the value loss", MIDDLE),
        ("sensitivity-ablations.svg", [ACTDE, *ABLATIONS, PPO], "single changes of the recipe", LONG),
    ):
        drawn = {arm.name.removeprefix("actde-"): curves[arm.name].until(until) for arm in arms}
        if panels := [(title, one) for title, one in drawn.items() if one.trials]:
            plot_trials(folder / name, panels, columns=4)
            caption = f"ACTDE with {what}: the share of alternating games. Thin lines: trials. Thick lines: means."
            pairs.append((name, f"{caption} Dotted: uniform."))
    return pairs
