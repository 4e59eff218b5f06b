"""Part `sensitivity`: what ACTDE's results in the prisoner's dilemma depend on, which the post says without figures.

A grid of whitening, detached heads and the value loss, and single changes of the recipe over 10,000 steps, which test
whether the drift from alternating comes from ACTDE or from the recipe. Trials are compared in pairs, since trial i of
every arm begins with the same weights. Like part `ipd`, an interrupted run continues.
"""

from collections.abc import Mapping
from pathlib import Path

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.finding import SENSITIVITY, judged
from experiments.reproduce.ipd.arms import ABLATIONS, ACTDE, GRID, PPO, Series, run_arms, shortened
from experiments.reproduce.ipd.drawing import plot_trials
from experiments.reproduce.sensitivity import ablations, factors

QUICK_STEPS = 20


def run(*, seed: int, quick: bool, folder: Path, workers: int, progress: Progress) -> Outcome:
    """All findings and figures: some hours of two cores, or half a minute if `quick`."""
    arms = [ACTDE, PPO, *GRID, *ABLATIONS]
    if quick:
        arms = shortened(arms, QUICK_STEPS)
    curves = run_arms(arms, folder, seed=seed, quick=quick, workers=workers, progress=progress)
    findings = judged("sensitivity", factors.measure(curves) | ablations.measure(curves))
    notes = [*factors.notes(curves), *ablations.notes(curves)]
    seconds = sum(one.seconds for name, one in curves.items() if name not in (ACTDE.name, PPO.name))
    return Outcome(findings, {SENSITIVITY: _figures(curves, folder)}, {SENSITIVITY: notes}, seconds)


def _figures(curves: Mapping[str, Series], folder: Path) -> list[tuple[str, str]]:
    pairs = []
    for name, arms, what, until in (
        ("sensitivity-grid.svg", [ACTDE, *GRID], "whitening, detached heads and the value loss", factors.STEPS),
        ("sensitivity-ablations.svg", [ACTDE, *ABLATIONS, PPO], "single changes of the recipe", ablations.STEPS),
    ):
        panels = [(arm.name.removeprefix("actde-"), curves[arm.name].until(until)) for arm in arms]
        panels = [(title, one) for title, one in panels if one.trials]
        if panels:
            plot_trials(folder / name, panels, columns=4)
            caption = f"ACTDE with {what}: the share of alternating games. Thin lines: trials. Thick lines: means."
            pairs.append((name, f"{caption} Dotted: uniform."))
    return pairs
