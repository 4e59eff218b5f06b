"""Measure how training settings affect ACTDE in the prisoner's dilemma."""

from collections.abc import Mapping
from pathlib import Path

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.finding import SENSITIVITY, judge_claims
from experiments.reproduce.ipd.arms import ABLATIONS, ACTDE, GRID, LONG, MIDDLE, PPO, Series, run_arms
from experiments.reproduce.ipd.drawing import plot_trials
from experiments.reproduce.sensitivity import findings

QUICK_STEPS = 20


def run(
    *, seed: int, quick: bool, folder: Path, workers: int | None, cluster: str | None = None, progress: Progress
) -> Outcome:
    """Measure the effects of training settings. A full run takes several hours on two cores."""
    arms, steps = [ACTDE, PPO, *GRID, *ABLATIONS], QUICK_STEPS if quick else None
    curves = run_arms(arms, folder, seed=seed, quick_steps=steps, workers=workers, cluster=cluster, progress=progress)
    judgements = judge_claims("sensitivity", findings.measure_grid(curves) | findings.measure_ablations(curves))
    notes = [*findings.grid_notes(curves), *findings.ablation_notes(curves)]
    seconds = sum(series.seconds for name, series in curves.items() if name not in (ACTDE.name, PPO.name))
    return Outcome(judgements, {SENSITIVITY: _figures(curves, folder)}, {SENSITIVITY: notes}, seconds)


def _figures(curves: Mapping[str, Series], folder: Path) -> list[tuple[str, str]]:
    pairs = []
    for name, arms, description, steps in (
        ("sensitivity-grid.svg", [ACTDE, *GRID], "whitening, detached heads and the value loss", MIDDLE),
        ("sensitivity-ablations.svg", [ACTDE, *ABLATIONS, PPO], "single changes of the recipe", LONG),
    ):
        series_of = {arm.name.removeprefix("actde-"): curves[arm.name].until(steps) for arm in arms}
        if panels := [(title, series) for title, series in series_of.items() if series.trials]:
            plot_trials(folder / name, panels, columns=4)
            caption = (
                f"ACTDE with {description}: the share of alternating games. Thin lines: trials. Thick lines: means."
            )
            pairs.append((name, f"{caption} Dotted: uniform."))
    return pairs
